package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// report is all that a run found.
type report struct {
	Machine  machine  `json:"machine"`
	Rounds   int      `json:"rounds"`
	Sessions int      `json:"sessions"` // in a cache
	Works    []result `json:"works"`
}

// result is one work over all rounds. Times are of one op, in nanoseconds.
type result struct {
	Name   string  `json:"name"`
	Does   string  `json:"does"`
	Ratio  spread  `json:"ratio"` // ours by libssl's, of the same round
	Ours   spread  `json:"ours_ns"`
	Libssl spread  `json:"libssl_ns"`
	Bytes  float64 `json:"bytes"`         // median
	Allocs float64 `json:"allocs"`        // median
	Aim    float64 `json:"aim,omitempty"` // at most
	Met    *bool   `json:"met,omitempty"` // whether the median is; absent without an aim
	Pairs  []pair  `json:"pairs"`         // by round
}

func newResult(w work, pairs []pair) result {
	over := func(value func(pair) float64) spread {
		values := make([]float64, len(pairs))
		for i, p := range pairs {
			values[i] = value(p)
		}
		return newSpread(values)
	}
	r := result{
		Name:   w.name,
		Does:   w.does,
		Ratio:  over(func(p pair) float64 { return p.Ours / p.Libssl }),
		Ours:   over(func(p pair) float64 { return p.Ours }),
		Libssl: over(func(p pair) float64 { return p.Libssl }),
		Bytes:  over(func(p pair) float64 { return p.Bytes }).Median,
		Allocs: over(func(p pair) float64 { return p.Allocs }).Median,
		Aim:    w.aim,
		Pairs:  pairs,
	}
	if w.aim > 0 {
		met := r.Ratio.Median <= w.aim
		r.Met = &met
	}
	return r
}

func (r *result) verdict() string {
	switch {
	case r.Met == nil:
		return "no aim"
	case *r.Met:
		return fmt.Sprintf("aim at most %g: met", r.Aim)
	}
	return fmt.Sprintf("aim at most %g: not met", r.Aim)
}

func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	m := r.Machine
	fmt.Fprintf(w, "%s, %d cores, %s\n%s; %s\n", m.CPU, m.Cores, m.System, m.Go, m.OpenSSL)
	fmt.Fprintf(w, "%d rounds, %d sessions in a cache; times are medians, of one op\n\n", r.Rounds, r.Sessions)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ratio\tinterval\tours ns\tlibssl ns\tB\tallocs\t  work")
	for _, x := range r.Works {
		fmt.Fprintf(t, "%.3g\t%.3g to %.3g\t%.4g\t%.4g\t%.0f\t%.1f\t  %s: %s (%s)\n",
			x.Ratio.Median, x.Ratio.Low, x.Ratio.High, x.Ours.Median, x.Libssl.Median, x.Bytes, x.Allocs, x.Name, x.Does, x.verdict())
	}
	return t.Flush()
}
