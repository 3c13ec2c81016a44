package reprise

import (
	"bytes"
	"crypto/tls"
	"net"
	"runtime"
	"sync/atomic"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/internal/gotls"
	"github.com/reprise-tls/reprise/ticket"
)

// Held returns the references to s: the caller's and the library's.
func Held(s *Session) (caller, library int) { return s.refs.held() }

// Fields returns all that a session holds, its secrets where codecs look for
// them, sharing its memory.
func Fields(s *Session) (*asn1sess.Session, *appdata.Record) {
	f, rec := s.whole()
	return &f, &rec
}

// SetFields makes f and rec all that s holds.
func SetFields(s *Session, f *asn1sess.Session, rec *appdata.Record) {
	*s.content = content{*f, rec}
	s.secrets.secret, s.secrets.state, s.secrets.user = f.MasterKey, rec.State, rec.User
	s.f.MasterKey, s.rec.State, s.rec.User = nil, nil, nil
}

// Secrets are the bytes behind a session's secrets: the very bytes, not a copy.
type Secrets [][]byte

// SecretsOf returns the bytes that s must wipe, as they stand now: what a
// setter replaces later is not among them.
func SecretsOf(s *Session) Secrets {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Secrets{s.secrets.secret, s.secrets.state, s.secrets.user}
}

// Len returns how many bytes of secret there are.
func (b Secrets) Len() int { return len(bytes.Join(b, nil)) }

// Wiped reports whether every byte is zero.
func (b Secrets) Wiped() bool {
	all := bytes.Join(b, nil)
	return bytes.Count(all, []byte{0}) == len(all)
}

// OnCollected has f called with s's secrets after s was collected and its
// cleanup is over: the cleanup is the last that refers to them.
func OnCollected(s *Session, f func(Secrets)) {
	runtime.SetFinalizer(s.secrets.secrets, func(x *secrets) { f(Secrets{x.secret, x.state, x.user}) })
}

// PackedSize returns what s takes of Config.CacheBytes.
func PackedSize(s *Session) int64 {
	packed, err := s.pack(nil)
	if err != nil {
		return 0
	}
	defer clear(packed)
	return int64(cache.SizeOf(len(packed)))
}

// Account is how much a cache holds: entries and their bytes.
type Account struct{ Entries, Bytes int64 }

// Accounts returns what m's cache keeps count of, and what counting its shards
// gives. They are the same when nobody uses the cache.
func Accounts(m *Manager) (kept, counted Account) {
	kept = Account{m.cache.entries.Load(), m.cache.bytes.Load()}
	for i := range m.cache.shards {
		sh := &m.cache.shards[i]
		sh.mu.Lock()
		counted.Entries += int64(sh.packed.Len())
		counted.Bytes += int64(sh.packed.Size())
		sh.mu.Unlock()
	}
	return kept, counted
}

// Forget does to a cached session that nobody holds what the collector would,
// sooner or later: its next holder gets another object, made of the packed form.
func Forget(m *Manager, version uint16, id []byte) {
	key, _ := cache.MakeKey(version, id)
	sh := m.cache.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e, ok := sh.packed.Find(&key); ok && sh.object(e) != nil {
		sh.live.drop(sh.packed.Tag(e))
		sh.packed.SetTag(e, 0)
	}
}

// ErrTooBig is what Add says of a session that is bigger than the cache.
var ErrTooBig = errTooBig

// SwitchSessionIDs gives m a switch of its own, in place of the process's: true
// once nothing is offered by id any more.
func SwitchSessionIDs(m *Manager) *atomic.Bool {
	m.idsOff = new(atomic.Bool)
	return m.idsOff
}

// OfferID prepares config, of one connection over nc, to offer id, and returns
// what that connection is to write to.
func OfferID(m *Manager, config *tls.Config, nc net.Conn, id []byte) net.Conn {
	x := new(sessionIDs)
	x.watch(m, config)
	x.offer(id)
	return &wire{Conn: nc, ids: x}
}

// Receive has crypto/tls give a client's connection a session.
func Receive(c *Conn, cs *tls.ClientSessionState) { c.link.Load().client.Put("", cs) }

// UnreadPools has m's servers see a Go release whose pools cannot be read.
func UnreadPools(m *Manager) { m.policies.pools.reader = gotls.PoolReader{} }

// Labels returns how many values of m's servers have a label.
func Labels(m *Manager) int { return m.policies.pools.own.len() + m.policies.funcs.len() }

// HideConfigs has m see no configuration in force, as on a Go release that
// keeps it elsewhere.
func HideConfigs(m *Manager) { m.inForce = gotls.ConfigReader{} }

// FateEvent is what a connection's session may depend on.
type FateEvent = event

// The events, but for the handshake's end.
const (
	SessionSet, CloseBegins, CloseSent, CloseUnsent = sessionSet, closeBegins, closeSent, closeUnsent
	PeerEnded, Alerted, Left                        = peerEnded, alerted, left
)

// Fate returns what decides on a connection's session, its handshake complete.
// The function says whether the session is bad after an event.
func Fate(strict, ignoreEOF bool) func(FateEvent) (bad bool) {
	f := &fate{strict: strict, ignoreEOF: ignoreEOF}
	f.on(handshakeComplete)
	return func(e FateEvent) bool {
		f.on(e)
		return f.isBad()
	}
}

// Plain returns c as the application set it.
func Plain(c *tls.Config) *tls.Config { return plain(c, markOf(c)) }

// Claims returns how many sessions of single use handshakes under way offer.
func Claims(m *Manager) int {
	m.claims.mu.Lock()
	defer m.claims.mu.Unlock()
	return len(m.claims.all)
}

// Unproven returns how many sessions are on probation, and their bytes.
func Unproven(m *Manager) (sessions int, bytes int64) {
	m.probation.mu.Lock()
	defer m.probation.mu.Unlock()
	return m.probation.shares.Len(), m.probation.shares.Weight()
}

// LimitUnproven sets how many bytes may be on probation.
func LimitUnproven(m *Manager, bytes int64) { m.probation.limit = bytes }

// OwnRing returns the ring of ticket keys that New made, nil if it made none.
func OwnRing(m *Manager) *ticket.KeyRing { return m.ring }
