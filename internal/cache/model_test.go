package cache

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// model is what a Cache is supposed to be: a map, and the order in which expiries were set.
type model struct {
	entries map[Key]modelEntry
	seq     int
}

type modelEntry struct {
	expiry int64
	seq    int
	value  []byte
	tag    uint32
}

func (m *model) put(k Key, expiry int64, value []byte) (replaced bool) {
	_, replaced = m.entries[k]
	m.seq++
	m.entries[k] = modelEntry{expiry, m.seq, bytes.Clone(value), uint32(expiry)}
	return replaced
}

func (m *model) setExpiry(k Key, expiry int64) bool {
	e, ok := m.entries[k]
	if ok {
		m.seq++
		m.entries[k] = modelEntry{expiry, m.seq, e.value, e.tag}
	}
	return ok
}

func (m *model) delete(k Key) bool {
	_, ok := m.entries[k]
	delete(m.entries, k)
	return ok
}

func (m *model) first() (first Key, expiry int64, ok bool) {
	var best modelEntry
	for k, e := range m.entries {
		if !ok || e.expiry < best.expiry || e.expiry == best.expiry && e.seq < best.seq {
			first, best, ok = k, e, true
		}
	}
	return first, best.expiry, ok
}

// failer is the part of testing.TB that *rapid.T has too.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// pair of a cache and its model, driven together. Every method fails the test where the two differ.
type twin struct {
	failer
	c *Cache
	m model
}

func newTwin(t failer) *twin {
	return &twin{failer: t, c: New(), m: model{entries: map[Key]modelEntry{}}}
}

func (w *twin) put(k Key, expiry int64, value []byte) {
	w.Helper()
	if got, want := w.c.put(k, expiry, value), w.m.put(k, expiry, value); got != want {
		w.Fatalf("Put replaced: %v, want %v", got, want)
	}
}

func (w *twin) setExpiry(k Key, expiry int64) {
	w.Helper()
	if got, want := w.c.setExpiry(k, expiry), w.m.setExpiry(k, expiry); got != want {
		w.Fatalf("SetExpiry: %v, want %v", got, want)
	}
}

func (w *twin) setTag(k Key, tag uint32) {
	w.Helper()
	if e, ok := w.c.Find(&k); ok {
		w.c.SetTag(e, tag)
		m := w.m.entries[k]
		m.tag = tag
		w.m.entries[k] = m
	}
}

func (w *twin) delete(k Key) {
	w.Helper()
	if got, want := w.c.Delete(k), w.m.delete(k); got != want {
		w.Fatalf("Delete: %v, want %v", got, want)
	}
}

func (w *twin) get(k Key) {
	w.Helper()
	want, ok := w.m.entries[k]
	value, expiry, got := w.c.get([]byte("dst"), k)
	if got != ok || w.c.Has(k) != ok || expiry != want.expiry || !bytes.Equal(value, append([]byte("dst"), want.value...)) {
		w.Fatalf("get: %d bytes, expiry %d, %v; want %d bytes, %d, %v", len(value), expiry, got, len(want.value)+3, want.expiry, ok)
	}
	if e, _ := w.c.Find(&k); ok && w.c.Tag(e) != want.tag {
		w.Fatalf("tag %d, want %d", w.c.Tag(e), want.tag)
	}
}

func (w *twin) clear() {
	w.c.Clear()()
	clear(w.m.entries)
}

func (w *twin) deleteFirst() {
	w.Helper()
	if k, _, ok := w.m.first(); ok {
		w.delete(k)
	}
}

// check compares all that can be seen of the two, and the structure behind it.
func (w *twin) check() {
	w.Helper()
	w.checkFirst()
	seen := map[Key]bool{}
	for k, cur, ok := w.c.Next(0); ok; k, cur, ok = w.c.Next(cur) {
		if seen[k] {
			w.Fatalf("Next returned %v twice", k)
		}
		seen[k] = true
		w.get(k)
	}
	if len(seen) != len(w.m.entries) {
		w.Fatalf("Next returned %d entries, want %d", len(seen), len(w.m.entries))
	}
	w.checkStructure()
}

func (w *twin) checkFirst() {
	w.Helper()
	if w.c.Len() != len(w.m.entries) {
		w.Fatalf("Len: %d, want %d", w.c.Len(), len(w.m.entries))
	}
	k, expiry, ok := w.c.first()
	if wk, we, wok := w.m.first(); k != wk || expiry != we || ok != wok {
		w.Fatalf("First: %v %d %v, want %v %d %v", k, expiry, ok, wk, we, wok)
	}
}

