package main

import (
	"runtime"
	"time"
)

// A work is done by reprise and by libssl.
type work struct {
	name string // of the C function; the Go function's too
	ours func(*meter) error

	place   place
	sample  sample // the session that it works on
	threads int
	ops     func(size int) int // how often it is done in a round
	rows    []row
}

// place says where a work is done.
type place int

const (
	both      place = iota // in this process and, in C, in a new one
	bothApart              // on either side in a new process
	oursAlone              // in this process; libssl has no such work
	oursApart              // in a new process; libssl has no such work
)

func (p place) libssl() bool { return p == both || p == bothApart }
func (p place) apart() bool  { return p == bothApart || p == oursApart }

// A row is one figure of a work. A side gives its value, and where the figure
// wants one a base: the value that it is compared with.
type row struct {
	name   string // after the work's, "" for the only row
	does   string // what is measured
	figure figure
	unit   string
	aim    float64 // the figure that we want to stay at or below, 0 for none
	allocs float64 // the allocations that we want to stay at or below, 0 for none
}

// figure is what counts of the values.
type figure int

const (
	byLibssl figure = iota // ours by libssl's; there is no base
	byBase                 // ours by its base
	overBase               // ours less its base
	itself                 // ours, whatever its base
)

func (f figure) of(p pair) float64 {
	switch f {
	case byLibssl:
		return p.Ours / p.Libssl
	case byBase:
		return p.Ours / p.OursBase
	case overBase:
		return p.Ours - p.OursBase
	}
	return p.Ours
}

// values is how many of them a side gives for the work: the value of each row
// and, unless it has none, its base.
func (w *work) values() (n int) {
	for _, r := range w.rows {
		n++
		if r.figure != byLibssl {
			n++
		}
	}
	return n
}

