package reprise

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/internal/gotls"
	"github.com/reprise-tls/reprise/ticket"
)

// ErrClosed: the Manager was closed.
var ErrClosed = errors.New("reprise: Manager is closed")

// Manager is the session half of OpenSSL's SSL_CTX: it owns a cache of
// sessions and the keys of tickets, and makes connections that resume, at one
// of three levels of use:
//
//   - [Manager.ServerConfig] and [Manager.ClientConfig] serve any code that takes a *tls.Config;
//   - [Manager.NewListener], [Manager.Accept] and [Manager.ServeTLS] give real *tls.Conn whose handshake is complete;
//   - [Manager.Server], [Manager.Client] and [Manager.Dial] give a [Conn] with all of libssl's rules.
//
// All methods are safe for concurrent use.
type Manager struct {
	config      Config
	policies    *policies
	scopes      *scopes
	clients     *clientCache
	inForce     gotls.ConfigReader // the zero value where a test wants an unknown Go release
	ownTime     bool               // Config.Time was given
	gate        *gate              // of Accept
	claims      claims
	moves       [64]sync.Mutex // by key: a session moves between probation and cache
	warnings    warnings
	ring        *ticket.KeyRing // what New made, nil if Config.Tickets was given
	started     time.Time
	clock       clock        // of clients
	storeUp     atomic.Int64 // the second from which the ClientStore is asked
	handles     *handles
	layout      layout
	cache       *sessionCache
	probation   *probation
	sequence    *sequence
	revocations *revocations
	stats       counters
	closed      atomic.Bool
	idsOff      *atomic.Bool // the process's, but for tests
}

// New makes a Manager. It keeps a copy of config; the error names the field
// that cannot be.
//
// It is SSL_CTX_new, as far as sessions go.
func New(config Config) (*Manager, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	clientTimeout, clock := cmp.Or(config.Timeout, DefaultClientTimeout), config.Time
	config.populate()
	m := &Manager{
		config: config, layout: knownLayout{}, inForce: gotls.NewConfigReader(), ownTime: clock != nil,
		gate: newGate(config.MaxHandshakes), probation: newProbation(), started: time.Now(), idsOff: &sessionIDsOff,
	}
	var err error
	if m.sequence, err = newSequence(config.Rand); err != nil {
		return nil, fmt.Errorf("reprise: id of a Manager: %w", err)
	}
	m.revocations = newRevocations(m.sequence, &config)
	if config.Tickets == nil {
		if m.ring, err = ticket.GenerateRing(ticket.RingConfig{Lifetime: config.Timeout, Time: config.Time}); err != nil {
			return nil, fmt.Errorf("reprise: ring of ticket keys: %w", err)
		}
		m.config.Tickets = m.ring
	}
	m.policies, m.scopes = newPolicies(&config), newScopes(&config)
	m.clients, m.clock.now = newClientCache(&config, clientTimeout), clock
	if m.handles, err = newHandles(&config); err != nil {
		return nil, err
	}
	m.cache = newSessionCache(m)
	return m, nil
}

// Close empties the cache, with a call of OnRemove for each session, drops the
// sessions that clients keep in memory, wipes the keys that New made, and ends
// resumption: handshakes go on, all full. Sessions that callers hold stay as
// they are, and so do Config.Tickets and Config.ClientStore, which are the
// caller's. Closing again does nothing. The error is always nil.
//
// It is SSL_CTX_free.
func (m *Manager) Close() error {
	if !m.closed.CompareAndSwap(false, true) {
		return nil
	}
	m.probation.close()
	m.cache.flush(0, true, CauseClosed)
	m.clients.clear()
	m.handles.wipe()
	if m.ring != nil {
		m.ring.Close()
	}
	return nil
}

func (m *Manager) now() time.Time { return m.config.Time() }

