package reprise

import (
	"errors"
	"hash/maphash"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/reprise-tls/reprise/internal/cache"
)

// sessionCache is the cache that a Manager owns: packed sessions in shards,
// and for those that somebody holds the one object that stands for them, so
// that every lookup gives the same *Session while a handle to it lives.
type sessionCache struct {
	m      *Manager
	seed   maphash.Seed
	shards []shard

	// entries and bytes count what is cached and what is about to be: store
	// reserves before it makes room, so that the limits hold under concurrency.
	entries atomic.Int64
	bytes   atomic.Int64

	// evicting is held while entries are evicted, so that two who see the cache
	// over a limit do not both do what one has to. It is taken before shard.mu.
	evicting sync.Mutex
}

// shard is one part of the cache, by hash of the key.
type shard struct {
	mu     sync.Mutex // taken before any Session.mu, never held during a callback
	packed *cache.Cache
	live   liveSessions
	latest int64 // no entry expires later
	weak   weak.Pointer[shard]

	// first is the expiry of the entry that expires first and size the number of
	// entries, for eviction and flushing to look at without the lock.
	first atomic.Int64
	size  atomic.Int64

	_ [64]byte // keeps the locks of neighbours off one cache line
}

// liveSessions are the objects of a shard's entries. The tag of an entry is the
// number of its object, from 1 on, and 0 if it has none.
type liveSessions struct {
	slots []liveSession
	free  []uint32 // numbers that are not in use
}

// liveSession is the object of a cached session. It is pinned while it has
// attached values, which are not packed.
type liveSession struct {
	weak   weak.Pointer[keeper]
	pinned *Session
}

// session returns the object, nil if it was collected.
func (l *liveSession) session() *Session {
	if k := l.weak.Value(); k != nil {
		return k.session
	}
	return nil
}

func (l *liveSessions) at(tag uint32) *liveSession { return &l.slots[tag-1] }

func (l *liveSessions) add(s liveSession) (tag uint32) {
	if n := len(l.free) - 1; n >= 0 {
		tag, l.free = l.free[n], l.free[:n]
		*l.at(tag) = s
		return tag
	}
	l.slots = append(l.slots, s)
	return uint32(len(l.slots))
}

func (l *liveSessions) drop(tag uint32) {
	*l.at(tag) = liveSession{}
	if l.free = append(l.free, tag); len(l.free) == len(l.slots) {
		*l = liveSessions{}
	}
}

// removal is a session that left the cache and the cause, to be told after the
// lock is given back. The cache's reference moves to it.
type removal struct {
	s     *Session
	cause Cause
}

// There is a shard for every entriesPerShard of the limit: small caches keep
// the exact order of expiry in one, large ones keep lookups apart.
const (
	entriesPerShard = 4096
	maxShards       = 64
)

func newSessionCache(m *Manager) *sessionCache {
	n := 1
	for n < maxShards && n*entriesPerShard < m.config.CacheSize {
		n *= 2
	}
	c := &sessionCache{m: m, seed: maphash.MakeSeed(), shards: make([]shard, n)}
	for i := range c.shards {
		c.shards[i].weak = weak.Make(&c.shards[i])
		c.shards[i].packed = cache.New()
		c.shards[i].latest = math.MinInt64
	}
	return c
}

// shard returns the shard of a key.
func (c *sessionCache) shard(key *cache.Key) *shard {
	if len(c.shards) == 1 {
		return &c.shards[0]
	}
	return &c.shards[maphash.Bytes(c.seed, key.ID[:])&uint64(len(c.shards)-1)]
}

// errTooBig: more than a packed entry, or the whole cache, holds.
var errTooBig = errors.New("reprise: session is too big for the cache")

// insert caches s, which its caller made sure is m's. added is false if s
// itself was there: it takes its place anew. Who calls it tells of what is gone.
func (c *sessionCache) insert(s *Session) (added bool, gone []removal, err error) {
	if !s.hold() {
		return false, nil, ErrFreed
	}
	updateTime := c.m.config.CacheMode&UpdateTime != 0
	key, was, err := c.enter(s, updateTime)
	if err == nil {
		if gone, err = c.store(key, s); err == nil {
			return true, gone, nil
		}
		if s.inCache.Store(false); updateTime {
			s.set(func() { s.f.Time = was })
		}
	}
	if errors.Is(err, errEntered) {
		gone, err = c.repack(key, s), nil
	}
	s.release()
	return false, gone, err
}

