package dirstore_test

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/store/dirstore"
)

// TestManagers: what one Manager's client was given, another's resumes, from the
// directory alone; a TLS 1.3 session once.
func TestManagers(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			ca := testpki.New(t, "root")
			address := serve(t, &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MaxVersion: version})
			base := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"}
			dir := filepath.Join(t.TempDir(), "sessions")
			// No session is offered before the first, and each handshake brings one.
			for i, want := range []bool{false, true, true, true} {
				store := open(t, dir, dirstore.Options{Key: key(0)})
				m, err := reprise.New(reprise.Config{ClientStore: store})
				if err != nil {
					t.Fatal(err)
				}
				c, err := tls.Dial("tcp", address, m.ClientConfig(base))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadAll(c); err != nil { // and the ticket with it
					t.Fatal(err)
				}
				if got := c.ConnectionState().DidResume; got != want {
					t.Errorf("connection %d resumed: %t, want %t", i+1, got, want)
				}
				c.Close()
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
				if got := store.Stats(); got.Puts == 0 && version == tls.VersionTLS13 || got.Taken != map[bool]uint64{true: 1}[want] {
					t.Errorf("connection %d: %+v", i+1, got)
				}
			}
		})
	}
}

// serve answers connections with a line, until the test ends.
func serve(t *testing.T, config *tls.Config) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				t := tls.Server(c, config)
				io.WriteString(t, "hello")
				t.Close()
			}()
		}
	}()
	return l.Addr().String()
}
