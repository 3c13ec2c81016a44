package reprise

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
)

// clientHandshake is the state of one handshake of a Conn on the client's
// side. To crypto/tls it is the ClientSessionCache of that one connection.
type clientHandshake struct {
	m      *Manager
	config *tls.Config
	peer   *clientPeer // whose sessions are kept; nil where none are
	line   line        // of what the server sends, unless the handshake resumes; from its beginning
	ids    sessionIDs
	wire   *wire

	mu       sync.Mutex
	manual   bool                    // SetSession was called: nothing is offered or kept of our own accord
	offer    *Session                // what SetSession gave, or was taken of our own accord; held
	taken    clientSession           // what was taken of our own accord
	chosen   bool                    // before the handshake:
	choice   *tls.ClientSessionState // what is offered, nil if nothing
	offered  bool
	reason   Reason                  // why offer was not offered
	received *tls.ClientSessionState // a TLS 1.2 ticket, until the handshake is complete
	session  *Session                // held
	arrived  bool                    // session is one that the server sent in this connection
	news     chan struct{}           // closed at the next change of session
	resumed  bool
	finished bool
	released bool // given up: what arrives now is nobody's
	state    tls.ConnectionState
}

func newClientHandshake(m *Manager, config *tls.Config, peer *clientPeer, w *wire) *clientHandshake {
	return &clientHandshake{m: m, config: config, peer: peer, wire: w, reason: NothingOffered, news: make(chan struct{})}
}

// Get is crypto/tls asking for a session to offer.
func (st *clientHandshake) Get(string) (*tls.ClientSessionState, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.chosen {
		return st.choice, st.choice != nil
	}
	return st.choose()
}

// prepare chooses before the handshake where an id may be offered: when
// crypto/tls asks for a session it has its session_id already. The caller holds
// st.mu.
func (st *clientHandshake) prepare() {
	if !st.m.idsInUse(st.config) {
		return
	}
	st.chosen = true
	st.choice, _ = st.choose()
	if st.offered && !st.offer.HasTicket() {
		st.ids.offer(st.offer.ID())
	}
}

// choose decides what is offered.
func (st *clientHandshake) choose() (*tls.ClientSessionState, bool) {
	switch {
	case st.released:
	case st.offer != nil:
		return st.offerSet()
	case st.peer != nil && !st.manual:
		return st.offerKept()
	}
	return nil, false
}

// offerSet offers what SetSession gave.
func (st *clientHandshake) offerSet() (*tls.ClientSessionState, bool) {
	if st.reason = st.m.mayOffer(st.offer, st.config, false); st.reason != Resumed {
		return nil, false
	}
	cs, err := st.m.clientState(st.offer)
	if err != nil {
		st.m.config.Logger.Warn("session not offered", "session", st.offer, "err", err)
		st.reason = Undecodable
		return nil, false
	}
	if st.peer != nil && st.offer.ProtocolVersion() == tls.VersionTLS13 {
		st.peer.drop(clientSession{session: st.offer, once: true}) // it serves once
	}
	st.offered = true
	return cs, true
}

// offerKept offers the newest good session of those that are kept of the peer.
func (st *clientHandshake) offerKept() (*tls.ClientSessionState, bool) {
	low, high := versionRange(st.config)
	for range st.m.config.SessionsPerPeer { // a store may give again what it was to forget
		c, ok := st.peer.take(low, high)
		if !ok {
			return nil, false
		}
		cs, err := st.peer.offerable(&c)
		if err != nil {
			st.m.config.Logger.Warn("session not offered", "err", err)
		} else if st.reason = st.m.mayOffer(c.session, st.config, true); st.reason == Resumed {
			st.offer, st.taken, st.offered = c.session, c, true
			return cs, true
		}
		if err == nil && (st.reason == OtherVersion || !c.session.HasTicket() && !st.m.offersByID(c.session, st.config)) {
			c.session.release() // it stays, for who speaks that version, or offers ids
			return nil, false
		}
		st.peer.refuse(c, st.reason)
		c.session.release()
	}
	return nil, false
}

