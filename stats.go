package reprise

import (
	"crypto/tls"
	"slices"
	"sync/atomic"
)

// Stats is a snapshot of a Manager's counters. Which of them move depends on
// the level of use; docs/parity.md has the table.
type Stats struct {
	Connect            uint64 `json:"connect"`             // SSL_CTX_sess_connect: client handshakes started
	ConnectGood        uint64 `json:"connect_good"`        // SSL_CTX_sess_connect_good: client handshakes finished
	ConnectRenegotiate uint64 `json:"connect_renegotiate"` // SSL_CTX_sess_connect_renegotiate: always 0, crypto/tls clients do not start it
	Accept             uint64 `json:"accept"`              // SSL_CTX_sess_accept: server handshakes started
	AcceptGood         uint64 `json:"accept_good"`         // SSL_CTX_sess_accept_good: server handshakes seen to finish, so only Unmanaged ones at the configuration level
	AcceptRenegotiate  uint64 `json:"accept_renegotiate"`  // SSL_CTX_sess_accept_renegotiate: always 0, crypto/tls servers refuse it
	Hits               uint64 `json:"hits"`                // SSL_CTX_sess_hits: handshakes that resumed, tickets included, of servers and clients
	CallbackHits       uint64 `json:"callback_hits"`       // SSL_CTX_sess_cb_hits: sessions that an external cache gave
	Misses             uint64 `json:"misses"`              // SSL_CTX_sess_misses: handles that the cache did not know; sessions a client offered in vain
	Timeouts           uint64 `json:"timeouts"`            // SSL_CTX_sess_timeouts: sessions found but expired
	CacheFull          uint64 `json:"cache_full"`          // SSL_CTX_sess_cache_full: sessions evicted by the size limit
	Number             int    `json:"number"`              // SSL_CTX_sess_number: sessions cached now

	// Outcomes counts finished handshakes by side, version and how they ended,
	// in that order; what did not happen is left out.
	Outcomes []Outcome `json:"outcomes"`
	// NotResumed is the sum of Outcomes by the reason that a handshake did not resume.
	NotResumed map[Reason]uint64 `json:"not_resumed"`
	// Revocations counts the revocations kept now, RevocationsCoarsened how often they became
	// too many and one that covers more took their place.
	Revocations          int    `json:"revocations"`
	RevocationsCoarsened uint64 `json:"revocations_coarsened"`
	// WrapFailures counts tickets that could not be made; the client got none, or in TLS 1.3 one
	// that stands for nothing.
	WrapFailures uint64 `json:"wrap_failures"`
	// HandshakesShed counts handshakes under way that were closed because there were too many
	// (Config.MaxHandshakes).
	HandshakesShed uint64 `json:"handshakes_shed"`
}

// Outcome counts the handshakes of a side and a version that ended in one way.
type Outcome struct {
	Side    string `json:"side"`    // "server" or "client"
	Version string `json:"version"` // as tls.VersionName has it; "" if not known
	Reason  Reason `json:"reason"`  // Resumed, or why not
	Count   uint64 `json:"count"`
}

// side is the side of a connection that an Outcome counts.
type side uint8

const (
	serverSide side = iota
	clientSide
	sides
)

var sideNames = [sides]string{"server", "client"}

// versionSlots are the versions that are counted apart: slot 0 is for none of them.
var versionSlots = [...]uint16{0, tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

// counters is the recording side of Stats.
type counters struct {
	connect, connectGood, accept, acceptGood            atomic.Uint64
	hits, callbackHits, misses, timeouts, full, wrapBad atomic.Uint64
	coarsened, shed, unwatched                          atomic.Uint64
	outcomes                                            [sides][len(versionSlots)][reasonCount]atomic.Uint64
}

// outcome counts how a finished handshake ended.
func (c *counters) outcome(of side, version uint16, r Reason) {
	if r == Resumed {
		c.hits.Add(1)
	}
	c.outcomes[of][max(slices.Index(versionSlots[:], version), 0)][r].Add(1)
}

// Stats returns the counters as they are now. Every counter only grows, except
// Number and Revocations, and Accept where another Manager takes a handshake over
// (see ServerConfig).
func (m *Manager) Stats() Stats {
	c := &m.stats
	s := Stats{
		Connect: c.connect.Load(), ConnectGood: c.connectGood.Load(),
		Accept: c.accept.Load(), AcceptGood: c.acceptGood.Load(),
		Hits: c.hits.Load(), CallbackHits: c.callbackHits.Load(), Misses: c.misses.Load(),
		Timeouts: c.timeouts.Load(), CacheFull: c.full.Load(), WrapFailures: c.wrapBad.Load(),
		HandshakesShed: c.shed.Load(),
		Number:         m.Len(),
		Revocations:    m.revocations.len(), RevocationsCoarsened: c.coarsened.Load(),
		NotResumed: make(map[Reason]uint64),
	}
	for of := range sides {
		for i, version := range versionSlots {
			for r := range reasonCount {
				s.add(of, version, r, c.outcomes[of][i][r].Load())
			}
		}
	}
	return s
}

func (s *Stats) add(of side, version uint16, r Reason, n uint64) {
	if n == 0 {
		return
	}
	name := ""
	if version != 0 {
		name = tls.VersionName(version)
	}
	s.Outcomes = append(s.Outcomes, Outcome{sideNames[of], name, r, n})
	if r != Resumed {
		s.NotResumed[r] += n
	}
}
