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
	live   map[cache.Key]liveSession
	buf    []byte // for unpacking; holds secrets only under mu

	// first is the expiry of the entry that expires first and size the number of
	// entries, for eviction and flushing to look at without the lock.
	first atomic.Int64
	size  atomic.Int64

	_ [64]byte // keeps the locks of neighbours off one cache line
}

// liveSession is the object of a cached session. It is pinned while it has
// attached values, which are not packed.
type liveSession struct {
	weak   weak.Pointer[Session]
	pinned *Session
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
		c.shards[i].packed = cache.New()
		c.shards[i].live = make(map[cache.Key]liveSession)
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
	key, was, err := s.enter(updateTime, c.m.now().Unix())
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
// and its time, which updateTime sets to now.
func (s *Session) enter(updateTime bool, now int64) (key cache.Key, was int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.f.ID) == 0 || s.notResumable.Load() {
		return cache.Key{}, 0, ErrNotResumable
	}
	if was = s.f.Time; updateTime {
		s.change().f.Time = now
		s.edits++
	}
	key, _ = cache.MakeKey(s.f.Version, s.f.ID)
	if s.inCache.Swap(true) {
		return key, was, errEntered
	}
	return key, was, nil
}

// scratch has buffers for packing, wiped.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

// store packs s, makes room and puts it in.
func (c *sessionCache) store(key cache.Key, s *Session) (gone []removal, err error) {
	buf := scratch.Get().(*[]byte)
	defer func() {
		clear((*buf)[:cap(*buf)])
		scratch.Put(buf)
	}()
	edits, err := c.pack(buf, s)
	if err != nil {
		return nil, err
	}
	size := int64(cache.SizeOf(len(*buf)))
	_, twin := c.take(key, CauseReplaced) // whose room this one takes
	if twin != nil {
		gone = append(gone, *twin)
	}
	c.entries.Add(1)
	c.bytes.Add(size)
	gone, enough := c.makeRoom(gone)
	twin, err = c.place(key, s, buf, edits, size)
	if twin != nil { // that came meanwhile
		gone = append(gone, *twin)
	}
	if !enough || err == nil && int64(cache.SizeOf(len(*buf))) > size {
		gone, _ = c.makeRoom(gone) // what was to go was not there yet, or s grew meanwhile
	}
	return gone, err
}

