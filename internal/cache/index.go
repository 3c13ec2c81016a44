package cache

import "math/bits"

// The index grows when its buckets hold more than growAt entries on average and shrinks below shrinkAt.
const (
	bucketSlots = 15
	growAt      = 12
	shrinkAt    = 9
)

// bucket is two cache lines. The pairs in use are 0 to n-1.
type bucket struct {
	n     uint32
	next  uint32 // 1 + number of the overflow bucket that continues this one, 0 if none
	pairs [bucketSlots]pair
}

// pair is the lower 32 bits of a hash and the ref of its record.
type pair struct {
	hash uint32
	ref  ref
}

// index finds records by the lower 32 bits of their hash. It is a linear hash table: it grows by one bucket at a time,
// which takes over half of one other bucket, so no insertion ever rehashes the table. With N buckets, an entry is in the one
// numbered by the lowest bits of its hash: as many bits as N-1 has, or one fewer if there is no such bucket yet. A bucket
// that is full continues in an overflow bucket; those are kept dense like everything else.
type index struct {
	buckets  segments[bucket]
	overflow segments[bucket]
	len      int
	moving   []pair // scratch of split and merge
}

func newIndex() index {
	x := index{buckets: newSegments[bucket](), overflow: newSegments[bucket]()}
	x.buckets.push(bucket{})
	return x
}

// home returns the number of a hash's bucket and how many bits of the hash it was chosen by.
func (x *index) home(hash uint32) (b, depth int) {
	n := x.buckets.len
	depth = bits.Len(uint(n - 1))
	b = int(hash & (1<<depth - 1))
	if b >= n {
		depth--
		b = int(hash & (1<<depth - 1))
	}
	return b, depth
}

func (x *index) start(hash uint32) *bucket {
	b, _ := x.home(hash)
	return x.buckets.at(b)
}

// follow returns the bucket that continues b, nil if none does.
func (x *index) follow(b *bucket) *bucket {
	if b.next == 0 {
		return nil
	}
	return x.overflow.at(int(b.next - 1))
}

// find returns the ref under hash for which same is true.
func (x *index) find(hash uint32, same func(ref) bool) (ref, bool) {
	for b := x.start(hash); b != nil; b = x.follow(b) {
		for _, p := range b.pairs[:b.n] {
			if p.hash == hash && same(p.ref) {
				return p.ref, true
			}
		}
	}
	return 0, false
}

// pairOf returns the pair of r, which must be there.
func (x *index) pairOf(hash uint32, r ref) (in *bucket, p *pair) {
	for b := x.start(hash); b != nil; b = x.follow(b) {
		for i := range b.pairs[:b.n] {
			if b.pairs[i].ref == r {
				return b, &b.pairs[i]
			}
		}
	}
	panic("cache: record without an index entry")
}

// moved tells the index that the record at from is at to now.
func (x *index) moved(hash uint32, from, to ref) {
	_, p := x.pairOf(hash, from)
	p.ref = to
}

func (x *index) insert(hash uint32, r ref) {
	x.add(pair{hash, r})
	x.len++
	if x.len > growAt*x.buckets.len {
		x.split()
	}
}

func (x *index) remove(hash uint32, r ref) {
	tail, p := x.pairOf(hash, r)
	for tail.next != 0 {
		tail = x.follow(tail)
	}
	*p = tail.pairs[tail.n-1]
	x.dropLast(x.start(hash))
	x.len--
	if x.buckets.len > 1 && x.len < shrinkAt*x.buckets.len {
		x.merge()
	}
}

// add appends to the chain of the pair's bucket.
func (x *index) add(p pair) {
	b := x.start(p.hash)
	for b.next != 0 {
		b = x.follow(b)
	}
	if b.n == bucketSlots {
		x.overflow.push(bucket{})
		// The push may have moved b, if b is an overflow bucket.
		b = x.start(p.hash)
		for b.next != 0 {
			b = x.follow(b)
		}
		b.next = uint32(x.overflow.len)
		b = x.follow(b)
	}
	b.pairs[b.n] = p
	b.n++
}

// dropLast takes the last pair off the chain that starts at b, and the overflow bucket that thereby becomes empty. The
// chain must not be empty.
func (x *index) dropLast(b *bucket) pair {
	var before *bucket
	for b.next != 0 {
		before, b = b, x.follow(b)
	}
	b.n--
	p := b.pairs[b.n]
	if b.n == 0 && before != nil {
		hole := before.next
		before.next = 0
		x.fillHole(hole)
	}
	return p
}

// fillHole moves the last overflow bucket to the place of an unused one. Places count from 1, as in next.
func (x *index) fillHole(hole uint32) {
	last := uint32(x.overflow.len)
	if hole != last {
		b := x.overflow.at(int(last - 1))
		before := x.start(b.pairs[0].hash)
		for before.next != last {
			before = x.follow(before)
		}
		before.next = hole
		*x.overflow.at(int(hole - 1)) = *b
	}
	x.overflow.pop()
}

// split adds a bucket, to which half of the entries of another one belong now.
func (x *index) split() {
	n := x.buckets.len
	source := n - 1<<(bits.Len(uint(n))-1)
	x.take(source)
	x.buckets.push(bucket{})
	x.give()
}

// merge undoes the last split.
func (x *index) merge() {
	x.take(x.buckets.len - 1)
	x.buckets.pop()
	x.give()
}

// take empties bucket number b into moving.
func (x *index) take(b int) {
	for home := x.buckets.at(b); home.n > 0; {
		x.moving = append(x.moving, x.dropLast(home))
	}
}

func (x *index) give() {
	for _, p := range x.moving {
		x.add(p)
	}
	x.moving = x.moving[:0]
}

// after returns the entry that comes first, at or after cursor, in the order of the bit-reversed hashes, and its place in
// that order. Buckets split by the lowest bits of the hash, so reversed they split ranges: each bucket is one range of that
// order, whatever the size of the table. This makes the order the same before and after any change. full gives the whole
// hash of a record; only the lower half is in the index.
func (x *index) after(cursor uint64, full func(ref) uint64) (r ref, place uint64, ok bool) {
	for {
		b, depth := x.home(uint32(bits.Reverse64(cursor)))
		if r, place, ok = x.least(x.buckets.at(b), cursor, full); ok {
			return r, place, true
		}
		width := 64 - depth
		cursor = (cursor>>width + 1) << width
		if cursor == 0 {
			return 0, 0, false
		}
	}
}

// least is after within one chain.
func (x *index) least(b *bucket, cursor uint64, full func(ref) uint64) (r ref, place uint64, ok bool) {
	place = 1<<64 - 1 // above every place: the top bit of a hash is clear
	for ; b != nil; b = x.follow(b) {
		for _, p := range b.pairs[:b.n] {
			upper := uint64(bits.Reverse32(p.hash))
			if upper < cursor>>32 || upper > place>>32 {
				continue
			}
			if at := bits.Reverse64(full(p.ref)); at >= cursor && at < place {
				r, place, ok = p.ref, at, true
			}
		}
	}
	return r, place, ok
}