// clientState is the session as crypto/tls's client takes it.
func (m *Manager) clientState(s *Session) (*tls.ClientSessionState, error) {
	state, err := m.toTLS(s, s.verified())
	if err != nil {
		return nil, err
	}
	return tls.NewResumptionState(s.Ticket(), state)
}

// withdraw is crypto/tls giving up the session that it got. If no ClientHello
// went out the chain of the session's peer does not hold any more: all else was
// checked before. Otherwise the handshake failed, which costs the session unless
// the server had no part in that.
func (st *clientHandshake) withdraw() {
	st.mu.Lock()
	if st.wire.writes.Load() == 0 {
		st.offered, st.reason = false, ChainIncomplete
	} else if !st.wire.heard.Load() {
		st.mu.Unlock()
		return
	}
	taken := st.taken
	st.mu.Unlock()
	if taken.session != nil {
		st.peer.drop(taken)
	}
}

// Put is crypto/tls giving a session, or giving up the one it got.
func (st *clientHandshake) Put(_ string, cs *tls.ClientSessionState) {
	if cs == nil {
		st.withdraw()
		return
	}
	if ticketless(cs) {
		return
	}
	st.mu.Lock()
	if !st.finished {
		st.received = cs
		st.mu.Unlock()
		return
	}
	if st.released {
		st.mu.Unlock()
		return
	}
	callbacks := st.receive(cs)
	st.mu.Unlock()
	callbacks()
	st.mu.Lock()
	st.tell() // now that it is cached and announced
	st.mu.Unlock()
}

// ticketless reports whether cs has a ticket of length zero: in TLS 1.2 a server
// that has no new one for the client says so with that (RFC 5077, section 3.3).
// What the client has stays good, and OpenSSL's keeps it.
func ticketless(cs *tls.ClientSessionState) bool {
	ticket, state, err := cs.ResumptionState()
	return err == nil && state != nil && len(ticket) == 0
}

// tell wakes who waits for a session that the server sent.
func (st *clientHandshake) tell() {
	st.arrived = true
	close(st.news)
	st.news = make(chan struct{})
}

// receive makes what the server sent the connection's session, unless it is the
// one that was offered. The callbacks that follow are in what it returns.
func (st *clientHandshake) receive(cs *tls.ClientSessionState) (callbacks func()) {
	callbacks = func() {}
	ticket, state, err := cs.ResumptionState()
	if err != nil || state == nil || st.withdrawn(state) {
		return callbacks
	}
	if st.resumed && slices.Equal(ticket, st.offer.Ticket()) {
		st.attach(st.offer)
		return callbacks
	}
	o := st.origin()
	o.ticket = ticket
	s, err := st.m.fromTLS(state, &st.state, o)
	if err != nil {
		st.m.config.Logger.Warn("received session not kept", "err", err)
		return callbacks
	}
	if s.f.Version < tls.VersionTLS13 {
		s.f.TicketLifetimeHint = st.ids.lifetimeHint()
	}
	return st.made(s, cs)
}

// withdrawn reports whether a TLS 1.3 session came with a lifetime of zero: to
// be discarded at once (RFC 8446, section 4.6.1).
func (st *clientHandshake) withdrawn(state *tls.SessionState) bool {
	t, err := st.m.clients.times.Times(state)
	return err == nil && t.Version == tls.VersionTLS13 && t.UseBy <= t.CreatedAt
}

// made makes s the connection's session and has it kept: a new one, with cs if
// that is what crypto/tls made.
func (st *clientHandshake) made(s *Session, cs *tls.ClientSessionState) (callbacks func()) {
	s.start(libraryRef)
	st.attach(s)
	callbacks = st.m.settle(s, st.m.config.CacheMode.client())
	long := s.ticketLen() > maxKeptTicket
	if long {
		st.m.warn("received session not kept", "err", errLargeTicket)
	}
	if st.peer == nil || st.manual || cs == nil && st.ids.outgrown() || long {
		s.release()
		return callbacks
	}
	return then(callbacks, st.keep(s, cs))
}

