package cache

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// testKey returns the key of a 32-byte id that looks random and is different for every n.
func testKey(n uint64) Key {
	k := Key{Version: 0x0304, Len: 32}
	for i := range 4 {
		n = (n + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
		binary.LittleEndian.PutUint64(k.ID[8*i:], n)
	}
	return k
}

// What tests ask of a cache by key.

func (c *Cache) put(k Key, expiry int64, value []byte) (replaced bool) {
	return c.Put(k, expiry, value, uint32(expiry))
}

func (c *Cache) get(dst []byte, k Key) (value []byte, expiry int64, ok bool) {
	e, ok := c.Find(&k)
	if !ok {
		return dst, 0, false
	}
	return append(dst, c.Value(e)...), c.order.ranks.at(c.records.at(ref(e)).heapPos()).expiry, true
}

func (c *Cache) setExpiry(k Key, expiry int64) bool {
	e, ok := c.Find(&k)
	if ok {
		c.SetExpiry(e, expiry)
	}
	return ok
}

func (c *Cache) first() (k Key, expiry int64, ok bool) {
	e, expiry, ok := c.First()
	if !ok {
		return Key{}, 0, false
	}
	return c.Key(e), expiry, true
}

// put is one Put of a table.
type put struct {
	key    uint64
	expiry int64
}

func TestFirst(t *testing.T) {
	for _, tc := range []struct {
		name string
		puts []put
		want uint64
	}{
		{"one", []put{{1, 10}}, 1},
		{"ascending", []put{{1, 10}, {2, 11}, {3, 12}}, 1},
		{"descending", []put{{1, 12}, {2, 11}, {3, 10}}, 3},
		{"tie goes to the one added first", []put{{1, 10}, {2, 9}, {3, 9}}, 2},
		{"replacing counts as adding", []put{{1, 10}, {2, 10}, {1, 10}}, 2},
		{"before 1970", []put{{1, 0}, {2, -5}, {3, math.MinInt64}, {4, 3}}, 3},
		{"never is last", []put{{1, math.MaxInt64}, {2, math.MaxInt64 - 1}}, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := New()
			for _, p := range tc.puts {
				c.put(testKey(p.key), p.expiry, nil)
			}
			if k, _, ok := c.first(); !ok || k != testKey(tc.want) {
				t.Errorf("First: %v %v, want %v", k, ok, testKey(tc.want))
			}
		})
	}
}

func TestSetExpiryMovesBehindTies(t *testing.T) {
	c := New()
	c.put(testKey(1), 10, nil)
	c.put(testKey(2), 10, nil)
	c.setExpiry(testKey(1), 10)
	if k, _, _ := c.first(); k != testKey(2) {
		t.Error("the entry set last is first")
	}
	c.setExpiry(testKey(1), 9)
	if k, expiry, _ := c.first(); k != testKey(1) || expiry != 9 {
		t.Error("the entry that expires first is not first")
	}
}

func TestEmpty(t *testing.T) {
	c := New()
	k := testKey(1)
	if c.Has(k) || c.Delete(k) || c.setExpiry(k, 1) || c.Len() != 0 || c.Size() != 0 {
		t.Error("an empty cache has something")
	}
	if v, _, ok := c.get([]byte("x"), k); ok || string(v) != "x" {
		t.Error("Get found something")
	}
	if _, _, ok := c.first(); ok {
		t.Error("First found something")
	}
	if _, _, ok := c.Next(0); ok {
		t.Error("Next found something")
	}
}

func TestPutCopies(t *testing.T) {
	c, value := New(), []byte("secret")
	c.put(testKey(1), 1, value)
	clear(value)
	got, _, _ := c.get(nil, testKey(1))
	if string(got) != "secret" {
		t.Fatalf("got %q", got)
	}
	clear(got)
	if got, _, _ := c.get(nil, testKey(1)); string(got) != "secret" {
		t.Fatal("Get gave the cache's own bytes")
	}
}

