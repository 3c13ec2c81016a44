package ticket

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func mustGenerate(tb testing.TB, c RingConfig) *KeyRing {
	tb.Helper()
	r, err := GenerateRing(c)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func TestGenerateRingDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the clock of a nil Time
		r := mustGenerate(t, RingConfig{})
		ticket := mustSeal(t, r, []byte("session"))
		first := r.current().seal
		if first.Form() != FormAEAD || !names(ticket, first) {
			t.Errorf("not AEAD's form: %x", ticket[:17])
		}
		time.Sleep(time.Hour - time.Second)
		wantSeals(t, r, "an hour less", first)
		time.Sleep(time.Second)
		if next := r.current().seal; next == first {
			t.Error("no rotation after an hour")
		}
		wantOpen(t, r, "after an hour", ticket, true)
		time.Sleep(2*time.Hour - time.Second)
		wantOpen(t, r, "after three hours less", ticket, true)
		time.Sleep(time.Second)
		wantUnknown(t, r, "after three hours", ticket)
		wantWiped(t, first)
	})
}

func TestGenerateRingRefuses(t *testing.T) {
	for _, c := range []RingConfig{
		{Rotate: -1},
		{Lifetime: -1},
		{Lifetime: maxLifetime + 1},
		{Rotate: maxLifetime + 1},
		{Rotate: time.Minute, Lifetime: 2 * time.Hour},
		{Rotate: 1},
	} {
		if r, err := GenerateRing(c); err == nil || r != nil {
			t.Errorf("%+v was accepted", c)
		}
	}
	r := mustGenerate(t, RingConfig{Lifetime: maxLifetime})
	if r.generate.rotate != maxLifetime/32 {
		t.Errorf("a lifetime of a week rotates every %v", r.generate.rotate)
	}
	k := GenerateKey(FormAEAD)
	if err := r.Set(states(encrypting(k))); err == nil {
		t.Error("Set was accepted")
	}
	wantNotWiped(t, k)
}

// issued is a ticket and when it was sealed.
type issued struct {
	ticket []byte
	sealed time.Time
}

// TestGenerateRingThousandRotations: whatever the traffic, a ticket opens for
// its lifetime, and is dead when its key must be.
func TestGenerateRingThousandRotations(t *testing.T) {
	const rotate, lifetime = 10 * time.Minute, time.Hour
	clock := newClock()
	r := mustGenerate(t, RingConfig{Rotate: rotate, Lifetime: lifetime, Time: clock.now})
	random := rand.New(rand.NewPCG(1, 2))
	var tickets []issued
	made := map[*Key]bool{}
	opened, dead := 0, 0
	for len(made) < 1000 {
		now := clock.now()
		tickets = append(tickets, issued{mustSeal(t, r, []byte("session")), now})
		seal := r.current().seal
		made[seal] = true
		tickets = slices.DeleteFunc(tickets, func(i issued) bool {
			switch age := now.Sub(i.sealed); {
			case age < lifetime:
				wantOpen(t, r, age.String(), i.ticket, !names(i.ticket, seal))
				opened++
			case age >= rotate+lifetime:
				wantUnknown(t, r, age.String(), i.ticket)
				dead++
				return true
			}
			return false
		})
		if n := len(r.Stats().Keys); n > int((rotate+lifetime)/rotate)+1 {
			t.Fatalf("%d keys", n)
		}
		step := time.Duration(random.Int64N(int64(7 * time.Minute)))
		if random.IntN(100) == 0 {
			step = time.Duration(random.Int64N(int64(3 * time.Hour))) // a quiet time
		}
		clock.add(step)
	}
	if opened < 10_000 || dead < 1000 {
		t.Errorf("%d tickets opened, %d dead: the test proves little", opened, dead)
	}
	live := map[*Key]bool{}
	for _, k := range r.keys {
		live[k.Key] = true
	}
	for k := range made {
		if !live[k] {
			wantWiped(t, k)
		}
	}
}

