package ticket

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// MaxKeys is how many keys a [KeyRing] has at most.
const MaxKeys = 64

// State is what a key of a [KeyRing] is for at a time.
type State uint8

const (
	// Decrypting keys open tickets; what they open is to be renewed.
	Decrypting State = iota
	// Published keys open tickets and will encrypt later: every host that shares
	// a key must know it before the first one encrypts with it.
	Published
	// Encrypting keys seal tickets and open them.
	Encrypting
	// Gone keys are in no ring any more.
	Gone
)

// String returns "decrypting", "published", "encrypting" or "gone".
func (s State) String() string {
	switch s {
	case Decrypting:
		return "decrypting"
	case Published:
		return "published"
	case Encrypting:
		return "encrypting"
	case Gone:
		return "gone"
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// RingKey is a key with its state and the times when that changes. A time that
// is zero never comes.
type RingKey struct {
	Key   *Key
	State State     // to begin with
	Start time.Time // a Published key becomes Encrypting
	Stop  time.Time // it becomes Decrypting, if it is not yet
	End   time.Time // it is Gone
}

// at returns the state at a time. It depends on nothing else: a clock that is
// set back takes states back.
func (k *RingKey) at(now time.Time) State {
	reached := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	switch {
	case k.State == Gone || reached(k.End):
		return Gone
	case k.State == Decrypting || reached(k.Stop):
		return Decrypting
	case k.State == Published && !reached(k.Start):
		return Published
	}
	return Encrypting
}

// RingState is the keys of a [KeyRing]. Of several that are Encrypting the one
// with the latest Start seals, and of those the first.
type RingState struct {
	Keys []RingKey
}

// KeyRing is a [Sealer] with up to [MaxKeys] keys, of any forms: one seals, and
// a ticket is opened by the key that it names, found without trying others.
//
// Where the keys come from there are three ways: the program sets them
// ([NewKeyRing], [KeyRing.Set]), the ring follows a [Source], or it makes its
// own ([GenerateRing]).
//
// A key that has left the ring, because its End has come or Set did not name it,
// is wiped as soon as no call of Seal or Open uses it. A ring runs nothing by
// itself: it notices that a time has come when it is next used or asked for
// [KeyRing.Stats].
//
// Safe for concurrent use. Seal and Open take no lock.
type KeyRing struct {
	now  func() time.Time
	view atomic.Pointer[view]

	mu       sync.Mutex // order: nothing is locked under it
	keys     []ringKey  // each held
	generate *generator // nil: the ring makes no keys
	closed   bool
	retired  uint64
	source   sourceStats
}

type ringKey struct {
	RingKey
	since time.Time // it came into the ring
}

// view is the keys of a ring for a span of time: immutable, so that it is read
// without a lock. The ring holds the keys of its current view.
type view struct {
	from, until time.Time // zero: no bound
	seal        *Key      // nil if none
	err         error     // why there is none
	open        map[[keyNameSize]byte]opener
}

type opener struct {
	key   *Key
	renew bool
}

func (v *view) covers(t time.Time) bool {
	return !t.Before(v.from) && (v.until.IsZero() || t.Before(v.until))
}

// find returns who opens a ticket. Where a name begins shows the form, so there
// are two names to look for and never more.
func (v *view) find(ticket []byte) (opener, bool) {
	if name, ok := nameIn(ticket, FormAEAD); ok {
		if o, ok := v.open[name]; ok && o.key.form == FormAEAD {
			return o, true
		}
	}
	if name, ok := nameIn(ticket, FormOpenSSL256); ok {
		if o, ok := v.open[name]; ok && o.key.form != FormAEAD {
			return o, true
		}
	}
	return opener{}, false
}

var _ Sealer = (*KeyRing)(nil)

// NewKeyRing returns a ring of these keys: the first seals, all open. Without
// any it is empty until [KeyRing.Set] or [KeyRing.Load]. Errors and ownership
// are those of Set.
func NewKeyRing(keys ...*Key) (*KeyRing, error) {
	var state RingState
	for i, k := range keys {
		state.Keys = append(state.Keys, RingKey{Key: k})
		if i == 0 {
			state.Keys[0].State = Encrypting
		}
	}
	return NewScheduledRing(state, nil)
}

// NewScheduledRing is NewKeyRing for keys with states and times, by a clock;
// nil means [time.Now].
func NewScheduledRing(state RingState, clock func() time.Time) (*KeyRing, error) {
	r := newRing(clock)
	if err := r.Set(state); err != nil {
		return nil, err
	}
	return r, nil
}

func newRing(clock func() time.Time) *KeyRing {
	if clock == nil {
		clock = time.Now
	}
	// Without its monotonic part: tickets age by the calendar, also while the
	// machine sleeps.
	r := &KeyRing{now: func() time.Time { return clock().Round(0) }}
	r.view.Store(&view{err: ErrNoKey})
	return r
}

// Set replaces all keys of the ring at once. It takes the keys over, and wipes
// those that leave. A key that the ring has already, by the same pointer or as
// a twin with its name and secrets, stays, with the count of what it has sealed.
//
// The errors are [ErrDuplicateKey], [ErrWiped], [ErrClosed], and others for more
// than [MaxKeys] keys, a state that is none, or a ring that makes its own keys.
// After an error the ring is as before, and the keys are still the caller's.
func (r *KeyRing) Set(state RingState) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return ErrClosed
	case r.generate != nil:
		return errors.New("ticket: ring makes its own keys")
	case len(state.Keys) > MaxKeys:
		return fmt.Errorf("ticket: %d keys, a ring has at most %d", len(state.Keys), MaxKeys)
	}
	keys, err := holdAll(state.Keys)
	if err != nil {
		return err
	}
	now := r.now()
	for i := range keys {
		k := &keys[i]
		k.since = now
		if old := r.twin(k.Key); old != nil {
			given := k.Key
			k.Key, k.since = old.Key, old.since
			k.Key.hold()
			given.release()
			given.Wipe() // nothing if it is the same
		}
		k.Key.owned.Store(true)
	}
	r.replace(keys, now)
	return nil
}

