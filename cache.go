package reprise

import (
	"errors"
	"runtime"
	"sync"
	"weak"

	"github.com/reprise-tls/reprise/internal/cache"
)

// sessionCache is the cache that a Manager owns: packed sessions, and for
// those that somebody holds the one object that stands for them, so that every
// lookup gives the same *Session while a handle to it lives.
type sessionCache struct {
	m *Manager

	mu     sync.Mutex // taken before any Session.mu, never held during a callback
	packed *cache.Cache
	live   map[cache.Key]liveSession
	buf    []byte // scratch for packing; holds secrets only under mu
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

func newSessionCache(m *Manager) *sessionCache {
	return &sessionCache{m: m, packed: cache.New(), live: make(map[cache.Key]liveSession)}
}

// errTooBig: more than a packed entry holds.
var errTooBig = errors.New("reprise: session is too big for the cache")

// insert caches s, which its caller made sure is m's. added is false if s
// itself was there. Who calls it tells of what is gone.
func (c *sessionCache) insert(s *Session, limit int) (added bool, gone []removal, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.m.closed.Load():
		return false, nil, ErrClosed
	case s.notResumable.Load():
		return false, nil, ErrNotResumable
	case s.inCache.Load():
		return false, nil, nil
	case !s.hold():
		return false, nil, ErrFreed
	}
	key, ok := s.enter() // before packing: a setter that comes later waits for the lock and packs again
	if !ok {
		s.release()
		return false, nil, ErrNotResumable
	}
	packed, err := s.pack(c.buf[:0])
	defer c.wipeScratch(packed)
	if err == nil && len(packed) > cache.MaxValue {
		err = errTooBig
	}
	if err != nil {
		s.inCache.Store(false)
		s.release()
		return false, nil, err
	}
	if old := c.detach(key, CauseReplaced); old != nil {
		gone = append(gone, *old)
	}
	gone = append(gone, c.evict(limit-1)...)
	c.packed.Put(key, s.expiry(), packed)
	c.remember(key, s)
	return true, gone, nil
}

// evict removes the entries that expire first until at most room are left. The
// entry to be added is not there yet, so it is never the victim.
func (c *sessionCache) evict(room int) (gone []removal) {
	for c.packed.Len() > max(room, 0) {
		key, _, _ := c.packed.First()
		c.m.stats.full.Add(1)
		if old := c.detach(key, CauseEvicted); old != nil {
			gone = append(gone, *old)
		}
	}
	return gone
}

// remember makes s the object of its entry.
func (c *sessionCache) remember(key cache.Key, s *Session) {
	l := liveSession{weak: weak.Make(s)}
	if s.hasValues() {
		l.pinned = s
	}
	c.live[key] = l
	runtime.AddCleanup(s, c.forget, key)
}

// forget drops the entry of an object that was collected.
func (c *sessionCache) forget(key cache.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l, ok := c.live[key]; ok && l.weak.Value() == nil {
		delete(c.live, key)
	}
}

// lookup returns the session under key with a reference of the kind, nil if
// there is none.
func (c *sessionCache) lookup(key cache.Key, kind uint64) *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.object(key)
	if s == nil || !s.refs.add(kind) {
		return nil
	}
	return s
}

// object returns the object of an entry, unpacking it if nobody holds one. The
// cache's own reference is in it.
func (c *sessionCache) object(key cache.Key) *Session {
	if l, ok := c.live[key]; ok {
		if s := l.weak.Value(); s != nil {
			return s
		}
		delete(c.live, key)
	}
	packed, _, ok := c.packed.Get(c.buf[:0], key)
	if !ok {
		return nil
	}
	defer c.wipeScratch(packed)
	s, err := unpack(packed, libraryRef)
	if err != nil {
		c.packed.Delete(key)
		return nil
	}
	s.owner.Store(c.m)
	s.inCache.Store(true)
	c.remember(key, s)
	return s
}

// wipeScratch keeps the scratch buffer for the next entry, without secrets.
func (c *sessionCache) wipeScratch(b []byte) {
	if b == nil {
		b = c.buf
	}
	clear(b[:cap(b)])
	c.buf = b[:0]
}

// detach takes an entry out. What it returns is still to be told; nil if there
// was no entry, or nobody to tell.
func (c *sessionCache) detach(key cache.Key, cause Cause) *removal {
	var s *Session
	if l, ok := c.live[key]; ok {
		s = l.weak.Value()
	}
	if s == nil && c.m.config.OnRemove != nil {
		s = c.object(key)
	}
	delete(c.live, key)
	if !c.packed.Delete(key) || s == nil {
		return nil
	}
	s.inCache.Store(false)
	if cause != CauseReplaced {
		s.notResumable.Store(true)
	}
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
// libssl does, whether or not it was s itself that was cached.
func (c *sessionCache) remove(s *Session, cause Cause) bool {
	s.notResumable.Store(true)
	key, ok := s.cacheKey()
	if !ok {
		return false
	}
	c.mu.Lock()
	had := c.packed.Has(key)
	gone := c.detach(key, cause)
	c.mu.Unlock()
	if gone != nil {
		c.tell([]removal{*gone})
	} else if f := c.m.config.OnRemove; f != nil {
		f(s, cause) // for the sake of caches kept elsewhere
	}
	return had
}

// flushBatch bounds how many entries leave under one hold of the lock.
const flushBatch = 64

// flush removes what expired before now (seconds), or everything if all.
func (c *sessionCache) flush(now int64, all bool, cause Cause) (removed int) {
	for {
		n, gone := c.flushSome(now, all, cause)
		c.tell(gone)
		removed += n
		if n < flushBatch {
			return removed
		}
	}
}

func (c *sessionCache) flushSome(now int64, all bool, cause Cause) (n int, gone []removal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ; n < flushBatch; n++ {
		key, expiry, ok := c.packed.First()
		if !ok || !all && (expiry == neverExpires || expiry >= now) {
			break
		}
		if r := c.detach(key, cause); r != nil {
			gone = append(gone, *r)
		}
	}
	return n, gone
}

// update packs s again after one of its fields changed.
func (c *sessionCache) update(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key, ok := s.cacheKey()
	if !ok || !s.inCache.Load() {
		return
	}
	packed, err := s.pack(c.buf[:0])
	defer c.wipeScratch(packed)
	if err != nil || len(packed) > cache.MaxValue {
		return
	}
	c.packed.Put(key, s.expiry(), packed)
	l := c.live[key]
	l.pinned = nil
	if s.hasValues() {
		l.pinned = s
	}
	c.live[key] = l
}

func (c *sessionCache) has(key cache.Key) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packed.Has(key)
}

func (c *sessionCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.packed.Len()
}

// next returns the session at cursor with a reference of the library's, and
// the cursor of the one after it; nil at the end.
func (c *sessionCache) next(cursor uint64) (*Session, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		key, next, ok := c.packed.Next(cursor)
		if !ok {
			return nil, 0
		}
		if s := c.object(key); s != nil && s.hold() {
			return s, next
		}
		cursor = next
	}
}

// enter marks s cached and returns its key, which stays as it is from now on;
// false if s has no id.
func (s *Session) enter() (cache.Key, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.f.ID) == 0 {
		return cache.Key{}, false
	}
	s.inCache.Store(true)
	return cache.MakeKey(s.f.Version, s.f.ID)
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
