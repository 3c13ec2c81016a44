package reprise_test

import (
	"cmp"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/oracle"
)

// The tests in this file drive the cache with random steps and compare it,
// after each, with a model, and the model without our differences with libssl.
// So the cache is libssl's but for the differences in the table.

// cacheDifference is a way in which the cache is not libssl's, by choice.
type cacheDifference struct {
	name, reason string // the row of docs/parity.md
	seen         int
}

var (
	exactSize = cacheDifference{
		name:   "A cache of N sessions holds N",
		reason: "libssl 3 holds N-1 from two on, which nobody documents; the session that is being added is never the one evicted, as in libssl",
	}
	outsideLocks = cacheDifference{
		name:   "Callbacks run outside every lock of the cache",
		reason: "libssl ran the remove callback under the context's lock, and whoever used the cache in it hung",
	}
	twinTold = cacheDifference{
		name:   "A session that another with its version and id displaces is told, with `CauseReplaced`",
		reason: "libssl drops it without a word, and a cache kept elsewhere goes wrong; it stays resumable, as in libssl",
	}
	twinRemoved = cacheDifference{
		name:   "`Manager.Remove` of a session whose place in the cache another with its version and id has tells that other, and marks both not resumable",
		reason: "libssl tells the one it was given, and what it took out goes on being offered",
	}
	ticketRevoked = cacheDifference{
		name:   "`Manager.Remove` marks a session without id not resumable, if it belongs to the Manager",
		reason: "the client may have it in a ticket, which is revoked; libssl has no way to revoke a ticket, and does nothing",
	}
	noID = cacheDifference{
		name:   "`Manager.Add` refuses a session without id",
		reason: "libssl takes it, and can never remove it again",
	}
	notResumable = cacheDifference{
		name:   "`Manager.Add` refuses a session that is not resumable",
		reason: "libssl takes it, to no use",
	}
	keyFixed = cacheDifference{
		name:   "The id and version of a cached session cannot be set",
		reason: "libssl strands the entry: nothing finds it any more",
	}
	oneManager = cacheDifference{
		name:   "A session belongs to a Manager from its first use there, and others refuse it",
		reason: "libssl says that it must not be used elsewhere, and corrupts its lists if it is",
	}
	neverAlike = cacheDifference{
		name:   "Among sessions whose expiry overflows, and so never comes, the one that was added first goes first",
		reason: "libssl orders them by how far they overflow, which means nothing",
	}
	beforeEpoch = cacheDifference{
		name:   "A session of a time before 1970 expires when its timeout has passed",
		reason: "in libssl 3.0 the sum overflows, so that it never does; crypto/tls's times are unsigned, but those of session files are not",
	}
	firstSecond = cacheDifference{
		name:   "`Manager.Flush` takes the first second of 1970 for what it is",
		reason: "in libssl time 0 means all sessions: `Manager.FlushAll`",
	}
	anySetter = cacheDifference{
		name:   "Whatever is set of a cached session, it goes behind those that expire in the same second",
		reason: "libssl moves it when its time or timeout is set; here the cache holds a copy, which is made anew",
	}
)

var cacheDifferences = []*cacheDifference{
	&exactSize, &outsideLocks, &twinTold, &twinRemoved, &ticketRevoked, &noID, &notResumable, &keyFixed, &oneManager,
	&neverAlike, &beforeEpoch, &firstSecond, &anySetter,
}

// TestCacheDifferencesListed: docs/parity.md has the table, no more and no less.
func TestCacheDifferencesListed(t *testing.T) {
	var listed, want [][2]string
	for _, row := range parityTable(t, "Difference of the cache") {
		listed = append(listed, [2]string{row["Difference of the cache"], row["Why"]})
	}
	for _, d := range cacheDifferences {
		want = append(want, [2]string{d.name, d.reason})
	}
	for _, row := range listed {
		if !slices.Contains(want, row) {
			t.Errorf("docs/parity.md has %q, because %q: model_test.go has not", row[0], row[1])
		}
	}
	for _, row := range want {
		if !slices.Contains(listed, row) {
			t.Errorf("model_test.go has %q, because %q: docs/parity.md has not", row[0], row[1])
		}
	}
}

// base is when most sessions of these tests begin.
const base = 1_000_000

// cacheModel is what a cache is supposed to do: a slice in the order in which
// sessions leave. With the differences it is a Manager's, without them libssl's.
type cacheModel struct {
	differs    bool
	without    *cacheDifference // but for this one
	size       int              // 0: no limit
	bytes      int64
	updateTime bool

	cached []*modelled
	placed int
	calls  []call
	full   uint64

	// told are the numbers that the cache told in this step: which of those
	// that expire in the same second leave first is not fixed where there are
	// several shards.
	told []int
}

// modelled is a session as a model sees it.
type modelled struct {
	n             int
	version       uint16
	id            string
	time, timeout int64
	bad           bool // not resumable
	owned         bool // belongs to the Manager
	place         int  // among those that expire in the same second
	size          int64
}

// GoString is what rapid prints.
func (s *modelled) GoString() string { return fmt.Sprint("session ", s.n) }

// call is a call of the callback that is told of sessions that leave.
type call struct {
	n     int
	cause reprise.Cause
}

// chooses reports whether the model has the difference.
func (m *cacheModel) chooses(d *cacheDifference) bool {
	if !m.differs || d == m.without {
		return false
	}
	d.seen++
	return true
}

// expiry is when s expires; of what never does, at is its order.
func (m *cacheModel) expiry(s *modelled) (never bool, at int64) {
	sum := s.time + s.timeout
	if s.time < 0 && m.chooses(&beforeEpoch) {
		if s.timeout < 0 && sum >= 0 {
			sum = math.MinInt64
		}
		return false, sum
	}
	room := math.MaxInt64 - s.time // overflows before 1970
	if s.timeout >= room && m.chooses(&neverAlike) {
		return true, 0
	}
	if s.timeout > room {
		return true, s.timeout - room
	}
	return false, sum
}

