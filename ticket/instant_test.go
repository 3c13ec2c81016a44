package ticket

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// driftingClock is a wall clock that goes on as time.Now does, virtually in a
// bubble, and that tests set.
type driftingClock struct{ off time.Duration }

func (c *driftingClock) now() time.Time { return time.Now().Add(c.off) }

// bubbleKey returns new Keys of the same bytes.
func bubbleKey(tb testing.TB, n byte) func() *Key {
	raw := slices.Concat(testName[:], testAES)
	raw[0], raw[20] = n, n
	return func() *Key {
		k, err := NewGCMKey(raw)
		if err != nil {
			tb.Fatal(err)
		}
		return k
	}
}

func TestInstant(t *testing.T) {
	now := instant{epoch, time.Hour}
	for what, c := range map[string]struct {
		t    instant
		want bool
	}{
		"never":             {instant{}, false},
		"now":               {now, true},
		"the wall clock":    {instant{epoch, 2 * time.Hour}, true},
		"the other":         {instant{epoch.Add(1), time.Hour}, true},
		"neither":           {instant{epoch.Add(1), time.Hour + 1}, false},
		"never, at":         {now.at(time.Time{}), false},
		"at a time to come": {now.at(epoch.Add(1)), false},
		"at a time before":  {now.at(epoch.Add(-2 * time.Hour)), true},
		"at the end of all": {now.at(time.Unix(math.MaxInt64/2, 0)), false},
		"at the beginning":  {now.at(time.Unix(math.MinInt64/2, 0)), true},
	} {
		if got := c.t.reached(now); got != c.want {
			t.Errorf("%s: reached is %v", what, got)
		}
	}
	a, b := instant{epoch.Add(1), time.Hour + 2}, instant{epoch.Add(2), time.Hour + 1}
	if got, want := a.earlier(b), (instant{epoch.Add(1), time.Hour + 1}); got != want || b.earlier(a) != want {
		t.Errorf("the earlier by each clock is %v and %v, want %v", got, b.earlier(a), want)
	}
	if got := now.add(math.MaxInt64); got.mono != math.MaxInt64 {
		t.Errorf("an hour and the longest time make %v", got.mono)
	}
}

// setBack are ways of a wall clock that goes back: by how much at a step.
var setBack = map[string]func(step int) time.Duration{
	"a second, once": func(step int) time.Duration { return onlyAt(step, 4, time.Second) },
	"an hour, once":  func(step int) time.Duration { return onlyAt(step, 4, time.Hour) },
	"a year, once":   func(step int) time.Duration { return onlyAt(step, 4, 365*24*time.Hour) },
	"a second, always": func(int) time.Duration {
		return time.Second
	},
	"ten minutes, always": func(int) time.Duration { return 10 * time.Minute }, // it stands still
	"an hour, always":     func(int) time.Duration { return time.Hour },
	"a year, always":      func(int) time.Duration { return 365 * 24 * time.Hour },
}

func onlyAt(step, at int, d time.Duration) time.Duration {
	if step == at {
		return d
	}
	return 0
}

// TestSetBack: whatever the wall clock does, a key of a ring seals until as much
// time has passed as there was until Stop, and opens likewise until End. It
// makes no difference that a source gives the same keys again at every step.
func TestSetBack(t *testing.T) {
	for name, back := range setBack {
		for _, reload := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reload %v", name, reload), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testSetBack(t, back, reload) })
			})
		}
	}
}

func testSetBack(t *testing.T, back func(int) time.Duration, reload bool) {
	clock := new(driftingClock)
	began := clock.now()
	after := func(d time.Duration) time.Time { return began.Add(d) }
	oldKey, nextKey := bubbleKey(t, 1), bubbleKey(t, 2)
	old, next := oldKey(), nextKey()
	oldTicket, nextTicket := sealedWith(old, "session"), sealedWith(next, "session")
	r := newRing(clock.now)
	set := func(old, next *Key) {
		mustSet(t, r,
			RingKey{Key: old, State: Encrypting, Stop: after(time.Hour), End: after(3 * time.Hour)},
			RingKey{Key: next, State: Published, Start: after(time.Hour), Stop: after(2 * time.Hour), End: after(4 * time.Hour)})
	}
	set(old, next)
	for step := range 30 {
		passed := time.Duration(step) * 10 * time.Minute
		seals := []*Key{old, next, nil}[min(int(passed/time.Hour), 2)]
		wantSeals(t, r, passed.String(), seals)
		wantUntil(t, r, passed, 3*time.Hour, oldTicket, seals == next)
		wantUntil(t, r, passed, 4*time.Hour, nextTicket, false)
		time.Sleep(10 * time.Minute)
		clock.off -= back(step)
		if reload {
			set(oldKey(), nextKey())
		}
	}
	wantWiped(t, old)
	wantWiped(t, next)
}

