package ftps_test

import (
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ftps"
)

// TestSameSession: through renewals, at both levels of use and between them.
func TestSameSession(t *testing.T) {
	for _, version := range current {
		for _, noTickets := range []bool{false, true} {
			name := tls.VersionName(version) + map[bool]string{false: "/ticket", true: "/handle"}[noTickets]
			t.Run(name, func(t *testing.T) {
				r := newRig(t, version)
				r.manage(reprise.Config{NoTickets: noTickets})
				r.base.ClientSessionCache = tls.NewLRUClientSessionCache(0) // offers what came last
				c := r.login(r.base)
				var last *reprise.Conn
				for range 4 {
					last = r.transfer(r.base)
					if err := ftps.SameSession(c, last); err != nil {
						t.Error(err)
					}
				}
				again := r.login(r.base) // resumes too: it is the same client
				if reused, why := again.SessionReused(); !reused {
					t.Fatal(why)
				}
				if err := ftps.SameSession(again, last); err != nil {
					t.Error(err)
				}
				if err := ftps.SameSession(c, r.listened(r.base)); err != nil {
					t.Errorf("listener level: %v", err)
				}
				if err := ftps.SameSession(r.listened(r.base), r.transfer(r.base)); err != nil {
					t.Errorf("control connection of the listener level: %v", err)
				}
			})
		}
	}
}

// listened makes a data connection at the listener level.
func (r *rig) listened(config *tls.Config) *tls.Conn {
	r.t.Helper()
	l, err := r.m.NewListener(listen(r.t), r.server)
	if err != nil {
		r.t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	c := tls.Client(nc, config)
	done := make(chan error, 1)
	go func() { done <- c.Handshake() }()
	ns, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close(); ns.Close() })
	if err := <-done; err != nil {
		r.t.Fatal(err)
	}
	return ns.(*tls.Conn)
}

// TestSameSessionRefuses: whoever is not the control connection's client does
// not pass, and the error says why.
func TestSameSessionRefuses(t *testing.T) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t, version)
			caching := func() *tls.Config {
				c := r.base.Clone()
				c.ClientSessionCache = tls.NewLRUClientSessionCache(0)
				return c
			}
			mine, theirs := caching(), caching()
			c := r.login(mine)
			r.login(theirs)
			for name, data := range map[string]func(*tls.Config) net.Conn{
				"connection": func(c *tls.Config) net.Conn { return r.transfer(c) },
				"listener":   func(c *tls.Config) net.Conn { return r.listened(c) },
			} {
				if err := ftps.SameSession(c, data(theirs)); !errors.Is(err, ftps.ErrOtherSession) {
					t.Errorf("%s: another client: %v", name, err)
				}
				err := ftps.SameSession(c, data(r.base))
				if !errors.Is(err, ftps.ErrNotResumed) || !strings.Contains(err.Error(), reprise.NothingOffered.String()) {
					t.Errorf("%s: a client that offers nothing: %v", name, err)
				}
			}
			r.m.FlushAll()
			err := ftps.SameSession(c, r.transfer(mine))
			if !errors.Is(err, ftps.ErrNotResumed) || !strings.Contains(err.Error(), reprise.Revoked.String()) {
				t.Errorf("a session that was revoked: %v", err)
			}
		})
	}
}

// TestSameSessionUnknown: where there is nothing to compare, nobody passes.
func TestSameSessionUnknown(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	c := r.login(r.base)
	_, early := r.dial(listen(t), r.base)
	plain, _ := net.Pipe()
	defer plain.Close()
	for name, other := range map[string]net.Conn{
		"before the handshake": early,
		"not of a Manager":     tls.Server(plain, r.server),
		"no TLS":               plain,
		"none":                 nil,
	} {
		if err := ftps.SameSession(c, other); !errors.Is(err, ftps.ErrUnknownConn) || !strings.Contains(err.Error(), "data") {
			t.Errorf("data connection, %s: %v", name, err)
		}
		if err := ftps.SameSession(other, c); !errors.Is(err, ftps.ErrUnknownConn) || !strings.Contains(err.Error(), "control") {
			t.Errorf("control connection, %s: %v", name, err)
		}
	}
}
