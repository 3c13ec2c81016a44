package cache

import (
	"encoding/binary"
	"math/bits"
)

// A record is one entry, packed; numbers are little endian. It lies at the start of a slot of its size class, and the rest
// of the slot is zero.
//
//	 0   4   uint32   position in the heap, where the expiry is
//	 4   4   uint32   tag
//	 8   3   uint24   length of the value
//	11   1   uint8    length of the session id  \
//	12   2   uint16   version, big endian        > the packed key
//	14  32            session id, zero padded   /
//	46   n            value
const (
	offHeap  = 0
	offTag   = 4
	offLen   = 8
	offKey   = 11
	offValue = offKey + len(packedKey{})
)

type record []byte

func (r record) heapPos() int       { return int(binary.LittleEndian.Uint32(r[offHeap:])) }
func (r record) setHeapPos(pos int) { binary.LittleEndian.PutUint32(r[offHeap:], uint32(pos)) }

func (r record) tag() uint32       { return binary.LittleEndian.Uint32(r[offTag:]) }
func (r record) setTag(tag uint32) { binary.LittleEndian.PutUint32(r[offTag:], tag) }

func (r record) key() []byte { return r[offKey:offValue] }

func (r record) value() []byte {
	n := int(r[offLen]) | int(r[offLen+1])<<8 | int(r[offLen+2])<<16
	return r[offValue:][:n]
}

func (r record) fill(key *packedKey, value []byte, tag uint32) {
	r.setTag(tag)
	n := len(value)
	r[offLen], r[offLen+1], r[offLen+2] = byte(n), byte(n>>8), byte(n>>16)
	copy(r[offKey:], key[:])
	copy(r[offValue:], value)
}

// Size classes: every 16 bytes from 64 to 512, then eight for each doubling up to 1 MiB.
const (
	minRecord   = 64
	fineStep    = 16
	fineMax     = 512
	fineClasses = (fineMax-minRecord)/fineStep + 1
	perDoubling = 8
	maxRecord   = 1 << 20
	numClasses  = fineClasses + 11*perDoubling // 512 << 11 is 1 MiB
)

// classOf returns the class of the smallest slot that holds n bytes, n being at most maxRecord.
func classOf(n int) int {
	if n <= minRecord {
		return 0
	}
	if n <= fineMax {
		return (n - minRecord + fineStep - 1) / fineStep
	}
	doubling := bits.Len(uint(n-1)) - bits.Len(fineMax) // n lies in (512<<doubling, 1024<<doubling]
	base, step := fineMax<<doubling, fineMax/perDoubling<<doubling
	return fineClasses + doubling*perDoubling + (n-base-1)/step
}

// classSize returns the bytes of a slot of class c.
func classSize(c int) int {
	if c < fineClasses {
		return minRecord + c*fineStep
	}
	c -= fineClasses
	doubling := c / perDoubling
	return (fineMax + (c%perDoubling+1)*(fineMax/perDoubling)) << doubling
}

// A ref names a slot: size class in the upper 7 bits, number within the class in the lower 25.
type ref uint32

const (
	refBits    = 25
	classSlots = 1 << refBits // no class holds more
)

// class is the slots of one size, dense: slots 0 to n-1 are in use.
type class struct {
	slabs segments[[]byte]
	n     int
	size  int // bytes of a slot
	per   int // slots of a full slab
}

// store holds the records by size class.
//
// Every class is dense, which is kept by moving its last record into the slot that a removal leaves. So nothing has to be
// compacted, a slab is given back as soon as it is empty, and no removal costs more than copying one record.
type store struct {
	classes [numClasses]*class // nil while empty
}

func (s *store) at(r ref) record {
	cl := s.classes[r>>refBits]
	return cl.slot(int(r % classSlots))
}

func (cl *class) slot(i int) record {
	slab, pos := uint32(i)/uint32(cl.per), uint32(i)%uint32(cl.per)
	off := int(pos) * cl.size
	return (*cl.slabs.at(int(slab)))[off:][:cl.size:cl.size]
}

// alloc returns a zeroed slot of class c, or false if the class is full.
func (s *store) alloc(c int) (ref, bool) {
	cl := s.classes[c]
	if cl == nil {
		size := classSize(c)
		cl = &class{slabs: newSegments[[]byte](), size: size, per: max(1, segmentBytes/size)}
		s.classes[c] = cl
	}
	if cl.n == classSlots {
		return 0, false
	}
	cl.reserve()
	cl.n++
	return ref(c<<refBits | (cl.n - 1)), true
}

// free wipes a slot and makes the class dense again. If a record had to move for that, it returns where that record was.
// It now is at r, and what refers to it has to be told.
func (s *store) free(r ref) (from ref, moved bool) {
	c := int(r >> refBits)
	cl := s.classes[c]
	last := ref(c<<refBits | (cl.n - 1))
	if last != r {
		// Slots are copied whole, so nothing of a longer value stays behind a shorter one.
		copy(s.at(r), s.at(last))
	}
	clear(s.at(last))
	cl.n--
	cl.release()
	if cl.n == 0 {
		s.classes[c] = nil
	}
	return last, last != r
}

// wipe wipes all slots.
func (s *store) wipe() {
	for _, cl := range s.classes {
		if cl != nil {
			for i := range cl.slabs.len {
				clear(*cl.slabs.at(i))
			}
		}
	}
}

// reserve makes room for one slot more. Only the first slab starts small and doubles.
func (cl *class) reserve() {
	switch slabs := cl.slabs.len; {
	case slabs == 0:
		cl.slabs.push(make([]byte, cl.size))
	case slabs == 1 && cl.n*cl.size == len(*cl.slabs.at(0)) && cl.n < cl.per:
		cl.resizeFirst(min(2*cl.n, cl.per))
	case cl.n == slabs*cl.per:
		cl.slabs.push(make([]byte, cl.per*cl.size))
	}
}

// release gives back what is no longer needed, with the slack that segments keep too.
func (cl *class) release() {
	slabs := cl.slabs.len
	first := len(*cl.slabs.at(0)) / cl.size
	switch {
	case slabs == 1 && cl.n <= first/4:
		cl.resizeFirst(first / 2)
	case slabs > 1 && cl.n <= (slabs-1)*cl.per-cl.per/2:
		cl.slabs.pop()
	}
}

func (cl *class) resizeFirst(slots int) {
	old := *cl.slabs.at(0)
	slab := make([]byte, slots*cl.size)
	copy(slab, old)
	clear(old)
	*cl.slabs.at(0) = slab
}