// errEntered: the session is cached already.
var errEntered = errors.New("reprise: session is cached")

// enter marks s cached and returns its key, which stays as it is from now on,
// and its time, which updateTime sets to now. What was made elsewhere ages by
// the monotonic clock from now on, unless its own time is not to be trusted.
func (c *sessionCache) enter(s *Session, updateTime bool) (key cache.Key, was int64, err error) {
	now := c.m.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.f.ID) == 0 || s.notResumable.Load() {
		return cache.Key{}, 0, ErrNotResumable
	}
	if was = s.f.Time; updateTime {
		s.change().f.Time, s.timed = now.Unix(), c.m.uptime()
		s.edits++
	} else if s.timed == 0 && !c.m.fromFuture(s, now) {
		s.timed = c.m.uptime()
	}
	key, _ = cache.MakeKey(s.f.Version, s.f.ID)
	if s.inCache.Swap(true) {
		return key, was, errEntered
	}
	return key, was, nil
}

// scratch has buffers for packing, wiped.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func giveBack(buf *[]byte) {
	clear((*buf)[:cap(*buf)])
	scratch.Put(buf)
}

// store packs s, makes room and puts it in.
func (c *sessionCache) store(key cache.Key, s *Session) (gone []removal, err error) {
	buf := scratch.Get().(*[]byte)
	defer giveBack(buf)
	p, err := c.pack(buf, s)
	if err != nil {
		return nil, err
	}
	size := int64(cache.SizeOf(len(*buf)))
	c.entries.Add(1)
	c.bytes.Add(size)
	enough := true
	if c.overLimit() {
		if _, twin := c.take(key, CauseReplaced); twin != nil { // whose room this one takes
			gone = append(gone, *twin)
		}
		gone, enough = c.makeRoom(gone)
	}
	twin, err := c.place(key, s, buf, p, size)
	if twin != nil {
		gone = append(gone, *twin)
	}
	if !enough || err == nil && int64(cache.SizeOf(len(*buf))) > size {
		gone, _ = c.makeRoom(gone) // what was to go was not there yet, or s grew meanwhile
	}
	return gone, err
}

// place puts s in, for which size bytes are counted.
func (c *sessionCache) place(key cache.Key, s *Session, buf *[]byte, p packing, size int64) (twin *removal, err error) {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	if s.edited() != p.edits { // since it was packed; a setter that comes now waits for the lock
		p, err = c.pack(buf, s)
	}
	switch {
	case err != nil:
	case c.m.closed.Load(): // asked under the lock: what comes before Close's flush is flushed
		err = ErrClosed
	case s.notResumable.Load(): // removed meanwhile
		err = ErrNotResumable
	}
	if err != nil {
		c.entries.Add(-1)
		c.bytes.Add(-size)
		return nil, err
	}
	if e, ok := sh.packed.Find(&key); ok {
		twin = c.detach(sh, e, CauseReplaced)
	}
	tag := sh.live.add(liveSession{weak: s.remember(sh, key), pinned: p.pinned})
	c.put(sh, key, p, *buf, tag)
	c.bytes.Add(-size) // the account has it now
	return twin, nil
}

// autoClear is how many expired entries a session that a handshake made takes
// with it: more than one, so that they go faster than they can come.
const autoClear = 2

// clear takes out autoClear entries, if they have expired.
func (c *sessionCache) clear(now int64) (gone []removal) {
	for range autoClear {
		sh, _ := c.firstToExpire()
		if sh == nil || sh.first.Load() >= now {
			break
		}
		_, r := c.flushSome(sh, now-1, CauseExpired, 1)
		gone = append(gone, r...)
	}
	return gone
}

// firstToExpire returns the shard of the entry that expires first, nil if
// there is none, and the expiry of the first entry of the others.
func (c *sessionCache) firstToExpire() (first *shard, next int64) {
	least := int64(neverExpires)
	next = neverExpires
	for i := range c.shards {
		sh := &c.shards[i]
		if sh.size.Load() == 0 {
			continue
		}
		switch e := sh.first.Load(); {
		case first == nil:
			first, least = sh, e
		case e < least:
			first, least, next = sh, e, least
		default:
			next = min(next, e)
		}
	}
	return first, next
}

