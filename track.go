package reprise

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Reference is a caller's reference to a session, as tracking saw it acquired.
type Reference struct {
	Session string // the session's fingerprint when it was acquired
	Stack   string // where it was acquired, the acquiring call first
}

// String returns the session and where it was acquired.
func (r Reference) String() string {
	return fmt.Sprintf("session %s acquired at\n%s", r.Session, r.Stack)
}

// tracking is read on every acquisition; off, that is all that tracking costs.
var tracking atomic.Bool

// traced is true once a tracker was made. It is apart from the sessions, so
// that a Free does not go back to a reference count that others write.
var traced atomic.Bool

func init() {
	if on := os.Getenv("REPRISE_TRACK"); on != "" && on != "0" {
		tracking.Store(true)
		tracked.print = true
	}
}

// Track turns tracking of callers' references on or off, for sessions acquired
// from now on: Outstanding then tells who holds what, Collected what was never
// freed, and the panic of an over-free where the session was freed last. It
// returns whether tracking was on. It costs a stack trace for each acquisition
// and each Free: it is for tests and for finding a leak.
//
// With REPRISE_TRACK=1 in the environment tracking is on from the start, and
// what was collected without Free is told on standard error.
func Track(on bool) (was bool) { return tracking.Swap(on) }

// Outstanding returns the references that callers hold now, as far as tracking
// saw them acquired. Where a session was acquired several times, a Free is
// taken to give back the latest.
func Outstanding() []Reference {
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	var all []Reference
	for t := range tracked.sessions {
		all = append(all, t.references()...)
	}
	slices.SortFunc(all, func(a, b Reference) int { return strings.Compare(a.String(), b.String()) })
	return all
}

// Collected returns the references whose session the garbage collector took
// before they were freed, and forgets them. At most 1000 are remembered.
func Collected() []Reference {
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	c := tracked.collected
	tracked.collected = nil
	return c
}

// maxCollected bounds what Collected remembers.
const maxCollected = 1000

// tracked is the register of sessions that somebody holds. It holds trackers,
// not sessions, which stay collectable.
var tracked struct {
	mu        sync.Mutex
	sessions  map[*tracker]struct{}
	collected []Reference
	print     bool
}

// tracker is what tracking knows of one session. Its fields are guarded by tracked.mu.
type tracker struct {
	acquired []acquisition
	lastFree []uintptr
}

type acquisition struct {
	session string
	pcs     []uintptr
}

// maxStack bounds the frames remembered.
const maxStack = 32

func callers() []uintptr {
	pcs := make([]uintptr, maxStack)
	return pcs[:runtime.Callers(3, pcs)] // without callers and its caller in this file
}

// acquired notes a reference that the caller was given.
func (s *Session) acquired() {
	if !tracking.Load() {
		return
	}
	name, pcs := s.Fingerprint(), callers()
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	t := s.track.Load()
	if t == nil {
		t = new(tracker)
		s.track.Store(t)
		traced.Store(true)
		runtime.AddCleanup(s, (*tracker).lost, t)
	}
	t.acquired = append(t.acquired, acquisition{name, pcs})
	if tracked.sessions == nil {
		tracked.sessions = make(map[*tracker]struct{})
	}
	tracked.sessions[t] = struct{}{}
}

// freed notes a reference that the caller gave back.
func (s *Session) freed() {
	t := s.track.Load()
	if t == nil {
		return
	}
	pcs := callers()
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	t.lastFree = pcs
	if n := len(t.acquired); n > 0 {
		t.acquired = t.acquired[:n-1]
	}
	if len(t.acquired) == 0 {
		delete(tracked.sessions, t)
	}
}

// lastFree tells where the session was freed last, "" if tracking did not see it.
func (s *Session) lastFree() string {
	t := s.track.Load()
	if t == nil {
		return ""
	}
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	if t.lastFree == nil {
		return ""
	}
	return "; last Free at\n" + stack(t.lastFree)
}

// lost runs when the session was collected.
func (t *tracker) lost() {
	tracked.mu.Lock()
	defer tracked.mu.Unlock()
	lost := t.references()
	delete(tracked.sessions, t)
	if room := maxCollected - len(tracked.collected); room > 0 {
		tracked.collected = append(tracked.collected, lost[:min(room, len(lost))]...)
	}
	if tracked.print {
		for _, r := range lost {
			fmt.Fprintf(os.Stderr, "reprise: never freed: %v", r)
		}
	}
}

func (t *tracker) references() []Reference {
	refs := make([]Reference, len(t.acquired))
	for i, a := range t.acquired {
		refs[i] = Reference{a.session, stack(a.pcs)}
	}
	return refs
}

func stack(pcs []uintptr) string {
	var b strings.Builder
	frames := runtime.CallersFrames(pcs)
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "\t%s\n\t\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}
