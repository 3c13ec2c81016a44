package cache

import (
	"math/bits"
	"testing"
)

// hashes by ref, as records would give them.
type hashes []uint64

func (hs hashes) full(r ref) uint64 { return hs[r] }

func (hs hashes) walk(x *index, visit func(ref)) {
	var cursor uint64
	for {
		r, place, ok := x.after(cursor, hs.full)
		if !ok {
			return
		}
		visit(r)
		cursor = place + 1
	}
}

// TestIndexSameHash: entries whose hashes are equal in the half that the index has go on into overflow buckets, and are
// still told apart. Others come and go beside them, so that the overflow buckets are moved.
func TestIndexSameHash(t *testing.T) {
	x := newIndex()
	hs := make(hashes, 400)
	for i := range hs {
		hs[i] = uint64(i)<<32 | uint64(i%5)<<7
		x.insert(uint32(hs[i]), ref(i))
	}
	present := make([]bool, len(hs))
	for i := range present {
		present[i] = true
	}
	r := newRand(3)
	for step := range 20000 {
		i := r.IntN(len(hs))
		if present[i] {
			x.remove(uint32(hs[i]), ref(i))
		} else {
			x.insert(uint32(hs[i]), ref(i))
		}
		present[i] = !present[i]
		if step%100 == 0 {
			checkIndex(t, &x, hs, present)
		}
	}
}

func checkIndex(t *testing.T, x *index, hs hashes, present []bool) {
	t.Helper()
	count := 0
	for i, want := range present {
		_, ok := x.find(uint32(hs[i]), func(r ref) bool { return r == ref(i) })
		if ok != want {
			t.Fatalf("entry %d found: %v, want %v", i, ok, want)
		}
		if want {
			count++
		}
	}
	var last uint64
	hs.walk(x, func(r ref) {
		at := bits.Reverse64(hs[r])
		if !present[r] || at < last {
			t.Fatalf("entry %d out of order or not there", r)
		}
		last = at
		count--
	})
	if count != 0 {
		t.Fatalf("iteration missed %d entries", count)
	}
}

// TestIndexGrowsByOneBucket: no operation may rehash more than one bucket.
func TestIndexGrowsByOneBucket(t *testing.T) {
	x := newIndex()
	r := newRand(4)
	hs := make(hashes, 20000)
	step := func(what string, i, before int) {
		if d := x.buckets.len - before; d < -1 || d > 1 {
			t.Fatalf("%s %d changed the number of buckets by %d", what, i, d)
		}
	}
	for i := range hs {
		hs[i] = r.Uint64() >> 1
		before := x.buckets.len
		x.insert(uint32(hs[i]), ref(i))
		step("insert", i, before)
	}
	if got := x.len / x.buckets.len; got < shrinkAt || got > growAt {
		t.Errorf("%d entries for each bucket", got)
	}
	if x.overflow.len*10 > x.buckets.len*3 {
		t.Errorf("%d overflow buckets beside %d", x.overflow.len, x.buckets.len)
	}
	for i := range hs {
		before := x.buckets.len
		x.remove(uint32(hs[i]), ref(i))
		step("remove", i, before)
	}
	if x.buckets.len != 1 || x.overflow.len != 0 {
		t.Errorf("empty index keeps %d and %d buckets", x.buckets.len, x.overflow.len)
	}
}
