package reprise

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/internal/fair"
)

// ErrRevoked is returned where a session was revoked while the handshake that
// resumed it was under way. The connection is closed.
var ErrRevoked = errors.New("reprise: session was revoked during the handshake that resumed it")

// serverHandshake is the state of one handshake on a server, whatever the
// level of use. Its hooks are closures of the configuration that crypto/tls is
// given for this one connection, so they always know whose session they see.
//
// The way of a resumption: begin → unwrap (open → check) → crypto/tls proves
// the peer → wrap makes the next session → finish attaches and counts.
type serverHandshake struct {
	m *Manager
	// watched: somebody calls finish. Where nobody does (configuration level)
	// wrap is the last that is seen of a handshake.
	watched bool
	peer    net.Addr // nil if not known

	config *tls.Config // of this connection; the application may change it before it is used
	hooks  sessionHooks
	hello  helloFacts
	line   line            // of a full handshake's session
	over   context.Context // done when the handshake is; nil if nobody tells

	mu        sync.Mutex
	begun     bool
	counted   bool // in Stats.Accept
	named     bool // policy is known
	policy    policy
	reason    Reason    // why what was offered first is not resumed
	claim     cache.Key // what claimed stands for
	claimed   bool      // the session of single use that is claimed
	candidate *Session  // opened and checked; held
	found     found     // what candidate is, also once it was let go of
	offered   []byte    // the identity that candidate came from
	renew     bool      // candidate's ticket is to be replaced
	pending   bool      // session awaits proof of its peer
	session   *Session  // held
	resumed   bool
	finished  bool // the handshake is over
	completed bool // and was successful
	released  bool // the connection is over
}

// found is what a handshake keeps of the session that it may resume.
type found struct {
	ok     bool // there is one
	origin source
	key    cache.Key
	peer   bool          // it has a client's certificate
	passed origin        // what the next session takes over
	timed  time.Duration // when its Time was set, by the Manager's uptime
}

// source is where a session was found.
type source uint8

const (
	fromTicket source = iota
	fromCache
	fromProbation
	fromOutside // Config.OnLookup
)

// helloFacts is what a ClientHello says about resumption.
type helloFacts struct {
	name   string
	suites []uint16
	psk    bool
	ems    bool
}

// Extension numbers of the IANA registry.
const (
	extensionEMS            = 23
	extensionPreSharedKey   = 41
	extensionQUICParameters = 57
)

// suites are what crypto/tls can negotiate.
var suites = func() (ids []uint16) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, s.ID)
	}
	return ids
}()

// knownSuites returns what crypto/tls can negotiate of what a client offers. The
// client may offer 32 thousand, which are not to be kept as long as a connection.
func knownSuites(offered []uint16) (known []uint16) {
	for _, id := range suites {
		if slices.Contains(offered, id) {
			known = append(known, id)
		}
	}
	return known
}

func hasExtension(hello *tls.ClientHelloInfo, number uint16) bool {
	return slices.Contains(hello.Extensions, number)
}

// maxServerName is the length of the longest server name, in bytes (RFC 1035,
// section 2.3.4). There are no sessions of longer ones.
const maxServerName = 255

// begin prepares for a ClientHello and returns c, a private copy, as the
// configuration that crypto/tls goes on with. own is what the application set
// in it.
func (st *serverHandshake) begin(hello *tls.ClientHelloInfo, c *tls.Config, own settings) *tls.Config {
	m := st.m
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.counted {
		st.counted = true
		m.stats.accept.Add(1)
	}
	st.begun, st.config, st.hooks, st.over = true, c, own.hooks, hello.Context()
	st.line = m.newLine()
	st.hello = helloFacts{
		suites: knownSuites(hello.CipherSuites),
		psk:    hasExtension(hello, extensionPreSharedKey),
		ems:    hasExtension(hello, extensionEMS),
	}
	st.reason = NothingOffered
	nameless := len(hello.ServerName) > maxServerName
	if !nameless {
		st.hello.name = foldName(hello.ServerName)
	} else if st.hello.psk {
		st.reason = OtherName
	}
	c.GetConfigForClient = nil
	c.WrapSession, c.UnwrapSession = st.wrap, st.unwrap
	if c.Time == nil && m.ownTime {
		c.Time = m.config.Time
	}
	if m.closed.Load() && st.hello.psk {
		st.reason = NotResumable
	}
	c.SessionTicketsDisabled = own.disabled || nameless || m.closed.Load() && speaksTLS13(hello, c)
	return c
}

// speaksTLS13 reports whether the handshake will be of TLS 1.3, where a server that
// does not disable tickets must send one.
func speaksTLS13(hello *tls.ClientHelloInfo, c *tls.Config) bool {
	return slices.Contains(hello.SupportedVersions, tls.VersionTLS13) && (c.MaxVersion == 0 || c.MaxVersion >= tls.VersionTLS13)
}

// policyName returns the policy of the configuration in force, which is read
// when a hook first needs it: until then the application may change it.
func (st *serverHandshake) policyName() policy {
	if !st.named {
		st.named, st.policy = true, st.m.policies.of(st.config)
	}
	return st.policy
}

// network is whose account the client's unproven sessions go on.
func (st *serverHandshake) network() fair.Name { return fair.Network(st.peer) }

// attach makes s the connection's session.
func (st *serverHandshake) attach(s *Session, pending bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.attachLocked(s)
	st.pending = pending
}

func (st *serverHandshake) attachLocked(s *Session) {
	if st.session == s || !s.hold() {
		return
	}
	st.session.release()
	st.session = s
}

