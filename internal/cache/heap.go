package cache

// rank orders entries: by expiry, then by when they were added or their expiry was last set.
type rank struct {
	expiry int64
	seq    uint64
}

func (a rank) before(b rank) bool {
	return a.expiry < b.expiry || a.expiry == b.expiry && a.seq < b.seq
}

// heap is a 4-ary min-heap over the records. Ranks and refs are two stacks because a comparison needs ranks only, and four
// of them fill a cache line. Each record knows its position, so that any entry can be moved or taken out.
type heap struct {
	records *store
	ranks   segments[rank]
	refs    segments[ref]
	seq     uint64 // the last one given; it never wraps
}

func newHeap(records *store) heap {
	return heap{records: records, ranks: newSegments[rank](), refs: newSegments[ref]()}
}

func (h *heap) len() int { return h.ranks.len }

// first returns the ref at the root. The heap must not be empty.
func (h *heap) first() ref { return *h.refs.at(0) }

func (h *heap) push(expiry int64, r ref) {
	k := h.next(expiry)
	h.ranks.push(k)
	h.refs.push(r)
	h.up(h.len()-1, k, r)
}

// update gives the entry at pos a new expiry, ranked after those that already have it.
func (h *heap) update(pos int, expiry int64) {
	h.settle(pos, h.next(expiry), *h.refs.at(pos))
}

func (h *heap) remove(pos int) {
	last := h.len() - 1
	k, r := *h.ranks.at(last), *h.refs.at(last)
	h.ranks.pop()
	h.refs.pop()
	if pos != last {
		h.settle(pos, k, r)
	}
}

// moved tells the heap that the record of the entry at pos is at r now.
func (h *heap) moved(pos int, r ref) { *h.refs.at(pos) = r }

func (h *heap) next(expiry int64) rank {
	h.seq++
	return rank{expiry, h.seq}
}

// settle puts an entry where it belongs, starting from the free position pos.
func (h *heap) settle(pos int, k rank, r ref) {
	if pos > 0 && k.before(*h.ranks.at((pos - 1) / 4)) {
		h.up(pos, k, r)
	} else {
		h.down(pos, k, r)
	}
}

func (h *heap) up(pos int, k rank, r ref) {
	for pos > 0 {
		parent := (pos - 1) / 4
		pk := *h.ranks.at(parent)
		if !k.before(pk) {
			break
		}
		h.place(pos, pk, *h.refs.at(parent))
		pos = parent
	}
	h.place(pos, k, r)
}

func (h *heap) down(pos int, k rank, r ref) {
	n := h.len()
	for {
		child := 4*pos + 1
		if child >= n {
			break
		}
		best, bk := child, *h.ranks.at(child)
		for i := child + 1; i < min(child+4, n); i++ {
			if ik := *h.ranks.at(i); ik.before(bk) {
				best, bk = i, ik
			}
		}
		if !bk.before(k) {
			break
		}
		h.place(pos, bk, *h.refs.at(best))
		pos = best
	}
	h.place(pos, k, r)
}

func (h *heap) place(pos int, k rank, r ref) {
	*h.ranks.at(pos) = k
	*h.refs.at(pos) = r
	h.records.at(r).setHeapPos(pos)
}