// keep keeps s, with a reference that it comes with. In TLS 1.2 it takes the
// place of the session that it renews, as in libssl.
func (st *clientHandshake) keep(s *Session, cs *tls.ClientSessionState) (callbacks func()) {
	c := st.m.clientSession(s, st.state.PeerCertificates[0].NotAfter.Unix())
	c.state = cs
	replaced := st.taken
	return func() {
		if replaced.session != nil && !c.once {
			st.peer.drop(replaced)
		}
		st.peer.keep(c)
	}
}

func (st *clientHandshake) origin() *origin {
	o := &origin{
		hostname: clientName(st.config.ServerName), alpn: st.state.NegotiatedProtocol, curve: st.state.CurveID,
		contextID: st.m.config.ContextID, verified: len(st.state.VerifiedChains) > 0,
	}
	if st.resumed {
		st.m.passOn(st.offer, o)
	} else if st.session != nil {
		st.m.passOn(st.session, o) // with what the application has put there
	} else {
		o.line = st.line
	}
	return o
}

// attach makes s the connection's session.
func (st *clientHandshake) attach(s *Session) {
	if s == st.session || !s.hold() {
		return
	}
	st.session.release()
	st.session = s
}

// finish ends a completed handshake. The callbacks that follow from it are in
// what it returns, to be run without a lock.
func (st *clientHandshake) finish(cs *tls.ConnectionState) (callbacks func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.finished, st.resumed, st.state = true, cs.DidResume, *cs
	if st.released {
		st.received = nil
		st.ids.end()
		return noCallbacks
	}
	st.reason = st.final()
	callbacks = st.count()
	if st.received != nil {
		callbacks = then(callbacks, st.receive(st.received))
		st.received = nil
		st.tell()
	}
	switch {
	case st.session != nil:
	case st.resumed:
		st.attach(st.offer)
		if cs.Version < tls.VersionTLS13 {
			st.tell()
		}
	default:
		if s := st.ids.session(st.m, cs, st.origin()); s != nil {
			callbacks = then(callbacks, st.made(s, nil))
			st.tell()
			break
		}
		bare := st.m.fromConnection(cs, st.origin()).start(libraryRef)
		st.attach(bare)
		bare.release()
	}
	if taken := st.taken; taken.session != nil && st.ids.id != nil && (!st.resumed || st.ids.outgrown()) {
		callbacks = then(callbacks, func() { st.peer.drop(taken) })
	}
	st.ids.end()
	if st.spent() && st.m.config.CacheMode.client() && st.offer.hold() {
		return st.spend(callbacks)
	}
	return callbacks
}

// spent reports whether a TLS 1.3 session was resumed, or offered of our own accord.
func (st *clientHandshake) spent() bool {
	return st.offered && st.offer.ProtocolVersion() == tls.VersionTLS13 && (st.resumed || st.taken.session != nil)
}

// spend takes the session that was offered out of the cache: in TLS 1.3 it
// serves once, as in libssl with client caching on.
func (st *clientHandshake) spend(before func()) (callbacks func()) {
	spent := st.offer
	return func() {
		before()
		st.m.cache.remove(spent, CauseTaken)
		spent.release()
	}
}

func (st *clientHandshake) count() (callbacks func()) {
	st.m.stats.outcome(clientSide, st.state.Version, st.reason)
	if st.offered && st.reason != Resumed {
		st.m.stats.misses.Add(1)
	}
	return st.m.flushAfter(st.m.stats.connectGood.Add(1))
}

// final is why the handshake did not resume, told from what was negotiated.
func (st *clientHandshake) final() Reason {
	switch {
	case st.resumed:
		return Resumed
	case !st.offered:
		return st.reason
	case st.offer.ProtocolVersion() != st.state.Version:
		return OtherVersion
	case st.state.Version == tls.VersionTLS13 && suiteHash(st.offer.CipherSuite()) != suiteHash(st.state.CipherSuite):
		return OtherSuite
	}
	return Declined
}

// fail ends a handshake that did not complete.
func (st *clientHandshake) fail() {
	st.mu.Lock()
	taken := st.taken
	st.received, st.choice = nil, nil
	st.ids.end()
	st.mu.Unlock()
	if taken.session != nil && st.ids.id != nil && st.wire.heard.Load() {
		st.peer.drop(taken) // crypto/tls may have kept the session to itself, and failed for that
	}
}

