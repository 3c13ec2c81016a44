package main

import (
	"errors"
	"testing"
)

// fewOps is as few ops as a work's batches allow.
func fewOps(w work, s samples) *meter {
	m := w.meter(s, sizeStep)
	m.ops = min(m.ops, sizeStep)
	return m
}

// TestWorks does every work in Go.
func TestWorks(t *testing.T) {
	sessions := testSamples(t)
	seen := map[string]bool{}
	for _, w := range works {
		t.Run(w.name, func(t *testing.T) {
			if seen[w.name] {
				t.Error("there is another work of that name")
			}
			seen[w.name] = true
			if w.ops(1_000_000) < w.ops(sizeStep) || w.ops(sizeStep)%randomBatch != 0 {
				t.Errorf("a round has %d ops", w.ops(sizeStep))
			}
			m := fewOps(w, sessions)
			err := w.runHere(m)
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Fatal(err)
			}
			values := m.values()
			if len(values) != w.values() {
				t.Fatalf("it gives %d values, its rows want %d", len(values), w.values())
			}
			for i, v := range values {
				if !(v > 0) && w.name != "memory" { // which this process may have had before
					t.Errorf("value %d is %v: nothing was measured", i, v)
				}
			}
		})
	}
}

// TestParts: a cache of any size goes in whole parts.
func TestParts(t *testing.T) {
	for _, size := range []int{sizeStep, 3000, 100_000, 300_000, 1_000_000} {
		for _, percent := range []int{1, 10, 100} {
			part := size * percent / 100
			if ops := parts(percent)(size); ops < part || ops%part != 0 {
				t.Errorf("%d ops are not whole parts of %d", ops, part)
			}
		}
	}
}

func TestFigures(t *testing.T) {
	p := pair{Ours: 12, OursBase: 4, Libssl: 3}
	for figure, want := range map[figure]float64{byLibssl: 4, byBase: 3, overBase: 8, itself: 12} {
		if got := figure.of(p); got != want {
			t.Errorf("%s: got %v, want %v", kinds[figure], got, want)
		}
	}
}
