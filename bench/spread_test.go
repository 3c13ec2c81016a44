package main

import (
	"slices"
	"testing"
)

func TestNewSpread(t *testing.T) {
	for _, tc := range []struct {
		name   string
		values []float64
		want   spread
	}{
		{"one", []float64{3}, spread{3, 3, 3}},
		{"two", []float64{4, 2}, spread{3, 2, 4}},
		{"five: all of them", []float64{9, 1, 5, 2, 4}, spread{4, 1, 9}},
		{"eight: without the outermost", []float64{8, 1, 7, 2, 6, 3, 5, 4}, spread{4.5, 2, 7}},
		{"an outlier moves neither", []float64{8, 1, 7, 2, 6, 3, 5, 1e9}, spread{5.5, 2, 8}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			given := slices.Clone(tc.values)
			if got := newSpread(tc.values); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if !slices.Equal(given, tc.values) {
				t.Error("the rounds are in another order now: they would no longer be pairs")
			}
		})
	}
}

// TestOutside compares with the tables of the sign test.
func TestOutside(t *testing.T) {
	for n, want := range map[int]int{1: 0, 4: 0, 5: 0, 7: 0, 8: 1, 10: 1, 11: 2, 20: 5, 30: 10, 100: 41} {
		if got := outside(n, 0.90); got != want {
			t.Errorf("of %d values %d may be left out at either end, want %d", n, got, want)
		}
	}
}
