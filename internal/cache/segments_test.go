package cache

import "testing"

func TestSegments(t *testing.T) {
	s := newSegments[uint64]()
	const n = 5*segmentBytes/8 + 3
	for i := range n {
		s.push(uint64(i))
	}
	for i := range n {
		if got := *s.at(i); got != uint64(i) {
			t.Fatalf("element %d is %d", i, got)
		}
	}
	for i := n - 1; i >= 0; i-- {
		if got := *s.at(i); got != uint64(i) {
			t.Fatalf("element %d is %d", i, got)
		}
		s.pop()
		if room, most := 8*s.room(), max(2*8*i, segmentBytes*3/2+8*i, 32); room > most {
			t.Fatalf("%d elements keep %d bytes", i, room)
		}
	}
	if s.segs != nil {
		t.Error("an empty stack keeps memory")
	}
}

// TestSegmentsHover: going back and forth over a boundary must not allocate each time.
func TestSegmentsHover(t *testing.T) {
	s := newSegments[uint64]()
	for range segmentBytes / 8 {
		s.push(1)
	}
	s.push(1)
	if n := testing.AllocsPerRun(100, func() { s.pop(); s.push(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// room returns how many elements fit without allocating.
func (s *segments[T]) room() (n int) {
	for _, seg := range s.segs {
		n += len(seg)
	}
	return n
}
