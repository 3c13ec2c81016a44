package reprise

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
	"weak"

	"pgregory.net/rapid"
)

// epoch is when the sessions of these tests were established.
var epoch = time.Unix(1_000_000, 0)

// numbered returns a session under an id of its own that expires so many
// seconds after epoch.
func numbered(id byte, seconds int) *Session {
	s := NewSession()
	s.SetID([]byte{id})
	s.SetProtocolVersion(tls.VersionTLS12)
	s.SetCipherSuite(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	s.SetMasterKey(slices.Repeat([]byte{id}, 48))
	s.SetTime(epoch)
	s.SetTimeout(time.Duration(seconds) * time.Second)
	return s
}

// told is one call of OnRemove.
type told struct {
	id    byte
	cause Cause
}

// watched returns a Manager and what its OnRemove was told.
func watched(t interface{ Fatal(...any) }, size int) (*Manager, *[]told) {
	var calls []told
	m, err := New(Config{CacheSize: size, OnRemove: func(s *Session, c Cause) {
		calls = append(calls, told{s.ID()[0], c})
	}})
	if err != nil {
		t.Fatal(err)
	}
	return m, &calls
}

// TestCapacity: exactly CacheSize sessions fit; the one that expires first
// goes, and never the one that is added.
func TestCapacity(t *testing.T) {
	for size := 1; size <= 5; size++ {
		m, calls := watched(t, size)
		for i := range size { // the later added, the earlier it expires
			if added, err := m.Add(numbered(byte(i), 100-i)); !added || err != nil {
				t.Fatal(added, err)
			}
		}
		if m.Len() != size || len(*calls) != 0 {
			t.Fatalf("size %d: holds %d, let go %v", size, m.Len(), *calls)
		}
		m.Add(numbered(200, 1)) // expires before all others
		m.Add(numbered(201, 50))
		want := []told{{byte(size - 1), CauseEvicted}, {200, CauseEvicted}}
		if !slices.Equal(*calls, want) || m.Len() != size || m.Stats().CacheFull != 2 {
			t.Errorf("size %d: holds %d, let go %v, want %v", size, m.Len(), *calls, want)
		}
	}
	m, calls := watched(t, -1)
	for i := range 256 {
		m.Add(numbered(byte(i), i))
	}
	if m.Len() != 256 || *calls != nil {
		t.Errorf("without a limit: holds %d, let go %v", m.Len(), *calls)
	}
}

// TestCapacityAtOnce: no more than CacheSize fit when several are added at
// once, none of which is there yet for the others to evict.
func TestCapacityAtOnce(t *testing.T) {
	for range 2000 {
		m, _ := watched(t, 1)
		m.config.OnRemove = nil // it is for one at a time
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			s := numbered(byte(i), i)
			wg.Go(func() { <-start; m.Add(s) })
		}
		close(start)
		wg.Wait()
		if n := m.Len(); n != 1 {
			t.Fatalf("holds %d", n)
		}
	}
}

