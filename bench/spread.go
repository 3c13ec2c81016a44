package main

import (
	"math"
	"slices"
)

// spread is a value over the rounds: its median, and an interval that holds
// the true median with at least 90 % confidence, or all values where the
// rounds are too few for that (below five).
type spread struct {
	Median float64 `json:"median"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// newSpread takes at least one value.
func newSpread(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	skip := outside(n, 0.90)
	return spread{
		Median: (sorted[(n-1)/2] + sorted[n/2]) / 2,
		Low:    sorted[skip],
		High:   sorted[n-1-skip],
	}
}

// outside is how many values may be left out at either end so that the rest
// still hold the median with the given confidence: each value is below the
// median with a probability of one half, so their number is binomial. Nothing
// about the distribution of the values is assumed.
func outside(n int, confidence float64) (skip int) {
	tail, term := 0.0, math.Exp2(-float64(n)) // term is the chance that exactly skip values are below
	for {
		tail += term
		if 1-2*tail < confidence {
			return max(skip-1, 0)
		}
		term *= float64(n-skip) / float64(skip+1)
		skip++
	}
}
