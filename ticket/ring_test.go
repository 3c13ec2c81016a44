package ticket

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeClock is a clock that tests set.
type fakeClock struct{ unixNano atomic.Int64 }

// epoch is when fake clocks begin.
var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newClock() *fakeClock {
	c := new(fakeClock)
	c.unixNano.Store(epoch.UnixNano())
	return c
}

func (c *fakeClock) now() time.Time      { return time.Unix(0, c.unixNano.Load()).UTC() }
func (c *fakeClock) add(d time.Duration) { c.unixNano.Add(int64(d)) }
func (c *fakeClock) set(t time.Time)     { c.unixNano.Store(t.UnixNano()) }
func at(hours float64) time.Time         { return epoch.Add(time.Duration(hours * float64(time.Hour))) }
func states(keys ...RingKey) RingState   { return RingState{Keys: keys} }
func encrypting(k *Key) RingKey          { return RingKey{Key: k, State: Encrypting} }
func decrypting(k *Key) RingKey          { return RingKey{Key: k} }
func published(k *Key) RingKey           { return RingKey{Key: k, State: Published} }
func sealedWith(k *Key, s string) []byte { return k.box.seal([]byte(s)) }
func names(ticket []byte, k *Key) bool   { return k.named(ticket) }
func clockRing(c *fakeClock) *KeyRing    { return newRing(c.now) }

func mustRing(tb testing.TB, keys ...*Key) *KeyRing {
	tb.Helper()
	r, err := NewKeyRing(keys...)
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

func mustSet(tb testing.TB, r *KeyRing, keys ...RingKey) {
	tb.Helper()
	if err := r.Set(states(keys...)); err != nil {
		tb.Fatal(err)
	}
}

// wantOpen checks what becomes of a ticket that holds "session".
func wantOpen(t *testing.T, r *KeyRing, what string, ticket []byte, wantRenew bool) {
	t.Helper()
	session, renew, err := r.Open(ticket)
	if err != nil || string(session) != "session" || renew != wantRenew {
		t.Errorf("%s: Open = %q, renew %v, %v, want renew %v", what, session, renew, err, wantRenew)
	}
}

func wantUnknown(t *testing.T, r *KeyRing, what string, ticket []byte) {
	t.Helper()
	wantRefused(t, r, what, ticket, false)
}

// wantSeals checks which key seals; nil is for none.
func wantSeals(t *testing.T, r *KeyRing, what string, want *Key) {
	t.Helper()
	ticket, err := r.Seal([]byte("session"))
	switch {
	case want == nil && !errors.Is(err, ErrNoKey):
		t.Errorf("%s: Seal = %v, want ErrNoKey", what, err)
	case want != nil && err != nil:
		t.Errorf("%s: Seal: %v", what, err)
	case want != nil && !names(ticket, want):
		t.Errorf("%s: %v does not seal", what, want)
	}
}

func TestRingForms(t *testing.T) {
	var keys []*Key
	tickets := make(map[*Key][]byte)
	for _, form := range forms {
		k := GenerateKey(form)
		keys = append(keys, k)
		tickets[k] = sealedWith(k, "session")
	}
	r := mustRing(t, keys...)
	wantSeals(t, r, "three forms", keys[0])
	for k, ticket := range tickets {
		wantOpen(t, r, k.String(), ticket, k != keys[0])
		ticket[len(ticket)-1] ^= 1
		wantRefused(t, r, k.String(), ticket, true)
		wantRefused(t, r, k.String(), ticket[:17], true)
		wantUnknown(t, r, k.String(), ticket[:15])
	}
	wantUnknown(t, r, "nothing", nil)
	wantUnknown(t, r, "another key", mustSeal(t, NewAEAD(), nil))
}

// TestRingFormsApart: the name of a key in the place where another form has it
// is not its name.
func TestRingFormsApart(t *testing.T) {
	gcm, cbc := GenerateKey(FormAEAD), GenerateKey(FormOpenSSL256)
	r := mustRing(t, gcm, cbc)
	wantUnknown(t, r, "name of an AEAD key first", append(gcm.name[:], make([]byte, 100)...))
	wantUnknown(t, r, "name of an OpenSSL key after a revision", append(append([]byte{aeadRevision}, cbc.name[:]...), make([]byte, 100)...))

	// A name that begins like an AEAD ticket is a name all the same.
	odd := testName
	odd[0] = aeadRevision
	k, err := NewOpenSSLKey(odd, testAES, testHMAC)
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, r, encrypting(k))
	wantOpen(t, r, "a name that begins with 1", mustSeal(t, r, []byte("session")), false)
}

