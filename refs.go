package reprise

import "sync/atomic"

// refs counts who holds a session, in two parts: the caller's references in
// the low 32 bits, the library's (connections, cache) in the high 32. Kept
// apart, a Free too many can never eat a reference of the cache or of a
// connection. Once both parts have been zero the count is dead for good.
type refs struct{ n atomic.Uint64 }

const (
	callerRef  = 1
	libraryRef = 1 << 32
	callerMask = libraryRef - 1
	deadRefs   = 1<<64 - 1
)

// add takes one reference of the kind; false means that nobody held the
// session any more.
func (r *refs) add(kind uint64) bool {
	for {
		n := r.n.Load()
		if n == deadRefs {
			return false
		}
		if r.n.CompareAndSwap(n, n+kind) {
			return true
		}
	}
}

// drop gives one reference of the kind back. ok is false when there was none
// of that kind; last is true when it was the last one of both kinds.
func (r *refs) drop(kind uint64) (last, ok bool) {
	for {
		n := r.n.Load()
		if n == deadRefs || kind == callerRef && n&callerMask == 0 || kind == libraryRef && n < libraryRef {
			return false, false
		}
		next := n - kind
		if next == 0 {
			next = deadRefs
		}
		if r.n.CompareAndSwap(n, next) {
			return next == deadRefs, true
		}
	}
}

// held returns the references held now.
func (r *refs) held() (caller, library int) {
	n := r.n.Load()
	if n == deadRefs {
		return 0, 0
	}
	return int(n & callerMask), int(n >> 32)
}