// Add caches s, which then belongs to m; the cache takes a reference of its
// own. added is false if s was cached already. A session with the same version
// and id is replaced. Nothing changes on an error: ErrOtherManager,
// ErrNotResumable (no id, or found bad), ErrFreed, ErrClosed. The cache mode
// does not matter.
//
// It is SSL_CTX_add_session.
func (m *Manager) Add(s *Session) (added bool, err error) {
	if m.closed.Load() {
		return false, ErrClosed
	}
	if _, ok := s.cacheKey(); !ok || s.notResumable.Load() {
		return false, ErrNotResumable
	}
	free := s.owner.Load() == nil
	if !s.own(m) {
		return false, ErrOtherManager
	}
	added, gone, err := m.cache.insert(s)
	if err != nil && free {
		s.disown(m)
	}
	m.cache.tell(gone)
	return added, err
}

// Remove takes the session with s's version and id out of the cache and marks
// s not resumable, cached or not. It reports whether there was one. OnRemove is
// called in either case, as in libssl, for the sake of caches kept elsewhere. A
// session that a server of m has in a ticket is revoked: its ticket does not
// resume any more. A session of another Manager, one without an id that is not
// m's, and nil are left alone.
//
// It is SSL_CTX_remove_session.
func (m *Manager) Remove(s *Session) bool {
	if s == nil {
		return false
	}
	key, ok := s.cacheKey()
	if !ok {
		if s.owner.Load() == m {
			m.revokeTicket(s)
		}
		return false
	}
	if !s.own(m) {
		return false
	}
	m.probation.remove(key)
	cached := m.cache.remove(s, CauseRemoved)
	if !cached {
		m.revokeTicket(s)
	}
	return cached
}

// revokeTicket revokes a session of a server's that is in a ticket.
func (m *Manager) revokeTicket(s *Session) {
	if s.byHandle || s.HasTicket() {
		return
	}
	if m.Revoke(bySecret(s)) == nil {
		s.notResumable.Store(true)
	}
}

// Lookup returns the cached session of a version and id, expired or not, with
// a reference that the caller must Free; nil if there is none.
func (m *Manager) Lookup(version uint16, id []byte) *Session {
	key, ok := cache.MakeKey(version, id)
	if !ok {
		return nil
	}
	s := m.cache.lookup(key, callerRef)
	if s != nil {
		s.acquired()
	}
	return s
}

// Has reports whether a session of a version and id is cached, expired or not.
// It costs less than Lookup.
//
// It is SSL_has_matching_session_id.
func (m *Manager) Has(version uint16, id []byte) bool {
	key, ok := cache.MakeKey(version, id)
	return ok && m.cache.has(key)
}

// Flush removes every session that expired before t and returns how many: a
// session goes when t is later than its time plus timeout, in whole seconds.
// Lookups go on meanwhile.
//
// It is SSL_CTX_flush_sessions_ex.
func (m *Manager) Flush(t time.Time) int { return m.cache.flush(t.Unix(), false, CauseExpired) }

// FlushAll removes every session from the cache and returns how many. All other
// sessions up to now are revoked, as by Revoke: those in tickets, those of
// handshakes that are under way, and those of clients. What clients keep in
// memory is dropped; what is in Config.ClientStore stays there until a client of
// this Manager would take it.
//
// It is SSL_CTX_flush_sessions with time 0.
func (m *Manager) FlushAll() int {
	m.revocations.add(Revocation{kind: revokedAll}, m.now(), m.uptime())
	m.clients.clear()
	m.probation.flush()
	return m.cache.flush(0, true, CauseFlushed)
}

// Len returns how many sessions are cached, expired ones included.
//
// It is SSL_CTX_sess_number.
func (m *Manager) Len() int { return m.cache.len() }

// All iterates over the cached sessions in no particular order. Each is lent
// for its turn: UpRef it to keep it. The cache may be used meanwhile: sessions
// that stay throughout are seen once, others at most once.
//
// It is SSL_CTX_sessions.
func (m *Manager) All() iter.Seq[*Session] {
	return func(yield func(*Session) bool) {
		var at cursor
		for s := m.cache.next(&at); s != nil; s = m.cache.next(&at) {
			more := yield(s)
			s.release()
			if !more {
				return
			}
		}
	}
}

