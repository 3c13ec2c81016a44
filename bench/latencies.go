package main

import (
	"math"
	"time"
)

// latencies counts times by their length, so that no number of them takes more
// memory. It is as exact as step up to the longest time that has a step of its
// own, and at the worst.
type latencies struct {
	steps [longest / step]int
	n     int
	most  time.Duration
}

const (
	step    = 100 * time.Nanosecond
	longest = 10 * time.Millisecond
)

func (l *latencies) add(d time.Duration) {
	l.n++
	l.most = max(l.most, d)
	if i := int(d / step); i < len(l.steps) {
		l.steps[i]++
	}
}

// of returns the microseconds that the given fraction of the times does not exceed.
func (l *latencies) of(fraction float64) float64 {
	left := int(math.Ceil(fraction * float64(l.n)))
	for i, n := range l.steps {
		if left -= n; left <= 0 {
			return micros(min(time.Duration(i+1)*step, l.most))
		}
	}
	return l.worst()
}

func (l *latencies) worst() float64 { return micros(l.most) }

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