// order is that in which sessions leave.
func (m *cacheModel) order(a, b *modelled) int {
	aNever, aAt := m.expiry(a)
	bNever, bAt := m.expiry(b)
	switch {
	case aNever != bNever && bNever:
		return -1
	case aNever != bNever:
		return 1
	}
	return cmp.Or(cmp.Compare(aAt, bAt), cmp.Compare(m.whenTold(a), m.whenTold(b)), cmp.Compare(a.place, b.place))
}

func (m *cacheModel) whenTold(s *modelled) int {
	if i := slices.Index(m.told, s.n); i >= 0 {
		return i
	}
	return len(m.told)
}

func (m *cacheModel) first() *modelled {
	slices.SortFunc(m.cached, m.order)
	return m.cached[0]
}

func (m *cacheModel) find(version uint16, id string) *modelled {
	for _, s := range m.cached {
		if s.version == version && s.id == id {
			return s
		}
	}
	return nil
}

func (m *cacheModel) holds(s *modelled) bool { return slices.Contains(m.cached, s) }

// put gives s its place, anew if it has one.
func (m *cacheModel) put(s *modelled) {
	m.placed++
	s.place = m.placed
	if !m.holds(s) {
		m.cached = append(m.cached, s)
	}
}

func (m *cacheModel) drop(s *modelled) {
	m.cached = slices.DeleteFunc(m.cached, func(c *modelled) bool { return c == s })
}

// leave takes s out, for good.
func (m *cacheModel) leave(s *modelled, cause reprise.Cause) {
	m.drop(s)
	s.bad = true
	m.tell(s, cause)
}

func (m *cacheModel) tell(s *modelled, cause reprise.Cause) {
	m.calls = append(m.calls, call{s.n, cause})
}

// add is SSL_CTX_add_session.
func (m *cacheModel) add(s *modelled, now, size int64) (added bool, err error) {
	switch {
	case s.id == "" && m.chooses(&noID), s.bad && m.chooses(&notResumable):
		return false, reprise.ErrNotResumable
	case m.bytes > 0 && size > m.bytes:
		return false, reprise.ErrTooBig
	}
	s.owned, s.size = true, size
	if m.updateTime {
		s.time = now
	}
	if m.holds(s) {
		m.put(s)
		return false, nil
	}
	if twin := m.find(s.version, s.id); twin != nil {
		m.drop(twin)
		if m.chooses(&twinTold) {
			m.tell(twin, reprise.CauseReplaced)
		}
	}
	m.makeRoom(s)
	m.put(s)
	return true, nil
}

// makeRoom evicts what s has no room beside.
func (m *cacheModel) makeRoom(s *modelled) {
	for len(m.cached) > 0 && (m.tooMany(len(m.cached)+1) || m.overBytes(s)) {
		first := m.first()
		if first.id == "" {
			return // libssl cannot remove it, and gives up
		}
		m.leave(first, reprise.CauseEvicted)
		m.full++
	}
}

func (m *cacheModel) tooMany(n int) bool {
	if m.size == 0 || n < m.size {
		return false
	}
	return n > m.size || !m.chooses(&exactSize)
}

func (m *cacheModel) overBytes(s *modelled) bool {
	if m.bytes == 0 {
		return false
	}
	sum := s.size
	for _, c := range m.cached {
		if c != s {
			sum += c.size
		}
	}
	return sum > m.bytes
}

// remove is SSL_CTX_remove_session.
func (m *cacheModel) remove(s *modelled) (had bool) {
	if s.id == "" {
		s.bad = s.bad || s.owned && m.chooses(&ticketRevoked)
		return false
	}
	s.bad, s.owned = true, true
	found := m.find(s.version, s.id)
	if found == nil {
		m.tell(s, reprise.CauseRemoved)
		return false
	}
	m.drop(found)
	if found != s && m.chooses(&twinRemoved) {
		found.bad = true
		m.tell(found, reprise.CauseRemoved)
		return true
	}
	m.tell(s, reprise.CauseRemoved)
	return true
}

// flush is SSL_CTX_flush_sessions.
func (m *cacheModel) flush(t int64) (removed int) {
	if t == 0 && !m.chooses(&firstSecond) {
		return m.flushAll(reprise.CauseFlushed)
	}
	for ; len(m.cached) > 0; removed++ {
		if never, at := m.expiry(m.first()); never || t <= at {
			break
		}
		m.leave(m.first(), reprise.CauseExpired)
	}
	return removed
}

func (m *cacheModel) flushAll(cause reprise.Cause) (removed int) {
	for ; len(m.cached) > 0; removed++ {
		m.leave(m.first(), cause)
	}
	return removed
}

// moved is after a setter: a cached session takes its new place.
func (m *cacheModel) moved(s *modelled) {
	if m.holds(s) {
		m.put(s)
	}
}

// grown is after a setter that made s bigger.
func (m *cacheModel) grown(s *modelled, size int64) {
	if s.size = size; !m.holds(s) || m.bytes == 0 {
		return
	}
	if size > m.bytes {
		m.leave(s, reprise.CauseEvicted)
		m.full++
	}
	for len(m.cached) > 0 && m.overBytes(m.first()) {
		m.leave(m.first(), reprise.CauseEvicted)
		m.full++
	}
}

// cacheRig is a Manager, libssl's cache unless ctx is nil, and a model of
// each. Its steps are taken by all.
type cacheRig struct {
	t            rapid.TB
	config       reprise.Config
	m, elsewhere *reprise.Manager
	o            *oracle.Oracle
	ctx          *oracle.Context
	ours, theirs *cacheModel
	objects      []*object
	clock        int64
	reentered    bool
	told         []call
}

// object is a session in all of them.
type object struct {
	n            int
	session      *reprise.Session // nil: only the cache has it
	handle       oracle.Handle
	ours, theirs *modelled
}

// GoString is what rapid prints.
func (x *object) GoString() string { return fmt.Sprint("session ", x.n) }

