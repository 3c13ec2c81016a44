package reprise_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// versions are the TLS versions that crypto/tls speaks.
var versions = []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

// at returns a configuration for one version only.
func at(version uint16, c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion, c.MaxVersion = version, version
	return c
}

// rig is a certificate authority and the configurations of a server named
// a.test and b.test and of a client that trusts it.
type rig struct {
	t      testing.TB
	ca     *testpki.Authority
	server *tls.Config
	client *tls.Config
}

func newRig(t testing.TB) *rig {
	ca := testpki.New(t, "root")
	return &rig{
		t: t, ca: ca,
		server: &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test", "b.test", "127.0.0.1")}, MinVersion: tls.VersionTLS10},
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", MinVersion: tls.VersionTLS10},
	}
}

// manager returns a Manager that is closed at the end of the test.
func manager(t testing.TB, c reprise.Config) *reprise.Manager {
	t.Helper()
	m, err := reprise.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// pipe returns both ends of a TCP connection on loopback.
func pipe(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// connect runs a handshake between two Managers' connections, the client
// offering set if it is not nil, and exchanges a byte each way so that TLS 1.3
// sessions have arrived.
func (r *rig) connect(sm, cm *reprise.Manager, sc, cc *tls.Config, set *reprise.Session) (client, server *reprise.Conn) {
	r.t.Helper()
	nc, ns := pipe(r.t)
	server = sm.Server(ns, sc)
	client = cm.Client(nc, cc)
	r.t.Cleanup(func() { client.Close(); server.Close() })
	if err := client.SetSession(set); err != nil {
		r.t.Fatalf("SetSession: %v", err)
	}
	talk(r.t, client, server)
	return client, server
}

// talk runs both handshakes and exchanges a byte each way.
func talk(t testing.TB, client, server net.Conn) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		buf := make([]byte, 1)
		_, err := io.ReadFull(server, buf)
		if err == nil {
			_, err = server.Write(buf)
		}
		failed <- err
	}()
	buf := []byte{'x'}
	if _, err := client.Write(buf); err != nil {
		t.Fatalf("client: %v (server: %v)", err, <-failed)
	}
	if _, err := io.ReadFull(client, buf); err != nil {
		t.Fatalf("client: %v (server: %v)", err, <-failed)
	}
	if err := <-failed; err != nil {
		t.Fatalf("server: %v", err)
	}
}

// wait returns the connection's session, for the caller to free.
func wait(t testing.TB, c *reprise.Conn) *reprise.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := c.WaitSession(ctx)
	if err != nil {
		t.Fatalf("WaitSession: %v", err)
	}
	return s
}

func TestResume(t *testing.T) {
	r := newRig(t)
	for _, version := range versions {
		for _, noTickets := range []bool{false, true} {
			name := tls.VersionName(version) + map[bool]string{false: "/ticket", true: "/handle"}[noTickets]
			t.Run(name, func(t *testing.T) {
				sm := manager(t, reprise.Config{NoTickets: noTickets})
				cm := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
				sc, cc := at(version, r.server), at(version, r.client)
				c1, s1 := r.connect(sm, cm, sc, cc, nil)
				if reused, why := s1.SessionReused(); reused || why != reprise.NothingOffered {
					t.Errorf("first handshake: reused %v, %v", reused, why)
				}
				session := wait(t, c1)
				defer session.Free()
				c1.Close()
				c2, s2 := r.connect(sm, cm, sc, cc, session)
				for side, c := range map[string]*reprise.Conn{"client": c2, "server": s2} {
					if reused, why := c.SessionReused(); !reused {
						t.Errorf("%s: not resumed: %v", side, why)
					}
					if !c.ConnectionState().DidResume {
						t.Errorf("%s: crypto/tls did not resume", side)
					}
				}
			})
		}
	}
}

