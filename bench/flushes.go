package main

import (
	"crypto/tls"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-tls/reprise"
)

// The works on lookups by one thread while another flushes the cache. Each has
// its counterpart in libssl/works.c.

func lookupDuringFlush1Percent(m *meter) error   { return m.lookupDuringFlush(1) }
func lookupDuringFlush10Percent(m *meter) error  { return m.lookupDuringFlush(10) }
func lookupDuringFlush100Percent(m *meter) error { return m.lookupDuringFlush(100) }

// phase is what the other thread does during a lookup.
type phase = int32

const (
	paused     phase = iota // there are no lookups
	rehearsing              // a flush that only tells how long one takes
	flushing
	busy // as long as with a flush, with anything but the cache
	phases
)

// watch is a thread that looks sessions up and takes the time of each lookup.
type watch struct {
	mgr   *reprise.Manager
	size  int
	phase atomic.Int32
	pause sync.Mutex   // held while paused
	first atomic.Int64 // the oldest session in the cache
	stop  atomic.Bool
	took  [phases]latencies
	seen  [phases]atomic.Int64 // lookups
	found int
}

func (w *watch) run() {
	for i := 0; ; i++ {
		if w.phase.Load() == paused {
			w.pause.Lock()
			//lint:ignore SA2001 to wait is all that is wanted
			w.pause.Unlock()
			if w.stop.Load() {
				return
			}
		}
		id := sessionID(int(w.first.Load()) + scattered(i, w.size))
		before := w.phase.Load()
		start := time.Now()
		s := w.mgr.Lookup(tls.VersionTLS13, id[:])
		took := time.Since(start)
		if s != nil { // a flush may have been faster
			s.Free()
			w.found++
		}
		after := w.phase.Load()
		if before == flushing { // the lookup may have waited all the flush long
			after = flushing
		}
		if before == after || after == flushing {
			w.took[after].add(took)
			w.seen[after].Add(1)
		}
	}
}

// during does f as a phase, which lasts until there was a lookup in it.
func (w *watch) during(p phase, f func()) {
	seen := w.seen[p].Load()
	w.phase.Store(p)
	w.pause.Unlock()
	f()
	for w.seen[p].Load() == seen {
		runtime.Gosched()
	}
	w.phase.Store(paused)
	w.pause.Lock()
}

// lookupDuringFlush lets a part of the cache expire again and again. Before
// each flush but the first the other thread does something else for as long as
// the flush before took.
func (m *meter) lookupDuringFlush(percent int) error {
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	w := &watch{mgr: mgr, size: m.size}
	w.pause.Lock()
	var wg sync.WaitGroup
	wg.Go(w.run)
	err = w.flushes(m, m.size*percent/100)
	w.stop.Store(true)
	w.pause.Unlock()
	wg.Wait()
	if err == nil && w.found == 0 {
		err = errors.New("no session was found")
	}
	with, without := &w.took[flushing], &w.took[busy]
	m.measured = []float64{with.of(0.9999), without.of(0.9999), with.worst(), without.worst()}
	return err
}

func (w *watch) flushes(m *meter, part int) error {
	var took time.Duration
	for done := 0; done <= m.ops; done += part {
		during := rehearsing
		if done > 0 {
			during = flushing
			w.during(busy, func() { spin(took) })
		}
		removed := 0
		w.during(during, func() {
			start := time.Now()
			removed = w.mgr.Flush(afterExpiry(done + part - 1))
			took = time.Since(start)
		})
		if removed != part {
			return errors.New("other sessions expired than those that should")
		}
		if done == m.ops {
			break
		}
		for i := range part {
			if err := m.add(w.mgr, m.size+done+i, ascending(m.size+done+i)); err != nil {
				return err
			}
		}
		w.first.Add(int64(part))
	}
	return nil
}

func spin(d time.Duration) {
	for start := time.Now(); time.Since(start) < d; {
		runtime.Gosched()
	}
}