// newCacheRig makes the caches. o is nil where libssl is not to be asked;
// quiet leaves the Manager without a callback.
func newCacheRig(t rapid.TB, o *oracle.Oracle, config reprise.Config, quiet bool) *cacheRig {
	r := &cacheRig{t: t, o: o, clock: base}
	config.Time = func() time.Time { return time.Unix(r.clock, 0) }
	if !quiet {
		config.OnRemove = r.onRemove
	}
	r.config = config
	r.m, r.elsewhere = r.manager(config), r.manager(reprise.Config{})
	size := max(0, config.CacheSize)
	update := config.CacheMode&reprise.UpdateTime != 0
	r.ours = &cacheModel{differs: true, size: size, bytes: config.CacheBytes, updateTime: update}
	r.theirs = &cacheModel{size: size, updateTime: update}
	if o != nil {
		r.ctx = o.NewContext(int64(size), int64(config.CacheMode.OpenSSL()), 7200)
	}
	return r
}

func (r *cacheRig) manager(c reprise.Config) *reprise.Manager {
	m, err := reprise.New(c)
	if err != nil {
		r.t.Fatalf("New: %v", err)
	}
	return m
}

// onRemove knows a session by its context id, in which every object has its number.
func (r *cacheRig) onRemove(s *reprise.Session, cause reprise.Cause) {
	x := r.objects[numberOf(s)]
	r.told = append(r.told, call{x.n, cause})
	if x.session != nil && x.session != s {
		r.t.Fatalf("told of %d as another object than its holder has", x.n)
	}
	if s.Resumable() != (cause == reprise.CauseReplaced) {
		r.t.Fatalf("told of %d, %v, while resumable is %v", x.n, cause, s.Resumable())
	}
	if r.ours.chooses(&outsideLocks) { // else this hangs
		r.m.Flush(time.Unix(math.MinInt64, 0))
		r.m.Has(s.ProtocolVersion(), s.ID())
		r.reentered = true
	}
}

func numberOf(s *reprise.Session) int { return int(binary.BigEndian.Uint32(s.IDContext())) }

// session makes one in all caches' eyes. id 0 is none.
func (r *cacheRig) session(id byte, t, timeout int64) *object {
	if id == 0 {
		return r.sessionOf(tls.VersionTLS12, nil, t, timeout)
	}
	return r.sessionOf(tls.VersionTLS12, []byte{id}, t, timeout)
}

func (r *cacheRig) sessionOf(version uint16, id []byte, t, timeout int64) *object {
	x := &object{n: len(r.objects), handle: oracle.None}
	der := r.encode(x.n, version, id, t, timeout)
	var err error
	if x.session, _, err = reprise.ParseSession(der); err != nil {
		r.t.Fatalf("ParseSession: %v", err)
	}
	x.session.SetTime(time.Unix(t, 0)) // zero decodes as now
	if timeout == 0 {
		x.session.SetTimeout(0)
	}
	if r.ctx != nil {
		x.handle = r.o.Decode(der)
		r.o.SetTime(x.handle, t)
		if timeout == 0 {
			r.o.SetTimeout(x.handle, 0)
		}
	}
	seen := modelled{n: x.n, version: version, id: string(id), time: t, timeout: timeout}
	mine, its := seen, seen
	x.ours, x.theirs = &mine, &its
	r.objects = append(r.objects, x)
	return x
}

