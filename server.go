package reprise

import (
	"crypto/tls"
	"slices"
	"sync"
)

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
	conn    *tls.Conn // listener level: what finish asks

	config *tls.Config // in force, after the application's GetConfigForClient
	policy policy
	hello  helloFacts

	mu        sync.Mutex
	reason    Reason   // why what was offered first is not resumed
	candidate *Session // opened and checked; held
	unproven  bool     // candidate was on probation
	offered   []byte   // the identity that candidate came from
	renew     bool     // candidate's ticket is to be replaced
	pending   bool     // session awaits proof of its peer
	session   *Session // held
	resumed   bool
	finished  bool // the handshake is over
	completed bool // and was successful
	released  bool // the connection is over
}

// helloFacts is what a ClientHello says about resumption.
type helloFacts struct {
	name   string
	suites []uint16
	psk    bool
	ems    bool
}

// Extension numbers of the IANA registry.
const (
	extensionEMS          = 23
	extensionPreSharedKey = 41
)

// stateKey is the context key of the handshake that ConfigureServer prepared.
type stateKey struct{}

// ServerConfig returns a configuration for any code that makes TLS servers of
// a *tls.Config: sessions resume, bound to what made them, and are counted. It
// does not see handshakes complete; ConfigureServer, NewListener and Server do.
//
// base is copied. What it brings keeps working: its GetConfigForClient is asked
// first and what it returns is bound as a policy of its own; its WrapSession and
// UnwrapSession, if both are set, seal and open in place of Config.Tickets,
// while the Manager still binds, checks and counts; VerifyConnection and ECH
// keys are left as they are. Keys given to SetSessionTicketKeys are not used.
func (m *Manager) ServerConfig(base *tls.Config) *tls.Config {
	base = cloneConfig(base)
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config := base
		if ask := base.GetConfigForClient; ask != nil {
			switch own, err := ask(hello); {
			case err != nil:
				return nil, err
			case own != nil:
				config = own
			}
		}
		return m.handshakeFor(hello).begin(hello, config, m.policies.of(config)), nil
	}
	return outer
}

func cloneConfig(c *tls.Config) *tls.Config {
	if c == nil {
		return new(tls.Config)
	}
	return c.Clone()
}

// handshakeFor returns the state that a higher level prepared for the
// connection, or a new one.
func (m *Manager) handshakeFor(hello *tls.ClientHelloInfo) *serverHandshake {
	if ctx := hello.Context(); ctx != nil {
		// A context may have come here from another connection's request.
		if st := handshakeIn(ctx); st != nil && st.m == m && hello.Conn != nil && st.conn.NetConn() == hello.Conn {
			return st
		}
	}
	if w, ok := hello.Conn.(*wire); ok && w.server != nil && w.server.m == m {
		return w.server
	}
	return &serverHandshake{m: m}
}

// begin prepares for a ClientHello and returns the configuration that crypto/tls
// goes on with.
func (st *serverHandshake) begin(hello *tls.ClientHelloInfo, config *tls.Config, policy policy) *tls.Config {
	st.m.stats.accept.Add(1)
	st.config, st.policy = config, policy
	st.hello = helloFacts{
		name:   foldName(hello.ServerName),
		suites: hello.CipherSuites,
		psk:    slices.Contains(hello.Extensions, extensionPreSharedKey),
		ems:    slices.Contains(hello.Extensions, extensionEMS),
	}
	st.reason = NothingOffered
	c := config.Clone()
	c.GetConfigForClient = nil
	c.WrapSession, c.UnwrapSession = st.wrap, st.unwrap
	if c.Time == nil {
		c.Time = st.m.config.Time
	}
	if st.m.closed.Load() || st.m.keepsNothing() {
		c.SessionTicketsDisabled = true
	}
	if st.conn != nil {
		go st.await()
	}
	return c
}

// keepsNothing reports whether a handle would lead nowhere.
func (m *Manager) keepsNothing() bool {
	return m.config.NoTickets && !m.config.CacheMode.server() && m.config.OnLookup == nil
}

// await ends the handshake of a connection that is only seen through its
// *tls.Conn: ConnectionState waits for the handshake's lock.
func (st *serverHandshake) await() { st.conclude(st.conn.ConnectionState()) }

// conclude is finish for a connection whose state says whether it is complete.
func (st *serverHandshake) conclude(cs tls.ConnectionState) {
	if !cs.HandshakeComplete {
		st.fail()
		return
	}
	st.finish(&cs)()
	if st.replayed() {
		st.conn.Close()
	}
}

