package reprise

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"slices"
	"sync/atomic"
	"time"
)

// line is one full handshake with all sessions that descend from it.
type line struct {
	firstAuth int64  // nanoseconds since the epoch
	lineage   []byte // the same in all of the line's sessions, nil if none could be drawn
	sequence  []byte // where the line began in the order of one Manager; nil if that is unknown
}

// newLine begins a line. Call it where a handshake begins: a revocation that
// comes before the handshake's end then holds for the sessions that it makes.
func (m *Manager) newLine() line {
	l := line{firstAuth: m.now().UnixNano(), lineage: make([]byte, 16), sequence: m.sequence.mark(m.sequence.next())}
	if _, err := io.ReadFull(m.config.Rand, l.lineage); err != nil {
		l.lineage = nil
	}
	return l
}

// lineOf returns the line of s for a session that descends from s. A line that
// seems to begin in the future begins now: else it would be as long again until
// Config.MaxAge ends it.
func (m *Manager) lineOf(s *Session) line {
	now := m.now().UnixNano()
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := line{firstAuth: s.born(), lineage: slices.Clone(s.rec.Lineage), sequence: slices.Clone(s.rec.Sequence)}
	if l.firstAuth > addSeconds(now, int64(m.config.ClockSkew)) {
		l.firstAuth = now
	}
	return l
}

// sequence numbers what happens at a Manager: the beginnings of lines and
// revocations. It orders them where the time of day cannot, because that stands
// still or goes back.
type sequence struct {
	id   [8]byte // of the Manager
	last atomic.Uint64
}

func newSequence(rand io.Reader) (*sequence, error) {
	q := new(sequence)
	_, err := io.ReadFull(rand, q.id[:])
	return q, err
}

// next returns a number greater than all before it; the first is 1.
func (q *sequence) next() uint64 { return q.last.Add(1) }

// mark returns number as it travels with a session, nil for 0.
func (q *sequence) mark(number uint64) []byte {
	if number == 0 {
		return nil
	}
	return binary.BigEndian.AppendUint64(slices.Clone(q.id[:]), number)
}

// number returns what mark was given, 0 if the mark is another Manager's, or none.
func (q *sequence) number(mark []byte) uint64 {
	id, ok := bytes.CutPrefix(mark, q.id[:])
	if !ok || len(id) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(id)
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

// inTime reports why s is not to resume at this time, or Resumed. seconds is how
// long after its Time it may. The caller holds s.mu.
func (m *Manager) inTime(s *Session, seconds int64) Reason {
	now := m.now()
	switch {
	case m.fromFuture(s, now):
		return FromFuture
	case now.Unix() > addSeconds(s.f.Time, seconds), m.keptFor(s, seconds):
		return Expired
	case now.UnixNano() > addSeconds(s.born(), int64(m.config.MaxAge)), m.keptFor(s, int64(m.config.MaxAge/time.Second)):
		return TooOld
	}
	return Resumed
}

// fromFuture reports whether s was made under a clock that is ahead. If the
// Manager has timed s, its own clock was set back meanwhile: then s ages by the
// monotonic clock. The caller holds s.mu.
func (m *Manager) fromFuture(s *Session, now time.Time) bool {
	if s.timed != 0 {
		return false
	}
	latest := addSeconds(now.UnixNano(), int64(m.config.ClockSkew))
	return s.f.Time > latest/int64(time.Second) || s.born() > latest
}

// keptFor reports whether the Manager timed s more than seconds ago, all of the
// last second included, by the monotonic clock. The caller holds s.mu.
func (m *Manager) keptFor(s *Session, seconds int64) bool {
	return s.timed != 0 && m.uptime()-s.timed >= saturate(addSeconds(seconds, 1))
}
