package reprise_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// TestAttackClientECH: a session that was made in the open is not offered inside
// an encrypted ClientHello, nor the other way round.
func TestAttackClientECH(t *testing.T) {
	s := newShop(t, reprise.Config{})
	key, list := echKey(t, "public.test")
	server := s.server.Clone()
	server.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{key}
	addr := s.open(server)
	for _, w := range ways {
		p := manager(t, reprise.Config{}).Partition("")
		open := at(tls.VersionTLS13, s.client)
		encrypted := open.Clone()
		encrypted.EncryptedClientHelloConfigList = list
		for i, c := range []struct {
			config *tls.Config
			want   reprise.Reason
		}{
			{open, reprise.NothingOffered}, {encrypted, reprise.NothingOffered},
			{open, reprise.Resumed}, {encrypted, reprise.Resumed},
		} {
			if shown := s.visit(w, p, addr, c.config); shown != c.want {
				t.Errorf("%s, visit %d: %v, want %v", w.name, i, shown, c.want)
			}
		}
	}
}

// spring gives random bytes until it runs dry.
type spring struct{ dry atomic.Bool }

func (s *spring) Read(p []byte) (int, error) {
	if s.dry.Load() {
		return 0, errors.New("dry")
	}
	return rand.Read(p)
}

// TestAttackClientRootsUnnamed: roots that cannot be told from others, for want
// of random bytes, keep no sessions.
func TestAttackClientRootsUnnamed(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways {
		source := new(spring)
		m := manager(t, reprise.Config{Rand: source})
		source.dry.Store(true)
		config := s.client.Clone()
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCertWithConstraint(s.ca.Cert, func([]*x509.Certificate) error { return nil })
		for i := range 3 {
			if shown := s.visit(w, m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
				t.Errorf("%s, visit %d: %v", w.name, i, shown)
			}
		}
	}
}

// TestClientNames: names that differ in case or by a dot at the end are one.
func TestClientNames(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways[1:] {
		p := manager(t, reprise.Config{}).Partition("")
		s.visit(w, p, s.addr, s.client)
		for _, name := range []string{"A.Test", "a.test.", "A.TEST."} {
			config := s.client.Clone()
			config.ServerName = name
			if shown := s.visit(w, p, s.addr, config); shown != reprise.Resumed {
				t.Errorf("%s, %s: %v", w.name, name, shown)
			}
		}
	}
}

// TestAttackClientStoreRoots: of processes that share a store, those offer each
// other's sessions that trust the same roots, in whatever order and however
// often these were added. Roots with a constraint are not the same.
func TestAttackClientStoreRoots(t *testing.T) {
	s := newShop(t, reprise.Config{})
	mine, more := s.ca.Cert, testpki.New(t, "another").Cert
	allow := func([]*x509.Certificate) error { return nil }
	pool := func(certs ...*x509.Certificate) *x509.CertPool {
		p := x509.NewCertPool()
		for _, c := range certs {
			p.AddCert(c)
		}
		return p
	}
	constrained := pool(more)
	constrained.AddCertWithConstraint(mine, allow)
	for _, w := range ways {
		shelf := new(shelf)
		visit := func(roots *x509.CertPool) reprise.Reason {
			config := s.client.Clone()
			config.RootCAs = roots
			m := manager(t, reprise.Config{ClientStore: shelf})
			return s.visit(w, m.Partition(""), s.addr, config)
		}
		visit(pool(mine, more))
		for _, c := range []struct {
			name  string
			roots *x509.CertPool
			same  bool
		}{
			{"the same", pool(mine, more), true},
			{"another order", pool(more, mine), true},
			{"twice", pool(mine, more, mine), true},
			{"fewer", pool(mine), false},
			{"with a constraint", constrained, false},
		} {
			if shown := visit(c.roots); shown == reprise.Resumed != c.same {
				t.Errorf("%s, %s: %v", w.name, c.name, shown)
			}
		}
	}
}

// TestAttackClientRootsConstrained: within a process, too, roots with a
// constraint are not those without, nor those with another.
func TestAttackClientRootsConstrained(t *testing.T) {
	s := newShop(t, reprise.Config{})
	constrained := func() *tls.Config {
		config := s.client.Clone()
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AddCertWithConstraint(s.ca.Cert, func([]*x509.Certificate) error { return nil })
		return config
	}
	for _, w := range ways {
		p := manager(t, reprise.Config{}).Partition("")
		first := constrained()
		for i, c := range []struct {
			config *tls.Config
			want   reprise.Reason
		}{
			{s.client, reprise.NothingOffered}, {first, reprise.NothingOffered}, {constrained(), reprise.NothingOffered},
			{first, reprise.Resumed}, {s.client, reprise.Resumed},
		} {
			if shown := s.visit(w, p, s.addr, c.config); shown != c.want {
				t.Errorf("%s, visit %d: %v, want %v", w.name, i, shown, c.want)
			}
		}
	}
}

// TestSessionNameAsWritten: a session whose name another program wrote in
// capitals, or with a dot at the end, is offered to that server.
func TestSessionNameAsWritten(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		for name, want := range map[string]reprise.Reason{
			"A.Test": reprise.Resumed, "a.test.": reprise.Resumed, "a.te\u017ft": reprise.OtherName, "a.test.x": reprise.OtherName,
		} {
			session := r.session(sm, cm, sc, cc)
			session.SetHostname(name)
			nc, ns := pipe(t)
			client, server := cm.Client(nc, cc), sm.Server(ns, sc)
			if err := client.SetSession(session); err != nil {
				t.Fatal(err)
			}
			talk(t, client, server)
			if _, why := client.SessionReused(); why != want {
				t.Errorf("%s, %q: %q, want %q", tls.VersionName(version), name, why, want)
			}
			session.Free()
			client.Close()
		}
	}
}
