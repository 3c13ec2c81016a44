package ticket

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
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
// is zero never comes. See [KeyRing] for the clocks that times are reached by.
type RingKey struct {
	Key   *Key
	State State     // to begin with
	Start time.Time // a Published key becomes Encrypting
	Stop  time.Time // it becomes Decrypting, if it is not yet
	End   time.Time // it is Gone
}

// schedules reports whether both have the same state and times.
func (k *RingKey) schedules(other *RingKey) bool {
	return k.State == other.State && k.Start.Equal(other.Start) && k.Stop.Equal(other.Stop) && k.End.Equal(other.End)
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
// A key goes from one [State] to the next, Published, Encrypting, Decrypting,
// Gone, and never back, whatever the clock does. A time has come when either of
// two clocks says so: the wall clock shows it, or as much time has passed on
// the monotonic clock as there was to go when the key came into the ring. So a
// wall clock that is set back, once or again and again, does not let a key seal
// or open for longer. The wall clock ends keys while the machine sleeps, when
// the monotonic clock may stand still; one that is set forward ends them early,
// for good.
//
// The same holds for Start. A key that begins to seal too early costs full
// handshakes on hosts that do not know it yet, so the monotonic clock must not
// be early either, and it is not: the ring has had the key for the whole time
// that was to go, and the other hosts, which had the same time to learn of it,
// reach Start when that has passed. With the wall clock alone a ring that is
// set back would reach Stop of one key on time and Start of the next too late,
// and seal nothing in between.
//
// Only [KeyRing.Set] takes a key back to an earlier state, by giving it another
// State or other times than before. Its time still counts from when it first
// came, by the wall clock of then. A ring remembers this of the last 128 keys
// that have left, with the count of what each has sealed, so a [Source] that gives a key again, because its own clock
// was set back, gives it no more time.
//
// A wall clock that was behind when a key came makes the time to go too long by
// as much; then only the wall clock, once it is right, ends the key in time.
//
// A key that has left the ring, because its End has come or Set did not name it,
// is wiped as soon as no call of Seal or Open uses it. A ring runs nothing by
// itself: it notices that a time has come when it is next used or asked for
// [KeyRing.Stats].
//
// Safe for concurrent use. Seal and Open take no lock.
type KeyRing struct {
	now  func() instant
	view atomic.Pointer[view]

	mu       sync.Mutex // order: nothing is locked under it
	keys     []ringKey  // each held
	left     []leftKey  // keys that Set gave and that have left, the latest last
	generate *generator // nil: the ring makes no keys
	closed   bool
	retired  uint64
	source   sourceStats
}

// ringKey is a key in a ring.
type ringKey struct {
	Key              *Key
	given            RingKey // by Set; without Key
	state            State   // the latest that the key was in
	start, stop, end instant // when it changes, as in RingKey
	since            instant // the key came into the ring
}

// at returns the state of now.
func (k *ringKey) at(now instant) State {
	switch {
	case k.state == Gone || k.end.reached(now):
		return Gone
	case k.state == Decrypting || k.stop.reached(now):
		return Decrypting
	case k.state == Published && !k.start.reached(now):
		return Published
	}
	return Encrypting
}

// schedule gives a key that was in the ring since an instant its times.
func (k *ringKey) schedule(since instant) {
	k.since = since
	k.start, k.stop, k.end = since.at(k.given.Start), since.at(k.given.Stop), since.at(k.given.End)
}

// maxLeft is how many keys that have left a ring it remembers.
const maxLeft = 2 * MaxKeys

// leftKey is what a ring remembers of a key that has left: nothing secret, for
// the digest is one of random bytes.
type leftKey struct {
	digest [sha256.Size]byte // Key.secret
	given  RingKey
	state  State
	since  instant
	sealed *atomic.Uint64 // Key.sealed
}

// view is the keys of a ring for a span of time: immutable, so that it is read
// without a lock. The ring holds the keys of its current view.
type view struct {
	from, until time.Time     // zero: no bound
	untilMono   time.Duration // the view ends when either clock is there
	seal        *Key          // nil if none
	err         error         // why there is none
	open        map[[keyNameSize]byte]opener
}

type opener struct {
	key   *Key
	renew bool
}

func (v *view) covers(now instant) bool {
	return !now.wall.Before(v.from) && (v.until.IsZero() || now.wall.Before(v.until)) && now.mono < v.untilMono
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

// NewScheduledRing is NewKeyRing for keys with states and times. now is the wall
// clock; nil means [time.Now].
func NewScheduledRing(state RingState, now func() time.Time) (*KeyRing, error) {
	r := newRing(now)
	if err := r.Set(state); err != nil {
		return nil, err
	}
	return r, nil
}

func newRing(now func() time.Time) *KeyRing {
	r := &KeyRing{now: clock(now)}
	r.view.Store(&view{err: ErrNoKey, untilMono: math.MaxInt64})
	return r
}

// Set replaces all keys of the ring at once. It takes the keys over, and wipes
// those that leave. A key that the ring has already, by the same pointer or as
// a twin with its name and secrets, stays, with the count of what it has sealed,
// and if its State and times are those of before, in the state that it is in.
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
		r.recall(k, now)
		if old := r.twin(k.Key); old != nil {
			given := k.Key
			k.Key = old.Key
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
		keys = append(keys, ringKey{Key: k.Key, state: k.State, given: RingKey{
			State: k.State, Start: k.Start.Round(0), Stop: k.Stop.Round(0), End: k.End.Round(0),
		}})
	}
	return keys, nil
}

// recall gives a key that came from Set its times, and if the ring knows it with
// the same schedule, the state that the ring has seen it in.
func (r *KeyRing) recall(k *ringKey, now instant) {
	known := leftKey{since: now}
	if old := r.twin(k.Key); old != nil {
		known = leftKey{given: old.given, state: old.state, since: old.since}
	} else if i := r.leftAt(k.Key); i >= 0 {
		known = r.left[i]
		if known.sealed != k.Key.sealed { // a new Key with the old secrets
			k.Key.sealed.Add(known.sealed.Load())
		}
	} else {
		known.given, known.state = k.given, k.state
	}
	k.schedule(known.since)
	if k.given.schedules(&known.given) {
		k.state = known.state
	}
}

// leftAt returns the index in r.left of a key, -1 if it has not left.
func (r *KeyRing) leftAt(k *Key) int {
	return slices.IndexFunc(r.left, func(l leftKey) bool { return l.digest == k.secret })
}

// remember keeps in mind a key that leaves. Those of a ring that makes its keys
// never come back.
func (r *KeyRing) remember(k *ringKey, now instant) {
	if r.generate != nil || r.closed {
		return
	}
	if i := r.leftAt(k.Key); i >= 0 {
		r.left = slices.Delete(r.left, i, i+1)
	}
	if len(r.left) == maxLeft {
		r.left = slices.Delete(r.left, 0, 1)
	}
	r.left = append(r.left, leftKey{k.Key.secret, k.given, k.at(now), k.since, k.Key.sealed})
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
func (r *KeyRing) replace(next []ringKey, now instant) {
	before := r.keys
	r.keys = make([]ringKey, 0, len(next))
	var gone []ringKey
	for _, k := range next {
		k.state = k.at(now) // no way back
		if k.state == Gone {
			gone = append(gone, k)
		} else {
			r.keys = append(r.keys, k)
		}
	}
	r.view.Store(r.viewAt(now))
	for _, k := range before {
		if r.twin(k.Key) == nil {
			r.retired++
			r.remember(&k, now)
		}
		k.Key.release()
	}
	for _, k := range gone {
		k.Key.release()
	}
}

// viewAt returns what the keys do at a time, and for how long.
func (r *KeyRing) viewAt(now instant) *view {
	v := &view{open: make(map[[keyNameSize]byte]opener, len(r.keys)), err: ErrNoKey, untilMono: math.MaxInt64}
	if r.closed {
		v.err = ErrClosed
	}
	var seal *ringKey
	for i := range r.keys {
		k := &r.keys[i]
		for _, t := range []instant{k.start, k.stop, k.end} {
			v.bound(t, now)
		}
		if k.state == Encrypting && !k.Key.exhausted() && (seal == nil || k.start.wall.After(seal.start.wall)) {
			seal = k
		}
	}
	if seal != nil {
		v.seal = seal.Key
	}
	for i := range r.keys {
		k := &r.keys[i]
		// Where nothing seals a ticket cannot be renewed.
		renew := seal != nil && k != seal && k.state != Published
		v.open[k.Key.name] = opener{k.Key, renew}
	}
	return v
}

// bound ends the span around now at t.
func (v *view) bound(t, now instant) {
	if t.wall.IsZero() {
		return
	}
	switch {
	case now.wall.Before(t.wall):
		if v.until.IsZero() || t.wall.Before(v.until) {
			v.until = t.wall
		}
	case t.wall.After(v.from):
		v.from = t.wall
	}
	if now.mono < t.mono {
		v.untilMono = min(v.untilMono, t.mono)
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
func (r *KeyRing) advance(now instant) {
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
	Since       time.Time `json:"since"`        // when it came into the ring, by the wall clock of then
	End         time.Time `json:"end,omitzero"` // when it will be gone at the latest; zero: not known
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
			Since:       k.since.wall,
			End:         k.end.wall,
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
