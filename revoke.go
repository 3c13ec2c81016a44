package reprise

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// ErrRevokesNothing is returned by Manager.Revoke for a Revocation that names no
// session at all.
var ErrRevokesNothing = errors.New("reprise: revocation names no session")

// Revocation names sessions that are not to resume any more, wherever they are:
// cached, in tickets, or kept by clients. It is made by ByLineage, ByCertificate,
// ByServerName or AuthenticatedBefore. The zero value names nothing, and so does
// what a constructor makes of an argument that no session can have:
// Manager.Revoke refuses it.
type Revocation struct {
	kind   revocationKind
	key    [16]byte
	before int64  // AuthenticatedBefore, nanoseconds since the epoch
	empty  string // what of it names nothing
}

type revocationKind uint8

const (
	revokesNothing revocationKind = iota
	revokedBefore
	revokedAll
	revokedSecret
	revokedLineage
	revokedCertificate
	revokedName
	revocationKinds
)

var revocationKindNames = [revocationKinds]string{"nothing", "time", "all", "session", "lineage", "certificate", "server name"}

// ByLineage names all sessions that descend from the same full handshake as s,
// those that are yet to come included. A session that NewSession or another
// library made has no lineage.
func ByLineage(s *Session) Revocation {
	if s == nil {
		return Revocation{empty: "no session"}
	}
	lineage := s.lineage()
	if len(lineage) == 0 {
		return Revocation{empty: "session " + s.Fingerprint() + " has no lineage"}
	}
	return Revocation{kind: revokedLineage, key: lineageKey(lineage)}
}

// ByCertificate names all sessions whose peer authenticated with cert up to now:
// a client at a server, a server at a client. What the peer authenticates for
// later is new.
func ByCertificate(cert *x509.Certificate) Revocation {
	if cert == nil || len(cert.Raw) == 0 {
		return Revocation{empty: "no certificate"}
	}
	return Revocation{kind: revokedCertificate, key: revocationKey(cert.Raw)}
}

// ByServerName names all sessions made for a server name up to now. The case of
// ASCII letters and dots at the end make no difference.
func ByServerName(name string) Revocation {
	switch name = clientName(name); {
	case name == "":
		return Revocation{empty: "the server name is empty"}
	case len(name) > maxServerName:
		return Revocation{empty: fmt.Sprintf("a server name has at most %d bytes, this one %d", maxServerName, len(name))}
	}
	return Revocation{kind: revokedName, key: revocationKey([]byte(name))}
}

// AuthenticatedBefore names all sessions that descend from a full handshake
// before t, and so all that were issued before t. It goes by the times that the
// sessions bear: a session of a clock that was ahead may escape it, and one of a
// clock that was behind may fall under it. Manager.FlushAll, which revokes all
// up to now, does not depend on this Manager's clock.
func AuthenticatedBefore(t time.Time) Revocation {
	if t.IsZero() {
		return Revocation{empty: "the time is zero"}
	}
	return Revocation{kind: revokedBefore, before: addSeconds(int64(saturate(t.Unix())), int64(t.Nanosecond()))}
}

// bySecret names one session, in all tickets that it is in.
func bySecret(s *Session) Revocation {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.secrets.secret) == 0 {
		return Revocation{empty: "session " + s.fingerprint() + " has no secret"}
	}
	return Revocation{kind: revokedSecret, key: revocationKey(s.secrets.secret)}
}

