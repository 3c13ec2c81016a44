package reprise

import (
	"crypto/sha256"
	"crypto/x509"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Revocation names sessions that are not to resume any more, whether they are
// cached or in tickets. It is made by ByLineage, ByCertificate, ByServerName or
// AuthenticatedBefore.
type Revocation struct {
	kind   revocationKind
	key    [16]byte
	before time.Time // AuthenticatedBefore
}

type revocationKind uint8

const (
	revokedBefore revocationKind = iota
	revokedSecret
	revokedLineage
	revokedCertificate
	revokedName
	revocationKinds
)

var revocationKindNames = [revocationKinds]string{"time", "session", "lineage", "certificate", "server name"}

// ByLineage names all sessions that descend from the same full handshake as s.
func ByLineage(s *Session) Revocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	r := Revocation{kind: revokedLineage}
	copy(r.key[:], s.rec.Lineage)
	return r
}

// ByCertificate names all sessions of a client that authenticated with cert up
// to now: what it authenticates for later is new.
func ByCertificate(cert *x509.Certificate) Revocation {
	return Revocation{kind: revokedCertificate, key: revocationKey(cert.Raw)}
}

// ByServerName names all sessions made for a server name up to now. The case of
// ASCII letters and dots at the end make no difference.
func ByServerName(name string) Revocation {
	return Revocation{kind: revokedName, key: revocationKey([]byte(clientName(name)))}
}

// AuthenticatedBefore names all sessions that descend from a full handshake
// before t, and so all that were issued before t.
func AuthenticatedBefore(t time.Time) Revocation { return Revocation{kind: revokedBefore, before: t} }

// bySecret names one session, in all tickets that it is in; false if it has no secret.
func bySecret(s *Session) (Revocation, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Revocation{kind: revokedSecret, key: revocationKey(s.secrets.secret)}, len(s.secrets.secret) > 0
}

func revocationKey(b []byte) (key [16]byte) {
	sum := sha256.Sum256(b)
	copy(key[:], sum[:])
	return key
}

// maxRevocations bounds the revocations of each kind.
const maxRevocations = 4096

// revocations holds what was revoked, until no session that it names can be
// alive. When one kind becomes too many, a watermark takes their place: all
// sessions that have what this kind names and were authenticated before it.
// So at the limit more is revoked, never less.
type revocations struct {
	active atomic.Bool // false: nothing was ever revoked, which is all that most need to know

	mu        sync.RWMutex
	entries   [revocationKinds]map[[16]byte]revoked
	watermark [revocationKinds]int64 // nanoseconds
}

type revoked struct {
	at    int64 // nanoseconds: what authenticated up to here is revoked
	until int64 // nanoseconds: nothing of it can be alive later
}

func newRevocations() *revocations {
	r := new(revocations)
	for k := range r.entries {
		r.entries[k] = make(map[[16]byte]revoked)
	}
	for k := range r.watermark {
		r.watermark[k] = math.MinInt64
	}
	return r
}

// Revoke keeps the named sessions from resuming at this Manager, from now on.
// Connections that run are not touched. It is kept in memory, and bounded: with
// more than 4096 of a kind in force, all of them are replaced by one that
// revokes every session of that kind up to now, which is counted
// (Stats.RevocationsCoarsened) and logged.
func (m *Manager) Revoke(r Revocation) {
	now := m.now()
	if m.revocations.add(r, now, m.lifetime()) {
		m.stats.coarsened.Add(1)
		m.config.Logger.Warn("too many revocations: all sessions up to now are revoked that have what these name",
			"kind", revocationKindNames[r.kind])
	}
}

// lifetime is how long after its full handshake a session can resume at most.
func (m *Manager) lifetime() time.Duration { return min(m.config.MaxAge, maxLifetime) }

func (r *revocations) add(what Revocation, now time.Time, lifetime time.Duration) (coarsened bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.active.Store(true)
	at := now.UnixNano()
	if what.kind == revokedBefore {
		r.watermark[revokedBefore] = max(r.watermark[revokedBefore], what.before.UnixNano()-1)
		return false
	}
	entries := r.entries[what.kind]
	if _, known := entries[what.key]; !known && len(entries) >= maxRevocations {
		r.prune(what.kind, at)
		if len(entries) >= maxRevocations {
			clear(entries)
			r.watermark[what.kind] = at
			return true
		}
	}
	entries[what.key] = revoked{at: at, until: addSeconds(at, int64(lifetime))}
	return false
}

// prune forgets what names nothing that is alive.
func (r *revocations) prune(kind revocationKind, now int64) {
	for key, e := range r.entries[kind] {
		if e.until < now {
			delete(r.entries[kind], key)
		}
	}
}

func (r *revocations) len() (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.entries {
		n += len(e)
	}
	return n
}

// revoked reports whether s was revoked. The caller holds s.mu.
func (r *revocations) revoked(s *Session) bool {
	if !r.active.Load() {
		return false
	}
	born := s.born()
	r.mu.RLock()
	defer r.mu.RUnlock()
	if born <= r.watermark[revokedBefore] || born <= r.watermark[revokedSecret] {
		return true
	}
	if len(s.secrets.secret) > 0 && r.has(revokedSecret, revocationKey(s.secrets.secret), math.MinInt64) {
		return true
	}
	if len(s.rec.Lineage) > 0 {
		var key [16]byte
		copy(key[:], s.rec.Lineage)
		if born <= r.watermark[revokedLineage] || r.has(revokedLineage, key, math.MinInt64) {
			return true
		}
	}
	if s.f.Peer != nil && (born <= r.watermark[revokedCertificate] || r.has(revokedCertificate, revocationKey(s.f.Peer), born)) {
		return true
	}
	return len(s.f.Hostname) > 0 &&
		(born <= r.watermark[revokedName] || r.has(revokedName, revocationKey([]byte(clientName(string(s.f.Hostname)))), born))
}

// has reports whether a key was revoked at or after born.
func (r *revocations) has(kind revocationKind, key [16]byte, born int64) bool {
	if len(r.entries[kind]) == 0 {
		return false
	}
	e, ok := r.entries[kind][key]
	return ok && born <= e.at
}

// born is when the session's line began, in nanoseconds; one that does not say
// began itself. The caller holds s.mu.
func (s *Session) born() int64 {
	if s.rec.FirstAuth != 0 {
		return s.rec.FirstAuth
	}
	const limit = math.MaxInt64 / int64(time.Second)
	return max(min(s.f.Time, limit), -limit) * int64(time.Second)
}