// works is all that is measured. The ops make either side take tens of
// milliseconds at least: less is lost in the noise.
var works = []work{
	{"newSessionFree", newSessionFree, both, serverSession, 1, fixed(200_000), time1("NewSession, Free", 0)},
	{"upRefFree", upRefFree, both, serverSession, 1, fixed(5_000_000), time1("UpRef, Free", 1.2)},
	{"upRefFree2Threads", upRefFree2Threads, both, serverSession, 2, fixed(2_000_000), time1("UpRef, Free of one session by 2 threads", 1.2)},
	{"dupFree", dupFree, both, serverSession, 1, fixed(200_000), time1("Dup, Free", 1)},
	{"marshalBinary", marshalBinary, both, serverSession, 1, fixed(100_000), time1("MarshalBinary", 0.25)},
	{"parseSession", parseSession, both, serverSession, 1, fixed(100_000), time1("ParseSession, Free", 0.25)},
	{"parseSessionWithCertificate", parseSessionWithCertificate, both, certificateSession, 1, fixed(10_000),
		time1("ParseSession, Free, with a peer certificate", 0.02)},

	{"addAscending", addAscending, both, serverSession, 1, someOf, time1("Add, each to expire last", 0.6)},
	{"addRandom", addRandom, both, serverSession, 1, fixed(200), time1("Add, to expire at any time, among 30000", 0.01)},
	{"addRandomGrowth", addRandomGrowth, both, serverSession, 1, fixed(20_000),
		[]row{{does: "Add, to expire at any time, to a full cache by the same among 30000", figure: byBase, unit: "ns", aim: 3}}},
	{"lookup", lookup, both, serverSession, 1, someOf,
		[]row{{does: "Lookup, one field read, Free", unit: "ns", aim: 1, allocs: 2}}},
	{"has", has, both, serverSession, 1, someOf, time1("Has", 0.4)},
	{"has2Threads", has2Threads, both, serverSession, 2, someOf, time1("Has by 2 threads", 0.4)},
	{"removeSession", removeSession, both, serverSession, 1, someOf, time1("Remove of a session that the caller holds", 0.6)},
	{"flush1Percent", flush1Percent, both, serverSession, 1, parts(1), time1("Flush of 1 %, for each session removed", 0.3)},
	{"flush10Percent", flush10Percent, both, serverSession, 1, parts(10), time1("Flush of 10 %, for each session removed", 0.3)},
	{"flush100Percent", flush100Percent, both, serverSession, 1, parts(100), time1("Flush of everything, for each session removed", 0.3)},
	{"flush10PercentOnRemove", flush10PercentOnRemove, both, serverSession, 1, parts(10),
		time1("Flush of 10 % with a callback, for each session removed", 0)},

	{"lookupDuringFlush1Percent", lookupDuringFlush1Percent, both, serverSession, 2, parts(1), duringFlush("1 %")},
	{"lookupDuringFlush10Percent", lookupDuringFlush10Percent, both, serverSession, 2, parts(10), duringFlush("10 %")},
	{"lookupDuringFlush100Percent", lookupDuringFlush100Percent, both, serverSession, 2, parts(100), duringFlush("everything")},

	{"memory", memory, bothApart, serverSession, 1, wholeCache,
		[]row{{does: "resident memory of a cached session", unit: "B", aim: 0.25}}},
	{"marking", marking, oursApart, serverSession, 2, wholeCache,
		[]row{{does: "marking of a collection, over that without a session", figure: overBase, unit: "ms", aim: 1}}},

	{"clientCache64", clientCache64, oursAlone, serverSession, 1, fixed(1_000_000), takeAndPut("64 peers", 2)},
	{"clientCache64Threads2", clientCache64Threads2, oursAlone, serverSession, 2, fixed(1_000_000), takeAndPut("64 peers by 2 threads", 2)},
	{"clientCache100k", clientCache100k, oursAlone, serverSession, 1, fixed(1_000_000), takeAndPut("100000 peers", 1)},
	{"clientCache100kThreads2", clientCache100kThreads2, oursAlone, serverSession, 2, fixed(1_000_000), takeAndPut("100000 peers by 2 threads", 1)},

	{"resumeHandle12", resumeHandle12, oursAlone, serverSession, 1, fixed(4000), resumption("TLS 1.2 handle", 3)},
	{"resumeHandle13", resumeHandle13, oursAlone, serverSession, 1, fixed(4000), resumption("TLS 1.3 handle", 3)},
	{"resumeTicket12", resumeTicket12, oursAlone, serverSession, 1, fixed(4000), resumption("TLS 1.2 ticket", 5)},
	{"resumeTicket13", resumeTicket13, oursAlone, serverSession, 1, fixed(4000), resumption("TLS 1.3 ticket", 5)},

	{"dialWarmMemory", dialWarmMemory, oursAlone, serverSession, 1, fixed(4000),
		[]row{{does: "CPU of a dial that resumes, over one with crypto/tls's cache", figure: overBase, unit: "us"}}},
	{"dialWarmDirstore", dialWarmDirstore, oursAlone, serverSession, 1, fixed(4000),
		[]row{{does: "CPU of a dial that resumes from a dirstore, over one from memory", figure: overBase, unit: "us", aim: 150}}},
}

// time1 is the row of a work whose time counts.
func time1(does string, aim float64) []row { return []row{{does: does, unit: "ns", aim: aim}} }

func duringFlush(part string) []row {
	return []row{
		{name: "p99.99", does: "the slowest of 10000 lookups during a Flush of " + part, figure: itself, unit: "us", aim: 50},
		{name: "worst", does: "the slowest lookup, by that without a Flush", figure: byBase, unit: "us", aim: 1},
	}
}

func resumption(by string, aim float64) []row {
	return []row{{does: "CPU of a handshake resumed by " + by + ", over crypto/tls alone", figure: overBase, unit: "us", aim: aim}}
}

func takeAndPut(peers string, aim float64) []row {
	return []row{{does: "Get and Put of a client's session, among " + peers + ", by crypto/tls's cache", figure: byBase, unit: "ns", aim: aim}}
}

func fixed(ops int) func(int) int { return func(int) int { return ops } }