// TestEvictionAtOnce: several that find the cache full evict one each, no more.
func TestEvictionAtOnce(t *testing.T) {
	const size = 4
	m, err := New(Config{CacheSize: size})
	if err != nil {
		t.Fatal(err)
	}
	for i := range size {
		m.Add(numbered(byte(i), i))
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 5000 {
				s := numbered(0, i%10)
				s.SetID(binary.BigEndian.AppendUint32(nil, uint32(4*i+w))) // none displaces another
				m.Add(s)
				if n := m.cache.entries.Load(); n < size {
					t.Errorf("%d sessions are left", n)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestCapacityBesidePending: what finds nothing to evict, because the one that
// has the room is counted but not there yet, looks again when it is there itself.
func TestCapacityBesidePending(t *testing.T) {
	m, calls := watched(t, 1)
	m.cache.entries.Add(1) // the other one
	if added, err := m.Add(numbered(1, 1)); !added || err != nil {
		t.Fatal(added, err)
	}
	if want := []told{{1, CauseEvicted}}; m.Len() != 0 || !slices.Equal(*calls, want) {
		t.Errorf("beside the other one: %d, let go %v, want %v", m.Len(), *calls, want)
	}
}

// TestBytes: the limit of bytes holds for sessions that grow while they are
// cached, and one that is refused stays as it was.
func TestBytes(t *testing.T) {
	const limit = 1000
	m, err := New(Config{CacheBytes: limit, CacheMode: UpdateTime})
	if err != nil {
		t.Fatal(err)
	}
	first, second, big := numbered(1, 1), numbered(2, 2), numbered(3, 3)
	m.Add(first)
	m.Add(second)
	second.SetTicketAppData(make([]byte, 700))
	if m.Len() != 1 || first.Resumable() || m.cache.bytes.Load() > limit {
		t.Errorf("a session grew: %d are cached, of %d bytes", m.Len(), m.cache.bytes.Load())
	}
	big.SetTicketAppData(make([]byte, limit))
	if added, err := m.Add(big); added || !errors.Is(err, errTooBig) || !big.Time().Equal(epoch) {
		t.Errorf("one that is too big: %v, %v, its time is %v", added, err, big.Time())
	}
}

// TestMoves: a cached session whose time or timeout is set takes its new place.
func TestMoves(t *testing.T) {
	moves := map[string]func(*Session){
		"SetTime":    func(s *Session) { s.SetTime(epoch.Add(time.Hour)) },
		"SetTimeout": func(s *Session) { s.SetTimeout(time.Hour) },
	}
	for name, move := range moves {
		m, calls := watched(t, 2)
		first := numbered(1, 1)
		m.Add(first)
		m.Add(numbered(2, 2))
		move(first)
		m.Add(numbered(3, 3))
		if want := []told{{2, CauseEvicted}}; !slices.Equal(*calls, want) {
			t.Errorf("%s: evicted %v, want %v", name, *calls, want)
		}
		if n := m.Flush(epoch.Add(time.Minute)); n != 1 || m.Len() != 1 {
			t.Errorf("%s: a flush between the two removed %d and left %d, want 1 and 1", name, n, m.Len())
		}
		if !first.inCache.Load() {
			t.Errorf("%s: the session that was moved is gone", name)
		}
	}
}

// TestUnpackedAgain: what the cache makes of a session that nobody holds any
// more is the session that was added.
func TestUnpackedAgain(t *testing.T) {
	m, _ := watched(t, 0)
	s := numbered(7, 10)
	s.SetHostname("a.test")
	s.SetIDContext([]byte("context"))
	s.SetALPN("h2")
	s.SetTicketAppData([]byte("mine"))
	s.SetMaxEarlyData(17)
	s.change()
	s.rec.FirstAuth, s.rec.Policy, s.rec.Lineage = 5, []byte("policy"), slices.Repeat([]byte{9}, 16)
	s.rec.Sequence = slices.Repeat([]byte{8}, 16)
	if _, err := m.Add(s); err != nil {
		t.Fatal(err)
	}
	f, rec := s.f, cloneRecord(s.rec)
	held := weak.Make(s)
	s.Free()
	s = nil
	for range 100 {
		if runtime.GC(); held.Value() == nil {
			break
		}
	}
	if held.Value() != nil {
		t.Fatal("the session is still in memory: the test would prove nothing")
	}
	again := m.Lookup(tls.VersionTLS12, []byte{7})
	if again == nil {
		t.Fatal("the session is gone")
	}
	defer again.Free()
	f.IDContext, again.f.IDContext = slices.Clip(f.IDContext), slices.Clip(again.f.IDContext)
	if got, want := fmt.Sprintf("%+v", again.f), fmt.Sprintf("%+v", f); got != want {
		t.Errorf("fields came back as\n%s\nwant\n%s", got, want)
	}
	if got, want := fmt.Sprintf("%+v", *again.rec), fmt.Sprintf("%+v", rec); got != want {
		t.Errorf("the record came back as\n%s\nwant\n%s", got, want)
	}
	if other := m.Lookup(tls.VersionTLS12, []byte{7}); other != again {
		t.Error("two objects for one cached session")
	} else {
		other.Free()
	}
	if again.owner.Load() != m || !again.inCache.Load() {
		t.Error("it does not know that it is cached")
	}
}

// TestValuesStayCached: attached values are not packed, so their session stays.
func TestValuesStayCached(t *testing.T) {
	type key struct{}
	m, _ := watched(t, 0)
	s := numbered(1, 10)
	m.Add(s)
	s.SetValue(key{}, "kept")
	s.Free()
	s = nil
	runtime.GC()
	runtime.GC()
	s = m.Lookup(tls.VersionTLS12, []byte{1})
	if s.Value(key{}) != "kept" {
		t.Error("the attached value is gone though its session is cached")
	}
	s.SetValue(key{}, nil)
	held := weak.Make(s)
	s.Free()
	s = nil
	for range 100 {
		if runtime.GC(); held.Value() == nil {
			return
		}
	}
	t.Error("a session without values is kept in memory")
}

// TestManagerCollected: a Manager that was dropped without Close is collected, with
// the sessions that it holds for their values.
func TestManagerCollected(t *testing.T) {
	collected := make(chan struct{})
	func() {
		m, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		runtime.AddCleanup(m, func(done chan struct{}) { close(done) }, collected)
		s := numbered(1, 10)
		s.SetValue("key", "value")
		if _, err := m.Add(s); err != nil {
			t.Fatal(err)
		}
		s.Free()
	}()
	for range 1000 {
		runtime.GC()
		select {
		case <-collected:
			return
		default:
			runtime.Gosched()
		}
	}
	t.Error("the Manager is still in memory")
}

// TestSetIDBesideAdd: a session is never cached under an id that it does not have.
func TestSetIDBesideAdd(t *testing.T) {
	m, _ := watched(t, 0)
	for range 1000 {
		s := numbered(1, 10)
		var start, wg sync.WaitGroup
		start.Add(1)
		wg.Go(func() { start.Wait(); m.Add(s) })
		var refused error
		wg.Go(func() { start.Wait(); refused = s.SetID([]byte{2}) })
		start.Done()
		wg.Wait()
		got := m.Lookup(tls.VersionTLS12, s.ID())
		if got != s {
			t.Fatalf("the session has id %x, SetID said %v, and the cache does not find it by that", s.ID(), refused)
		}
		if (s.ID()[0] == 1) != errors.Is(refused, ErrCached) {
			t.Fatalf("SetID said %v, the id is %x", refused, s.ID())
		}
	}
}

// TestAddBesideClose: nothing is cached in a Manager that is closed.
func TestAddBesideClose(t *testing.T) {
	for range 200 {
		m, _ := watched(t, 0)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { m.Add(numbered(byte(i), 10)) })
		}
		wg.Go(func() { m.Close() })
		wg.Wait()
		if m.Len() != 0 {
			t.Fatalf("%d sessions in a closed Manager", m.Len())
		}
	}
}

// cacheModel is what the cache is supposed to be.
type cacheModel struct {
	size     int
	sessions map[byte]*modelled
	order    int
	calls    []told
}

// modelled is a cached session; of equal expiry the one set first goes first.
type modelled struct {
	expiry int64
	order  int
}

func (c *cacheModel) put(id byte, expiry int64) {
	c.order++
	c.sessions[id] = &modelled{expiry, c.order}
}

func (c *cacheModel) drop(id byte, cause Cause) {
	delete(c.sessions, id)
	c.calls = append(c.calls, told{id, cause})
}

func (c *cacheModel) first() (first byte) {
	best := modelled{math.MaxInt64, math.MaxInt}
	for id, s := range c.sessions {
		if s.expiry < best.expiry || s.expiry == best.expiry && s.order < best.order {
			first, best = id, *s
		}
	}
	return first
}

func (c *cacheModel) add(id byte, expiry int64) {
	if c.sessions[id] != nil {
		c.drop(id, CauseReplaced)
	}
	for len(c.sessions) >= c.size {
		c.drop(c.first(), CauseEvicted)
	}
	c.put(id, expiry)
}

func (c *cacheModel) flush(t int64) {
	for len(c.sessions) > 0 && c.sessions[c.first()].expiry < t {
		c.drop(c.first(), CauseExpired)
	}
}

// TestCacheModel drives a Manager's cache and the model with the same
// operations and compares what is cached and what the callback was told.
func TestCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.IntRange(1, 5).Draw(t, "size")
		m, calls := watched(t, size)
		model := &cacheModel{size: size, sessions: make(map[byte]*modelled)}
		id := rapid.ByteRange(0, 7)
		seconds := rapid.IntRange(0, 9)
		cached := func(id byte) *Session { return m.Lookup(tls.VersionTLS12, []byte{id}) }
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				id, seconds := id.Draw(t, "id"), seconds.Draw(t, "seconds")
				s := numbered(id, seconds)
				if added, err := m.Add(s); !added || err != nil {
					t.Fatalf("Add: %v, %v", added, err)
				}
				s.Free()
				model.add(id, epoch.Unix()+int64(seconds))
			},
			"add again": func(t *rapid.T) {
				id := id.Draw(t, "id")
				if s := cached(id); s != nil {
					defer s.Free()
					if added, err := m.Add(s); added || err != nil {
						t.Fatalf("Add of what is cached: %v, %v", added, err)
					}
					model.put(id, model.sessions[id].expiry)
				}
			},
			"remove": func(t *rapid.T) {
				id := id.Draw(t, "id")
				s := numbered(id, 1)
				defer s.Free()
				if had := m.Remove(s); had != (model.sessions[id] != nil) {
					t.Fatalf("Remove: %v", had)
				}
				model.drop(id, CauseRemoved) // told in either case
				if s.Resumable() {
					t.Fatal("what was removed is resumable")
				}
			},
			"lookup": func(t *rapid.T) {
				id := id.Draw(t, "id")
				s := cached(id)
				if (s != nil) != (model.sessions[id] != nil) {
					t.Fatalf("Lookup of %d: %v", id, s)
				}
				if s == nil {
					return
				}
				defer s.Free()
				if e, _ := s.ExpiresAt(); e.Unix() != model.sessions[id].expiry || s.ID()[0] != id {
					t.Fatalf("Lookup of %d: %v, expires %v", id, s, e)
				}
			},
			"flush": func(t *rapid.T) {
				at := epoch.Unix() + int64(seconds.Draw(t, "seconds"))
				before := len(model.sessions)
				model.flush(at)
				if n := m.Flush(time.Unix(at, 0)); n != before-len(model.sessions) {
					t.Fatalf("Flush removed %d, want %d", n, before-len(model.sessions))
				}
			},
			"set timeout": func(t *rapid.T) {
				id, seconds := id.Draw(t, "id"), seconds.Draw(t, "seconds")
				if s := cached(id); s != nil {
					s.SetTimeout(time.Duration(seconds) * time.Second)
					s.Free()
					model.put(id, epoch.Unix()+int64(seconds))
				}
			},
			"": func(t *rapid.T) {
				if !slices.Equal(*calls, model.calls) {
					t.Fatalf("OnRemove was told %v, want %v", *calls, model.calls)
				}
				if m.Len() != len(model.sessions) {
					t.Fatalf("%d sessions, want %d", m.Len(), len(model.sessions))
				}
				for s := range m.All() {
					if model.sessions[s.ID()[0]] == nil {
						t.Fatalf("All gave %v, which is not cached", s)
					}
				}
			},
		})
	})
}

// TestAllBesideWriters: sessions that stay are seen exactly once.
func TestAllBesideWriters(t *testing.T) {
	m, err := New(Config{CacheSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	id := func(kind byte, n int) []byte { return binary.BigEndian.AppendUint16([]byte{kind}, uint16(n)) }
	put := func(id []byte) *Session {
		s := numbered(0, 10)
		s.SetID(id)
		m.Add(s)
		return s
	}
	for i := range 300 {
		put(id('s', i)).Free()
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				s := put(id(byte(w), i%100))
				if i%3 > 0 {
					m.Remove(s)
				}
				s.Free()
			}
		})
	}
	for range 10 {
		seen := make(map[string]int)
		for s := range m.All() {
			seen[string(s.ID())]++
		}
		for i := range 300 {
			if n := seen[string(id('s', i))]; n != 1 {
				t.Fatalf("a session that stays was seen %d times", n)
			}
		}
		for id, n := range seen {
			if n > 1 {
				t.Fatalf("session %x was seen %d times", id, n)
			}
		}
	}
	close(stop)
	wg.Wait()
	for range m.All() { // leaving early gives the session back
		break
	}
}
