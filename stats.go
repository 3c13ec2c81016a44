package reprise

import "sync/atomic"

// Stats is a snapshot of a Manager's counters. Which of them move depends on
// the level of use; docs/parity.md has the table.
type Stats struct {
	Connect            uint64 `json:"connect"`             // SSL_CTX_sess_connect: client handshakes started
	ConnectGood        uint64 `json:"connect_good"`        // SSL_CTX_sess_connect_good: client handshakes finished
	ConnectRenegotiate uint64 `json:"connect_renegotiate"` // SSL_CTX_sess_connect_renegotiate: always 0, crypto/tls clients do not start it
	Accept             uint64 `json:"accept"`              // SSL_CTX_sess_accept: server handshakes started
	AcceptGood         uint64 `json:"accept_good"`         // SSL_CTX_sess_accept_good: server handshakes finished
	AcceptRenegotiate  uint64 `json:"accept_renegotiate"`  // SSL_CTX_sess_accept_renegotiate: always 0, crypto/tls servers refuse it
	Hits               uint64 `json:"hits"`                // SSL_CTX_sess_hits: handshakes that resumed, tickets included
	CallbackHits       uint64 `json:"callback_hits"`       // SSL_CTX_sess_cb_hits: sessions that an external cache gave
	Misses             uint64 `json:"misses"`              // SSL_CTX_sess_misses: handles that the cache did not know; sessions a client offered in vain
	Timeouts           uint64 `json:"timeouts"`            // SSL_CTX_sess_timeouts: sessions found but expired
	CacheFull          uint64 `json:"cache_full"`          // SSL_CTX_sess_cache_full: sessions evicted by the size limit
	Number             int    `json:"number"`              // SSL_CTX_sess_number: sessions cached now

	// NotResumed counts finished handshakes by the reason that they did not
	// resume; reasons that did not happen are left out.
	NotResumed map[Reason]uint64 `json:"not_resumed"`
	// Revocations counts the revocations kept now, RevocationsCoarsened how often they became
	// too many and one that covers more took their place.
	Revocations          int    `json:"revocations"`
	RevocationsCoarsened uint64 `json:"revocations_coarsened"`
	// WrapFailures counts tickets that could not be made; the client got one that nobody opens.
	WrapFailures uint64 `json:"wrap_failures"`
}

// counters is the recording side of Stats.
type counters struct {
	connect, connectGood, accept, acceptGood            atomic.Uint64
	hits, callbackHits, misses, timeouts, full, wrapBad atomic.Uint64
	coarsened                                           atomic.Uint64
	reasons                                             [reasonCount]atomic.Uint64
}

// outcome counts how a finished handshake ended.
func (c *counters) outcome(r Reason) {
	if r == Resumed {
		c.hits.Add(1)
		return
	}
	c.reasons[r].Add(1)
}

// Stats returns the counters as they are now. Every counter only grows, except
// Number.
func (m *Manager) Stats() Stats {
	c := &m.stats
	s := Stats{
		Connect: c.connect.Load(), ConnectGood: c.connectGood.Load(),
		Accept: c.accept.Load(), AcceptGood: c.acceptGood.Load(),
		Hits: c.hits.Load(), CallbackHits: c.callbackHits.Load(), Misses: c.misses.Load(),
		Timeouts: c.timeouts.Load(), CacheFull: c.full.Load(), WrapFailures: c.wrapBad.Load(),
		Number:      m.Len(),
		Revocations: m.revocations.len(), RevocationsCoarsened: c.coarsened.Load(),
		NotResumed: make(map[Reason]uint64),
	}
	for r := range c.reasons {
		if n := c.reasons[r].Load(); n > 0 {
			s.NotResumed[Reason(r)] = n
		}
	}
	return s
}
