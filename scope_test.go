package reprise_test

import (
	"crypto/rand"
	"crypto/tls"
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
		other := s.client.Clone()
		other.RootCAs = s.ca.Pool()
		other.RootCAs.AddCert(testpki.New(t, "another").Cert)
		for i, config := range []*tls.Config{s.client, other, other} {
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
		for _, name := range []string{"A.Test", "a.test."} {
			config := s.client.Clone()
			config.ServerName = name
			if shown := s.visit(w, p, s.addr, config); shown != reprise.Resumed {
				t.Errorf("%s, %s: %v", w.name, name, shown)
			}
		}
	}
}
