package reprise

import "sync/atomic"

// refs counts who holds a session, in two parts of one word: the caller's
// references and the library's (connections, cache). Kept apart, a Free too
// many can never eat a reference of the cache or of a connection. Once both
// parts have been zero the count is dead for good.
//
//	bit 63     dead
//	32 to 62   the library's references
//	31         bias, set while alive: what a Free of no reference borrows from,
//	           until it gives it back
//	0 to 30    the caller's references
type refs struct{ n atomic.Uint64 }

const (
	callerRef  = 1
	biasRef    = 1 << 31
	libraryRef = 1 << 32
	deadRefs   = 1 << 63
	callerMask = libraryRef - 1
)

// start sets the first reference.
func (r *refs) start(kind uint64) { r.n.Store(biasRef + kind) }

// add takes one reference of the kind; false means that nobody held the
// session any more.
func (r *refs) add(kind uint64) bool {
	if r.n.Add(kind)&deadRefs == 0 {
		return true
	}
	r.n.Add(-kind)
	return false
}

// drop gives one reference of the kind back. ok is false when there was none
// of that kind; last is true, once, when nobody holds the session any more.
func (r *refs) drop(kind uint64) (last, ok bool) {
	if kind == libraryRef { // which has no bias to borrow from
		if n := r.n.Load(); n < libraryRef || n&deadRefs != 0 {
			return false, false
		}
	}
	n := r.n.Add(-kind)
	if n == biasRef {
		return r.end(), true
	}
	if n&deadRefs != 0 || kind == callerRef && n&biasRef == 0 { // there was none: put it back
		return r.n.Add(kind) == biasRef && r.end(), false
	}
	return false, true
}

// end makes the count dead, unless somebody took a reference in the meantime.
func (r *refs) end() bool { return r.n.CompareAndSwap(biasRef, deadRefs|biasRef) }

// held returns the references held now.
func (r *refs) held() (caller, library int) {
	n := r.n.Load()
	if n&deadRefs != 0 {
		return 0, 0
	}
	return int(n&callerMask - biasRef), int(n >> 32)
}
