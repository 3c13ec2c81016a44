package reprise

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/cache"
)

// Limits of a session's fields, as libssl has them.
const (
	MaxSessionIDLength        = 32  // SSL_MAX_SSL_SESSION_ID_LENGTH, bytes
	MaxSessionIDContextLength = 32  // SSL_MAX_SID_CTX_LENGTH, bytes
	MaxMasterKeyLength        = 512 // TLS13_MAX_RESUMPTION_PSK_LENGTH, bytes
)

const (
	newSessionTimeout = 304 // seconds; of a bare SSL_SESSION_new
	verifyUnspecified = 1   // X509_V_ERR_UNSPECIFIED: nobody verified the peer
	verifyOK          = 0   // X509_V_OK
	flagEMS           = asn1sess.FlagExtendedMasterSecret
	// maxFragmentUnspecified is what a session holds before a handshake settles it (TLSEXT_max_fragment_length_UNSPECIFIED).
	maxFragmentUnspecified = 255
)

// Errors of sessions.
var (
	// ErrFreed: the session's last owner gave it back, its secrets are wiped.
	ErrFreed = errors.New("reprise: session was freed")
	// ErrOverFree is what Free panics with (wrapped) when the caller owns no reference.
	ErrOverFree = errors.New("reprise: Free of a session that the caller does not own")
	// ErrOtherManager: a session belongs to one Manager; Dup it to use it with another.
	ErrOtherManager = errors.New("reprise: session belongs to another Manager (Dup it)")
	// ErrCached: the field is part of what the cache finds the session by; Remove it first.
	ErrCached = errors.New("reprise: session is cached (Remove it before changing its id or version)")
	// ErrTooLong: a field's value is over its limit.
	ErrTooLong = errors.New("reprise: value too long")
	// ErrNotResumable: the session was removed, found bad, has neither id nor ticket, or has
	// only an id where none is offered (Config.SessionIDs).
	ErrNotResumable = errors.New("reprise: session is not resumable")
)

// Session is a TLS session: what OpenSSL calls an SSL_SESSION.
//
// # Ownership
//
// References are counted in two parts. The caller's come from [NewSession],
// [Session.Dup], [ParseSession], [ParseSessionPEM], [Session.UpRef],
// [Conn.AcquireSession], [Conn.WaitSession] and [Manager.Lookup]; each may be
// given back once with [Session.Free]. The library's belong to connections and
// to the cache, and Free never touches them: a Free of a session that was only
// lent ([Conn.Session], callbacks, [Manager.All]) panics there and then.
//
// When nobody holds the session any more every byte of secret that this
// package owns is wiped. crypto/tls keeps copies of its own that nothing here
// can reach. A program that never calls Free is correct: the garbage collector
// reclaims the session and its secrets are wiped then.
//
// # Concurrency
//
// All methods are safe from any goroutine. Getters return copies.
type Session struct {
	refs refs

	// owner is the Manager this session belongs to, nil while it is free.
	owner atomic.Pointer[Manager]
	// notResumable is sticky: once a session was found bad or removed, no copy of it resumes.
	notResumable atomic.Bool
	// inCache is written under the owner's cache lock and tells setters to keep the packed copy true.
	inCache atomic.Bool
	// track is nil unless tracking saw the session acquired.
	track atomic.Pointer[tracker]

	mu sync.RWMutex // guards all below; taken after the cache's lock, never before
	*content
	shared  bool   // content is another session's too: it is copied before a change
	edits   uint64 // counts changes, so that who packed a copy knows whether it is stale
	values  map[any]any
	secrets *keeper
	certs   *peerCerts // nil until asked for
	// byHandle: a server keeps it and the client holds its id in place of a ticket. Set before it is shared.
	byHandle bool
	// imported: decoded from bytes that nobody vouches for; its peer is verified anew before use.
	imported bool
	// timed is when the session's Time was set, by its Manager's uptime, 0 if that is unknown: what
	// a Manager keeps ages by the monotonic clock as well.
	timed time.Duration
}

// content is what a session says, but for its secrets. Nobody writes into its
// slices; a field is changed by giving it another one.
type content struct {
	f   asn1sess.Session
	rec *appdata.Record // noRecord where there is none
}

// noRecord stands for the record of a session that has none. It is never written.
var noRecord = new(appdata.Record)

// secrets holds what is secret of a session, and nothing else does: it is an
// allocation of its own so that a cleanup can wipe it after the Session is
// gone, and behind a pointer so that fmt does not come to it from a struct with
// a Session in an unexported field.
type secrets struct {
	secret []byte // master secret or resumption PSK
	state  []byte // a tls.SessionState in a layout that we do not know
	user   []byte // the application's data may be secret too
	wiped  bool

	// shard is where the session is cached, if it was, and key is under which
	// key. The shard is held weakly: a cleanup's argument is always alive, and the
	// shard leads to sessions and to their Manager.
	shard weak.Pointer[shard]
	key   cache.Key
}