// settle puts a session whose peer has proven itself where it belongs, if the
// cache mode covers its side. The callbacks that follow are in what it returns:
// run them without a lock.
func (m *Manager) settle(s *Session, mode bool) (callbacks func()) {
	if !mode || m.closed.Load() || !s.hasID() || !s.hold() {
		return func() {}
	}
	var gone []removal
	var err error
	if m.keeps(s) {
		_, gone, err = m.cache.insert(s)
	}
	if m.config.autoClears() {
		gone = append(gone, m.cache.clear(m.now().Unix())...)
	}
	return func() {
		defer s.release() // though a callback may panic
		m.warnUncached(s, err)
		m.cache.tell(gone)
		if f := m.config.OnNew; f != nil {
			f(s)
		}
	}
}

// prove moves a session whose peer is proven to where it belongs, once. The
// handshake that made the session calls it, or one that resumed it from probation;
// the first call wins. The caller runs the returned callbacks without a lock.
func (m *Manager) prove(s *Session) (callbacks func()) {
	key, ok := s.cacheKey()
	if !ok || !s.byHandle {
		return m.settle(s, m.config.CacheMode.server())
	}
	defer m.moving(&key)()
	if !m.probation.prove(key) {
		return noCallbacks // another handshake was first, or the session was removed or evicted
	}
	callbacks = m.settle(s, m.config.CacheMode.server())
	leave := func() { m.probation.remove(key) }
	if m.config.CacheMode&NoInternalStore != 0 {
		return then(callbacks, leave) // until OnNew has put it elsewhere it is nowhere else
	}
	leave()
	return callbacks
}

// promote is prove for a session that was found on probation. s is nil where the
// handshake that resumed it has let go of it already.
func (m *Manager) promote(key cache.Key, s *Session) (callbacks func()) {
	if s == nil {
		if s = m.probation.lookup(key, m); s == nil {
			return noCallbacks
		}
		defer s.release()
	}
	return m.prove(s)
}

// take takes a session that served once out of wherever it is, for good.
func (m *Manager) take(key cache.Key) (callbacks func()) {
	defer m.moving(&key)()
	_, gone := m.cache.take(key, CauseTaken)
	m.probation.remove(key)
	if gone == nil {
		return noCallbacks
	}
	return func() { m.cache.tell([]removal{*gone}) }
}

// moving keeps the session under key where it is until unlock is called: while
// it moves between probation and cache nobody may take it.
func (m *Manager) moving(key *cache.Key) (unlock func()) {
	mu := &m.moves[maphash.Bytes(m.cache.seed, key.ID[:])%uint64(len(m.moves))]
	mu.Lock()
	return mu.Unlock
}

// keeps reports whether s is cached: sessions that a server has in tickets are
// not, there the client has all there is.
func (m *Manager) keeps(s *Session) bool {
	return m.config.CacheMode&NoInternalStore == 0 && (s.HasTicket() || s.byHandle)
}

// flushAfter returns what is to be done after a side's n-th finished handshake.
func (m *Manager) flushAfter(n uint64) (callbacks func()) {
	if every := m.config.FlushEvery; every > 0 && n%uint64(every) == 0 && m.config.CacheMode&NoAutoClear == 0 {
		return func() { m.Flush(m.now()) }
	}
	return func() {}
}

// then runs callbacks in turn, all of them though one may panic.
func then(callbacks ...func()) func() { return func() { inTurn(callbacks) } }

func inTurn(callbacks []func()) {
	if len(callbacks) > 0 {
		defer inTurn(callbacks[1:])
		callbacks[0]()
	}
}

func (s *Session) hasID() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.f.ID) > 0
}