// replayed reports whether the handshake must not stand.
func (st *serverHandshake) replayed() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.reason == Replayed
}

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
// complete. TLS 1.2 makes the ticket of a full handshake after the client's
// Finished, so the peer is proven; TLS 1.3 before it, so the session stays on
// probation until it is resumed.
func (st *serverHandshake) settleUnwatched(cs *tls.ConnectionState) {
	st.mu.Lock()
	reason := st.final(cs)
	var proven *Session
	switch {
	case st.pending && cs.Version < tls.VersionTLS13:
		proven = st.session
	case cs.DidResume && st.unproven:
		proven = st.candidate
	}
	if proven != nil {
		proven.hold()
	}
	st.candidate.release()
	st.session.release()
	st.candidate, st.session, st.pending, st.finished = nil, nil, false, true
	st.mu.Unlock()
	st.m.stats.outcome(reason)
	st.m.prove(proven)()
	proven.release()
}

// prove moves a session whose peer is proven to where it belongs, once. The
// callbacks that follow from it are in what it returns.
func (m *Manager) prove(s *Session) (callbacks func()) {
	if s == nil {
		return func() {}
	}
	if key, ok := s.cacheKey(); ok && !m.probation.remove(key) && m.cache.has(key) {
		return func() {} // a resumption got here first
	}
	return m.settle(s, m.config.CacheMode.server())
}

// final is the reason that is told, once crypto/tls has decided. What it passed
// over without a word after our checks is a suite that does not go with the
// certificate, or a client chain that ends in no root of today.
func (st *serverHandshake) final(cs *tls.ConnectionState) Reason {
	switch {
	case cs.DidResume:
		return Resumed
	case st.candidate != nil && st.candidate.hasPeer():
		return ChainIncomplete
	case st.candidate != nil:
		return OtherSuite
	case st.reason == NothingOffered && st.hello.psk && cs.Version < tls.VersionTLS13:
		return OtherVersion
	}
	return st.reason
}

// finish ends a completed handshake: the peer is proven. The callbacks that
// follow from it are in what it returns, to be run without a lock.
func (st *serverHandshake) finish(cs *tls.ConnectionState) (callbacks func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return func() {}
	}
	st.finished, st.completed, st.resumed = true, true, cs.DidResume
	st.reason = st.final(cs)
	if st.session == nil {
		st.attachBare(cs)
	}
	callbacks = func() {}
	if st.resumed && st.m.config.SingleUse {
		callbacks = st.take()
	}
	st.candidate.release()
	st.candidate = nil
	callbacks = then(callbacks, st.m.flushAfter(st.m.stats.acceptGood.Add(1)))
	st.m.stats.outcome(st.reason)
	if st.pending && st.reason != Replayed {
		callbacks = then(callbacks, st.m.prove(st.session))
	}
	if st.pending = false; st.released {
		st.session.release()
		st.session = nil
	}
	return callbacks
}

// take takes the session that was resumed out of the cache, for good. Where
// another handshake was first, this one must not stand.
func (st *serverHandshake) take() (callbacks func()) {
	key, _ := st.candidate.cacheKey()
	st.candidate.notResumable.Store(true)
	had, gone := st.m.cache.take(key, CauseTaken)
	if had = st.m.probation.remove(key) || had; !had {
		st.reason = Replayed
		if key, ok := st.session.cacheKey(); ok && st.pending {
			st.m.probation.remove(key)
		}
	}
	if gone == nil {
		return func() {}
	}
	return func() { st.m.cache.tell([]removal{*gone}) }
}

// attachBare gives a connection without a ticket the session that it has all
// the same: what the handshake shows.
func (st *serverHandshake) attachBare(cs *tls.ConnectionState) {
	if cs.DidResume && st.candidate != nil {
		st.attachLocked(st.candidate)
		return
	}
	st.session = st.m.fromConnection(cs, st.origin(cs)).start(libraryRef)
}

// fail ends a handshake that did not complete: nothing of it stays.
func (st *serverHandshake) fail() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return
	}
	st.finished = true
	if st.pending {
		if key, ok := st.session.cacheKey(); ok {
			st.m.probation.remove(key)
		}
	}
	st.candidate.release()
	st.session.release()
	st.candidate, st.session, st.pending = nil, nil, false
}

// release gives the connection's session back once the connection has ended,
// which may be seen before the end of its handshake.
func (st *serverHandshake) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.released = true
	if st.finished {
		st.session.release()
		st.session = nil
	}
}
