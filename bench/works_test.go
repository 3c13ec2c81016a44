package main

import "testing"

// fewOps is as few ops as a work's batches allow.
func fewOps(w work) int { return min(w.ops(sizeStep), sizeStep) }

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
			m := &meter{ops: fewOps(w), size: sizeStep, der: sessions[w.sample]}
			if err := w.runOurs(m); err != nil {
				t.Fatal(err)
			}
			if m.elapsed <= 0 {
				t.Error("it took no time: nothing was timed")
			}
		})
	}
}
