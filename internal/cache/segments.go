package cache

import "reflect"

// segmentBytes is the size of a full segment and of a full slab: large enough that a million entries need few of them,
// small enough to be allocated, zeroed or copied within microseconds.
const segmentBytes = 16 << 10

// segments is a stack of T that grows and shrinks without ever copying all of itself: only the first segment, which is
// never larger than segmentBytes, is reallocated, so that a small cache stays small.
type segments[T any] struct {
	segs  [][]T // all full length but the first while it is alone
	len   int
	shift uint8 // log2 of the elements of a full segment
}

func newSegments[T any]() segments[T] {
	size := int(reflect.TypeFor[T]().Size())
	var s segments[T]
	for size<<(s.shift+1) <= segmentBytes {
		s.shift++
	}
	return s
}

// at returns element i. The pointer is good until the next push or pop.
func (s *segments[T]) at(i int) *T {
	return &s.segs[i>>s.shift][i&(1<<s.shift-1)]
}

func (s *segments[T]) push(v T) {
	full := 1 << s.shift
	switch last := len(s.segs) - 1; {
	case last < 0:
		s.segs = append(s.segs, make([]T, 1))
	case last == 0 && s.len == len(s.segs[0]) && s.len < full:
		s.resizeFirst(min(2*s.len, full))
	case s.len == (last+1)<<s.shift:
		s.segs = append(s.segs, make([]T, full))
	}
	s.len++
	*s.at(s.len - 1) = v
}

// pop drops the last element. An empty segment is kept until the one before it is half empty, so that a stack that
// hovers around a boundary does not allocate.
func (s *segments[T]) pop() {
	s.len--
	clear(s.segs[s.len>>s.shift][s.len&(1<<s.shift-1):][:1])
	last := len(s.segs) - 1
	switch {
	case s.len == 0:
		s.segs = nil
	case last == 0 && s.len <= len(s.segs[0])/4:
		s.resizeFirst(len(s.segs[0]) / 2)
	case last > 0 && s.len <= last<<s.shift-1<<(s.shift-1):
		s.segs[last] = nil
		s.segs = s.segs[:last]
	}
}

func (s *segments[T]) resizeFirst(n int) {
	first := make([]T, n)
	copy(first, s.segs[0][:s.len])
	s.segs[0] = first
}
