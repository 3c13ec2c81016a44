package cache

import (
	"slices"
	"testing"
)

// TestHeapSorts takes entries out at the front and in the middle and checks the order of what comes out.
func TestHeapSorts(t *testing.T) {
	var s store
	h := newHeap(&s)
	r := newRand(2)
	expiryOf := map[ref]int64{}
	for range 3000 {
		slot, _ := s.alloc(0)
		expiry := r.Int64N(1000)
		expiryOf[slot] = expiry
		h.push(expiry, slot)
	}
	for slot := range expiryOf {
		switch pos := s.at(slot).heapPos(); r.IntN(3) {
		case 0:
			h.remove(pos)
			delete(expiryOf, slot)
		case 1:
			expiryOf[slot] = r.Int64N(1000)
			h.update(pos, expiryOf[slot])
		}
	}
	var got, want []int64
	for _, expiry := range expiryOf {
		want = append(want, expiry)
	}
	slices.Sort(want)
	for h.len() > 0 {
		got = append(got, expiryOf[h.first()])
		h.remove(0)
	}
	if !slices.Equal(got, want) {
		t.Error("out of order")
	}
}