// packing tells what was packed.
type packing struct {
	edits  uint64 // the state of the session
	expiry int64
	pinned *Session // the session, if it has attached values
}

// pack packs s into buf.
func (c *sessionCache) pack(buf *[]byte, s *Session) (p packing, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	packed, err := s.appendPacked((*buf)[:0])
	if err != nil {
		return p, err
	}
	*buf = packed
	if len(packed) > cache.MaxValue || int64(cache.SizeOf(len(packed))) > c.m.config.CacheBytes {
		return p, errTooBig
	}
	p = packing{edits: s.edits, expiry: addSeconds(s.f.Time, s.f.Timeout)}
	if len(s.values) > 0 {
		p.pinned = s
	}
	return p, nil
}

// put stores packed and takes it to the account of bytes.
func (c *sessionCache) put(sh *shard, key cache.Key, p packing, packed []byte, tag uint32) {
	before := sh.packed.Size()
	sh.packed.Put(key, p.expiry, packed, tag)
	sh.latest = max(sh.latest, p.expiry)
	c.bytes.Add(int64(sh.packed.Size() - before))
}

// makeRoom evicts until the cache is within its limits, or holds nothing. What
// is counted but not there yet is never the victim.
func (c *sessionCache) makeRoom(gone []removal) (_ []removal, enough bool) {
	if !c.overLimit() {
		return gone, true
	}
	c.evicting.Lock()
	defer c.evicting.Unlock()
	for c.overLimit() {
		r, ok := c.evict()
		if !ok {
			return gone, false
		}
		if r != nil {
			gone = append(gone, *r)
		}
	}
	return gone, true
}

func (c *sessionCache) overLimit() bool {
	return c.entries.Load() > int64(c.m.config.CacheSize) || c.bytes.Load() > c.m.config.CacheBytes
}

// evict removes the entry that expires first; false if there is none.
func (c *sessionCache) evict() (*removal, bool) {
	for {
		sh, _ := c.firstToExpire()
		if sh == nil {
			return nil, false
		}
		if r, ok := c.evictFrom(sh); ok {
			return r, true
		}
	}
}

func (c *sessionCache) evictFrom(sh *shard) (*removal, bool) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	e, _, ok := sh.packed.First()
	if !ok {
		return nil, false
	}
	c.m.stats.full.Add(1)
	return c.detach(sh, e, CauseEvicted), true
}

// note publishes what others look at without the lock. The caller holds it.
func (sh *shard) note() {
	_, first, ok := sh.packed.First()
	if !ok {
		sh.latest = math.MinInt64
	}
	if sh.first.Load() != first { // a store takes as long as ten loads
		sh.first.Store(first)
	}
	sh.size.Store(int64(sh.packed.Len()))
}

// remember makes s findable by what it returns, and has the cleanup of its
// secrets forget it. The caller holds sh's lock.
func (s *Session) remember(sh *shard, key cache.Key) weak.Pointer[keeper] {
	k := s.secrets
	if k.weak == (weak.Pointer[keeper]{}) {
		k.weak = weak.Make(k)
	}
	k.session, k.shard, k.key = s, sh.weak, key
	return k.weak
}

// forget drops the object of an entry if it was collected.
func (sh *shard) forget(key cache.Key) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if e, ok := sh.packed.Find(&key); ok {
		sh.object(e)
	}
}

// object returns the object of an entry, nil if it has none.
func (sh *shard) object(e cache.Entry) *Session {
	tag := sh.packed.Tag(e)
	if tag == 0 {
		return nil
	}
	s := sh.live.at(tag).session()
	if s == nil {
		sh.live.drop(tag)
		sh.packed.SetTag(e, 0)
	}
	return s
}

// lookup returns the session under key with a reference of the kind, nil if
// there is none.
func (c *sessionCache) lookup(key cache.Key, kind uint64) *Session {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	e, ok := sh.packed.Find(&key)
	if !ok {
		return nil
	}
	s := c.object(sh, key, e)
	if s == nil || !s.refs.add(kind) {
		return nil
	}
	return s
}