// checkStructure holds the three parts against each other: what the cache cannot show as long as it works.
func (w *twin) checkStructure() {
	w.Helper()
	c, size := w.c, 0
	for pos := range c.Len() {
		r := *c.order.refs.at(pos)
		rec := c.records.at(r)
		if rec.heapPos() != pos {
			w.Fatalf("record %x disagrees with heap position %d", r, pos)
		}
		if pos > 0 && c.order.ranks.at(pos).before(*c.order.ranks.at((pos - 1) / 4)) {
			w.Fatalf("heap out of order at %d", pos)
		}
		if tail := rec[offValue+len(rec.value()):]; !allZero(tail) {
			w.Fatalf("bytes after a value are not zero")
		}
		size += len(rec) + bookkeeping
	}
	if c.Size() != size {
		w.Fatalf("Size: %d, want %d", c.Size(), size)
	}
	for _, cl := range c.records.classes {
		if cl != nil && !allZero(unused(cl)) {
			w.Fatalf("unused slots of %d bytes are not zero", cl.size)
		}
	}
	used := 0
	for i := range c.index.overflow.len {
		if c.index.overflow.at(i).n == 0 {
			w.Fatalf("empty overflow bucket")
		}
	}
	for i := range c.index.buckets.len {
		for b := c.index.buckets.at(i); b != nil; b = c.index.follow(b) {
			used += int(b.n)
		}
	}
	if used != c.Len() || c.index.len != c.Len() {
		w.Fatalf("index holds %d, counts %d, want %d", used, c.index.len, c.Len())
	}
}

// unused returns the bytes of a class that belong to no record.
func unused(cl *class) (free []byte) {
	for i := range cl.slabs.len {
		slab := *cl.slabs.at(i)
		inUse := min(max(cl.n-i*cl.per, 0)*cl.size, len(slab))
		free = append(free, slab[inUse:]...)
	}
	return free
}

func allZero(b []byte) bool {
	return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 })
}

// TestModel drives a cache and a map with the same operations. Keys and expiries are few, so that operations meet.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newTwin(t)
		key := rapid.Custom(func(t *rapid.T) Key {
			id := rapid.SliceOfN(rapid.ByteRange(0, 3), 0, 3).Draw(t, "id")
			k, _ := MakeKey(rapid.SampledFrom([]uint16{0x0303, 0x0304}).Draw(t, "version"), id)
			return k
		})
		expiry := rapid.OneOf(rapid.Int64Range(0, 20), rapid.SampledFrom([]int64{math.MinInt64, -1, math.MaxInt64}))
		length := rapid.OneOf(rapid.IntRange(0, 300), rapid.SampledFrom([]int{4000, 20000}))
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				value := bytes.Repeat([]byte{rapid.ByteMin(1).Draw(t, "fill")}, length.Draw(t, "length"))
				w.put(key.Draw(t, "key"), expiry.Draw(t, "expiry"), value)
			},
			"get":       func(t *rapid.T) { w.get(key.Draw(t, "key")) },
			"setExpiry": func(t *rapid.T) { w.setExpiry(key.Draw(t, "key"), expiry.Draw(t, "expiry")) },
			"setTag":    func(t *rapid.T) { w.setTag(key.Draw(t, "key"), rapid.Uint32().Draw(t, "tag")) },
			"delete":    func(t *rapid.T) { w.delete(key.Draw(t, "key")) },
			"evict":     func(t *rapid.T) { w.deleteFirst() },
			"clear":     func(t *rapid.T) { w.clear() },
			"":          func(t *rapid.T) { w.check() },
		})
	})
}

// TestModelLarge takes the same twin through thousands of entries, up and down, where buckets overflow, split and merge,
// and slabs come and go. The full comparison is made at intervals.
func TestModelLarge(t *testing.T) {
	w := newTwin(t)
	r := newRand(1)
	var keys []Key
	for step := range 30000 {
		growing := step < 8000 || step > 20000 && step < 24000
		if k := testKey(uint64(step)); growing || r.IntN(4) == 0 {
			w.put(k, r.Int64N(500), bytes.Repeat([]byte{1}, 50+r.IntN(400)))
			keys = append(keys, k)
		}
		if k := keys[r.IntN(len(keys))]; !growing {
			w.delete(k)
		} else if r.IntN(3) == 0 {
			w.setExpiry(k, r.Int64N(500))
		}
		if step%1000 == 0 {
			w.check()
		}
	}
	for w.c.Len() > 0 {
		k, _, _ := w.c.first()
		w.delete(k)
	}
	w.check()
}
