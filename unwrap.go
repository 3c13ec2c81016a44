package reprise

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/ticket"
)

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
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, rec := &s.f, s.rec
	late := st.m.inTime(s, min(f.Timeout, int64(maxLifetime/time.Second)))
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
	case late == Expired:
		st.m.stats.timeouts.Add(1)
		return Expired
	case late != Resumed:
		return late
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