// keeper keeps a session's secrets. A cleanup on it wipes them, once it was
// collected with its session. Arming one takes longer than all the rest of
// making a session, so the keeper of a session that was freed serves again.
type keeper struct {
	*secrets
	weak    weak.Pointer[keeper] // to itself, once it was wanted
	session *Session             // whose it is, while the cache finds that by weak

	// The runtime keeps the cleanups and weak pointers of a span in a list that
	// it walks for each new one: a keeper of 256 bytes has few neighbours there.
	_ [256 - 4*8]byte
}

var keepers = sync.Pool{New: func() any {
	k := &keeper{secrets: new(secrets)}
	runtime.AddCleanup(k, (*secrets).lost, k.secrets)
	return k
}}

// wipedKeeper is the keeper of all sessions that were freed.
var wipedKeeper = &keeper{secrets: &secrets{wiped: true}}

// lost runs when a session was collected without having been freed by everybody.
func (s *secrets) lost() {
	s.wipe()
	if shard := s.shard.Value(); shard != nil {
		shard.forget(s.key)
	}
}

func (s *secrets) wipe() {
	clear(s.secret)
	clear(s.state)
	clear(s.user)
	s.wiped = true
}

// peerCerts caches what parsing the peer's certificates gave.
type peerCerts struct {
	list []*x509.Certificate
	err  error
}

// NewSession makes a new, empty session: version 0, no id, time now, timeout
// 304 seconds, not resumable. The caller owns one reference. It cannot fail.
//
// It is SSL_SESSION_new.
func NewSession() *Session {
	s := &Session{content: &content{f: asn1sess.Session{
		Time:           time.Now().Unix(),
		Timeout:        newSessionTimeout,
		VerifyResult:   verifyUnspecified,
		MaxFragmentLen: maxFragmentUnspecified,
	}, rec: noRecord}}
	s.start(callerRef)
	s.acquired()
	return s
}

// start gives a filled session its first reference, and its secrets, which
// codecs leave among the fields, their place.
func (s *Session) start(kind uint64) *Session {
	k := keepers.Get().(*keeper)
	k.secret, k.state, k.user = s.f.MasterKey, s.rec.State, s.rec.User
	s.f.MasterKey = nil
	if s.rec != noRecord {
		s.rec.State, s.rec.User = nil, nil
	}
	s.secrets = k
	s.refs.start(kind)
	return s
}

// Dup returns a deep copy that the caller owns and must Free like any other.
// The copy belongs to no cache and no Manager, whatever its source does, and
// attached values are shared by pointer. A source that is not resumable gives
// a copy that is not; a source that was freed gives a copy without secrets.
//
// It is SSL_SESSION_dup. It cannot fail.
func (s *Session) Dup() *Session {
	s.mu.Lock()
	s.shared = true
	d := &Session{content: s.content, shared: true, values: maps.Clone(s.values), certs: s.certs, imported: s.imported}
	d.notResumable.Store(s.notResumable.Load() || s.secrets.wiped)
	k := keepers.Get().(*keeper)
	k.secret, k.state, k.user = slices.Clone(s.secrets.secret), slices.Clone(s.secrets.state), slices.Clone(s.secrets.user)
	s.mu.Unlock()
	d.secrets = k
	d.refs.start(callerRef)
	if tracking.Load() {
		d.acquired()
	}
	return d
}

// change makes the content the session's own, before it is changed. The caller
// holds s.mu.
func (s *Session) change() *content {
	if s.shared || s.rec == noRecord {
		c, rec := *s.content, *s.rec
		c.rec = &rec
		s.content, s.shared = &c, false
	}
	return s.content
}

// UpRef takes one more reference for the caller, to be given back with Free.
// It returns ErrFreed once nobody owns the session any more.
//
// It is SSL_SESSION_up_ref.
func (s *Session) UpRef() error {
	if !s.refs.add(callerRef) {
		return ErrFreed
	}
	if tracking.Load() {
		s.acquired()
	}
	return nil
}

// Free gives back one reference of the caller's. The last owner of either kind
// wipes the session's secrets; its metadata stays readable. Free of nil does
// nothing.
//
// WARNING: where the caller owns no reference (a session freed twice, or one
// that was only lent) Free panics with an error that is ErrOverFree, and
// changes nothing: the cache and connections keep their references. Only
// references listed under Ownership of [Session] may be freed.
//
// It is SSL_SESSION_free.
func (s *Session) Free() {
	if s == nil {
		return
	}
	last, ok := s.refs.drop(callerRef)
	if last {
		s.wipe()
	}
	if !ok {
		_, library := s.refs.held()
		panic(fmt.Errorf("%w: session %s: the caller holds none, the library %d%s",
			ErrOverFree, s.Fingerprint(), library, s.lastFree()))
	}
	if traced.Load() {
		s.freed()
	}
}