// encode makes DER, in which a timeout may be what no setter takes.
func (r *cacheRig) encode(n int, version uint16, id []byte, t, timeout int64) []byte {
	s := reprise.NewSession()
	defer s.Free()
	s.SetProtocolVersion(version)
	s.SetCipherSuite(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	s.SetMasterKey([]byte("secret"))
	s.SetID(id)
	s.SetIDContext(binary.BigEndian.AppendUint32(nil, uint32(n)))
	f, rec := reprise.Fields(s)
	f.Time, f.Timeout = t, timeout
	reprise.SetFields(s, f, rec)
	der, err := s.MarshalBinary()
	if err != nil {
		r.t.Fatalf("MarshalBinary: %v", err)
	}
	return der
}

func (r *cacheRig) add(x *object) {
	r.t.Helper()
	if r.ctx != nil {
		got := r.ctx.Add(x.handle)
		if r.theirs.updateTime { // libssl's clock is the machine's
			r.clock, _, _ = r.o.State(x.handle)
		}
		if want, _ := r.theirs.add(x.theirs, r.clock, 0); got != want {
			r.t.Fatalf("libssl: add of %d: %v, want %v", x.n, got, want)
		}
	}
	added, err := r.m.Add(x.session)
	r.hint()
	want, wantErr := r.ours.add(x.ours, r.clock, reprise.PackedSize(x.session))
	if added != want || !errors.Is(err, wantErr) {
		r.t.Fatalf("add of %d: %v, %v, want %v, %v", x.n, added, err, want, wantErr)
	}
	r.check()
}

// hint tells the model which of those that expire in the same second left
// first, where that is not fixed.
func (r *cacheRig) hint() {
	r.ours.told = nil
	if r.config.CacheSize > 0 && r.config.CacheSize <= 4096 {
		return // one shard
	}
	for _, c := range r.told {
		r.ours.told = append(r.ours.told, c.n)
	}
}

func (r *cacheRig) remove(x *object) {
	r.t.Helper()
	if r.ctx != nil {
		if got, want := r.ctx.Remove(x.handle), r.theirs.remove(x.theirs); got != want {
			r.t.Fatalf("libssl: remove of %d: %v, want %v", x.n, got, want)
		}
	}
	if got, want := r.m.Remove(x.session), r.ours.remove(x.ours); got != want {
		r.t.Fatalf("remove of %d: %v, want %v", x.n, got, want)
	}
	r.check()
}

func (r *cacheRig) flush(t int64) {
	r.t.Helper()
	if r.ctx != nil {
		r.ctx.Flush(t)
		r.theirs.flush(t)
	}
	got := r.m.Flush(time.Unix(t, 0))
	r.hint()
	if want := r.ours.flush(t); got != want {
		r.t.Fatalf("flush at %d: removed %d, want %d", t, got, want)
	}
	r.check()
}

func (r *cacheRig) flushAll() {
	r.t.Helper()
	if r.ctx != nil {
		r.ctx.Flush(0)
		r.theirs.flushAll(reprise.CauseFlushed)
	}
	got := r.m.FlushAll()
	r.hint()
	if want := r.ours.flushAll(reprise.CauseFlushed); got != want {
		r.t.Fatalf("flush of all: removed %d, want %d", got, want)
	}
	r.check()
}

func (r *cacheRig) setTime(x *object, t int64) {
	r.t.Helper()
	if r.ctx != nil {
		if got := r.o.SetTime(x.handle, t); got != t {
			r.t.Fatalf("libssl: set time of %d to %d: %d", x.n, t, got)
		}
		x.theirs.time = t
		r.theirs.moved(x.theirs)
	}
	x.session.SetTime(time.Unix(t, 0))
	x.ours.time = t
	r.ours.moved(x.ours)
	r.resized(x)
	r.check()
}

func (r *cacheRig) setTimeout(x *object, timeout int64) {
	r.t.Helper()
	if r.ctx != nil {
		if got := r.o.SetTimeout(x.handle, timeout); got != (timeout >= 0) {
			r.t.Fatalf("libssl: set timeout of %d to %d: %v", x.n, timeout, got)
		}
		if timeout >= 0 {
			x.theirs.timeout = timeout
			r.theirs.moved(x.theirs)
		}
	}
	err := x.session.SetTimeout(time.Duration(timeout) * time.Second)
	if (err == nil) != (timeout >= 0) {
		r.t.Fatalf("set timeout of %d to %d: %v", x.n, timeout, err)
	}
	if timeout >= 0 {
		x.ours.timeout = timeout
		r.ours.moved(x.ours)
		r.resized(x)
	}
	r.check()
}

// setHostname is a setter of what a cache does not look at.
func (r *cacheRig) setHostname(x *object) {
	r.t.Helper()
	if r.ctx != nil {
		r.o.SetHostname(x.handle, "a.test")
	}
	x.session.SetHostname("a.test")
	if r.ours.holds(x.ours) && r.ours.chooses(&anySetter) {
		r.ours.moved(x.ours)
	}
	r.resized(x)
	r.check()
}

// setData makes the session as much bigger. libssl counts no bytes.
func (r *cacheRig) setData(x *object, n int) {
	r.t.Helper()
	if err := x.session.SetTicketAppData(make([]byte, n)); err != nil {
		r.t.Fatalf("SetTicketAppData: %v", err)
	}
	if r.ours.holds(x.ours) && r.ours.chooses(&anySetter) {
		r.ours.moved(x.ours)
	}
	r.resized(x)
	r.check()
}

func (r *cacheRig) resized(x *object) {
	r.hint()
	r.ours.grown(x.ours, reprise.PackedSize(x.session))
}

// setKey sets version and id. libssl is not asked where it has the session
// cached: it would go on with a pointer to freed memory.
func (r *cacheRig) setKey(x *object, version uint16, id []byte) {
	r.t.Helper()
	fixed := r.ours.holds(x.ours) && r.ours.chooses(&keyFixed)
	if !fixed && r.theirs.holds(x.theirs) && r.ours.without == nil {
		return
	}
	for name, err := range map[string]error{"id": x.session.SetID(id), "version": x.session.SetProtocolVersion(version)} {
		if errors.Is(err, reprise.ErrCached) != fixed {
			r.t.Fatalf("set %s of %d: %v", name, x.n, err)
		}
	}
	if !fixed {
		for _, s := range []*modelled{x.ours, x.theirs} {
			s.version, s.id = version, string(id)
		}
		if r.ctx != nil {
			r.o.SetID(x.handle, version, id)
		}
	}
	r.check()
}

// useElsewhere takes a session of this Manager to another. libssl is not
// asked: its lists would be corrupt.
func (r *cacheRig) useElsewhere(x *object) {
	r.t.Helper()
	if !x.ours.owned {
		return
	}
	var want error
	if x.ours.id == "" || x.ours.bad {
		want = reprise.ErrNotResumable
	} else if r.ours.chooses(&oneManager) {
		want = reprise.ErrOtherManager
	}
	if added, err := r.elsewhere.Add(x.session); added != (want == nil) || !errors.Is(err, want) {
		r.t.Fatalf("%d in another Manager: %v, %v, want %v", x.n, added, err, want)
	}
	if r.elsewhere.Remove(x.session) {
		r.t.Fatalf("%d was removed from another Manager", x.n)
	}
	r.check()
}

// lookup holds what it finds, unless it is held.
func (r *cacheRig) lookup(version uint16, id []byte) {
	r.t.Helper()
	if r.ctx != nil {
		want := oracle.None
		if s := r.theirs.find(version, string(id)); s != nil {
			want = r.objects[s.n].handle
		}
		if got := r.ctx.Lookup(version, id); got != want {
			r.t.Fatalf("libssl: lookup of %x: handle %d, want %d", id, got, want)
		}
	}
	found := r.m.Lookup(version, id)
	want := r.ours.find(version, string(id))
	switch {
	case (found != nil) != (want != nil), found != nil && numberOf(found) != want.n:
		r.t.Fatalf("lookup of %x: %v, want %+v", id, found, want)
	case found == nil:
	case r.objects[want.n].session == nil:
		r.objects[want.n].session = found
	case r.objects[want.n].session != found:
		r.t.Fatalf("lookup of %d gives another object than its holder has", want.n)
	default:
		found.Free()
	}
	r.check()
}

// letGo leaves a session to the cache alone.
func (r *cacheRig) letGo(x *object) {
	if r.ours.holds(x.ours) {
		x.session.Free()
		x.session = nil
		reprise.Forget(r.m, x.ours.version, []byte(x.ours.id))
	}
	r.check()
}

// close ends all caches.
func (r *cacheRig) close() {
	r.t.Helper()
	r.m.Close()
	r.hint()
	r.ours.flushAll(reprise.CauseClosed)
	r.checkOurs()
	r.m.Close()
	if r.ctx != nil {
		r.ctx.Free()
		r.theirs.flushAll(reprise.CauseClosed)
		r.checkStates()
		r.checkEvents()
	}
	for _, x := range r.objects {
		if x.session != nil {
			if added, err := r.m.Add(x.session); added || !errors.Is(err, reprise.ErrClosed) {
				r.t.Fatalf("add of %d after the end: %v, %v", x.n, added, err)
			}
			x.session.Free()
		}
		if r.ctx != nil {
			r.o.Release(x.handle)
		}
	}
	if r.m.Len() != 0 || r.told != nil {
		r.t.Fatalf("after the end: %d cached, told %v", r.m.Len(), r.told)
	}
}

// check compares everything with the models.
func (r *cacheRig) check() {
	r.t.Helper()
	r.checkOurs()
	if r.ctx == nil {
		return
	}
	r.checkStates()
	r.checkEvents()
	if n, full := r.ctx.Counts(); n != int64(len(r.theirs.cached)) || full != int64(r.theirs.full) {
		r.t.Fatalf("libssl: %d cached, %d times full, want %d and %d", n, full, len(r.theirs.cached), r.theirs.full)
	}
	var cached []oracle.Handle
	for _, s := range r.theirs.cached {
		cached = append(cached, r.objects[s.n].handle)
	}
	if got := r.ctx.Sessions(); !sameSet(got, cached) {
		r.t.Fatalf("libssl: handles %v are cached, want %v", got, cached)
	}
}

func (r *cacheRig) checkOurs() {
	r.t.Helper()
	if r.config.OnRemove != nil && !slices.Equal(r.told, r.ours.calls) {
		r.t.Fatalf("told %v, want %v", r.told, r.ours.calls)
	}
	r.told, r.ours.calls = nil, nil
	var got, want []int
	for s := range r.m.All() {
		got = append(got, numberOf(s))
	}
	for _, s := range r.ours.cached {
		want = append(want, s.n)
	}
	if st := r.m.Stats(); !sameSet(got, want) || r.m.Len() != len(want) || st.Number != len(want) || st.CacheFull != r.ours.full {
		r.t.Fatalf("cached: %v, length %d, want %v; %d times full, want %d", got, r.m.Len(), want, st.CacheFull, r.ours.full)
	}
	if kept, counted := reprise.Accounts(r.m); kept != counted || r.config.CacheBytes > 0 && kept.Bytes > r.config.CacheBytes {
		r.t.Fatalf("accounts say %+v, a count %+v, the limit is %d bytes", kept, counted, r.config.CacheBytes)
	}
	for _, x := range r.objects {
		r.checkObject(x)
	}
}

func (r *cacheRig) checkObject(x *object) {
	r.t.Helper()
	if got, want := r.m.Has(x.ours.version, []byte(x.ours.id)), r.ours.find(x.ours.version, x.ours.id) != nil; got != want {
		r.t.Fatalf("cached is a session with the id of %d: %v, want %v", x.n, got, want)
	}
	s := x.session
	if s == nil {
		return
	}
	f, _ := reprise.Fields(s)
	if f.Time != x.ours.time || f.Timeout != x.ours.timeout || s.Resumable() != x.ours.resumable() {
		r.t.Fatalf("%d: time %d, timeout %d, resumable %v, want %+v", x.n, f.Time, f.Timeout, s.Resumable(), *x.ours)
	}
	cached := 0
	if r.ours.holds(x.ours) {
		cached = 1
	}
	if caller, library := reprise.Held(s); caller != 1 || library != cached {
		r.t.Fatalf("%d: the caller holds %d, the library %d, want 1 and %d", x.n, caller, library, cached)
	}
}

func (s *modelled) resumable() bool { return !s.bad && s.id != "" }

func (r *cacheRig) checkStates() {
	r.t.Helper()
	handles := make([]oracle.Handle, len(r.objects))
	for i, x := range r.objects {
		handles[i] = x.handle
	}
	for i, got := range r.o.States(handles...) {
		s := r.objects[i].theirs
		if want := (oracle.SessionState{Time: s.time, Timeout: s.timeout, Resumable: s.resumable()}); got != want {
			r.t.Fatalf("libssl: %d: %+v, want %+v", i, got, want)
		}
	}
}

func (r *cacheRig) checkEvents() {
	r.t.Helper()
	var want []oracle.Event
	for _, c := range r.theirs.calls {
		want = append(want, oracle.Event{Removed: true, Session: r.objects[c.n].handle})
	}
	if got := r.ctx.Events(); !slices.Equal(got, want) {
		r.t.Fatalf("libssl: told %+v, want %+v", got, want)
	}
	r.theirs.calls = nil
}

func sameSet[T cmp.Ordered](a, b []T) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// steps are what can happen next; each draws what it wants.
func (r *cacheRig) steps() map[string]func(*rapid.T) {
	on := func(do func(t *rapid.T, x *object)) func(*rapid.T) {
		return func(t *rapid.T) {
			held := slices.DeleteFunc(slices.Clone(r.objects), func(x *object) bool { return x.session == nil })
			if len(held) > 0 {
				do(t, rapid.SampledFrom(held).Draw(t, "session"))
			}
		}
	}
	steps := map[string]func(*rapid.T){
		"make":        func(t *rapid.T) { r.draw(t) },
		"add new":     func(t *rapid.T) { r.add(r.draw(t)) },
		"add another": func(t *rapid.T) { r.add(r.draw(t)) }, // so that caches fill
		"add":         on(func(_ *rapid.T, x *object) { r.add(x) }),
		"remove":      on(func(_ *rapid.T, x *object) { r.remove(x) }),
		"remove twin": func(t *rapid.T) {
			if len(r.ours.cached) > 0 {
				twin := rapid.SampledFrom(r.ours.cached).Draw(t, "of")
				r.remove(r.sessionOf(twin.version, []byte(twin.id), base, 1))
			}
		},
		"let go": on(func(_ *rapid.T, x *object) { r.letGo(x) }),
		"add again": func(t *rapid.T) {
			held := slices.DeleteFunc(slices.Clone(r.ours.cached), func(s *modelled) bool { return r.objects[s.n].session == nil })
			if len(held) > 0 {
				r.add(r.objects[rapid.SampledFrom(held).Draw(t, "session").n])
			}
		},
		"take up": func(t *rapid.T) {
			alone := slices.DeleteFunc(slices.Clone(r.ours.cached), func(s *modelled) bool { return r.objects[s.n].session != nil })
			if len(alone) > 0 {
				s := rapid.SampledFrom(alone).Draw(t, "session")
				r.lookup(s.version, []byte(s.id))
			}
		},
		"lookup": func(t *rapid.T) { r.lookup(drawKey(t)) },
		"flush":  func(t *rapid.T) { r.flush(r.drawTime(t)) },
		"flush all": func(t *rapid.T) {
			if rapid.IntRange(0, 3).Draw(t, "all") == 0 {
				r.flushAll()
			}
		},
		"set time":     on(func(t *rapid.T, x *object) { r.setTime(x, r.drawTime(t)) }),
		"set timeout":  on(func(t *rapid.T, x *object) { r.setTimeout(x, r.drawTimeout(t, math.MaxInt64/int64(time.Second), -1)) }),
		"set hostname": on(func(_ *rapid.T, x *object) { r.setHostname(x) }),
		"set key": on(func(t *rapid.T, x *object) {
			version, id := drawKey(t)
			r.setKey(x, version, id)
		}),
		"elsewhere": on(func(_ *rapid.T, x *object) { r.useElsewhere(x) }),
	}
	if r.ctx == nil {
		steps["tick"] = func(t *rapid.T) { r.clock += rapid.Int64Range(0, 9).Draw(t, "seconds") }
		steps["set data"] = on(func(t *rapid.T, x *object) {
			r.setData(x, rapid.SampledFrom([]int{0, 100, 300, 600, 1500}).Draw(t, "bytes"))
		})
	}
	return steps
}

func (r *cacheRig) draw(t *rapid.T) *object {
	version, id := drawKey(t)
	return r.sessionOf(version, id, r.drawTime(t), r.drawTimeout(t, math.MaxInt64, math.MaxInt64-1, math.MaxInt64-base, -5))
}

// drawKey draws one of few, so that there are twins; some are another's
// beginning, and now and then there is no id.
func drawKey(t *rapid.T) (version uint16, id []byte) {
	version = rapid.SampledFrom([]uint16{tls.VersionTLS12, tls.VersionTLS12, tls.VersionTLS13}).Draw(t, "version")
	return version, rapid.SampledFrom([][]byte{{1}, {1, 0}, {2}, {3}, {4}, {5}, {6}, nil}).Draw(t, "id")
}

// drawTime draws a second among those of the other sessions, now and then one
// at the end of all time.
func (r *cacheRig) drawTime(t *rapid.T) int64 {
	from := base + rapid.Int64Range(0, 12).Draw(t, "time")
	switch kind := rapid.IntRange(0, 9).Draw(t, "kind of time"); {
	case kind == 0 && r.wide():
		return rapid.SampledFrom([]int64{0, 1, -1, -5, math.MinInt64, math.MaxInt64, math.MaxInt64 - 5}).Draw(t, "time")
	case kind < 3:
		return r.clock + from - base
	}
	return from
}

func (r *cacheRig) drawTimeout(t *rapid.T, edges ...int64) int64 {
	if rapid.IntRange(0, 5).Draw(t, "kind of timeout") == 0 && r.wide() {
		return rapid.SampledFrom(edges).Draw(t, "timeout")
	}
	return rapid.Int64Range(0, 9).Draw(t, "timeout")
}

// wide reports whether times and timeouts may be of any size: since libssl 3.1
// seconds are multiplied without a check.
func (r *cacheRig) wide() bool {
	if r.o == nil {
		return true
	}
	number, _ := r.o.Version()
	return number < 0x30100000
}

// modeFlags are flags that make no difference to a cache used by hand, and one that does.
var modeFlags = []reprise.CacheMode{0, reprise.UpdateTime, reprise.UpdateTime, reprise.CacheOff, reprise.CacheBoth, reprise.NoInternal, reprise.NoAutoClear}

// compareCaches takes random steps.
func compareCaches(t *rapid.T, o *oracle.Oracle) {
	r := newCacheRig(t, o, reprise.Config{
		CacheMode: rapid.SampledFrom(modeFlags).Draw(t, "mode"),
		CacheSize: rapid.SampledFrom([]int{-1, 1, 2, 3, 4, 5}).Draw(t, "size"),
	}, rapid.Bool().Draw(t, "quiet"))
	for range 2 {
		t.Repeat(r.steps())
	}
	r.close()
}

// TestCacheAgainstLibssl: but for the differences the cache does what libssl's
// does. RAPID_CHECKS in the environment sets the number of runs.
func TestCacheAgainstLibssl(t *testing.T) {
	o := oracle.Start(t)
	rapid.Check(t, func(t *rapid.T) { compareCaches(t, o) })
	for _, d := range cacheDifferences {
		t.Logf("%d times: %s", d.seen, d.name)
	}
}

// FuzzCacheAgainstLibssl is the same, with steps that the fuzzer finds.
func FuzzCacheAgainstLibssl(f *testing.F) {
	f.Fuzz(func(t *testing.T, input []byte) {
		o := oracle.Start(t) // it cannot be f's: a fuzz target must not use f
		rapid.MakeFuzz(func(t *rapid.T) { compareCaches(t, o) })(t, input)
	})
}

// shows are steps, on a cache of two sessions, that bring a difference about
// and fail without it.
var shows = map[*cacheDifference]func(r *cacheRig){
	&exactSize: func(r *cacheRig) {
		r.add(r.session(1, base, 1))
		r.add(r.session(2, base, 2))
	},
	&outsideLocks: func(r *cacheRig) {
		r.add(r.session(1, base, 1))
		r.flush(base + 2)
		if !r.reentered {
			r.t.Fatalf("the callback did not use the cache")
		}
	},
	&twinTold: func(r *cacheRig) {
		r.add(r.session(1, base, 1))
		r.add(r.session(1, base, 1))
	},
	&twinRemoved: func(r *cacheRig) {
		r.add(r.session(1, base, 1))
		r.remove(r.session(1, base, 1))
	},
	&ticketRevoked: func(r *cacheRig) {
		x := r.session(1, base, 1)
		r.add(x)
		r.add(r.session(1, base, 1))
		r.setKey(x, tls.VersionTLS12, nil)
		r.remove(x)
		r.setKey(x, tls.VersionTLS12, []byte{2})
	},
	&noID: func(r *cacheRig) { r.add(r.session(0, base, 1)) },
	&notResumable: func(r *cacheRig) {
		x := r.session(1, base, 1)
		r.remove(x)
		r.add(x)
	},
	&keyFixed: func(r *cacheRig) {
		x := r.session(1, base, 1)
		r.add(x)
		r.setKey(x, tls.VersionTLS12, []byte{2})
	},
	&oneManager: func(r *cacheRig) {
		x := r.session(1, base, 1)
		r.add(x)
		r.useElsewhere(x)
	},
	&neverAlike: func(r *cacheRig) {
		r.add(r.session(1, base, math.MaxInt64))
		r.add(r.session(2, base, math.MaxInt64-1))
		r.add(r.session(3, base, 1))
	},
	&beforeEpoch: func(r *cacheRig) {
		r.add(r.session(1, -10, 1))
		r.flush(base)
	},
	&firstSecond: func(r *cacheRig) {
		r.add(r.session(1, base, 1))
		r.flush(0)
	},
	&anySetter: func(r *cacheRig) {
		x := r.session(1, base, 1)
		r.add(x)
		r.add(r.session(2, base, 1))
		r.setHostname(x)
		r.flush(base + 2)
	},
}

// TestCacheDifferences: each difference is there, and the comparison with
// libssl does not hold without it.
func TestCacheDifferences(t *testing.T) {
	o := oracle.Start(t)
	for _, d := range cacheDifferences {
		t.Run(d.name, func(t *testing.T) {
			config := reprise.Config{CacheSize: 2}
			shown := newCacheRig(t, o, config, false)
			if !shown.wide() && (d == &neverAlike || d == &beforeEpoch) {
				shown = newCacheRig(t, nil, config, false)
			}
			before := d.seen
			shows[d](shown)
			shown.close()
			if d.seen == before {
				t.Error("not seen")
			}
			without := newCacheRig(failing{t}, shown.o, config, false)
			without.ours.without = d
			defer func() {
				if _, ok := recover().(differs); !ok {
					t.Error("the models compare without it: the cache is as libssl's, or the steps do not show it")
				}
			}()
			shows[d](without)
		})
	}
}

// failing panics where a test would fail.
type failing struct{ rapid.TB }

type differs struct{}

func (f failing) Fatalf(format string, args ...any) {
	f.Logf("without it: "+format, args...)
	panic(differs{})
}

// TestCacheAlone compares caches of one and of many shards with the model,
// with limits that libssl does not have.
func TestCacheAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		config := reprise.Config{
			CacheMode:  rapid.SampledFrom(modeFlags).Draw(t, "mode"),
			CacheSize:  rapid.SampledFrom([]int{-1, -1, 1 << 20, 5000, 3}).Draw(t, "size"),
			CacheBytes: rapid.SampledFrom([]int64{0, 500, 1000, 2000}).Draw(t, "bytes"),
		}
		fixed := config.CacheBytes == 0 || config.CacheSize == 3 // which one is evicted, without being told
		r := newCacheRig(t, nil, config, fixed && rapid.Bool().Draw(t, "quiet"))
		for range 4 {
			t.Repeat(r.steps())
		}
		r.close()
	})
}