// place puts s in, for which size bytes are counted.
func (c *sessionCache) place(key cache.Key, s *Session, buf *[]byte, edits uint64, size int64) (twin *removal, err error) {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	if s.edited() != edits { // since it was packed; a setter that comes now waits for the lock
		_, err = c.pack(buf, s)
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
	twin = c.detach(sh, key, CauseReplaced)
	c.put(sh, key, s, *buf)
	c.bytes.Add(-size) // the account has it now
	c.remember(sh, key, s)
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

// pack packs s into buf and says which state of s that is.
func (c *sessionCache) pack(buf *[]byte, s *Session) (edits uint64, err error) {
	edits = s.edited()
	packed, err := s.pack((*buf)[:0])
	if err != nil {
		return 0, err
	}
	*buf = packed
	if len(packed) > cache.MaxValue || int64(cache.SizeOf(len(packed))) > c.m.config.CacheBytes {
		return 0, errTooBig
	}
	return edits, nil
}

// put stores packed and takes it to the account of bytes.
func (c *sessionCache) put(sh *shard, key cache.Key, s *Session, packed []byte) {
	before := sh.packed.Size()
	sh.packed.Put(key, s.expiry(), packed)
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
	key, _, ok := sh.packed.First()
	if !ok {
		return nil, false
	}
	c.m.stats.full.Add(1)
	return c.detach(sh, key, CauseEvicted), true
}

// note publishes what others look at without the lock. The caller holds it.
func (sh *shard) note() {
	_, first, _ := sh.packed.First()
	sh.first.Store(first)
	sh.size.Store(int64(sh.packed.Len()))
}

// remember makes s the object of its entry.
func (c *sessionCache) remember(sh *shard, key cache.Key, s *Session) {
	l := liveSession{weak: weak.Make(s)}
	if s.hasValues() {
		l.pinned = s
	}
	sh.live[key] = l
	s.secrets.shard, s.secrets.key = sh, key // whose cleanup forgets the entry
}

// forget drops the entry of an object that was collected.
func (sh *shard) forget(key cache.Key) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if l, ok := sh.live[key]; ok && l.weak.Value() == nil {
		delete(sh.live, key)
	}
}

// lookup returns the session under key with a reference of the kind, nil if
// there is none.
func (c *sessionCache) lookup(key cache.Key, kind uint64) *Session {
	sh := c.shard(&key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := c.object(sh, key)
	if s == nil || !s.refs.add(kind) {
		return nil
	}
	return s
}

// object returns the object of an entry, unpacking it if nobody holds one. The
// cache's own reference is in it.
func (c *sessionCache) object(sh *shard, key cache.Key) *Session {
	if l, ok := sh.live[key]; ok {
		if s := l.weak.Value(); s != nil {
			return s
		}
		delete(sh.live, key)
	}
	packed, _, ok := sh.packed.Get(sh.buf[:0], key)
	if !ok {
		return nil
	}
	defer sh.wipe(packed)
	s, err := unpack(packed, libraryRef)
	if err != nil {
		c.drop(sh, key)
		return nil
	}
	s.owner.Store(c.m)
	s.inCache.Store(true)
	c.remember(sh, key, s)
	return s
}

// wipe keeps the buffer for the next entry, without secrets.
func (sh *shard) wipe(b []byte) {
	clear(b[:cap(b)])
	sh.buf = b[:0]
}

// drop deletes an entry and takes it off the account.
func (c *sessionCache) drop(sh *shard, key cache.Key) bool {
	before := sh.packed.Size()
	if !sh.packed.Delete(key) {
		return false
	}
	c.entries.Add(-1)
	c.bytes.Add(int64(sh.packed.Size() - before))
	return true
}

// detach takes an entry out. What it returns is still to be told; nil if there
// was no entry, or nobody to tell.
func (c *sessionCache) detach(sh *shard, key cache.Key, cause Cause) *removal {
	var s *Session
	if l, ok := sh.live[key]; ok {
		s = l.weak.Value()
	}
	if s == nil && c.m.config.OnRemove != nil {
		s = c.object(sh, key)
	}
	delete(sh.live, key)
	if !c.drop(sh, key) || s == nil {
		return nil
	}
	if cause != CauseReplaced {
		s.notResumable.Store(true)
	}
	s.inCache.Store(false)
	return &removal{s, cause}
}

// tell runs the callback for what left the cache and gives its references back.
func (c *sessionCache) tell(gone []removal) {
	for _, r := range gone {
		if f := c.m.config.OnRemove; f != nil {
			f(r.s, r.cause)
		}
		r.s.release()
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
	had = sh.packed.Has(key)
	return had, c.detach(sh, key, cause)
}

// flushBatch bounds how many entries leave under one hold of a lock: what a
// lookup may have to wait for.
const flushBatch = 16

// flush removes what expired before now (seconds), or everything if all, in
// the order of expiry.
func (c *sessionCache) flush(now int64, all bool, cause Cause) (removed int) {
	last := now - 1
	switch {
	case all:
		last = neverExpires
		c.settleAll()
	case now == math.MinInt64:
		return 0
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

// flushSome takes at most limit entries out that expire no later than last.
func (c *sessionCache) flushSome(sh *shard, last int64, cause Cause, limit int) (n int, gone []removal) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	defer sh.note()
	for ; n < limit; n++ {
		key, expiry, ok := sh.packed.First()
		if !ok || expiry > last {
			break
		}
		if r := c.detach(sh, key, cause); r != nil {
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
	l := sh.live[key]
	if l.weak.Value() != s || !s.inCache.Load() {
		return nil // not stored yet, or gone
	}
	buf := &sh.buf
	defer func() { sh.wipe(*buf) }()
	if _, err := c.pack(buf, s); err != nil {
		c.m.stats.full.Add(1)
		return c.detach(sh, key, CauseEvicted)
	}
	c.put(sh, key, s, *buf)
	l.pinned = nil
	if s.hasValues() {
		l.pinned = s
	}
	sh.live[key] = l
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
		if s := c.object(sh, key); s != nil && s.hold() {
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

func (s *Session) hasValues() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.values) > 0
}
