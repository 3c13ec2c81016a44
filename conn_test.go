package reprise_test

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"testing"
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