func lineageKey(lineage []byte) (key [16]byte) {
	copy(key[:], lineage)
	return key
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
// sessions that have what this kind names and whose line began before it. So at
// the limit more is revoked, never less.
type revocations struct {
	active   atomic.Bool // false: nothing was ever revoked, which is all that most need to know
	sequence *sequence
	skew     int64 // nanoseconds; Config.ClockSkew
	maxAge   int64 // nanoseconds; Config.MaxAge: how long after its full handshake a session can resume

	mu        sync.RWMutex
	entries   [revocationKinds]map[[16]byte]revoked
	watermark [revocationKinds]moment
	before    int64 // nanoseconds: AuthenticatedBefore
}

// moment is when something was revoked, in the order of this Manager and by its clock.
type moment struct {
	number uint64
	at     int64 // nanoseconds since the epoch
}

// revoked is a revocation in force. Nothing of it can be alive once both clocks
// are past until: one alone may have been set.
type revoked struct {
	moment
	until int64         // nanoseconds since the epoch
	up    time.Duration // by the Manager's uptime
}

// beginning is where a session's line began: at a number of this Manager's, or,
// if number is 0, at a time that some other process told.
type beginning struct {
	number uint64
	at     int64 // nanoseconds since the epoch
}

func newRevocations(q *sequence, c *Config) *revocations {
	r := &revocations{sequence: q, skew: int64(c.ClockSkew), maxAge: int64(c.MaxAge), before: math.MinInt64}
	for k := range r.entries {
		r.entries[k] = make(map[[16]byte]revoked)
	}
	for k := range r.watermark {
		r.watermark[k] = moment{at: math.MinInt64}
	}
	return r
}

// Revoke keeps the named sessions from resuming at this Manager, from now on: its
// servers resume them no more, and its clients offer them no more, whether they
// are in memory, in Config.ClientStore or set by SetSession. Connections that run
// are not touched.
//
// What is named up to now is told from what comes later by the order in which
// this Manager saw full handshakes begin, whatever the clock does. A handshake
// that began before Revoke and ends after it is one from before. A session
// that was authenticated elsewhere has only its time to go by: it is revoked if
// it was authenticated up to Config.ClockSkew after the revocation.
//
// Two limits: sessions that ClientConfig keeps count from when they arrive, as it
// cannot tell their connection; and another process that shares tickets or a
// store knows nothing of the revocation.
//
// A revocation is kept in memory, and the number of them is bounded: with more
// than 4096 of a kind in force, all of them are replaced by one that revokes
// every session of that kind up to now, which is counted
// (Stats.RevocationsCoarsened) and logged.
//
// The error is ErrRevokesNothing, with the reason, if r names no session.
func (m *Manager) Revoke(r Revocation) error {
	if r.kind == revokesNothing {
		if r.empty == "" {
			r.empty = "it is the zero Revocation"
		}
		return fmt.Errorf("%w: %s", ErrRevokesNothing, r.empty)
	}
	if m.revocations.add(r, m.now(), m.uptime()) {
		m.stats.coarsened.Add(1)
		m.config.Logger.Warn("too many revocations: all sessions up to now are revoked that have what these name",
			"kind", revocationKindNames[r.kind])
	}
	return nil
}

// add puts what into force, now by the wall clock and by the Manager's uptime.
func (r *revocations) add(what Revocation, now time.Time, up time.Duration) (coarsened bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.active.Store(true)
	at := moment{r.sequence.next(), now.UnixNano()}
	switch what.kind {
	case revokedBefore:
		r.before = max(r.before, what.before)
		return false
	case revokedAll:
		r.raise(revokedAll, at)
		return false
	}
	entries := r.entries[what.kind]
	if _, known := entries[what.key]; !known && len(entries) >= maxRevocations {
		r.prune(what.kind, at.at, up)
		if len(entries) >= maxRevocations {
			clear(entries)
			r.raise(what.kind, at)
			return true
		}
	}
	if e, known := entries[what.key]; known {
		at.at = max(at.at, e.at) // the clock was set back since
	}
	alive := addSeconds(r.maxAge, r.skew)
	entries[what.key] = revoked{at, addSeconds(at.at, alive), time.Duration(addSeconds(int64(up), alive))}
	return false
}

// raise sets the watermark of a kind to what it was or at, whichever revokes more.
func (r *revocations) raise(kind revocationKind, at moment) {
	at.at = max(at.at, r.watermark[kind].at)
	r.watermark[kind] = at
}

// prune forgets what names nothing that is alive.
func (r *revocations) prune(kind revocationKind, now int64, up time.Duration) {
	for key, e := range r.entries[kind] {
		if e.until < now && e.up < up {
			delete(r.entries[kind], key)
		}
	}
}

// watermarkTime returns the time before which all lines are revoked, in nanoseconds.
func (r *revocations) watermarkTime() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.before
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
	began := beginning{r.sequence.number(s.rec.Sequence), s.born()}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if began.at < r.before || r.precedes(began, r.watermark[revokedAll]) || r.precedes(began, r.watermark[revokedSecret]) {
		return true
	}
	if len(s.secrets.secret) > 0 && r.has(revokedSecret, revocationKey(s.secrets.secret)) {
		return true
	}
	if len(s.rec.Lineage) > 0 &&
		(r.precedes(began, r.watermark[revokedLineage]) || r.has(revokedLineage, lineageKey(s.rec.Lineage))) {
		return true
	}
	if s.f.Peer != nil && r.hasUpTo(revokedCertificate, s.f.Peer, began) {
		return true
	}
	return len(s.f.Hostname) > 0 && r.hasUpTo(revokedName, []byte(clientName(string(s.f.Hostname))), began)
}

// has reports whether a key was revoked, for all time.
func (r *revocations) has(kind revocationKind, key [16]byte) bool {
	_, ok := r.entries[kind][key]
	return ok
}

// hasUpTo reports whether a value was revoked for lines that began so early.
func (r *revocations) hasUpTo(kind revocationKind, value []byte, began beginning) bool {
	if r.precedes(began, r.watermark[kind]) {
		return true
	}
	if len(r.entries[kind]) == 0 {
		return false
	}
	e, ok := r.entries[kind][revocationKey(value)]
	return ok && r.precedes(began, e.moment)
}

// precedes reports whether what began so precedes a revocation, or may.
func (r *revocations) precedes(began beginning, at moment) bool {
	switch {
	case at.number == 0: // of a watermark that was never set
		return false
	case began.number != 0:
		return began.number < at.number
	}
	return began.at <= addSeconds(at.at, r.skew)
}