// TestCacheStress: whatever happens at once, every session that entered left
// once or is still there, the limits hold and the accounts are right.
func TestCacheStress(t *testing.T) {
	for _, row := range []struct {
		size  int
		bytes int64
		quiet bool // nobody is told, which is another way to flush
	}{{1 << 20, 0, false}, {3, 0, false}, {1 << 20, 8 << 10, false}, {1 << 20, 0, true}} {
		t.Run(fmt.Sprintf("%d sessions, %d bytes, quiet %v", row.size, row.bytes, row.quiet), func(t *testing.T) {
			const rounds = 3
			st := newCacheStress(t, reprise.Config{CacheSize: row.size, CacheBytes: row.bytes}, row.quiet)
			for round := range rounds {
				st.round(t, round)
			}
			for _, side := range []*ledger{st.server, st.client} {
				side.m.Close()
				side.check(t)
			}
		})
	}
}

// ledger counts what enters and leaves a Manager's cache, by version and id.
type ledger struct {
	m      *reprise.Manager
	config reprise.Config

	mu            sync.Mutex
	entered, left map[string]int
	// taken may have been told of sessions that were not cached, as Remove
	// tells; but there nobody says so.
	taken map[string]int
}

func newLedger(t *testing.T, config reprise.Config, now time.Time, quiet bool) *ledger {
	l := &ledger{config: config, entered: make(map[string]int), left: make(map[string]int), taken: make(map[string]int)}
	l.config.NoTickets, l.config.OnLookup = true, nothing
	l.config.Time = func() time.Time { return now }
	if quiet {
		l.m = manager(t, l.config)
		return l
	}
	l.config.OnNew = func(s *reprise.Session) { l.count(l.entered, s, 1) }
	l.config.OnRemove = func(s *reprise.Session, cause reprise.Cause) {
		if cause == reprise.CauseTaken {
			l.count(l.taken, s, 1)
		} else {
			l.count(l.left, s, 1)
		}
	}
	l.m = manager(t, l.config)
	return l
}