// object returns the object of an entry, unpacking it if nobody holds one. The
// cache's own reference is in it.
func (c *sessionCache) object(sh *shard, key cache.Key, e cache.Entry) *Session {
	if s := sh.object(e); s != nil {
		return s
	}
	s := c.unpack(sh, e)
	if s == nil {
		c.drop(sh, e)
		return nil
	}
	sh.packed.SetTag(e, sh.live.add(liveSession{weak: s.remember(sh, key)}))
	return s
}

// unpack makes an object of an entry.
func (c *sessionCache) unpack(sh *shard, e cache.Entry) *Session {
	s, err := unpack(sh.packed.Value(e), libraryRef)
	if err != nil {
		return nil
	}
	s.owner.Store(c.m)
	s.inCache.Store(true)
	return s
}

// drop deletes an entry and takes it off the account.
func (c *sessionCache) drop(sh *shard, e cache.Entry) {
	before := sh.packed.Size()
	sh.packed.Remove(e)
	c.entries.Add(-1)
	c.bytes.Add(int64(sh.packed.Size() - before))
}

// detach takes an entry out. What it returns is still to be told; nil if there
// is nobody to tell.
func (c *sessionCache) detach(sh *shard, e cache.Entry, cause Cause) *removal {
	s := sh.object(e)
	if s != nil {
		sh.live.drop(sh.packed.Tag(e))
	} else if c.m.config.OnRemove != nil {
		s = c.unpack(sh, e)
	}
	c.drop(sh, e)
	if s == nil {
		return nil
	}
	if cause != CauseReplaced {
		s.notResumable.Store(true)
	}
	s.inCache.Store(false)
	return &removal{s, cause}
}

// tell runs the callback for what left the cache and gives its references back,
// all of them though the callback may panic.
func (c *sessionCache) tell(gone []removal) {
	told := 0
	defer func() {
		for _, r := range gone[told:] {
			r.s.release()
		}
	}()
	for _, r := range gone {
		if f := c.m.config.OnRemove; f != nil {
			f(r.s, r.cause)
		}
		r.s.release()
		told++
	}
}

// remove takes the entry under s's key out and marks s not resumable, as
// libssl does, whether or not it was s itself that was cached. It reports
// whether there was one; of several at once, one is told so.
func (c *sessionCache) remove(s *Session, cause Cause) bool {
	s.notResumable.Store(true)
	key, ok := s.cacheKey()
	if !ok {
		return false
	}
	had, gone := c.take(key, cause)
	if gone != nil {
		c.tell([]removal{*gone})
	} else if f := c.m.config.OnRemove; f != nil {
		f(s, cause) // for the sake of caches kept elsewhere
	}
	return had
}

// take takes the entry under key out.
func (c *sessionCache) take(key cache.Key, cause Cause) (had bool, gone *removal) {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	e, had := sh.packed.Find(&key)
	if had {
		gone = c.detach(sh, e, cause)
	}
	return had, gone
}

// flushBatch bounds how many entries leave under one hold of a lock: what a
// lookup may have to wait for.
const flushBatch = 16

// flush removes what expired before now (seconds), or everything if all. Where
// the callback could tell, it goes in the order of expiry.
func (c *sessionCache) flush(now int64, all bool, cause Cause) (removed int) {
	last := now - 1
	switch {
	case all:
		last = neverExpires
		c.settleAll()
	case now == math.MinInt64:
		return 0
	}
	if c.m.config.OnRemove == nil {
		for i := range c.shards {
			removed += c.flushShard(&c.shards[i], last, cause)
		}
		return removed
	}
	for {
		sh, next := c.firstToExpire()
		if sh == nil || !all && sh.first.Load() > last {
			return removed
		}
		n, gone := c.flushSome(sh, min(last, next), cause, flushBatch)
		c.tell(gone)
		removed += n
		runtime.Gosched() // whoever waits for the lock comes first
	}
}

// settleAll waits for whoever holds a lock: what they were about to add is noted then.
func (c *sessionCache) settleAll() {
	for i := range c.shards {
		c.shards[i].mu.Lock()
		//lint:ignore SA2001 an empty section is what is wanted
		c.shards[i].mu.Unlock()
	}
}