// settleUnwatched is all the end that a handshake has where nobody sees it
// complete. QUIC makes tickets when it is complete, and TLS 1.2 makes the
// ticket of a full handshake after the client's Finished, so the peer is
// proven. All else stays on probation.
func (st *serverHandshake) settleUnwatched(cs *tls.ConnectionState) {
	st.mu.Lock()
	reason, callbacks := st.final(cs), noCallbacks
	switch {
	case cs.HandshakeComplete:
		callbacks = st.proven(cs.DidResume)
	case cs.Version < tls.VersionTLS13 && !cs.DidResume:
		callbacks = st.proven(false)
	}
	st.pending = false // what is on probation stays there
	st.end()
	st.drop()
	st.mu.Unlock()
	st.m.stats.outcome(serverSide, cs.Version, reason)
	then(callbacks, st.m.flushAfter(st.m.stats.unwatched.Add(1)))()
}

func noCallbacks() {}

// proven moves the sessions of a handshake whose peer is proven to where they
// belong. The callbacks that follow are in what it returns: run them without a
// lock. The caller holds st.mu.
func (st *serverHandshake) proven(resumed bool) (callbacks func()) {
	callbacks = noCallbacks
	switch origin := st.found.origin; {
	case !resumed || !st.found.ok:
	case st.m.config.SingleUse && origin != fromTicket:
		callbacks = st.m.take(st.found.key)
	case origin == fromProbation:
		callbacks = st.m.promote(st.found.key, st.candidate)
	case origin == fromOutside:
		callbacks = st.m.adopt(st.candidate)
	}
	if st.pending {
		st.pending = false
		callbacks = then(callbacks, st.m.prove(st.session))
		st.share()
	}
	return callbacks
}

// share makes the object that the cache has the connection's session: it is
// another one if a handshake that resumed the session was first to cache it. The
// caller holds st.mu.
func (st *serverHandshake) share() {
	key, ok := st.session.cacheKey()
	if !ok || !st.session.byHandle {
		return
	}
	if s := st.m.cache.lookup(key, libraryRef); s != nil {
		st.attachLocked(s)
		s.release()
	}
}

// drop gives the connection's session back. The caller holds st.mu.
func (st *serverHandshake) drop() {
	st.session.release()
	st.session = nil
}

// end lets go of what a handshake needs while it is under way. The caller holds st.mu.
func (st *serverHandshake) end() {
	st.finished = true
	if st.pending {
		if key, ok := st.session.cacheKey(); ok {
			st.m.probation.remove(key)
		}
		st.pending = false
	}
	st.candidate.release()
	st.candidate, st.offered, st.hello.suites = nil, nil, nil
	st.unclaim()
}

// final is the reason that is told, once crypto/tls has decided. What it passed
// over without a word after our checks is a suite that does not go with the
// certificate, or a client chain that ends in no root of today.
func (st *serverHandshake) final(cs *tls.ConnectionState) Reason {
	switch {
	case !st.begun:
		return Unmanaged
	case cs.DidResume:
		return Resumed
	case st.found.peer:
		return ChainIncomplete
	case st.found.ok:
		return OtherSuite
	case st.reason == NothingOffered && st.hello.psk && cs.Version < tls.VersionTLS13:
		return OtherVersion
	}
	return st.reason
}

// finish ends a completed handshake: the peer is proven. The callbacks that
// follow from it are in what it returns, to be run without a lock. After an
// error, ErrRevoked, the connection must not be used.
func (st *serverHandshake) finish(cs *tls.ConnectionState) (callbacks func(), err error) {
	if st.begun {
		st.policyName() // the application's function runs without a lock
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return noCallbacks, nil
	}
	st.completed, st.resumed, st.reason = true, cs.DidResume, st.final(cs)
	if st.resumed && st.candidate != nil && st.m.revoked(st.candidate) {
		st.completed, st.resumed, st.reason, err = false, false, Revoked, ErrRevoked
	}
	callbacks = noCallbacks
	if st.begun { // else the guard of ServerConfig's result has counted it
		callbacks = st.m.flushAfter(st.m.stats.acceptGood.Add(1))
		st.m.stats.outcome(serverSide, cs.Version, st.reason)
	}
	if err != nil {
		st.end()
		st.drop()
		return callbacks, err
	}
	if st.session == nil {
		st.attachBare(cs)
	}
	callbacks = then(st.proven(st.resumed), callbacks)
	st.end()
	if st.released {
		st.drop()
	}
	return callbacks, nil
}

// revoked reports whether s was revoked by now.
func (m *Manager) revoked(s *Session) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return m.revocations.revoked(s)
}

// attachBare gives a connection without a ticket the session that it has all
// the same: what the handshake shows.
func (st *serverHandshake) attachBare(cs *tls.ConnectionState) {
	if cs.DidResume && st.candidate != nil {
		st.attachLocked(st.candidate)
		return
	}
	o := st.next(cs)
	if !st.begun && len(cs.ServerName) <= maxServerName {
		o.hostname = foldName(cs.ServerName)
	}
	st.session = st.m.fromConnection(cs, o).start(libraryRef)
}

// fail ends a handshake that did not complete: nothing of it stays. At the
// configuration level it is called at the end of every handshake; over QUIC the
// ticket is made after that.
func (st *serverHandshake) fail() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return
	}
	st.end()
	st.drop()
}

// release gives the connection's session back once the connection has ended,
// which may be seen before the end of its handshake.
func (st *serverHandshake) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.released = true
	if st.finished {
		st.drop()
	}
}