// wantUntil checks that a ticket opens until as much time has passed, exactly.
func wantUntil(t *testing.T, r *KeyRing, passed, until time.Duration, ticket []byte, wantRenew bool) {
	t.Helper()
	if passed < until {
		wantOpen(t, r, passed.String(), ticket, wantRenew)
	} else {
		wantUnknown(t, r, passed.String(), ticket)
	}
}

// TestSetBackGenerated: as TestSetBack, for a ring that makes its keys.
func TestSetBackGenerated(t *testing.T) {
	for name, back := range setBack {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				clock := new(driftingClock)
				r := mustGenerate(t, RingConfig{Time: clock.now})
				first := r.current().seal
				ticket := mustSeal(t, r, []byte("session"))
				for step := range 30 {
					passed := time.Duration(step) * 10 * time.Minute
					if seals := names(mustSeal(t, r, nil), first); seals != (passed < time.Hour) {
						t.Errorf("%v: the first key seals is %v", passed, seals)
					}
					wantUntil(t, r, passed, 3*time.Hour, ticket, passed >= time.Hour)
					time.Sleep(10 * time.Minute)
					clock.off -= back(step)
				}
				wantWiped(t, first)
				if n := len(r.Stats().Keys); n > 4 {
					t.Errorf("%d keys", n)
				}
			})
		})
	}
}

// TestSleep: while the machine sleeps the wall clock ends keys, and what has
// ended stays so if the clock is then set back and a source gives the key again.
func TestSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := newClock() // nothing else moves
		key := bubbleKey(t, 1)
		r := clockRing(clock)
		give := func() { mustSet(t, r, RingKey{Key: key(), State: Encrypting, Stop: at(1), End: at(2)}) }
		give()
		ticket := mustSeal(t, r, []byte("session"))
		clock.set(at(1))
		wantSeals(t, r, "an hour of sleep", nil)
		clock.set(at(0))
		wantSeals(t, r, "set back", nil)
		give()
		wantSeals(t, r, "set back, given again", nil)
		wantOpen(t, r, "set back", ticket, false)
		clock.set(at(2))
		wantUnknown(t, r, "two hours of sleep", ticket)
		clock.set(at(0))
		wantUnknown(t, r, "set back", ticket)
		give()
		wantUnknown(t, r, "set back, given again", ticket)
		if n := len(r.Stats().Keys); n != 0 {
			t.Errorf("%d keys", n)
		}
	})
}

// TestReturn: a source that leaves out what has ended by its own clock, and gives
// it again when that was set back, gives it no more time.
func TestReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := new(driftingClock)
		end := clock.now().Add(2 * time.Hour)
		key, other := bubbleKey(t, 1), bubbleKey(t, 2)
		r := newRing(clock.now)
		give := func(end time.Time) { mustSet(t, r, encrypting(other()), RingKey{Key: key(), End: end}) }
		give(end)
		ticket := sealedWith(key(), "session")
		time.Sleep(time.Hour)
		mustSet(t, r, encrypting(other()))
		wantUnknown(t, r, "left out", ticket)
		clock.off -= 365 * 24 * time.Hour
		give(end)
		wantOpen(t, r, "given again", ticket, true)
		time.Sleep(time.Hour - 1)
		wantOpen(t, r, "before its end", ticket, true)
		time.Sleep(time.Nanosecond)
		wantUnknown(t, r, "at its end", ticket)
		give(end)
		wantUnknown(t, r, "given again", ticket)
		give(end.Add(1)) // another schedule, which has ended too
		time.Sleep(time.Nanosecond)
		wantUnknown(t, r, "given a moment more, a moment later", ticket)
		give(end.Add(time.Hour))
		wantOpen(t, r, "given more time", ticket, true)

		if n := len(r.left); n != 1 {
			t.Errorf("the ring remembers %d keys, and one has left", n)
		}
		for i := range maxLeft {
			mustSet(t, r, encrypting(bubbleKey(t, 100+byte(i%100))()), decrypting(GenerateKey(FormAEAD)))
		}
		if n := len(r.left); n != maxLeft {
			t.Errorf("the ring remembers %d keys, want %d", n, maxLeft)
		}
	})
}

// TestClockAhead: a key that had ended before it came, by a clock that was ahead,
// comes in when it is given again and the clock is right.
func TestClockAhead(t *testing.T) {
	clock, key := newClock(), bubbleKey(t, 1)
	clock.set(at(1000))
	r := clockRing(clock)
	mustSet(t, r, RingKey{Key: key(), State: Encrypting, End: at(2)})
	wantSeals(t, r, "a clock that is ahead", nil)
	clock.set(at(0))
	k := key()
	mustSet(t, r, RingKey{Key: k, State: Encrypting, End: at(2)})
	wantSeals(t, r, "set right", k)
}

