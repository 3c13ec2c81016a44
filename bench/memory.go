package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
)

// The works on what a cache costs while nobody uses it. They are done in a
// process of their own: what other works left would blur them.

// memory measures what a cached session adds to the process's resident memory
// once everything was collected. Its counterpart is in libssl/works.c.
func memory(m *meter) error {
	before, err := resident()
	if err != nil {
		return err
	}
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	after, err := resident()
	m.measured = []float64{float64(after-before) / float64(m.size)}
	runtime.KeepAlive(mgr)
	return err
}

const statm = "/proc/self/statm" // Linux only

// resident collects, gives back what is free, and returns the bytes that are
// left in memory.
func resident() (int64, error) {
	settle()
	debug.FreeOSMemory()
	text, err := os.ReadFile(statm)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	fields := bytes.Fields(text)
	if len(fields) < 2 {
		return 0, fmt.Errorf("%s: %q", statm, text)
	}
	pages, err := strconv.ParseInt(string(fields[1]), 10, 64)
	return pages * int64(os.Getpagesize()), err
}

const collections = 21

// marking measures how long a collection marks, in an empty process and with
// the cache in it, while no other thread has anything to do.
func marking(m *meter) error {
	empty, err := markTime()
	if err != nil {
		return err
	}
	mgr, err := m.filled(m.size, ascending, nil)
	if err != nil {
		return err
	}
	full, err := markTime()
	m.measured = []float64{full, empty}
	runtime.KeepAlive(mgr)
	return err
}

// markTime returns the milliseconds that the threads which mark need for a
// collection together, the median over some.
func markTime() (ms float64, err error) {
	settle()
	times := make([]float64, collections)
	for i := range times {
		before, err := markSeconds()
		if err != nil {
			return 0, err
		}
		runtime.GC()
		after, err := markSeconds()
		if err != nil {
			return 0, err
		}
		times[i] = 1000 * (after - before)
	}
	return newSpread(times).Median, nil
}

func markSeconds() (sum float64, err error) {
	samples := []metrics.Sample{
		{Name: "/cpu/classes/gc/mark/assist:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/dedicated:cpu-seconds"},
		{Name: "/cpu/classes/gc/mark/idle:cpu-seconds"},
	}
	metrics.Read(samples)
	for _, s := range samples {
		if s.Value.Kind() != metrics.KindFloat64 {
			return 0, fmt.Errorf("%s: %w", s.Name, errors.ErrUnsupported)
		}
		sum += s.Value.Float64()
	}
	return sum, nil
}