// release gives up the sessions.
func (st *clientHandshake) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.session.release()
	st.offer.release()
	st.session, st.offer, st.taken, st.released = nil, nil, clientSession{}, true
}

// unused returns what was set for a handshake that did not complete, held.
func (st *clientHandshake) unused() *Session {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished || st.offer == nil || st.taken.session != nil || !st.offer.hold() {
		return nil
	}
	return st.offer
}

// keeps reports whether the connection offers and keeps sessions of its own accord.
func (st *clientHandshake) keeps() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.peer != nil && !st.manual
}

// mayOffer foresees crypto/tls, which keeps a session to itself without a word.
// The scope of a session that was kept vouches for its name.
func (m *Manager) mayOffer(s *Session, config *tls.Config, kept bool) Reason {
	if !s.Resumable() || !s.HasTicket() && !m.offersByID(s, config) {
		return NotResumable
	}
	version := s.ProtocolVersion()
	if low, high := versionRange(config); version < low || version > high {
		return OtherVersion
	}
	if !kept && !goodForName(s, config) {
		return OtherName
	}
	if !config.InsecureSkipVerify && !s.chained() {
		return ChainIncomplete
	}
	if !s.HasTicket() {
		if r := m.mayOfferID(s, config); r != Resumed {
			return r
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := &s.f
	if r := m.mayOfferNow(s); r != Resumed {
		return r
	}
	if version < tls.VersionTLS13 && config.CipherSuites != nil && !slices.Contains(config.CipherSuites, f.Cipher) {
		return OtherSuite
	}
	return Resumed
}

// mayOfferNow is mayOffer as far as it depends on time and on revocations. The
// caller holds s.mu.
func (m *Manager) mayOfferNow(s *Session) Reason {
	r := m.inTime(s, clientLifetime(&s.f))
	if r == Expired {
		m.stats.timeouts.Add(1)
	}
	if r == Resumed && m.revocations.revoked(s) {
		return Revoked
	}
	return r
}

func goodForName(s *Session, config *tls.Config) bool {
	name := clientName(config.ServerName)
	if host := clientName(s.Hostname()); host != "" && name != "" && host != name {
		return false
	}
	if config.InsecureSkipVerify {
		return true
	}
	leaf, err := s.PeerCertificate()
	return err != nil || leaf == nil || leaf.VerifyHostname(config.ServerName) == nil // else the chain is at fault
}

// chained reports whether there is a chain for crypto/tls to check.
func (s *Session) chained() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.Peer != nil && len(s.rec.Verified) > 0 || len(s.secrets.state) > 0
}

// versionRange is what a client offers.
func versionRange(config *tls.Config) (low, high uint16) {
	low, high = config.MinVersion, config.MaxVersion
	if low == 0 {
		low = tls.VersionTLS12
	}
	if high == 0 {
		high = tls.VersionTLS13
	}
	return low, high
}

// suiteHash tells TLS 1.3 suites by the hash that a PSK is bound to, 0 for others.
func suiteHash(suite uint16) int {
	switch suite {
	case tls.TLS_AES_128_GCM_SHA256, tls.TLS_CHACHA20_POLY1305_SHA256:
		return sha256.Size
	case tls.TLS_AES_256_GCM_SHA384:
		return 48
	}
	return 0
}

// vouch verifies a session that was imported, before it is offered.
func (m *Manager) vouch(s *Session, config *tls.Config) error {
	if !s.isImported() {
		return nil
	}
	if config.InsecureSkipVerify {
		s.forgetVerified()
		return nil
	}
	leaf, err := s.PeerCertificate()
	if err != nil {
		return err
	}
	if leaf == nil {
		return fmt.Errorf("reprise: session %s not offered: %w", s.Fingerprint(), errNoPeer)
	}
	if err := leaf.VerifyHostname(config.ServerName); err != nil {
		return fmt.Errorf("reprise: session %s not offered: server name: %w", s.Fingerprint(), err)
	}
	if err := s.verifyPeer(x509.VerifyOptions{Roots: config.RootCAs, CurrentTime: m.now()}); err != nil {
		return fmt.Errorf("reprise: session %s not offered: certificate chain: %w", s.Fingerprint(), err)
	}
	return nil
}
