package reprise

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/ticket"
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
	policy := m.policies.of(base, true)
	outer := base.Clone()
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config, policy := base, policy
		if ask := base.GetConfigForClient; ask != nil {
			switch own, err := ask(hello); {
			case err != nil:
				return nil, err
			case own != nil:
				config, policy = own, m.policies.of(own, false)
			}
		}
		return m.handshakeFor(hello).begin(hello, config, policy), nil
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
		name:   normalName(hello.ServerName),
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

// unwrap is the UnwrapSession hook: it never ends a handshake. Nothing that it
// is given is proven, so it looks up and changes nothing of others.
func (st *serverHandshake) unwrap(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
	if len(identity) == 0 { // what TLS 1.2 calls with when no ticket was sent
		return nil, nil
	}
	state, expired := st.consider(identity, &cs)
	if expired != nil {
		st.m.cache.remove(expired, CauseExpired)
		expired.release()
	}
	return state, nil
}

// consider opens and checks an identity. A session that was found in the cache
// and has expired comes back, held, to be removed. No lock is held while the
// application's code runs: crypto/tls calls for one identity at a time.
func (st *serverHandshake) consider(identity []byte, cs *tls.ConnectionState) (state *tls.SessionState, expired *Session) {
	o, reason := st.open(identity, cs)
	s := o.session
	if reason == Resumed {
		st.verifyImported(s)
		reason = st.check(s, cs)
	}
	if reason == Resumed {
		o, reason = st.ask(o)
	}
	if reason == Resumed {
		var err error
		if state, err = st.m.toTLS(s); err != nil {
			reason = Undecodable
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if reason != Resumed {
		st.decline(reason)
		if reason == Expired && s.inCache.Load() {
			return nil, s
		}
		s.release()
		return nil, nil
	}
	st.candidate.release() // of an identity before this one, which crypto/tls passed over
	st.candidate, st.unproven, st.renew, st.offered = s, o.unproven, o.renew, slices.Clone(identity)
	return state, nil
}

// opened is what an identity stands for.
type opened struct {
	session  *Session // held
	unproven bool     // it was on probation
	renew    bool     // its ticket is to be replaced
}

// decline notes why an identity was not taken; the first one counts.
func (st *serverHandshake) decline(r Reason) {
	if st.reason == NothingOffered {
		st.reason = r
	}
	st.m.config.Logger.Debug("session declined", "reason", r)
}

// open turns an identity into a session, or a reason.
func (st *serverHandshake) open(identity []byte, cs *tls.ConnectionState) (opened, Reason) {
	if st.userHooks() {
		return st.openUser(identity, cs)
	}
	if st.m.config.NoTickets || len(identity) == handleLen {
		return st.m.find(cs.Version, identity)
	}
	der, renew, err := st.m.config.Tickets.Open(identity)
	switch {
	case errors.Is(err, ticket.ErrUnknownKey):
		return opened{}, UnknownKey
	case errors.Is(err, ticket.ErrForged):
		return opened{}, Forged
	case err != nil:
		st.m.config.Logger.Warn("ticket not opened", "err", err)
		return opened{}, Undecodable
	}
	defer clear(der)
	s, err := st.m.unseal(der)
	if err != nil {
		return opened{}, Undecodable
	}
	return opened{session: s, renew: renew}, Resumed
}

// ask lets the application decide on a session that was opened from a ticket.
func (st *serverHandshake) ask(o opened) (opened, Reason) {
	f := st.m.config.OnOpen
	if f == nil || o.session.byHandle || o.session.inCache.Load() {
		return o, Resumed
	}
	switch f(o.session) {
	case TicketUse:
		return o, Resumed
	case TicketUseRenew:
		o.renew = true
		return o, Resumed
	}
	return o, Refused
}

// find looks a handle up: in the cache, among those on probation, elsewhere.
func (m *Manager) find(version uint16, handle []byte) (opened, Reason) {
	key, ok := cache.MakeKey(version, handle)
	if !ok {
		return opened{}, UnknownHandle
	}
	if m.config.CacheMode&NoInternalLookup == 0 {
		if s := m.cache.lookup(key, libraryRef); s != nil {
			return opened{session: s}, Resumed
		}
		m.stats.misses.Add(1)
	}
	if s := m.probation.lookup(key, m); s != nil {
		return opened{session: s, unproven: true}, Resumed
	}
	if s := m.lookOutside(key, handle); s != nil {
		return opened{session: s}, Resumed
	}
	return opened{}, m.missing(key.Version, handle)
}

// lookOutside asks OnLookup. What made the handle must be able to make one
// that authenticates, or nobody is asked: a peer has proven nothing yet.
func (m *Manager) lookOutside(key cache.Key, handle []byte) *Session {
	f := m.config.OnLookup
	if f == nil || m.config.GenerateID == nil && !m.handles.ours(handle) {
		return nil
	}
	s := f(key.Version, slices.Clone(handle))
	if s == nil {
		return nil
	}
	defer s.Free() // the reference that came with it
	if found, _ := s.cacheKey(); found != key || !s.Resumable() || !s.own(m) || !s.hold() {
		m.config.Logger.Warn("OnLookup gave a session of no use", "session", s)
		return nil
	}
	m.stats.callbackHits.Add(1)
	if m.config.CacheMode&NoInternalStore == 0 && !m.closed.Load() {
		_, gone, err := m.cache.insert(s)
		if err != nil {
			m.config.Logger.Warn("session not cached", "session", s, "err", err)
		}
		m.cache.tell(gone)
	}
	return s
}

// missing says why no session was found under a handle: where one of another
// version is cached, that is told.
func (m *Manager) missing(version uint16, handle []byte) Reason {
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		if v != version && m.Has(v, handle) {
			return OtherVersion
		}
	}
	if m.config.GenerateID == nil && !m.handles.ours(handle) {
		return Forged
	}
	return UnknownHandle
}

// unseal makes a session of the DER in a ticket, with a library reference.
func (m *Manager) unseal(der []byte) (*Session, error) {
	s, rest, err := decode(der, m.now().Unix())
	if err != nil || len(rest) != 0 {
		return nil, errUndecodable
	}
	s.owner.Store(m)
	return s.start(libraryRef), nil
}

// verifyImported verifies the client's certificate in a session that was
// imported: what the file says of it is nobody's word.
func (st *serverHandshake) verifyImported(s *Session) {
	if !s.isImported() {
		return
	}
	if st.config.ClientAuth < tls.VerifyClientCertIfGiven {
		s.forgetVerified()
		return
	}
	err := s.verifyPeer(x509.VerifyOptions{
		CurrentTime: st.m.now(),
		Roots:       st.config.ClientCAs,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		st.m.config.Logger.Debug("imported session's peer not verified", "session", s, "err", err)
	}
}

// check reports why s may not resume on this connection, or Resumed. The order
// is that of the reasons.
func (st *serverHandshake) check(s *Session, cs *tls.ConnectionState) Reason {
	now := st.m.now().Unix()
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, rec := &s.f, s.rec
	switch {
	case s.notResumable.Load(), st.m.config.SingleUse && !st.watched:
		return NotResumable
	case f.Version != cs.Version:
		return OtherVersion
	case !st.m.config.acceptsContext(f.IDContext):
		return OtherContext
	case normalName(string(f.Hostname)) != st.hello.name:
		return OtherName
	case !st.underPolicy(f, rec):
		return OtherPolicy
	case now > addSeconds(f.Time, min(f.Timeout, int64(maxLifetime/time.Second))):
		st.m.stats.timeouts.Add(1)
		return Expired
	case st.m.now().UnixNano() > addSeconds(s.born(), int64(st.m.config.MaxAge)):
		return TooOld
	case st.m.revocations.revoked(s):
		return Revoked
	case !st.suiteFits(f.Cipher, cs):
		return OtherSuite
	case len(s.secrets.state) > 0: // crypto/tls sees to the rest; we cannot look inside
		return Resumed
	case f.Peer != nil && st.config.ClientAuth >= tls.VerifyClientCertIfGiven &&
		(f.VerifyResult != verifyOK || len(rec.Verified) == 0):
		return ChainIncomplete
	case cs.Version < tls.VersionTLS13 && f.Flags&flagEMS == 0 && st.hello.ems:
		return EMSMismatch
	}
	return Resumed
}

// underPolicy reports whether the session was made under the policy in force.
// One that names no policy was made elsewhere: it is taken where client
// certificates play no part on either side.
func (st *serverHandshake) underPolicy(f *asn1sess.Session, rec *appdata.Record) bool {
	if len(rec.Policy) == 0 {
		return st.config.ClientAuth == tls.NoClientCert && f.Peer == nil
	}
	return st.policy.is(rec.Policy)
}

// suiteFits foresees crypto/tls, which passes a session over without a word:
// TLS 1.3 wants the hash of the suite that it has already chosen, TLS 1.2 the
// session's own suite.
func (st *serverHandshake) suiteFits(suite uint16, cs *tls.ConnectionState) bool {
	if cs.Version == tls.VersionTLS13 {
		return suiteHash(suite) != 0 && suiteHash(suite) == suiteHash(cs.CipherSuite)
	}
	if !slices.Contains(st.hello.suites, suite) {
		return false
	}
	return st.config.CipherSuites == nil || slices.Contains(st.config.CipherSuites, suite)
}

// wrap is the WrapSession hook: it never ends a handshake. Without a session
// that it can hand out the client gets a label that nobody opens.
func (st *serverHandshake) wrap(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	label, err := st.make(&cs, state)
	if err != nil {
		st.m.stats.wrapBad.Add(1)
		st.m.config.Logger.Warn("no ticket could be made", "err", err)
		label = make([]byte, handleLen)
		if _, err := io.ReadFull(st.m.config.Rand, label); err != nil {
			label[0] = 1 // not empty: an empty ticket makes TLS 1.3 clients abort
		}
	}
	if !st.watched {
		st.settleUnwatched(&cs)
	}
	return label, nil
}

// make gives the client's next session its form on the wire. In TLS 1.2 a
// resumption goes on with the same session: its ticket stays unless it is to
// be renewed.
func (st *serverHandshake) make(cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	if cs.DidResume && cs.Version < tls.VersionTLS13 && st.candidate != nil && !st.m.config.SingleUse {
		st.attach(st.candidate, false)
		if st.renew {
			return st.seal(st.candidate, cs, state)
		}
		return st.offered, nil
	}
	s, err := st.m.fromTLS(state, cs, st.origin(cs))
	if err != nil {
		return nil, err
	}
	if cs.Version == tls.VersionTLS13 && !st.byHandle() {
		s.f.ID = make([]byte, MaxSessionIDLength)
		if _, err := io.ReadFull(st.m.config.Rand, s.f.ID); err != nil {
			return nil, err
		}
	}
	if !st.byHandle() {
		s.start(libraryRef)
		defer s.release()
		label, err := st.seal(s, cs, state)
		if err == nil {
			st.attach(s, true)
			return label, nil
		}
		if !errors.Is(err, errTicketTooLong) || !st.m.config.CacheMode.server() {
			return nil, err
		}
		return st.hand(s)
	}
	s.start(libraryRef)
	defer s.release()
	return st.hand(s)
}

// maxTicket bounds a ticket: crypto/tls ends handshakes with messages over
// 65536 bytes, and the client sends the ticket in a ClientHello with much else.
const maxTicket = 60000

var (
	errTicketTooLong = fmt.Errorf("reprise: ticket is longer than %d bytes", maxTicket)
	errTicketEmpty   = errors.New("reprise: ticket is empty") // TLS 1.3 clients abort on it
)

func (st *serverHandshake) byHandle() bool { return st.m.config.NoTickets && !st.userHooks() }

// hand keeps s and returns the handle that the client gets.
func (st *serverHandshake) hand(s *Session) ([]byte, error) {
	handle, err := st.m.newID(s.ProtocolVersion())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.change().f.ID = slices.Clone(handle)
	s.byHandle = true
	s.mu.Unlock()
	key, _ := s.cacheKey()
	st.m.probation.add(key, s)
	st.attach(s, true)
	return handle, nil
}

// seal makes a ticket of s that clients can take.
func (st *serverHandshake) seal(s *Session, cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	label, err := st.sealAny(s, cs, state)
	switch {
	case err != nil:
		return nil, err
	case len(label) == 0:
		return nil, errTicketEmpty
	case len(label) > maxTicket:
		return nil, errTicketTooLong
	}
	return label, nil
}

func (st *serverHandshake) sealAny(s *Session, cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	if f := st.m.config.OnSeal; f != nil {
		f(s)
	}
	if st.userHooks() {
		return st.sealUser(s, cs, state)
	}
	s.mu.RLock()
	der, err := s.appendDER(nil)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return st.m.config.Tickets.Seal(der)
}

// origin is what the next session carries besides tls.SessionState: what must
// survive a resumption is taken over from the session that was resumed.
func (st *serverHandshake) origin(cs *tls.ConnectionState) *origin {
	o := &origin{
		hostname: st.hello.name, alpn: cs.NegotiatedProtocol, curve: cs.CurveID,
		contextID: st.m.config.ContextID, policy: st.policy,
		verified: len(cs.VerifiedChains) > 0,
	}
	if cs.DidResume && st.candidate != nil {
		st.candidate.passOn(o)
	} else {
		st.m.newLine(o)
	}
	return o
}

// newLine starts a line of sessions: one full handshake and its resumptions.
func (m *Manager) newLine(o *origin) {
	o.firstAuth = m.now().UnixNano()
	o.lineage = make([]byte, 16)
	if _, err := io.ReadFull(m.config.Rand, o.lineage); err != nil {
		o.lineage = nil
	}
}

// passOn gives o what survives a resumption of s.
func (s *Session) passOn(o *origin) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o.lineage, o.user = slices.Clone(s.rec.Lineage), slices.Clone(s.secrets.user)
	o.firstAuth = s.born()
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
