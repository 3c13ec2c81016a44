package reprise

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
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
	held := s
	defer func() { held.release() }() // also where a callback panics
	var verified [][][]byte
	if reason == Resumed {
		verified = st.verified(s)
		reason = st.check(s, verified, cs)
	}
	if reason == Resumed {
		o, reason = st.ask(o)
	}
	if reason == Resumed {
		var err error
		if state, err = st.m.toTLS(s, verified); err != nil {
			reason = Undecodable
		}
	}
	if reason == Resumed && !st.accept(o, identity) {
		reason = NotResumable // the connection ended meanwhile
	}
	if reason == Resumed {
		held = nil // the handshake has it
		return state, nil
	}
	st.decline(reason, s)
	if reason == Expired && s.inCache.Load() {
		held = nil
		return nil, s
	}
	return nil, nil
}

// accept makes what an identity stands for the session that may resume; false if
// the handshake is over.
func (st *serverHandshake) accept(o opened, identity []byte) bool {
	s := o.session
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.finished {
		return false
	}
	st.candidate.release() // of an identity before this one, which crypto/tls passed over
	st.candidate, st.renew, st.offered = s, o.renew, slices.Clone(identity)
	st.found = found{ok: true, origin: o.origin, peer: s.hasPeer(), timed: s.whenTimed()}
	st.found.key, _ = s.cacheKey()
	st.m.passOn(s, &st.found.passed)
	if !st.watched && st.over != nil {
		context.AfterFunc(st.over, st.fail) // if the handshake fails nobody else lets go of s
	}
	return true
}

// opened is what an identity stands for.
type opened struct {
	session *Session // held
	origin  source
	renew   bool // its ticket is to be replaced
}

// decline notes why an identity was not taken; the first one counts. s is what
// the identity stands for, nil if nothing.
func (st *serverHandshake) decline(r Reason, s *Session) {
	st.mu.Lock()
	if st.reason == NothingOffered {
		st.reason = r
	}
	st.unclaim()
	st.mu.Unlock()
	if log := st.m.config.Logger; log.Enabled(context.Background(), slog.LevelDebug) {
		args := []any{"reason", r, "peer", addressString(st.peer), "name", st.hello.name}
		if s != nil {
			args = append(args, "session", s.Fingerprint())
		}
		log.Debug("session declined", args...)
	}
}

func addressString(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	return addr.String()
}

