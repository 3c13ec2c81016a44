package ticket

import (
	"math"
	"time"
)

// instant is a time by two clocks. The wall clock also runs while the machine
// sleeps, but can be set back. The monotonic clock cannot, but may stand still
// during sleep. What comes to an end has ended as soon as either clock says so.
type instant struct {
	wall time.Time     // zero: never, by either clock
	mono time.Duration // since the ring was made
}

// reached reports whether t has come, by either clock.
func (t instant) reached(now instant) bool {
	return !t.wall.IsZero() && (!now.wall.Before(t.wall) || now.mono >= t.mono)
}

// add returns the instant that comes d after t by both clocks.
func (t instant) add(d time.Duration) instant {
	return instant{t.wall.Add(d), addDurations(t.mono, d)}
}

// at returns the instant when the wall clock shows w, if it keeps going from t
// as the monotonic clock does.
func (t instant) at(w time.Time) instant {
	if w.IsZero() {
		return instant{}
	}
	return instant{w, addDurations(t.mono, w.Sub(t.wall))}
}

// earlier returns the earlier of both by each clock.
func (t instant) earlier(u instant) instant {
	if u.wall.Before(t.wall) {
		t.wall = u.wall
	}
	t.mono = min(t.mono, u.mono)
	return t
}

// addDurations adds d to a, which is not negative, or returns the longest
// Duration if that is too much.
func addDurations(a, d time.Duration) time.Duration {
	if d > math.MaxInt64-a {
		return math.MaxInt64
	}
	return a + d
}

// clock returns what reads the time by both clocks. now is the wall clock, nil
// for [time.Now].
func clock(now func() time.Time) func() instant {
	began := time.Now()
	if now == nil {
		return func() instant {
			t := time.Now() // one reading for both
			return instant{t.Round(0), t.Sub(began)}
		}
	}
	return func() instant {
		wall := now().Round(0)
		return instant{wall, time.Since(began)}
	}
}
