package cache

import (
	"bytes"
	"testing"
)

func TestClasses(t *testing.T) {
	if last := classSize(numClasses - 1); last != maxRecord {
		t.Errorf("largest class has slots of %d bytes, want %d", last, maxRecord)
	}
	for c := 1; c < numClasses; c++ {
		size, below := classSize(c), classSize(c-1)
		if size <= below || size-below > max(16, below/8) {
			t.Errorf("class %d: %d bytes after %d", c, size, below)
		}
		for n, want := range map[int]int{below: c - 1, below + 1: c, size: c} {
			if got := classOf(n); got != want {
				t.Errorf("classOf(%d) = %d, want %d", n, got, want)
			}
		}
	}
	if numClasses > 1<<(32-refBits) {
		t.Errorf("%d classes do not fit into a ref", numClasses)
	}
}

func TestStoreStaysDense(t *testing.T) {
	var s store
	class := classOf(200)
	var refs []ref
	for i := range 1000 {
		r, _ := s.alloc(class)
		if !allZero(s.at(r)) {
			t.Fatalf("slot %d is not zeroed", i)
		}
		copy(s.at(r), bytes.Repeat([]byte{byte(i | 1)}, 200))
		refs = append(refs, r)
	}
	for n := len(refs) - 1; n >= 0; n-- {
		r := refs[n/2] // any but always the last
		last := s.at(refs[n])[0]
		from, moved := s.free(r)
		if moved != (n/2 != n) || from != refs[n] {
			t.Fatalf("%d left: moved %v from %x, want from %x", n, moved, from, refs[n])
		}
		if moved && s.at(r)[0] != last {
			t.Fatalf("%d left: the last record did not move into the hole", n)
		}
		if cl := s.classes[class]; cl != nil && !allZero(unused(cl)) {
			t.Fatalf("%d left: bytes of a freed slot remain", n)
		}
	}
	if s.classes[class] != nil {
		t.Error("an empty class keeps memory")
	}
}
