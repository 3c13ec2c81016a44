package main

import "testing"

func TestScatteredVisitsEachOnce(t *testing.T) {
	for _, size := range []int{sizeStep, randomSize, 100_000} {
		seen := make([]bool, size)
		for i := range size {
			at := scattered(i, size)
			if seen[at] {
				t.Fatalf("of %d, %d comes twice", size, at)
			}
			seen[at] = true
		}
	}
}
