package reprise

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// pair returns configurations of one version; the client keeps what it gets.
func pair(t *testing.T, version uint16) (server, client *tls.Config) {
	ca := testpki.New(t, "root")
	return &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MinVersion: version, MaxVersion: version},
		&tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

// TestRenewalOutlivesItsHandshake: at the configuration level a handshake may be
// given up while its ticket is renewed. The session that OnSeal was lent is whole
// until OnSeal returns.
func TestRenewalOutlivesItsHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sealed := 0
		m, err := New(Config{
			OnOpen: func(*Session) TicketDecision { return TicketUseRenew },
			OnSeal: func(s *Session) {
				if sealed++; sealed < 2 {
					return
				}
				cancel()
				synctest.Wait()
				if key, err := s.MasterKey(); err != nil || len(key) == 0 {
					t.Errorf("OnSeal's session was wiped: %v", err)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		sc, cc := pair(t, tls.VersionTLS12)
		for i := range 2 {
			nc, ns := net.Pipe()
			go io.Copy(io.Discard, tls.Client(nc, cc))
			server := tls.Server(ns, m.ServerConfig(sc))
			if err := server.HandshakeContext(ctx); (err != nil) != (i == 1) {
				t.Errorf("handshake %d: %v", i, err)
			}
			synctest.Wait()
			nc.Close()
			ns.Close()
		}
		if sealed != 2 {
			t.Errorf("sealed %d times", sealed)
		}
	})
}

// handler is a slog.Handler that is called for each line.
type handler struct {
	slog.Handler
	f func(slog.Record)
}

func (h handler) Enabled(context.Context, slog.Level) bool { return true }
func (h handler) Handle(_ context.Context, r slog.Record) error {
	h.f(r)
	return nil
}

// TestLogsWithoutLock: what a Logger calls about the connection that a line is
// of does not block.
func TestLogsWithoutLock(t *testing.T) {
	lines := make(map[string]int)
	var server *Conn
	config := Config{NoTickets: true, CacheBytes: 1, Logger: slog.New(handler{f: func(r slog.Record) {
		lines[r.Message]++
		if st := server.link.Load().server; !st.mu.TryLock() {
			t.Errorf("%q was logged under the lock", r.Message)
		} else {
			st.mu.Unlock()
		}
	}})}
	m, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	sc, cc := pair(t, tls.VersionTLS13)
	for range 2 {
		nc, ns := net.Pipe()
		server = m.Server(ns, sc)
		done := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(tls.Client(nc, cc), make([]byte, 1))
			done <- err
		}()
		if _, err := server.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		nc.Close()
		server.Free()
	}
	if lines["session not cached"] != 1 || lines["session declined"] != 1 {
		t.Errorf("logged %v", lines)
	}
}