// TestRingStates walks a key through its times.
func TestRingStates(t *testing.T) {
	for _, form := range forms {
		clock := newClock()
		old, next := GenerateKey(form), GenerateKey(form)
		oldTicket, nextTicket := sealedWith(old, "session"), sealedWith(next, "session")
		r := clockRing(clock)
		mustSet(t, r,
			RingKey{Key: old, State: Encrypting, End: at(3)},
			RingKey{Key: next, State: Published, Start: at(1), Stop: at(4), End: at(5)})

		step := func(hour float64, seals *Key, oldRenew, nextRenew bool) {
			t.Helper()
			clock.set(at(hour))
			what := fmt.Sprintf("%v, hour %v", form, hour)
			wantSeals(t, r, what, seals)
			if hour < 3 {
				wantOpen(t, r, what, oldTicket, oldRenew)
			} else {
				wantUnknown(t, r, what, oldTicket)
			}
			if hour < 5 {
				wantOpen(t, r, what, nextTicket, nextRenew)
			} else {
				wantUnknown(t, r, what, nextTicket)
			}
		}
		step(0, old, false, false)
		step(0.99, old, false, false)
		step(1, next, true, false)
		step(0.5, next, true, false) // set back: nothing goes back with it
		step(2.99, next, true, false)
		wantNotWiped(t, old)
		step(3, next, true, false)
		wantWiped(t, old)
		step(3.99, next, false, false)
		step(4, nil, false, false) // nothing to renew with
		step(4.99, nil, false, false)
		wantNotWiped(t, next)
		step(5, nil, false, false)
		wantWiped(t, next)
	}
}

func wantNotWiped(t *testing.T, k *Key) {
	t.Helper()
	if !k.hold() {
		t.Errorf("%v is wiped", k)
		return
	}
	k.release()
}

// TestRingChooses: of several keys that may encrypt it is the latest.
func TestRingChooses(t *testing.T) {
	a, b, c, d := GenerateKey(FormAEAD), GenerateKey(FormAEAD), GenerateKey(FormAEAD), GenerateKey(FormAEAD)
	clock := newClock()
	r := clockRing(clock)
	mustSet(t, r, encrypting(a), encrypting(b), decrypting(c), published(d))
	wantSeals(t, r, "no times", a)
	wantOpen(t, r, "another that encrypts", sealedWith(b, "session"), true)
	wantOpen(t, r, "decrypting", sealedWith(c, "session"), true)
	wantOpen(t, r, "published", sealedWith(d, "session"), false)
	clock.add(1000 * time.Hour)
	wantSeals(t, r, "a published key without a Start", a)

	mustSet(t, r, encrypting(a), RingKey{Key: b, State: Encrypting, Start: at(-2)}, RingKey{Key: c, State: Published, Start: at(-1)})
	wantSeals(t, r, "the latest Start", c)

	// HAProxy's way: the penultimate of three seals.
	mustSet(t, r, decrypting(a), encrypting(b), published(c))
	wantSeals(t, r, "HAProxy", b)
}