// TestSecondCallerContext: a context ends the wait of its own call, while another
// call runs the handshake, and that goes on.
func TestSecondCallerContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		nc, ns := inMemory()
		client := manager(t, reprise.Config{}).Client(nc, r.client)
		defer client.Free()
		first := make(chan error, 1)
		go func() { first <- client.Handshake() }()
		synctest.Wait()
		for name, call := range map[string]func(context.Context) error{
			"HandshakeContext": client.HandshakeContext,
			"WaitSession":      func(ctx context.Context) error { _, err := client.WaitSession(ctx); return err },
		} {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: %v, want that of its context", name, err)
			}
			cancel()
		}
		server := tls.Server(ns, r.server)
		if err := errors.Join(server.Handshake(), <-first); err != nil {
			t.Errorf("the first caller's handshake: %v", err)
		}
	})
}

// TestCancelledHandshake: the call whose context ended says so; others then say
// what crypto/tls's connection says.
func TestCancelledHandshake(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	type shaker interface {
		net.Conn
		HandshakeContext(context.Context) error
	}
	for name, c := range map[string]func(nc net.Conn) shaker{
		"crypto/tls": func(nc net.Conn) shaker { return tls.Client(nc, r.client) },
		"reprise":    func(nc net.Conn) shaker { return m.Client(nc, r.client) },
	} {
		synctest.Test(t, func(t *testing.T) {
			nc, _ := inMemory()
			conn := c(nc)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := conn.HandshakeContext(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: the handshake: %v", name, err)
			}
			_, read := conn.Read(make([]byte, 1))
			_, write := conn.Write([]byte{0})
			for call, err := range map[string]error{"Read": read, "Write": write, "HandshakeContext": conn.HandshakeContext(t.Context())} {
				var timeout net.Error
				if !errors.Is(err, net.ErrClosed) || errors.As(err, &timeout) && timeout.Timeout() {
					t.Errorf("%s: %s: %v, want that of a closed connection", name, call, err)
				}
			}
		})
	}
}

// TestAfterFree: a connection that was freed says that it is closed.
func TestAfterFree(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	client, server := r.connect(sm, cm, r.server, r.client, nil)
	nc, _ := pipe(t)
	for side, c := range map[string]*reprise.Conn{"client": client, "server": server, "before its handshake": cm.Client(nc, r.client)} {
		c.Free()
		_, read := c.Read(make([]byte, 1))
		_, write := c.Write([]byte{0})
		_, wait := c.WaitSession(t.Context())
		for call, err := range map[string]error{"Handshake": c.Handshake(), "Read": read, "Write": write, "WaitSession": wait, "Close": c.Close()} {
			if err != net.ErrClosed {
				t.Errorf("%s: %s: %v", side, call, err)
			}
		}
	}
}

// TestFreeWhileWaiting: Free ends every call that is in progress.
func TestFreeWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, shaken := range []bool{false, true} {
			nc, ns := inMemory()
			var c *reprise.Conn
			if c = manager(t, reprise.Config{}).Client(nc, r.client); shaken {
				config := r.server.Clone()
				config.SessionTicketsDisabled = true
				go tls.Server(ns, config).Handshake()
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
			}
			ended := make(chan error, 2)
			go func() { _, err := c.Read(make([]byte, 1)); ended <- err }()
			synctest.Wait()
			go func() { _, err := c.WaitSession(t.Context()); ended <- err }()
			synctest.Wait()
			c.Free()
			for range cap(ended) {
				if err := <-ended; err != net.ErrClosed {
					t.Errorf("handshake done %v: %v", shaken, err)
				}
			}
		}
	})
}

// TestReadNothing: a Read of nothing returns at once, also beside another.
func TestReadNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, ns := inMemory()
		client, _ := noTickets(t, nc, ns, tls.VersionTLS13)
		defer client.Close()
		go client.Read(make([]byte, 1))
		synctest.Wait()
		if n, err := client.Read(nil); n != 0 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}
