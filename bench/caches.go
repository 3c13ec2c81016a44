package main

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reprise-tls/reprise"
)

// The works on caches. Each has its counterpart in libssl/works.c, on sessions
// of the same ids and expiries: session i's are a function of i.

const (
	batch       = 1000
	randomBatch = 100
	randomSize  = 30_000
	gap         = 100     // seconds between two sessions of a shuffled cache
	scatter     = 7368787 // a prime above any size: it visits each session of a cache once

	baseTime = 1_700_000_000
	timeout  = 7200 * time.Second
)

// mix is splitmix64.
func mix(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func sessionID(i int) (id [32]byte) {
	n := uint64(i)
	for word := range len(id) / 8 {
		n = mix(n)
		binary.LittleEndian.PutUint64(id[8*word:], n)
	}
	return id
}

func ascending(i int) time.Time { return time.Unix(int64(baseTime+i), 0) }

// shuffled and random return expiries of sessions for a cache of the size: its
// own, which have nothing to do with the order in which they are added, and
// others in between.
func shuffled(size int) func(int) time.Time {
	return func(i int) time.Time { return ascending(scattered(i, size) * gap) }
}

func random(size int) func(int) time.Time {
	return func(i int) time.Time { return ascending(int(mix(uint64(i)) % uint64(size*gap))) }
}

func scattered(i, size int) int { return int(int64(i) * scatter % int64(size)) }

// afterExpiry is when sessions up to i, and no more, have expired.
func afterExpiry(i int) time.Time { return ascending(i + 1).Add(timeout) }

// newSession returns session i.
func (m *meter) newSession(i int, at time.Time) (*reprise.Session, error) {
	s, err := m.parse()
	if err != nil {
		return nil, err
	}
	id := sessionID(i)
	if err := s.SetID(id[:]); err != nil {
		return nil, err
	}
	s.SetTime(at)
	return s, s.SetTimeout(timeout)
}

// add caches session i and lets go of it.
func (m *meter) add(to *reprise.Manager, i int, at time.Time) error {
	s, err := m.newSession(i, at)
	if err != nil {
		return err
	}
	defer s.Free()
	return addNew(to, s)
}

func addNew(to *reprise.Manager, s *reprise.Session) error {
	added, err := to.Add(s)
	if err == nil && !added {
		err = fmt.Errorf("session %v was cached already", s)
	}
	return err
}

// filled returns a Manager without a limit that holds sessions 0 to size-1.
func (m *meter) filled(size int, at func(int) time.Time, onRemove func(*reprise.Session, reprise.Cause)) (*reprise.Manager, error) {
	mgr, err := reprise.New(reprise.Config{CacheSize: -1, OnRemove: onRemove})
	if err != nil {
		return nil, err
	}
	for i := range size {
		if err := m.add(mgr, i, at(i)); err != nil {
			return nil, err
		}
	}
	return mgr, nil
}

// addBatch adds sessions from first on; only the adding is timed.
func (m *meter) addBatch(to *reprise.Manager, sessions []*reprise.Session, first int, at func(int) time.Time) (err error) {
	for i := range sessions {
		if sessions[i], err = m.newSession(first+i, at(first+i)); err != nil {
			return err
		}
	}
	return m.timed(func() error {
		for _, s := range sessions {
			if err := addNew(to, s); err != nil {
				return err
			}
		}
		return nil
	})
}

func addAscending(m *meter) error {
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	sessions := make([]*reprise.Session, batch)
	for done := 0; done < m.ops; done += batch {
		if err := m.addBatch(mgr, sessions, m.size+done, ascending); err != nil {
			return err
		}
		for _, s := range sessions {
			s.Free()
		}
		if n := mgr.Flush(afterExpiry(done + batch - 1)); n != batch {
			return fmt.Errorf("%d sessions expired, want %d", n, batch)
		}
	}
	return nil
}

func addRandom(m *meter) error { return m.addRandom(randomSize, m.ops, randomBatch) }

// addRandom takes the time of adding to a cache of the size, in batches.
func (m *meter) addRandom(size, ops, batch int) error {
	mgr, err := m.filled(size, shuffled(size), nil)
	if err != nil {
		return err
	}
	sessions := make([]*reprise.Session, batch)
	for done := 0; done < ops; done += batch {
		if err := m.addBatch(mgr, sessions, size+done, random(size)); err != nil {
			return err
		}
		for _, s := range sessions {
			mgr.Remove(s)
			s.Free()
		}
	}
	return nil
}

func addRandomGrowth(m *meter) error {
	var times []float64
	for _, size := range []int{randomSize, m.size} { // in this order: the allocations that count are those of the second
		m.elapsed, m.bytes, m.allocs = 0, 0, 0
		if err := m.addRandom(size, m.ops, batch); err != nil {
			return err
		}
		times = append(times, m.values()...)
		settle()
	}
	m.measured = []float64{times[1], times[0]}
	return nil
}

func find(in *reprise.Manager, i int) (*reprise.Session, error) {
	id := sessionID(i)
	if s := in.Lookup(tls.VersionTLS13, id[:]); s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("session %d is not cached", i)
}

func lookup(m *meter) error {
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	return m.timed(func() error {
		for i := range m.ops {
			s, err := find(mgr, scattered(i, m.size))
			if err != nil {
				return err
			}
			if s.CipherSuite() == 0 { // a lookup that leaves the work to whoever reads would show here
				return fmt.Errorf("session %d is empty", i)
			}
			s.Free()
		}
		return nil
	})
}

func has(m *meter) error         { return m.has(1) }
func has2Threads(m *meter) error { return m.has(2) }

// has lets each thread go through the cache, from a place of its own.
func (m *meter) has(threads int) error {
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	errs := make([]error, threads)
	return m.timed(func() error {
		var wg sync.WaitGroup
		for thread := range threads {
			wg.Go(func() { errs[thread] = hasAll(mgr, thread*m.size/2, m.ops, m.size) })
		}
		wg.Wait()
		return errors.Join(errs...)
	})
}

func hasAll(mgr *reprise.Manager, first, ops, size int) error {
	for i := range ops {
		id := sessionID(scattered(first+i, size))
		if !mgr.Has(tls.VersionTLS13, id[:]) {
			return fmt.Errorf("session %d is not cached", scattered(first+i, size))
		}
	}
	return nil
}

func removeSession(m *meter) error {
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	sessions := make([]*reprise.Session, batch)
	for done := 0; done < m.ops; done += batch {
		for i := range sessions {
			if sessions[i], err = find(mgr, scattered(done+i, m.size)); err != nil {
				return err
			}
		}
		if err := m.timed(func() error { return removeAll(mgr, sessions) }); err != nil {
			return err
		}
		for i, s := range sessions {
			s.Free()
			if err := m.add(mgr, m.size+done+i, ascending(m.size+done+i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func removeAll(from *reprise.Manager, sessions []*reprise.Session) error {
	for _, s := range sessions {
		if !from.Remove(s) {
			return fmt.Errorf("session %v was not cached", s)
		}
	}
	return nil
}

func flush1Percent(m *meter) error   { return m.flush(1, nil) }
func flush10Percent(m *meter) error  { return m.flush(10, nil) }
func flush100Percent(m *meter) error { return m.flush(100, nil) }

func flush10PercentOnRemove(m *meter) error {
	removed := 0
	if err := m.flush(10, func(*reprise.Session, reprise.Cause) { removed++ }); err != nil {
		return err
	}
	if removed != m.ops {
		return fmt.Errorf("OnRemove was called for %d sessions of %d", removed, m.ops)
	}
	return nil
}

// flush lets a part of the cache expire, and the next part once others took its place.
func (m *meter) flush(percent int, onRemove func(*reprise.Session, reprise.Cause)) error {
	mgr, err := m.filled(m.size, ascending, onRemove)
	if err != nil {
		return err
	}
	part := m.size * percent / 100
	for done := 0; done < m.ops; done += part {
		removed := 0
		if err := m.timed(func() error {
			removed = mgr.Flush(afterExpiry(done + part - 1))
			return nil
		}); err != nil {
			return err
		}
		if removed != part {
			return fmt.Errorf("%d sessions expired, want %d", removed, part)
		}
		for i := range part {
			if err := m.add(mgr, m.size+done+i, ascending(m.size+done+i)); err != nil {
				return err
			}
		}
	}
	return nil
}
