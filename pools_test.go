package reprise_test

import (
	"slices"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// TestAttackClientStoreRoots: of processes that share a store, those offer each
// other's sessions that trust the same roots, in whatever order and however
// often these are written.
func TestAttackClientStoreRoots(t *testing.T) {
	s := newShop(t, reprise.Config{})
	s.client.RootCAs = nil
	mine, more := s.ca.PEM(), testpki.New(t, "another").PEM()
	both := slices.Concat(mine, more)
	for _, w := range ways {
		shelf := new(shelf)
		visit := func(roots []byte) reprise.Reason {
			m := manager(t, reprise.Config{ClientStore: shelf, RootCAsPEM: roots})
			return s.visit(w, m.Partition(""), s.addr, s.client)
		}
		visit(both)
		for name, c := range map[string]struct {
			roots []byte
			same  bool
		}{
			"the same":      {both, true},
			"another order": {slices.Concat(more, mine), true},
			"twice":         {slices.Concat(mine, []byte("in between\n"), both), true},
			"fewer":         {mine, false},
		} {
			if shown := visit(c.roots); shown == reprise.Resumed != c.same {
				t.Errorf("%s, %s: %v", w.name, name, shown)
			}
		}
	}
}