// TestGenerateRingClockJumps sets the clock an hour forward and back at random.
// What should open is a ticket that has seen less time go by than its lifetime;
// what must not, one that is older than the longest life of a key by a clock
// that has not jumped since.
func TestGenerateRingClockJumps(t *testing.T) {
	const rotate, lifetime = time.Hour, 2 * time.Hour
	clock := newClock()
	r := mustGenerate(t, RingConfig{Rotate: rotate, Lifetime: lifetime, Time: clock.now})
	random := rand.New(rand.NewPCG(3, 4))
	var passed, jumped time.Duration // forward, in all; at the last jump
	type issued struct {
		ticket []byte
		passed time.Duration
	}
	var tickets []issued
	jumps := 0
	for range 4000 {
		tickets = append(tickets, issued{mustSeal(t, r, []byte("session")), passed})
		seal := r.current().seal
		tickets = slices.DeleteFunc(tickets, func(i issued) bool {
			age := passed - i.passed
			switch {
			case age < lifetime:
				wantOpen(t, r, age.String(), i.ticket, !names(i.ticket, seal))
			case age >= rotate+lifetime && passed-max(jumped, i.passed) >= rotate+lifetime:
				wantUnknown(t, r, age.String(), i.ticket)
				return true
			}
			return false
		})
		step := time.Duration(random.Int64N(int64(10 * time.Minute)))
		switch random.IntN(80) {
		case 0:
			step += time.Hour
			jumps++
		case 1:
			clock.add(-time.Hour)
			jumped = passed + step // when the ring is next used
			jumps++
		}
		clock.add(step)
		passed += step
		if t.Failed() {
			t.FailNow()
		}
	}
	if jumps < 50 || len(tickets) > 2000 {
		t.Errorf("%d jumps, %d tickets never found dead: the test proves little", jumps, len(tickets))
	}
}

// TestGenerateRingClockSetBack: by the calendar, too, a ticket that was not yet
// older than its lifetime when the clock was set back an hour opens until it is;
// and a clock that was years ahead leaves no key for years.
func TestGenerateRingClockSetBack(t *testing.T) {
	for jump := range 25 {
		clock := newClock()
		r := mustGenerate(t, RingConfig{Time: clock.now})
		var tickets []issued
		for step := range 45 {
			if step == jump {
				clock.add(-time.Hour)
			}
			now := clock.now()
			tickets = append(tickets, issued{mustSeal(t, r, []byte("session")), now})
			tickets = slices.DeleteFunc(tickets, func(i issued) bool { return now.Sub(i.sealed) >= 2*time.Hour })
			for _, i := range tickets {
				if _, _, err := r.Open(i.ticket); err != nil {
					t.Fatalf("set back at step %d, %v old: %v", jump, now.Sub(i.sealed), err)
				}
			}
			clock.add(7 * time.Minute)
		}
	}

	clock := newClock()
	clock.add(12 * 365 * 24 * time.Hour)
	r := mustGenerate(t, RingConfig{Time: clock.now})
	ticket, first := mustSeal(t, r, []byte("session")), r.current().seal
	clock.set(epoch)
	wantOpen(t, r, "set back", ticket, false)
	clock.add(time.Hour)
	wantOpen(t, r, "an hour later", ticket, true)
	clock.add(2 * time.Hour)
	wantUnknown(t, r, "three hours later", ticket)
	wantWiped(t, first)
}

// TestGenerateRingExhausted: a key that has sealed its tickets is replaced
// before its time, and still opens them.
func TestGenerateRingExhausted(t *testing.T) {
	clock := newClock()
	r := mustGenerate(t, RingConfig{Time: clock.now})
	first := r.current().seal
	if first.limit != 1<<32 {
		t.Error("the limit is not 2^32 tickets")
	}
	first.sealed.Store(first.limit - 2)
	a, b := mustSeal(t, r, []byte("session")), mustSeal(t, r, []byte("session"))
	next := mustSeal(t, r, []byte("session"))
	if !names(a, first) || !names(b, first) || names(next, first) {
		t.Fatal("the key was replaced too early or too late")
	}
	wantOpen(t, r, "the last ticket of the exhausted key", b, true)
	wantOpen(t, r, "the next key's", next, false)
	if len(r.Stats().Keys) != 2 {
		t.Errorf("%d keys, want 2", len(r.Stats().Keys))
	}
	clock.add(2 * time.Hour) // its lifetime counts from when it stopped
	wantUnknown(t, r, "an exhausted key after its lifetime", b)
	wantWiped(t, first)

	for range 3 * MaxKeys {
		k := r.current().seal
		k.sealed.Store(k.limit)
		mustSeal(t, r, nil)
	}
	if n := len(r.Stats().Keys); n != MaxKeys {
		t.Errorf("%d keys, want %d", n, MaxKeys)
	}
}

// TestGenerateRingApart: two rings share nothing.
func TestGenerateRingApart(t *testing.T) {
	a, b := mustGenerate(t, RingConfig{}), mustGenerate(t, RingConfig{})
	wantUnknown(t, b, fmt.Sprint(a), mustSeal(t, a, nil))
}