// flushShard removes all entries of a shard that expire no later than last,
// of which nobody is told.
func (c *sessionCache) flushShard(sh *shard, last int64, cause Cause) (removed int) {
	if sh.size.Load() == 0 || sh.first.Load() > last {
		return 0
	}
	if n, ok := c.drain(sh, last); ok {
		return n
	}
	for n := flushBatch; n == flushBatch; {
		var gone []removal
		n, gone = c.flushSome(sh, last, cause, flushBatch)
		c.tell(gone)
		removed += n
		runtime.Gosched() // whoever waits for the lock comes first
	}
	return removed
}

// drain empties a shard of which all entries expire no later than last. What
// takes time happens without the lock.
func (c *sessionCache) drain(sh *shard, last int64) (removed int, ok bool) {
	sh.mu.Lock()
	if sh.latest > last {
		sh.mu.Unlock()
		return 0, false
	}
	removed = sh.packed.Len()
	c.entries.Add(int64(-removed))
	c.bytes.Add(int64(-sh.packed.Size()))
	live, wipe := sh.live, sh.packed.Clear()
	sh.live = liveSessions{}
	sh.note()
	sh.mu.Unlock()
	wipe()
	for i := range live.slots {
		if s := live.slots[i].session(); s != nil {
			s.notResumable.Store(true)
			s.inCache.Store(false)
			s.release()
		}
	}
	return removed, true
}

// flushSome takes at most limit entries out that expire no later than last.
func (c *sessionCache) flushSome(sh *shard, last int64, cause Cause, limit int) (n int, gone []removal) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	for ; n < limit; n++ {
		e, expiry, ok := sh.packed.First()
		if !ok || expiry > last {
			break
		}
		if r := c.detach(sh, e, cause); r != nil {
			gone = append(gone, *r)
		}
	}
	return n, gone
}

// update packs s again after one of its fields changed. What is too big by now
// leaves the cache: what it holds would no longer be true.
func (c *sessionCache) update(s *Session) {
	key, ok := s.cacheKey()
	if !ok {
		return
	}
	c.tell(c.repack(key, s))
}

// repack puts s anew, if s is what is cached under key, and makes room if it
// grew.
func (c *sessionCache) repack(key cache.Key, s *Session) (gone []removal) {
	if r := c.putAnew(key, s); r != nil {
		gone = append(gone, *r)
	}
	gone, _ = c.makeRoom(gone)
	return gone
}

func (c *sessionCache) putAnew(key cache.Key, s *Session) (gone *removal) {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	e, ok := sh.packed.Find(&key)
	if !ok || sh.object(e) != s || !s.inCache.Load() {
		return nil // not stored yet, or gone
	}
	buf := scratch.Get().(*[]byte)
	defer giveBack(buf)
	p, err := c.pack(buf, s)
	if err != nil {
		c.m.stats.full.Add(1)
		return c.detach(sh, e, CauseEvicted)
	}
	tag := sh.packed.Tag(e)
	c.put(sh, key, p, *buf, tag)
	sh.live.at(tag).pinned = p.pinned
	return nil
}

func (c *sessionCache) has(key cache.Key) bool {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return sh.packed.Has(key)
}

// len returns how many entries there are.
func (c *sessionCache) len() int {
	n := int64(0)
	for i := range c.shards {
		n += c.shards[i].size.Load()
	}
	return int(n)
}

// cursor is a place in an iteration over all shards.
type cursor struct {
	shard int
	place uint64
}

// next returns the session at the cursor with a reference of the library's,
// and moves the cursor on; nil at the end.
func (c *sessionCache) next(at *cursor) *Session {
	for ; at.shard < len(c.shards); at.shard, at.place = at.shard+1, 0 {
		if s := c.nextIn(&c.shards[at.shard], at); s != nil {
			return s
		}
	}
	return nil
}

func (c *sessionCache) nextIn(sh *shard, at *cursor) *Session {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for {
		key, next, ok := sh.packed.Next(at.place)
		if !ok {
			return nil
		}
		at.place = next
		e, _ := sh.packed.Find(&key)
		if s := c.object(sh, key, e); s != nil && s.hold() {
			return s
		}
	}
}

// cacheKey is what a cache finds s by; false if s has no id.
func (s *Session) cacheKey() (cache.Key, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.f.ID) == 0 {
		return cache.Key{}, false
	}
	return cache.MakeKey(s.f.Version, s.f.ID)
}