func TestMaxValue(t *testing.T) {
	c := New()
	value := bytes.Repeat([]byte{1}, MaxValue+1)
	c.put(testKey(1), 1, value[:MaxValue])
	if got, _, _ := c.get(nil, testKey(1)); !bytes.Equal(got, value[:MaxValue]) {
		t.Error("the longest value does not come back")
	}
	if replaced := c.put(testKey(1), 1, value); !replaced || c.Has(testKey(1)) || c.Len() != 0 || c.Size() != 0 {
		t.Error("a value too long was stored, or left the old one")
	}
}

func TestFullClass(t *testing.T) {
	c := New()
	c.put(testKey(1), 1, []byte("x"))
	c.records.classes[0].n = classSlots
	if c.put(testKey(2), 1, []byte("y")); c.Has(testKey(2)) || c.Len() != 1 {
		t.Error("a full class took a record more")
	}
}

// TestWiped looks for a value in all memory that the cache has had, after each way of getting rid of it.
func TestWiped(t *testing.T) {
	secret := bytes.Repeat([]byte("master secret "), 10)
	for _, tc := range []struct {
		name string
		rid  func(c *Cache, k Key)
	}{
		{"delete", func(c *Cache, k Key) { c.Delete(k) }},
		{"replace by a shorter one of the same class", func(c *Cache, k Key) { c.put(k, 1, make([]byte, len(secret)-2)) }},
		{"replace by one of another class", func(c *Cache, k Key) { c.put(k, 1, make([]byte, 5000)) }},
		{"replace by one too long", func(c *Cache, k Key) { c.put(k, 1, make([]byte, MaxValue+1)) }},
		{"clear", func(c *Cache, _ Key) { c.Clear()() }},
		{"delete all", func(c *Cache, k Key) {
			c.Delete(k)
			for n, _, ok := c.first(); ok; n, _, ok = c.first() {
				c.Delete(n)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, others := range []int{0, 1, 40, 500} {
				c := New()
				var had [][]byte
				for i := range others + 1 {
					had = append(had, slabs(c)...)
					value := make([]byte, len(secret))
					if i == others/2 {
						value = secret
					}
					c.put(testKey(uint64(i)), 1, value)
				}
				had = append(had, slabs(c)...)
				tc.rid(c, testKey(uint64(others/2)))
				for _, slab := range append(had, slabs(c)...) {
					if bytes.Contains(slab, []byte("secret")) {
						t.Fatalf("among %d others: the value is still in memory", others)
					}
				}
			}
		})
	}
}

func slabs(c *Cache) (all [][]byte) {
	for _, cl := range c.records.classes {
		if cl != nil {
			for i := range cl.slabs.len {
				all = append(all, *cl.slabs.at(i))
			}
		}
	}
	return all
}

// allocated returns the bytes that the cache keeps, used or not.
func allocated(c *Cache) (n int) {
	for _, slab := range slabs(c) {
		n += len(slab)
	}
	for _, cl := range c.records.classes {
		if cl != nil {
			n += int(reflect.TypeFor[class]().Size()) + cl.slabs.room()*24
		}
	}
	n += (c.index.buckets.room() + c.index.overflow.room()) * int(reflect.TypeFor[bucket]().Size())
	return n + c.order.ranks.room()*16 + c.order.refs.room()*4
}

// TestMemoryFollowsEntries: what the cache keeps stays near what its entries need, up to the top and down to nothing,
// whatever the order in which they go.
func TestMemoryFollowsEntries(t *testing.T) {
	const n = 40000
	for _, tc := range []struct {
		name string
		next func(c *Cache, i int) Key
	}{
		{"by expiry", func(c *Cache, _ int) Key { k, _, _ := c.first(); return k }},
		{"as added", func(_ *Cache, i int) Key { return testKey(uint64(i)) }},
		{"last first", func(_ *Cache, i int) Key { return testKey(uint64(n - 1 - i)) }},
		{"scattered", func(_ *Cache, i int) Key { return testKey(scattered(i, n)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, r, value := New(), newRand(5), make([]byte, 300)
			for i := range n {
				c.put(testKey(uint64(i)), r.Int64N(n), value[:120+r.IntN(180)])
				checkSlack(t, c)
			}
			for i := range n {
				if !c.Delete(tc.next(c, i)) {
					t.Fatalf("entry %d is not there", i)
				}
				checkSlack(t, c)
			}
			if left := allocated(c); c.Size() != 0 || left > 1024 {
				t.Errorf("empty, Size is %d and %d bytes are kept", c.Size(), left)
			}
		})
	}
}

// checkSlack allows each size class in use, and each of the four stacks, a segment and a half of room, but a small cache
// at most four times what it needs.
func checkSlack(t *testing.T, c *Cache) {
	t.Helper()
	if c.Len()%97 != 0 {
		return // looking takes longer than the operation
	}
	stacks := 4
	for _, cl := range c.records.classes {
		if cl != nil {
			stacks++
		}
	}
	most := min(c.Size()*5/4+stacks*segmentBytes*3/2, 4*c.Size()) + 4096
	if got := allocated(c); got > most {
		t.Fatalf("%d entries of %d bytes in all keep %d, want at most %d", c.Len(), c.Size(), got, most)
	}
}

func TestPerEntryCost(t *testing.T) {
	c, value := New(), make([]byte, 126)
	const n = 50000
	for i := range n {
		c.put(testKey(uint64(i)), int64(i), value)
	}
	if per := allocated(c) / n; per > 220 {
		t.Errorf("%d bytes for each entry of 126", per)
	}
}

// TestNextUnderMutation: entries that stay are returned once, whatever happens to others, and to their own value and
// expiry, meanwhile.
func TestNextUnderMutation(t *testing.T) {
	for _, tc := range []struct {
		name   string
		mutate func(c *Cache, i int)
	}{
		{"nothing", func(*Cache, int) {}},
		{"grow", func(c *Cache, i int) {
			for j := 0; j < 20 && i < 1000; j++ { // bounded, or the iteration would run after the new ones
				c.put(testKey(uint64(10000+20*i+j)), 1, make([]byte, 100))
			}
		}},
		{"shrink", func(c *Cache, i int) {
			for j := range 20 {
				c.Delete(testKey(uint64(1000 + 20*i + j)))
			}
		}},
		{"churn", func(c *Cache, i int) {
			c.Delete(testKey(uint64(1000 + i)))
			c.put(testKey(uint64(10000+i)), 1, make([]byte, i%300))
		}},
		{"replace", func(c *Cache, i int) { c.put(testKey(uint64(i)), int64(i), make([]byte, i%700)) }},
		{"set expiry", func(c *Cache, i int) { c.setExpiry(testKey(uint64(i)), int64(-i)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := New()
			for i := range 6000 {
				c.put(testKey(uint64(i)), 1, make([]byte, 100))
			}
			seen, i := map[Key]int{}, 0
			for k, cursor, ok := c.Next(0); ok; k, cursor, ok = c.Next(cursor) {
				seen[k]++
				tc.mutate(c, i)
				i++
			}
			for i := range 1000 {
				if got := seen[testKey(uint64(i))]; got != 1 {
					t.Fatalf("entry %d was returned %d times", i, got)
				}
			}
			for k, times := range seen {
				if times > 1 {
					t.Fatalf("%v was returned %d times", k, times)
				}
			}
		})
	}
}

// TestSteadyStateAllocatesNothing: a full cache that evicts one entry for each it takes.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	c, value, n := New(), make([]byte, 126), uint64(0)
	for ; n < 5000; n++ {
		c.put(testKey(n), int64(n), value)
	}
	dst := make([]byte, 0, 126)
	allocs := testing.AllocsPerRun(2000, func() {
		k, _, _ := c.first()
		c.Get(dst, k)
		c.Delete(k)
		c.put(testKey(n), int64(n), value)
		n++
	})
	if allocs != 0 {
		t.Errorf("%v allocations for each entry", allocs)
	}
}