// holdAll holds the keys if all of them can be in one ring.
func holdAll(given []RingKey) (keys []ringKey, err error) {
	defer func() {
		if err != nil {
			for _, k := range keys {
				k.Key.release()
			}
		}
	}()
	for i, k := range given {
		switch {
		case k.Key == nil:
			return keys, fmt.Errorf("ticket: key %d is nil", i)
		case k.State > Gone:
			return keys, fmt.Errorf("ticket: key %d: no state: %v", i, k.State)
		case !k.Key.hold():
			return keys, fmt.Errorf("%w (%v)", ErrWiped, k.Key)
		}
		for _, other := range keys {
			if k.Key.conflicts(other.Key) {
				k.Key.release()
				return keys, fmt.Errorf("%w (%v and %v)", ErrDuplicateKey, other.Key, k.Key)
			}
		}
		k.Start, k.Stop, k.End = k.Start.Round(0), k.Stop.Round(0), k.End.Round(0)
		keys = append(keys, ringKey{RingKey: k})
	}
	return keys, nil
}

// twin returns the ring's own entry for a key.
func (r *KeyRing) twin(k *Key) *ringKey {
	for i := range r.keys {
		if r.keys[i].Key.same(k) {
			return &r.keys[i]
		}
	}
	return nil
}

// replace puts next, each of them held, in the place of the ring's keys, as far
// as they are not Gone. Keys are let go of after the view that shows them.
func (r *KeyRing) replace(next []ringKey, now time.Time) {
	before := r.keys
	r.keys = make([]ringKey, 0, len(next))
	var gone []ringKey
	for _, k := range next {
		if k.at(now) == Gone {
			gone = append(gone, k)
		} else {
			r.keys = append(r.keys, k)
		}
	}
	r.view.Store(r.viewAt(now))
	for _, k := range before {
		if r.twin(k.Key) == nil {
			r.retired++
		}
		k.Key.release()
	}
	for _, k := range gone {
		k.Key.release()
	}
}

// viewAt returns what the keys do at a time, and for how long.
func (r *KeyRing) viewAt(now time.Time) *view {
	v := &view{open: make(map[[keyNameSize]byte]opener, len(r.keys)), err: ErrNoKey}
	if r.closed {
		v.err = ErrClosed
	}
	var seal *ringKey
	for i := range r.keys {
		k := &r.keys[i]
		for _, t := range []time.Time{k.Start, k.Stop, k.End} {
			v.bound(t, now)
		}
		if k.at(now) == Encrypting && !k.Key.exhausted() && (seal == nil || k.Start.After(seal.Start)) {
			seal = k
		}
	}
	if seal != nil {
		v.seal = seal.Key
	}
	for i := range r.keys {
		k := &r.keys[i]
		// Where nothing seals a ticket cannot be renewed.
		renew := seal != nil && k != seal && k.at(now) != Published
		v.open[k.Key.name] = opener{k.Key, renew}
	}
	return v
}

// bound ends the span around now at t.
func (v *view) bound(t, now time.Time) {
	switch {
	case t.IsZero():
	case now.Before(t):
		if v.until.IsZero() || t.Before(v.until) {
			v.until = t
		}
	case t.After(v.from):
		v.from = t
	}
}

// current returns the view of now.
func (r *KeyRing) current() *view {
	if v := r.view.Load(); v.covers(r.now()) {
		return v
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	// The clock is asked again: whoever was here before may have asked later.
	now := r.now()
	if v := r.view.Load(); v.covers(now) {
		return v
	}
	r.advance(now)
	return r.view.Load()
}

// advance lets the ring find its state of now.
func (r *KeyRing) advance(now time.Time) {
	keys := make([]ringKey, 0, len(r.keys)+1)
	for _, k := range r.keys {
		k.Key.hold()
		keys = append(keys, k)
	}
	if r.generate != nil && !r.closed {
		keys = r.generate.next(keys, now)
	}
	r.replace(keys, now)
}

// exhausted is told that the key that seals in v cannot any more.
func (r *KeyRing) exhausted(v *view) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.view.Load() == v {
		r.advance(r.now())
	}
}