func TestRingSetRefuses(t *testing.T) {
	a, b := GenerateKey(FormAEAD), testOpenSSLKey(t, 32)
	namesake, err := NewOpenSSLKey(testName, testHMAC, testAES)
	if err != nil {
		t.Fatal(err)
	}
	other := testName
	other[0]++
	twoNames, err := NewOpenSSLKey(other, testAES, testHMAC)
	if err != nil {
		t.Fatal(err)
	}
	wiped := GenerateKey(FormAEAD)
	wiped.Wipe()
	r := mustRing(t, a)
	ticket := mustSeal(t, r, []byte("session"))
	for name, c := range map[string]struct {
		keys []RingKey
		want error
	}{
		"one key twice":         {states(encrypting(b), decrypting(b)).Keys, ErrDuplicateKey},
		"twins":                 {states(encrypting(b), decrypting(testOpenSSLKey(t, 32))).Keys, ErrDuplicateKey},
		"one name, two secrets": {states(encrypting(b), decrypting(namesake)).Keys, ErrDuplicateKey},
		"one secret, two names": {states(encrypting(b), decrypting(twoNames)).Keys, ErrDuplicateKey},
		"a wiped key":           {states(encrypting(b), decrypting(wiped)).Keys, ErrWiped},
		"nil":                   {states(encrypting(b), decrypting(nil)).Keys, nil},
		"a state that is none":  {states(encrypting(b), RingKey{Key: namesake, State: Gone + 1}).Keys, nil},
	} {
		if err := r.Set(states(c.keys...)); err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: Set = %v, want %v", name, err, c.want)
		}
		wantNotWiped(t, b)
		wantOpen(t, r, name, ticket, false)
	}
	if s := r.Stats(); len(s.Keys) != 1 || s.Retired != 0 {
		t.Errorf("after errors: %+v", s)
	}

	var many []RingKey
	for range MaxKeys {
		many = append(many, decrypting(GenerateKey(FormAEAD)))
	}
	mustSet(t, r, many...)
	if err := r.Set(states(append(many, decrypting(b))...)); err == nil {
		t.Errorf("%d keys were accepted", len(many)+1)
	}
	if _, err := NewKeyRing(b, testOpenSSLKey(t, 32)); !errors.Is(err, ErrDuplicateKey) {
		t.Errorf("NewKeyRing of twins: %v, want ErrDuplicateKey", err)
	}
}

// TestRingTwin: a source makes new values of the same keys each time; the ring
// goes on with what it has.
func TestRingTwin(t *testing.T) {
	first, kept := testOpenSSLKey(t, 32), GenerateKey(FormAEAD)
	r := mustRing(t, first, kept)
	mustSeal(t, r, nil)
	since := r.Stats().Keys[0].Since
	second := testOpenSSLKey(t, 32)
	mustSet(t, r, encrypting(second), decrypting(kept))
	wantWiped(t, second)
	wantNotWiped(t, first)
	mustSeal(t, r, nil)
	s := r.Stats()
	if s.Keys[0].Sealed != 2 || !s.Keys[0].Since.Equal(since) || s.Retired != 0 || len(s.Keys) != 2 {
		t.Errorf("Stats = %+v, want 2 tickets of one key", s)
	}

	// The same name with other secrets is another key.
	other, err := NewOpenSSLKey(testName, testHMAC, testAES)
	if err != nil {
		t.Fatal(err)
	}
	mustSet(t, r, encrypting(other))
	wantWiped(t, first)
	wantWiped(t, kept)
	wantSeals(t, r, "another secret", other)
}

// TestRingWipes: keys that leave are wiped, but never under a call that uses them.
func TestRingWipes(t *testing.T) {
	for _, form := range forms {
		a, b := GenerateKey(form), GenerateKey(form)
		r := mustRing(t, a)
		ticket := mustSeal(t, r, []byte("session"))
		v := r.current()
		if !v.seal.hold() { // a call of Seal that is under way
			t.Fatal("the key of the view cannot be used")
		}
		mustSet(t, r, encrypting(b))
		wantUnknown(t, r, "a key that left", ticket)
		if late, err := v.seal.seal([]byte("late")); err != nil {
			t.Errorf("a call under way: %v, %v", late, err)
		}
		wantNotWiped(t, a)
		v.seal.release()
		wantWiped(t, a)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		wantWiped(t, b)
		if r.Stats().Retired != 2 {
			t.Errorf("%d keys retired, want 2", r.Stats().Retired)
		}
	}
}