// TestSetTakesBack: what the clock does not undo, Set does.
func TestSetTakesBack(t *testing.T) {
	clock, k := newClock(), GenerateKey(FormAEAD)
	r := clockRing(clock)
	mustSet(t, r, RingKey{Key: k, State: Encrypting, Stop: at(1)})
	clock.set(at(1))
	wantSeals(t, r, "stopped", nil)
	mustSet(t, r, RingKey{Key: k, State: Encrypting, Stop: at(2)})
	wantSeals(t, r, "with more time", k)
	clock.set(at(2))
	wantSeals(t, r, "stopped again", nil)
	mustSet(t, r, RingKey{Key: k, State: Encrypting})
	wantSeals(t, r, "without an end", k)
}

// looked is what the clocks showed when a ring was used.
type looked struct {
	wall time.Time
	mono time.Time // of the bubble
}

// modelKey is a key of a ring, and all looks since it came.
type modelKey struct {
	RingKey // without Key
	key     func() *Key
	came    bool // it was in the ring
	looks   []looked
}

// rank orders states.
func rank(s State) int { return slices.Index([]State{Published, Encrypting, Decrypting, Gone}, s) }

// state returns the latest state at any look.
func (k *modelKey) state() State {
	best := k.State
	for _, l := range k.looks {
		reached := func(t time.Time) bool {
			return !t.IsZero() && (!l.wall.Before(t) || l.mono.Sub(k.looks[0].mono) >= t.Sub(k.looks[0].wall))
		}
		s := k.State
		switch {
		case reached(k.End):
			s = Gone
		case s == Decrypting || reached(k.Stop):
			s = Decrypting
		case reached(k.Start):
			s = Encrypting
		}
		if rank(s) > rank(best) {
			best = s
		}
	}
	return best
}

// TestClocksModel moves both clocks at random and compares the states of the
// keys with those that follow from everything that the clocks ever showed.
func TestClocksModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { rapid.SyncTest(t, testClocksModel) })
}

func testClocksModel(t *rapid.T) {
	clock := new(driftingClock)
	r := newRing(clock.now)
	var keys []*modelKey
	spans := rapid.Custom(func(t *rapid.T) time.Duration {
		return time.Duration(rapid.IntRange(1, 60).Draw(t, "n")) * rapid.SampledFrom([]time.Duration{
			time.Nanosecond, time.Second, time.Minute, time.Hour}).Draw(t, "unit")
	})
	times := func(t *rapid.T, name string) time.Time {
		if rapid.IntRange(0, 3).Draw(t, name+" never") == 0 {
			return time.Time{}
		}
		return clock.now().Add(spans.Draw(t, name) - time.Minute).Round(0)
	}
	for i := range 4 {
		keys = append(keys, &modelKey{key: bubbleKey(nil, byte(i+1)), RingKey: RingKey{
			State: State(rapid.IntRange(0, 2).Draw(t, "state")),
			Start: times(t, "start"), Stop: times(t, "stop"), End: times(t, "end"),
		}})
	}
	set := func(*rapid.T) {
		var state RingState
		for _, k := range keys {
			if !k.came {
				k.looks = nil // it comes now
			}
			given := k.RingKey
			given.Key = k.key()
			state.Keys = append(state.Keys, given)
		}
		if err := r.Set(state); err != nil {
			t.Fatal(err)
		}
	}
	set(t)
	t.Repeat(map[string]func(*rapid.T){
		"time passes":  func(t *rapid.T) { time.Sleep(spans.Draw(t, "span")) },
		"set forward":  func(t *rapid.T) { clock.off += spans.Draw(t, "span") },
		"set back":     func(t *rapid.T) { clock.off -= spans.Draw(t, "span") },
		"set far back": func(t *rapid.T) { clock.off -= 365 * 24 * time.Hour },
		"given again":  set,
		"": func(t *rapid.T) {
			for _, k := range keys {
				k.looks = append(k.looks, looked{clock.now().Round(0), time.Now()})
				k.came = k.came || len(k.looks) == 1 && k.state() != Gone
			}
			compare(t, r, keys)
		},
	})
}

// compare holds a ring to the model: by what it tells, and what it does.
func compare(t *rapid.T, r *KeyRing, keys []*modelKey) {
	stats := r.Stats()
	sealed, err := r.Seal(nil)
	seals := 0
	for i, k := range keys {
		key, want, got := k.key(), k.state(), Gone.String()
		for _, s := range stats.Keys {
			if s.Fingerprint == key.Fingerprint() {
				got = s.State
			}
		}
		if got != want.String() {
			t.Fatalf("key %d is %s, want %v", i, got, want)
		}
		if _, _, err := r.Open(sealedWith(key, "session")); (err == nil) != (want != Gone) {
			t.Fatalf("key %d, %v: Open = %v", i, want, err)
		}
		if want == Encrypting {
			seals++
		}
		if err == nil && names(sealed, key) && want != Encrypting {
			t.Fatalf("key %d seals and is %v", i, want)
		}
	}
	if (err == nil) != (seals > 0) {
		t.Fatalf("%d keys encrypt: Seal = %v", seals, err)
	}
}