// Seal implements [Sealer], with the key that encrypts now. The error is
// [ErrNoKey] if none does, or [ErrClosed].
func (r *KeyRing) Seal(session []byte) ([]byte, error) {
	for {
		v := r.current()
		if v.seal == nil {
			return nil, v.err
		}
		if !v.seal.hold() {
			continue // it left the ring meanwhile, and so there is a new view
		}
		ticket, err := v.seal.seal(session)
		v.seal.release()
		if err == nil {
			return ticket, nil
		}
		r.exhausted(v)
	}
}

// Open implements [Sealer], with the key that the ticket names. renew is true if
// another key seals by now; a ticket under one that is Published is newer than
// that and stays. A ticket that names no key of the ring gives [ErrUnknownKey],
// one that does and was not sealed with it [ErrForged].
func (r *KeyRing) Open(ticket []byte) (session []byte, renew bool, err error) {
	for {
		o, ok := r.current().find(ticket)
		if !ok {
			return nil, false, ErrUnknownKey
		}
		if !o.key.hold() {
			continue // as in Seal
		}
		session, err = o.key.box.open(ticket)
		o.key.release()
		return session, o.renew && err == nil, err
	}
}

// Close lets go of all keys, for good: from then on Seal and Set give
// [ErrClosed] and Open [ErrUnknownKey]. Calls under way finish. The error is nil.
func (r *KeyRing) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.replace(nil, r.now())
	return nil
}

// RingStats is what a [KeyRing] has and has seen.
type RingStats struct {
	Keys []KeyStats `json:"keys"` // the one that seals first, then the latest first

	Retired uint64 `json:"retired"` // keys that have left the ring

	SourceLoads    uint64    `json:"source_loads"`           // times that a Source gave keys
	SourceFailures uint64    `json:"source_failures"`        // times that it did not, or none that can be used
	SourceOutages  uint64    `json:"source_outages"`         // rows of failures without a success between them
	SourceDown     bool      `json:"source_down"`            // the last time was a failure
	SourceLoaded   time.Time `json:"source_loaded,omitzero"` // the last success
}

// KeyStats is a key of a [KeyRing].
type KeyStats struct {
	Fingerprint string    `json:"fingerprint"`
	Form        string    `json:"form"`
	State       string    `json:"state"`
	Seals       bool      `json:"seals"`        // it is the one that seals
	Sealed      uint64    `json:"sealed"`       // tickets, in this process
	Since       time.Time `json:"since"`        // when it came into the ring
	End         time.Time `json:"end,omitzero"` // when it will be gone; zero: not known
}

// Stats returns the ring's keys and counters.
func (r *KeyRing) Stats() RingStats {
	r.current()
	r.mu.Lock()
	defer r.mu.Unlock()
	now, seal := r.now(), r.view.Load().seal
	s := RingStats{
		Retired:        r.retired,
		SourceLoads:    r.source.loads,
		SourceFailures: r.source.failures,
		SourceOutages:  r.source.outages,
		SourceDown:     r.source.down,
		SourceLoaded:   r.source.loaded,
	}
	for i := range r.keys {
		k := &r.keys[i]
		s.Keys = append(s.Keys, KeyStats{
			Fingerprint: k.Key.Fingerprint(),
			Form:        k.Key.form.String(),
			State:       k.at(now).String(),
			Seals:       k.Key == seal,
			Sealed:      k.Key.sealed.Load(),
			Since:       k.since,
			End:         k.End,
		})
	}
	slices.SortStableFunc(s.Keys, func(a, b KeyStats) int {
		switch {
		case a.Seals:
			return -1
		case b.Seals:
			return 1
		}
		return b.Since.Compare(a.Since)
	})
	return s
}

// String names the key that seals, by fingerprint, and how many there are.
func (r *KeyRing) String() string {
	if r == nil {
		return "ticket.KeyRing(nil)"
	}
	v := r.view.Load()
	if v.seal == nil {
		return fmt.Sprintf("ticket.KeyRing(%d keys)", len(v.open))
	}
	return fmt.Sprintf("ticket.KeyRing(%d keys, seals with %s)", len(v.open), v.seal.Fingerprint())
}

// Format prints [KeyRing.String] under every verb.
func (r *KeyRing) Format(f fmt.State, _ rune) { io.WriteString(f, r.String()) }

// LogValue implements [slog.LogValuer] with [KeyRing.String].
func (r *KeyRing) LogValue() slog.Value { return slog.StringValue(r.String()) }