// open turns an identity into a session, or a reason.
func (st *serverHandshake) open(identity []byte, cs *tls.ConnectionState) (opened, Reason) {
	kind := st.m.handles.kind(identity)
	switch {
	case st.m.closed.Load():
		return opened{}, NotResumable
	case kind == ownLabel:
		return opened{}, NothingOffered
	case st.hooks.set() && kind != ownHandle:
		if st.m.config.SingleUse { // nobody could take it
			return opened{}, NotResumable
		}
		return st.openUser(identity, cs)
	case st.m.config.NoTickets || kind == ownHandle:
		return st.find(cs.Version, identity, kind)
	case len(identity) <= MaxSessionIDLength: // a session that was added, or a short ticket
		if o, reason := st.find(cs.Version, identity, kind); reason != UnknownKey {
			return o, reason
		}
	}
	der, renew, err := st.m.config.Tickets.Open(identity)
	switch {
	case errors.Is(err, ticket.ErrUnknownKey):
		return opened{}, UnknownKey
	case errors.Is(err, ticket.ErrForged):
		return opened{}, Forged
	case err != nil:
		st.m.warn("ticket not opened", "err", err)
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

// find looks a handle up. Under SingleUse it claims the session first. Sessions
// that were added to the cache are found whoever made their handle.
func (st *serverHandshake) find(version uint16, handle []byte, kind handleKind) (opened, Reason) {
	m := st.m
	key, ok := cache.MakeKey(version, handle)
	if !ok {
		return opened{}, UnknownKey
	}
	if m.config.SingleUse && st.watched {
		st.mu.Lock()
		free := st.takeClaim(key)
		st.mu.Unlock()
		if !free {
			return opened{}, InUse
		}
	}
	if o, ok := m.findHere(key); ok {
		return o, Resumed
	}
	if kind == ownHandle || m.config.GenerateID != nil {
		if s := m.lookOutside(key, handle); s != nil {
			return opened{session: s, origin: fromOutside}, Resumed
		}
	}
	return opened{}, m.missing(key.Version, handle, kind)
}

// findHere looks in the cache and among the sessions on probation. A session
// that moves from there to the cache is for a moment in both, and after it was
// asked for in the cache; so the cache is asked again.
func (m *Manager) findHere(key cache.Key) (o opened, ok bool) {
	lookup := m.config.CacheMode&NoInternalLookup == 0
	if lookup {
		if s := m.cache.lookup(key, libraryRef); s != nil {
			return opened{session: s, origin: fromCache}, true
		}
	}
	if s := m.probation.lookup(key, m); s != nil {
		return opened{session: s, origin: fromProbation}, true
	}
	if lookup {
		if s := m.cache.lookup(key, libraryRef); s != nil {
			return opened{session: s, origin: fromCache}, true
		}
		m.stats.misses.Add(1)
	}
	return opened{}, false
}

// lookOutside asks OnLookup, for handles that authenticate only, unless
// GenerateID makes them. Nothing is cached before the peer is proven.
func (m *Manager) lookOutside(key cache.Key, handle []byte) *Session {
	f := m.config.OnLookup
	if f == nil {
		return nil
	}
	s := f(key.Version, slices.Clone(handle))
	if s == nil {
		return nil
	}
	defer s.Free() // the reference that came with it
	if k, _ := s.cacheKey(); k != key || !s.Resumable() || !s.own(m) || !s.hold() {
		m.warn("OnLookup gave a session of no use", "session", s)
		return nil
	}
	m.stats.callbackHits.Add(1)
	return s
}

// adopt caches a session that OnLookup gave, now that the peer is proven.
func (m *Manager) adopt(s *Session) (callbacks func()) {
	if s == nil || m.config.CacheMode&NoInternalStore != 0 || m.closed.Load() {
		return noCallbacks
	}
	_, gone, err := m.cache.insert(s)
	return func() {
		m.warnUncached(s, err)
		m.cache.tell(gone)
	}
}

// warnUncached logs that s was to be cached and could not be, if err is not nil.
func (m *Manager) warnUncached(s *Session, err error) {
	if err != nil {
		m.warn("session not cached", "session", s, "err", err)
	}
}

// missing says why no session was found under a handle: where one of another
// version is cached, that is told.
func (m *Manager) missing(version uint16, handle []byte, kind handleKind) Reason {
	for v := uint16(tls.VersionTLS10); v <= tls.VersionTLS13; v++ {
		if v != version && m.Has(v, handle) {
			return OtherVersion
		}
	}
	switch {
	case kind == ownHandle || m.config.GenerateID != nil:
		return UnknownHandle
	case kind == forgedHandle:
		return Forged
	}
	return UnknownKey
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

// verified returns the chains of the client's certificate. Those of a session
// that was imported are found anew, and not kept: what a file says is nobody's
// word, and what this connection finds is not that of another.
func (st *serverHandshake) verified(s *Session) [][][]byte {
	switch {
	case !s.isImported():
		return s.verified()
	case st.config.ClientAuth < tls.VerifyClientCertIfGiven:
		return nil
	}
	chains, err := s.peerChains(x509.VerifyOptions{
		CurrentTime: st.m.now(),
		Roots:       st.config.ClientCAs,
		KeyUsages:   []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		st.m.config.Logger.Debug("imported session's peer not verified", "session", s, "err", err)
	}
	return chains
}

// check reports why s, with these verified chains, may not resume on this
// connection, or Resumed. The order is that of the reasons.
func (st *serverHandshake) check(s *Session, verified [][][]byte, cs *tls.ConnectionState) Reason {
	st.policyName() // the application's function runs without a lock
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, rec := &s.f, s.rec
	late := st.m.inTime(s, min(f.Timeout, int64(maxLifetime/time.Second)))
	switch {
	case st.m.config.SingleUse && !st.watched:
		st.m.warn("sessions of single use do not resume under ServerConfig: use NewListener, Accept, ServeTLS or Server")
		return NotResumable
	case s.notResumable.Load():
		return NotResumable
	case f.Version != cs.Version:
		return OtherVersion
	case !st.m.config.acceptsContext(f.IDContext):
		return OtherContext
	case foldName(string(f.Hostname)) != st.hello.name:
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
		(f.VerifyResult != verifyOK || len(verified) == 0):
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
	return st.policyName().is(rec.Policy)
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