// hold takes a reference for the library.
func (s *Session) hold() bool { return s.refs.add(libraryRef) }

// release gives a reference of the library's back; nil is a no-op.
func (s *Session) release() {
	if s == nil {
		return
	}
	if last, _ := s.refs.drop(libraryRef); last {
		s.wipe()
	}
}

func (s *Session) wipe() {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.secrets
	k.wipe()
	*k.secrets, k.session = secrets{}, nil
	keepers.Put(k)
	s.secrets, s.values = wipedKeeper, nil
}

// whole returns the fields with the secrets where codecs look for them, sharing
// memory with s. The caller holds s.mu.
func (s *Session) whole() (asn1sess.Session, appdata.Record) {
	f, rec := s.f, *s.rec
	f.MasterKey, rec.State, rec.User = s.secrets.secret, s.secrets.state, s.secrets.user
	return f, rec
}

// own makes m the session's only Manager; false if it has another.
func (s *Session) own(m *Manager) bool {
	return s.owner.CompareAndSwap(nil, m) || s.owner.Load() == m
}

// disown makes s free again.
func (s *Session) disown(m *Manager) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner.CompareAndSwap(m, nil)
	s.timed = 0
}

// clocked returns what timed is if the session's Time is set now.
func (s *Session) clocked() time.Duration {
	if m := s.owner.Load(); m != nil {
		return m.uptime()
	}
	return 0
}

// SetValue attaches v under key, replacing what was there; a nil v detaches.
// Values stay as long as the session is cached or held by anyone, travel to
// copies made by Dup by pointer, and are never encoded. key must be
// comparable; use a type of your own, as with context keys.
//
// It is SSL_SESSION_set_ex_data.
func (s *Session) SetValue(key, v any) {
	s.mu.Lock()
	if v == nil {
		delete(s.values, key)
	} else {
		if s.values == nil {
			s.values = make(map[any]any)
		}
		s.values[key] = v
	}
	s.edits++
	s.mu.Unlock()
	s.changed()
}

// Value returns what SetValue attached under key, nil if nothing.
//
// It is SSL_SESSION_get_ex_data.
func (s *Session) Value(key any) any {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.values[key]
}

// Resumable reports whether the session may be offered or accepted: it was not
// found bad, removed or freed, and has an id or a ticket. It does not look at
// the time.
//
// It is SSL_SESSION_is_resumable.
func (s *Session) Resumable() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return !s.notResumable.Load() && !s.secrets.wiped && (len(s.f.ID) > 0 || len(s.f.Ticket) > 0)
}

// whenTimed returns when the session's Time was set, by its Manager's uptime, 0 if
// that is unknown.
func (s *Session) whenTimed() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.timed
}

// edited returns how often s was changed.
func (s *Session) edited() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.edits
}

// changed tells the cache that holds s, if any, that s is not what was packed.
func (s *Session) changed() {
	if s.inCache.Load() {
		s.owner.Load().cache.update(s)
	}
}

func cloneRecord(r *appdata.Record) appdata.Record {
	d := *r
	d.Lineage, d.Policy, d.Sequence = slices.Clone(r.Lineage), slices.Clone(r.Policy), slices.Clone(r.Sequence)
	d.State, d.User, d.OCSP = slices.Clone(r.State), slices.Clone(r.User), slices.Clone(r.OCSP)
	d.Chain, d.SCTs, d.Extra = cloneList(r.Chain), cloneList(r.SCTs), cloneList(r.Extra)
	d.Verified = cloneChains(r.Verified)
	return d
}

// cloneChains clones a certificate that several chains share once.
func cloneChains(chains [][][]byte) [][][]byte {
	type place struct {
		first  *byte
		length int
	}
	clones := make(map[place][]byte)
	d := slices.Clone(chains)
	for i, chain := range d {
		chain = slices.Clone(chain)
		for j, cert := range chain {
			if len(cert) == 0 {
				continue
			}
			p := place{&cert[0], len(cert)}
			if clones[p] == nil {
				clones[p] = slices.Clone(cert)
			}
			chain[j] = clones[p]
		}
		d[i] = chain
	}
	return d
}

func cloneList(list [][]byte) [][]byte {
	d := slices.Clone(list)
	for i, b := range d {
		d[i] = slices.Clone(b)
	}
	return d
}