func wholeCache(size int) int { return size }

// enough ops on a cache give a good mean; more only take longer.
const enough = 100_000

func someOf(size int) int { return min(size, enough) }

// parts is a whole number of parts of a cache.
func parts(percent int) func(int) int {
	return func(size int) int {
		part := size * percent / 100
		return part * max(1, someOf(size)/part)
	}
}

// A meter tells a Go function what to do and takes the time of what it runs in timed.
type meter struct {
	ops     int
	size    int
	der     []byte // of the sample
	threads int

	elapsed time.Duration
	bytes   uint64
	allocs  uint64

	measured []float64 // what is not the time of an op, in the order of the rows
}

// timed runs f and adds its time and allocations up. Only what is measured
// belongs in f, many times over: reading the clock and the counters takes
// microseconds, but not of f's time.
func (m *meter) timed(f func() error) error {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := m.now()
	err := f()
	m.elapsed += m.now() - start
	runtime.ReadMemStats(&after)
	m.bytes += after.TotalAlloc - before.TotalAlloc
	m.allocs += after.Mallocs - before.Mallocs
	return err
}

var started = time.Now()

// now is the CPU time of this process, the collector's included: what else the
// machine does is not in it. Threads that wait for each other take time too, so
// where there are several it is the time of day, as where there is no other.
func (m *meter) now() time.Duration {
	if m.threads == 1 {
		if t, err := cpuTime(); err == nil {
			return t
		}
	}
	return time.Since(started)
}

// values is what the function measured, the time of an op if it did not say
// anything else.
func (m *meter) values() []float64 {
	if m.measured != nil {
		return m.measured
	}
	return []float64{float64(m.elapsed.Nanoseconds()) / float64(m.ops)}
}

// pair is one row of a work in one round, both sides of it.
type pair struct {
	Ours       float64 `json:"ours"`
	OursBase   float64 `json:"ours_base,omitempty"`
	Libssl     float64 `json:"libssl,omitempty"`
	LibsslBase float64 `json:"libssl_base,omitempty"`
	Bytes      float64 `json:"bytes"`  // allocated by ours, for each op
	Allocs     float64 `json:"allocs"` // by ours, for each op
}

func (w *work) meter(sessions samples, size int) *meter {
	return &meter{ops: w.ops(size), size: size, der: sessions[w.sample], threads: w.threads}
}

// measure does a round of the work and returns a pair for each row.
func (w *work) measure(c *program, sessions samples, size int, oursFirst bool) ([]pair, error) {
	m := w.meter(sessions, size)
	var ours, libssl []float64
	sides := []func() error{
		func() (err error) { ours, err = w.runOurs(m); return err },
		func() (err error) { libssl, err = w.runLibssl(c, m); return err },
	}
	if !oursFirst {
		sides[0], sides[1] = sides[1], sides[0]
	}
	for _, side := range sides {
		if err := side(); err != nil {
			return nil, err
		}
	}
	ops := float64(m.ops)
	pairs := make([]pair, len(w.rows))
	at := 0
	for i, r := range w.rows {
		p := pair{Bytes: float64(m.bytes) / ops, Allocs: float64(m.allocs) / ops}
		p.Ours, p.Libssl = ours[at], libssl[at]
		at++
		if r.figure != byLibssl {
			p.OursBase, p.LibsslBase = ours[at], libssl[at]
			at++
		}
		pairs[i] = p
	}
	return pairs, nil
}

func (w *work) runOurs(m *meter) ([]float64, error) {
	if w.place.apart() {
		return runApart(w, m)
	}
	if err := w.runHere(m); err != nil {
		return nil, err
	}
	return m.values(), nil
}

func (w *work) runLibssl(c *program, m *meter) ([]float64, error) {
	if !w.place.libssl() {
		return make([]float64, w.values()), nil
	}
	return c.run(w, m)
}

// runHere gives the work as many threads as the C function uses. The collector
// has to do with those too.
func (w *work) runHere(m *meter) error {
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