func (l *ledger) count(in map[string]int, s *reprise.Session, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	in[ledgerKey(s)] += n
}

func ledgerKey(s *reprise.Session) string { return fmt.Sprintf("%x %x", s.ProtocolVersion(), s.ID()) }

func (l *ledger) add(s *reprise.Session) {
	if added, _ := l.m.Add(s); added {
		l.count(l.entered, s, 1)
	}
}

func (l *ledger) remove(s *reprise.Session) {
	if !l.m.Remove(s) {
		l.count(l.left, s, -1) // it was told all the same
	}
}

// check wants everything at rest.
func (l *ledger) check(t *testing.T) {
	t.Helper()
	cached := make(map[string]int)
	for s := range l.m.All() {
		cached[ledgerKey(s)]++
	}
	for key, entered := range l.entered {
		if l.config.OnRemove == nil {
			break
		}
		if least := l.left[key] + cached[key]; entered < least || entered > least+l.taken[key] {
			t.Errorf("session %s: entered %d times, left %d times, taken %d times, cached %d times",
				key, entered, l.left[key], l.taken[key], cached[key])
		}
	}
	kept, counted := reprise.Accounts(l.m)
	if kept != counted || int(kept.Entries) != l.m.Len() || len(cached) != l.m.Len() {
		t.Errorf("accounts say %+v, a count %+v, Len %d, All gave %d", kept, counted, l.m.Len(), len(cached))
	}
	if kept.Entries > int64(l.config.CacheSize) || l.config.CacheBytes > 0 && kept.Bytes > l.config.CacheBytes {
		t.Errorf("%+v is over the limit", kept)
	}
}

