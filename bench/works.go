package main

import (
	"runtime"
	"time"
)

// A work is done by reprise and by libssl.
type work struct {
	name string // of the C function; the Go function's too
	does string // what is timed
	ours func(*meter) error

	sample  sample // the session that it works on
	threads int
	ops     func(size int) int // how often it is done in a round
	aim     float64            // the ratio that we want to stay at or below, 0 for none
}

// works is all that is measured. The ops make either side take tens of
// milliseconds at least: less is lost in the noise.
var works = []work{
	{"newSessionFree", "NewSession, Free", newSessionFree, serverSession, 1, fixed(200_000), 0},
	{"upRefFree", "UpRef, Free", upRefFree, serverSession, 1, fixed(5_000_000), 1.2},
	{"upRefFree2Threads", "UpRef, Free of one session by 2 threads", upRefFree2Threads, serverSession, 2, fixed(2_000_000), 1.2},
	{"dupFree", "Dup, Free", dupFree, serverSession, 1, fixed(200_000), 1},
	{"marshalBinary", "MarshalBinary", marshalBinary, serverSession, 1, fixed(100_000), 0.25},
	{"parseSession", "ParseSession, Free", parseSession, serverSession, 1, fixed(100_000), 0.25},
	{"parseSessionWithCertificate", "ParseSession, Free, with a peer certificate", parseSessionWithCertificate, certificateSession, 1, fixed(10_000), 0.02},

	{"addAscending", "Add, each to expire last", addAscending, serverSession, 1, wholeCache, 0.6},
	{"addRandom", "Add, to expire at any time, among 30000", addRandom, serverSession, 1, fixed(200), 0.01},
	{"lookup", "Lookup, Free", lookup, serverSession, 1, wholeCache, 1},
	{"removeSession", "Remove of a session that the caller holds", removeSession, serverSession, 1, wholeCache, 0.6},
	{"flush1Percent", "Flush of 1 %, for each session removed", flush1Percent, serverSession, 1, wholeCache, 0.3},
	{"flush10Percent", "Flush of 10 %, for each session removed", flush10Percent, serverSession, 1, wholeCache, 0.3},
	{"flush100Percent", "Flush of everything, for each session removed", flush100Percent, serverSession, 1, wholeCache, 0.3},
	{"flush10PercentOnRemove", "Flush of 10 % with a callback, for each session removed", flush10PercentOnRemove, serverSession, 1, wholeCache, 0},
}

func fixed(ops int) func(int) int { return func(int) int { return ops } }

func wholeCache(size int) int { return size }

// A meter tells a Go function what to do and takes the time of what it runs in timed.
type meter struct {
	ops  int
	size int
	der  []byte // of the sample

	elapsed time.Duration
	bytes   uint64
	allocs  uint64
}

// timed runs f and adds its time and allocations up. Only what is measured
// belongs in f, many times over: reading the clock and the counters takes
// microseconds, but not of f's time.
func (m *meter) timed(f func() error) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := f()
	m.elapsed += time.Since(start)
	runtime.ReadMemStats(&after)
	m.bytes += after.TotalAlloc - before.TotalAlloc
	m.allocs += after.Mallocs - before.Mallocs
	return err
}

// pair is one work in one round.
type pair struct {
	Ours   float64 `json:"ours_ns"`
	Libssl float64 `json:"libssl_ns"`
	Bytes  float64 `json:"bytes"`  // allocated by ours, for each op
	Allocs float64 `json:"allocs"` // by ours, for each op
}

func (w *work) measure(c *program, sessions samples, size int, oursFirst bool) (p pair, err error) {
	m := &meter{ops: w.ops(size), size: size, der: sessions[w.sample]}
	if oursFirst {
		if err := w.runOurs(m); err != nil {
			return p, err
		}
	}
	if p.Libssl, err = c.run(w.name, m.ops, size, m.der); err != nil {
		return p, err
	}
	if !oursFirst {
		if err := w.runOurs(m); err != nil {
			return p, err
		}
	}
	ops := float64(m.ops)
	p.Ours = float64(m.elapsed.Nanoseconds()) / ops
	p.Bytes, p.Allocs = float64(m.bytes)/ops, float64(m.allocs)/ops
	return p, nil
}

// runOurs gives the work as many threads as the C function uses. The collector
// has to do with those too.
func (w *work) runOurs(m *meter) error {
	settle()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(w.threads))
	return w.ours(m)
}

// settle lets what the work before left be collected and cleaned up, which
// would otherwise happen on the time of the next one.
func settle() {
	for range 2 {
		done := make(chan struct{})
		runtime.AddCleanup(new([64]byte), func(done chan struct{}) { close(done) }, done)
		runtime.GC()
		<-done
	}
}
