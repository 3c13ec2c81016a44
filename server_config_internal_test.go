package reprise

import (
	"bytes"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/reprise-tls/reprise/internal/gotls"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// greet runs a handshake of a client with a server of sc, and a byte.
func greet(t *testing.T, sc, cc *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ns, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s := tls.Server(ns, sc)
		defer ns.Close()
		if s.Handshake() == nil {
			s.Write([]byte{1})
		}
	}()
	c := tls.Client(nc, cc)
	_, err = io.ReadFull(c, make([]byte, 1))
	nc.Close()
	<-done
	return c.ConnectionState(), err
}

// TestUnmanagedRelease: a Go release that does not show the configuration in
// force means full handshakes under that configuration, of which nothing is
// ignored. Where an application's GetConfigForClient calls the result's, the
// result's own settings hold.
func TestUnmanagedRelease(t *testing.T) {
	ca := testpki.New(t, "root")
	base := &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}}
	strict := func(c *tls.Config) *tls.Config {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
		return c
	}
	calling := func(c *tls.Config) *tls.Config {
		ask := c.GetConfigForClient
		return &tls.Config{Certificates: base.Certificates, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return ask(hello) }}
	}
	for name, row := range map[string]struct {
		server  func(m *Manager) *tls.Config
		managed bool
	}{
		"directly":        {func(m *Manager) *tls.Config { return strict(m.ServerConfig(base)) }, false},
		"clone":           {func(m *Manager) *tls.Config { return strict(m.ServerConfig(base).Clone()) }, false},
		"managed twice":   {func(m *Manager) *tls.Config { return strict(m.ServerConfig(m.ServerConfig(base))) }, false},
		"changed between": {func(m *Manager) *tls.Config { return m.ServerConfig(strict(m.ServerConfig(base))) }, false},
		"returned": {func(m *Manager) *tls.Config {
			c := strict(m.ServerConfig(base))
			return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c, nil }}
		}, false},
		"delegation":          {func(m *Manager) *tls.Config { return calling(strict(m.ServerConfig(base))) }, true},
		"delegation, managed": {func(m *Manager) *tls.Config { return m.ServerConfig(calling(strict(m.ServerConfig(base)))) }, true},
		"ConfigForClient": {func(m *Manager) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				return m.ConfigForClient(hello, strict(base.Clone())), nil
			}}
		}, true},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				var log bytes.Buffer
				m, err := New(Config{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
				if err != nil {
					t.Fatal(err)
				}
				defer m.Close()
				m.inForce = gotls.ConfigReader{}
				sc := row.server(m)
				cc := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
					Certificates: []tls.Certificate{ca.Leaf(t, "client")}}
				const handshakes = 5
				for i := range handshakes {
					if cs, err := greet(t, sc, cc); err != nil || cs.DidResume != (row.managed && i > 0) {
						t.Errorf("handshake %d: resumed %v, %v", i, cs.DidResume, err)
					}
				}
				st, want := m.Stats(), 1
				if row.managed {
					want = 0
				}
				if n := strings.Count(log.String(), "\n"); n != want || n > 0 && !strings.Contains(log.String(), notShown) {
					t.Errorf("%d warnings, want %d: %s", n, want, log.String())
				}
				if n := st.NotResumed[Unmanaged]; st.Accept != handshakes || !row.managed && (n != handshakes || st.AcceptGood != n) || row.managed && n != 0 {
					t.Errorf("%+v", st)
				}
				cc.Certificates, cc.ClientSessionCache = nil, nil
				if _, err := greet(t, sc, cc); err == nil {
					t.Error("a client without a certificate was let in")
				}
			})
		}
	}
}

// TestPlain: what a Manager put into a configuration is taken out of it,
// whichever of the marks the application replaced.
func TestPlain(t *testing.T) {
	var verified, asked atomic.Int64
	base := &tls.Config{
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
		VerifyConnection:   func(tls.ConnectionState) error { verified.Add(1); return nil },
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { asked.Add(1); return nil, nil },
	}
	m, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for name, change := range map[string]func(c *tls.Config){
		"nothing":            func(*tls.Config) {},
		"ClientSessionCache": func(c *tls.Config) { c.ClientSessionCache = base.ClientSessionCache },
		"both": func(c *tls.Config) {
			c.ClientSessionCache, c.VerifyConnection = base.ClientSessionCache, base.VerifyConnection
			c.GetConfigForClient, c.SessionTicketsDisabled = base.GetConfigForClient, false
		},
	} {
		c := m.ServerConfig(m.ServerConfig(base))
		change(c)
		c = plain(c, markOf(c))
		if c.ClientSessionCache != base.ClientSessionCache || !gotls.SameFunc(c.VerifyConnection, base.VerifyConnection) ||
			!gotls.SameFunc(c.GetConfigForClient, base.GetConfigForClient) || c.SessionTicketsDisabled {
			t.Errorf("%s replaced: %+v", name, c)
		}
	}
	if verified.Load()+asked.Load() != 0 {
		t.Error("the application's functions were called")
	}
}
