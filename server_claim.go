package reprise

import (
	"sync"

	"github.com/reprise-tls/reprise/internal/cache"
)

// claims are the sessions of single use that handshakes under way offer. A
// session is claimed before it is looked up, so of any number of handshakes
// that offer it at once one can resume; the others are full (InUse). A claim
// ends with its handshake, which has one at most.
type claims struct {
	mu  sync.Mutex
	all map[cache.Key]*serverHandshake
}

// takeClaim claims the session under key for st and gives up what st had claimed.
// It returns false if another handshake has the session. The caller holds st.mu.
func (st *serverHandshake) takeClaim(key cache.Key) bool {
	st.unclaim()
	c := &st.m.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[key] != nil {
		return false
	}
	if c.all == nil {
		c.all = make(map[cache.Key]*serverHandshake)
	}
	c.all[key] = st
	st.claim, st.claimed = key, true
	return true
}

// unclaim gives up what st has claimed. The caller holds st.mu.
func (st *serverHandshake) unclaim() {
	if !st.claimed {
		return
	}
	c := &st.m.claims
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.all, st.claim)
	st.claimed = false
}
