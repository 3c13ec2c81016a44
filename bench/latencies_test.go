package main

import (
	"testing"
	"time"
)

func TestLatencies(t *testing.T) {
	var l latencies
	for range 9990 {
		l.add(time.Microsecond)
	}
	for range 9 {
		l.add(40 * time.Microsecond)
	}
	l.add(3 * time.Second)
	for _, tc := range []struct{ got, want float64 }{
		{l.of(0.5), 1.1},
		{l.of(0.999), 1.1},
		{l.of(0.9999), 40.1},
		{l.of(1), 3e6},
		{l.worst(), 3e6},
	} {
		if tc.got != tc.want {
			t.Errorf("got %v us, want %v", tc.got, tc.want)
		}
	}
	var one latencies
	one.add(1050 * time.Nanosecond)
	if got := one.of(0.9999); got != 1.05 {
		t.Errorf("of one lookup of 1.05 us the slowest took %v", got)
	}
}