// TestRingsShareKey: a key in two rings lives until both let go.
func TestRingsShareKey(t *testing.T) {
	k := GenerateKey(FormAEAD)
	r1, r2 := mustRing(t, k), mustRing(t, k)
	r1.Close()
	wantSeals(t, r2, "the other ring", k)
	k.Wipe()
	wantSeals(t, r2, "after Wipe", k)
	mustSet(t, r2)
	wantWiped(t, k)
	wantSeals(t, r2, "no keys", nil)
}

func TestRingClose(t *testing.T) {
	generated, err := GenerateRing(RingConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*KeyRing{mustRing(t, GenerateKey(FormAEAD)), mustRing(t), generated} {
		ticket, _ := r.Seal(nil)
		for range 2 {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Seal(nil); !errors.Is(err, ErrClosed) {
			t.Errorf("Seal = %v, want ErrClosed", err)
		}
		if err := r.Set(states(encrypting(GenerateKey(FormAEAD)))); !errors.Is(err, ErrClosed) {
			t.Errorf("Set = %v, want ErrClosed", err)
		}
		wantUnknown(t, r, "closed", ticket)
		if s := r.Stats(); len(s.Keys) != 0 {
			t.Errorf("Stats = %+v", s)
		}
	}
}

// TestRingCountComesBack: what a key has sealed counts on when it has left the ring
// and comes back as another Key.
func TestRingCountComesBack(t *testing.T) {
	again := func() *Key { return newGCMKey([keyNameSize]byte{1}, bytes.Repeat([]byte{2}, 32)) }
	other := GenerateKey(FormAEAD)
	first := again()
	r := mustRing(t, first)
	first.sealed.Store(first.limit - 1)
	for round := range 3 { // leaves, and comes as it left
		mustSet(t, r, encrypting(other))
		k := again()
		mustSet(t, r, encrypting(k), decrypting(other))
		if got := k.sealed.Load(); got != first.limit-1 {
			t.Errorf("round %d: %d sealed, not %d", round, got, first.limit-1)
		}
		mustSet(t, r, encrypting(again()), decrypting(other)) // a twin of one that is there
		if got := r.Stats().Keys[0].Sealed; got != first.limit-1 {
			t.Errorf("round %d: the twin has sealed %d", round, got)
		}
	}
	if _, err := r.Seal([]byte("session")); err != nil {
		t.Error(err)
	}
	if _, err := r.Seal([]byte("session")); !errors.Is(err, ErrNoKey) {
		t.Errorf("past its limit the key sealed: %v", err)
	}
}

// TestRingExhausted: a key that has sealed its tickets stops, and the next best
// goes on; without one there are no tickets, and no failure of those that exist.
func TestRingExhausted(t *testing.T) {
	a, b := GenerateKey(FormAEAD), GenerateKey(FormOpenSSL128)
	a.limit, b.limit = 3, 2
	r := newRing(nil)
	mustSet(t, r, encrypting(a), encrypting(b))
	var tickets [][]byte
	for range 5 {
		tickets = append(tickets, mustSeal(t, r, []byte("session")))
	}
	if !names(tickets[2], a) || !names(tickets[3], b) || !names(tickets[4], b) {
		t.Error("the keys sealed more or less than they may")
	}
	wantSeals(t, r, "both exhausted", nil)
	for i, ticket := range tickets {
		wantOpen(t, r, fmt.Sprint("ticket ", i), ticket, false)
	}
	if a.sealed.Load() != 3 || b.sealed.Load() != 2 {
		t.Errorf("%d and %d sealed", a.sealed.Load(), b.sealed.Load())
	}
}

func TestRingStats(t *testing.T) {
	clock := newClock()
	r := clockRing(clock)
	a, b, c := GenerateKey(FormAEAD), GenerateKey(FormOpenSSL128), GenerateKey(FormOpenSSL256)
	mustSet(t, r, RingKey{Key: a, End: at(2)}, RingKey{Key: b, State: Encrypting})
	clock.add(time.Hour)
	mustSet(t, r, RingKey{Key: a, End: at(2)}, RingKey{Key: b, State: Encrypting}, published(c))
	mustSeal(t, r, nil)
	want := []KeyStats{
		{Fingerprint: b.Fingerprint(), Form: "openssl-128", State: "encrypting", Seals: true, Sealed: 1, Since: at(0)},
		{Fingerprint: c.Fingerprint(), Form: "openssl-256", State: "published", Since: at(1)},
		{Fingerprint: a.Fingerprint(), Form: "aead", State: "decrypting", Since: at(0), End: at(2)},
	}
	if got := r.Stats(); !slices.Equal(got.Keys, want) || got.Retired != 0 {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
	clock.add(time.Hour)
	if got := r.Stats(); len(got.Keys) != 2 || got.Retired != 1 { // the scrape noticed
		t.Errorf("Stats = %+v, want a key less", got)
	}
	wantWiped(t, a)
}

// TestRingOneLookup: a ticket of no key costs no more than one of any key,
// because only what it names is tried.
func TestRingOneLookup(t *testing.T) {
	var keys []*Key
	for range MaxKeys {
		keys = append(keys, GenerateKey(FormOpenSSL256))
	}
	blocks := make(map[*Key]*countingBlock)
	for _, k := range keys {
		box := k.box.(*cbcBox)
		blocks[k] = &countingBlock{Block: box.block}
		box.block = blocks[k]
	}
	r := mustRing(t, keys...)
	wantOpen(t, r, "one of many", sealedWith(keys[40], "session"), true)
	wantUnknown(t, r, "none of many", make([]byte, 200))
	for i, k := range keys {
		if used := blocks[k].used > 0; used != (i == 40) {
			t.Errorf("key %d: tried is %v", i, used)
		}
	}
}

// TestRingConcurrent sets keys, and lets times pass, while tickets are sealed
// and opened. Every ticket opens under a ring that has its key.
func TestRingConcurrent(t *testing.T) {
	clock := newClock()
	r := clockRing(clock)
	stays := GenerateKey(FormAEAD)
	const rounds = 300
	made := []*Key{stays}
	mustSet(t, r, encrypting(stays))
	var done atomic.Bool
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			session := []byte(fmt.Sprintf("session %d", i))
			kept, err := stays.seal(session)
			if err != nil {
				t.Error(err)
			}
			for !done.Load() {
				ticket, err := r.Seal(session)
				if err != nil {
					t.Errorf("Seal: %v", err)
					return
				}
				got, _, err := r.Open(ticket)
				if err == nil && !bytes.Equal(got, session) || err != nil && !errors.Is(err, ErrUnknownKey) {
					t.Errorf("Open = %q, %v", got, err)
				}
				if got, _, err := r.Open(kept); err != nil || !bytes.Equal(got, session) {
					t.Errorf("Open of a key that stays = %q, %v", got, err)
				}
				r.Stats()
			}
		})
	}
	for i := range rounds {
		now, k := clock.now(), GenerateKey(forms[i%len(forms)])
		made = append(made, k)
		mustSet(t, r, encrypting(stays), RingKey{Key: k, State: Published, Start: now.Add(time.Minute), End: now.Add(time.Hour)})
		clock.add(time.Duration(i%90) * time.Minute)
	}
	done.Store(true)
	wg.Wait()
	mustSet(t, r)
	for _, k := range made {
		wantWiped(t, k)
	}
}

// TestViewIsImmutable: what readers hold does not change under them.
func TestViewIsImmutable(t *testing.T) {
	a, b := GenerateKey(FormAEAD), GenerateKey(FormAEAD)
	r := mustRing(t, a, b)
	v := r.current()
	before := maps.Clone(v.open)
	mustSet(t, r, encrypting(b))
	if v.seal != a || !maps.Equal(v.open, before) {
		t.Error("Set changed the view that it replaced")
	}
}