// cacheStress is what many do at once to one Manager, the server of handshakes
// with another, which is of the same limits.
type cacheStress struct {
	rig            *rig
	now            time.Time // throughout
	server, client *ledger
	held           [32]atomic.Pointer[reprise.Session]
}

func newCacheStress(t *testing.T, config reprise.Config, quiet bool) *cacheStress {
	st := &cacheStress{rig: newRig(t), now: time.Now()}
	st.server = newLedger(t, config, st.now, quiet)
	config.CacheMode = reprise.CacheClient
	st.client = newLedger(t, config, st.now, quiet)
	return st
}

func (st *cacheStress) round(t *testing.T, round int) {
	const steps = 400
	var wg sync.WaitGroup
	for who, do := range []func(*rand.Rand) error{
		st.addNew, st.addNew, st.addNew, st.addAgain, st.remove, st.lookup, st.flush, st.walk, st.set, st.set,
	} {
		rng := rand.New(rand.NewPCG(uint64(round), uint64(who)))
		wg.Go(func() {
			for range steps {
				if err := do(rng); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, version := range later {
		var transports [][2]net.Conn
		for range 10 {
			client, server := pipe(t)
			transports = append(transports, [2]net.Conn{client, server})
		}
		wg.Go(func() {
			if err := st.handshakes(version, transports); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st.server.check(t)
	st.client.check(t)
}

func (st *cacheStress) addNew(rng *rand.Rand) error {
	s := named(fmt.Sprint(rng.IntN(64)), st.near(rng))
	defer s.Free()
	if err := s.UpRef(); err != nil {
		return err
	}
	st.held[rng.IntN(len(st.held))].Swap(s).Free() // others have it before it is added
	st.server.add(s)
	return nil
}

// near is a time about when sessions expire.
func (st *cacheStress) near(rng *rand.Rand) time.Time {
	return st.now.Add(time.Duration(rng.IntN(20)-10) * time.Second)
}

// pick returns a session that was added lately, held once more; nil if there is none.
func (st *cacheStress) pick(rng *rand.Rand) *reprise.Session {
	s := st.held[rng.IntN(len(st.held))].Load()
	if s == nil || s.UpRef() != nil {
		return nil
	}
	return s
}

func (st *cacheStress) addAgain(rng *rand.Rand) error {
	if s := st.pick(rng); s != nil {
		st.server.add(s)
		s.Free()
	}
	return nil
}

func (st *cacheStress) remove(rng *rand.Rand) error {
	if s := st.pick(rng); s != nil {
		st.server.remove(s)
		s.Free()
	}
	return nil
}

func (st *cacheStress) lookup(rng *rand.Rand) error {
	id := fmt.Sprint(rng.IntN(64))
	s := st.server.m.Lookup(tls.VersionTLS12, []byte(id))
	defer s.Free()
	if s != nil && string(s.ID()) != id {
		return fmt.Errorf("lookup of %s gives %q", id, s.ID())
	}
	return nil
}

func (st *cacheStress) flush(rng *rand.Rand) error {
	if rng.IntN(100) == 0 {
		st.server.m.FlushAll()
	} else {
		st.server.m.Flush(st.near(rng))
	}
	return nil
}

func (st *cacheStress) walk(*rand.Rand) error {
	seen := make(map[string]bool)
	for s := range st.server.m.All() {
		if key := ledgerKey(s); seen[key] {
			return fmt.Errorf("All gave %s twice", key)
		} else {
			seen[key] = true
		}
	}
	return nil
}

func (st *cacheStress) set(rng *rand.Rand) error {
	s := st.pick(rng)
	if s == nil {
		return nil
	}
	defer s.Free()
	switch rng.IntN(4) {
	case 0:
		s.SetTime(st.near(rng))
	case 1:
		return s.SetTimeout(time.Duration(rng.IntN(10)) * time.Second)
	case 2:
		return s.SetTicketAppData(make([]byte, rng.IntN(1000)))
	default:
		s.SetValue("key", rng.IntN(2))
	}
	return nil
}

// handshakes connects again and again, with the session of the connection before.
func (st *cacheStress) handshakes(version uint16, transports [][2]net.Conn) error {
	var session *reprise.Session
	defer func() { session.Free() }()
	for _, transport := range transports {
		client := st.client.m.Client(transport[0], at(version, st.rig.client))
		server := st.server.m.Server(transport[1], at(version, st.rig.server))
		if err := client.SetSession(session); err != nil && !errors.Is(err, reprise.ErrNotResumable) {
			return err // its cache let go of it meanwhile
		}
		session.Free()
		session = nil
		err := exchange(client, server)
		if errors.Is(err, reprise.ErrRevoked) {
			continue // FlushAll, while the handshake was under way
		}
		if err != nil {
			return err
		}
		session = client.AcquireSession()
	}
	return nil
}

// exchange sends a byte each way and closes both ends as peers should.
func exchange(client, server *reprise.Conn) error {
	served := make(chan error, 1)
	go func() {
		buf := make([]byte, 1)
		_, err := io.ReadFull(server, buf)
		if err == nil {
			_, err = server.Write(buf)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, server)
		}
		served <- errors.Join(err, server.Close())
	}()
	buf := []byte{1}
	_, err := client.Write(buf)
	if err == nil {
		_, err = io.ReadFull(client, buf)
	}
	err = errors.Join(err, client.CloseWrite())
	if err == nil {
		_, err = io.Copy(io.Discard, client)
	}
	return errors.Join(err, client.Close(), <-served)
}
