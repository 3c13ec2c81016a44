package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// report is all that a run found.
type report struct {
	Machine  machine  `json:"machine"`
	Rounds   int      `json:"rounds"`
	Sessions int      `json:"sessions"` // in a cache
	Works    []result `json:"works"`
}

// result is one row of a work over all rounds.
type result struct {
	Name   string  `json:"name"`
	Does   string  `json:"does"`
	Unit   string  `json:"unit"`   // of the values
	Figure spread  `json:"figure"` // what counts of the values of a round
	Kind   string  `json:"kind"`   // how it comes from them
	Ours   spread  `json:"ours"`
	Bytes  float64 `json:"bytes"`         // median
	Allocs float64 `json:"allocs"`        // median
	Aim    float64 `json:"aim,omitempty"` // at most
	Met    *bool   `json:"met,omitempty"` // whether the median is; absent without an aim
	Pairs  []pair  `json:"pairs"`         // by round

	OursBase   *spread `json:"ours_base,omitempty"`
	Libssl     *spread `json:"libssl,omitempty"`
	LibsslBase *spread `json:"libssl_base,omitempty"`

	AllocsAim float64 `json:"allocs_aim,omitempty"` // at most
	AllocsMet *bool   `json:"allocs_met,omitempty"`
}

var kinds = map[figure]string{byLibssl: "ours / libssl", byBase: "ours / base", overBase: "ours - base", itself: "ours"}

// newResults returns a result for each row of the work.
func newResults(w work, rounds [][]pair) (results []result) {
	for i, r := range w.rows {
		pairs := make([]pair, len(rounds))
		for round := range rounds {
			pairs[round] = rounds[round][i]
		}
		results = append(results, newResult(w, r, pairs))
	}
	return results
}

func newResult(w work, r row, pairs []pair) result {
	over := func(value func(pair) float64) *spread {
		values := make([]float64, len(pairs))
		for i, p := range pairs {
			values[i] = value(p)
		}
		s := newSpread(values)
		return &s
	}
	x := result{
		Name:   strings.TrimSpace(w.name + " " + r.name),
		Does:   r.does,
		Unit:   r.unit,
		Figure: *over(r.figure.of),
		Kind:   kinds[r.figure],
		Ours:   *over(func(p pair) float64 { return p.Ours }),
		Bytes:  over(func(p pair) float64 { return p.Bytes }).Median,
		Allocs: over(func(p pair) float64 { return p.Allocs }).Median,
		Aim:    r.aim, AllocsAim: r.allocs,
		Pairs: pairs,
	}
	based := r.figure != byLibssl
	if based {
		x.OursBase = over(func(p pair) float64 { return p.OursBase })
	}
	if w.place.libssl() {
		x.Libssl = over(func(p pair) float64 { return p.Libssl })
	}
	if based && w.place.libssl() {
		x.LibsslBase = over(func(p pair) float64 { return p.LibsslBase })
	}
	x.Met, x.AllocsMet = within(x.Figure.Median, x.Aim), within(x.Allocs, x.AllocsAim)
	return x
}

// within reports whether an aim is met, nil where there is none.
func within(value, aim float64) *bool {
	if aim == 0 {
		return nil
	}
	met := value <= aim
	return &met
}

func (r *result) verdict() string {
	if r.Met == nil {
		return "no aim"
	}
	v := fmt.Sprintf("aim at most %s: %s", r.number(r.Aim), metOrNot(*r.Met))
	if r.AllocsMet != nil {
		v += fmt.Sprintf("; allocs at most %g: %s", r.AllocsAim, metOrNot(*r.AllocsMet))
	}
	return v
}

func metOrNot(met bool) string {
	if met {
		return "met"
	}
	return "not met"
}

// number writes a figure: a ratio has no unit.
func (r *result) number(v float64) string {
	switch r.Kind {
	case kinds[overBase], kinds[itself]:
		return fmt.Sprintf("%.3g %s", v, r.Unit)
	}
	return fmt.Sprintf("%.3g", v)
}

func median(s *spread) string {
	if s == nil {
		return "-"
	}
	return fmt.Sprintf("%.4g", s.Median)
}

func (r *report) write(w io.Writer, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	m := r.Machine
	fmt.Fprintf(w, "%s, %d cores, %s\n%s; %s\n", m.CPU, m.Cores, m.System, m.Go, m.OpenSSL)
	fmt.Fprintf(w, "%d rounds, %d sessions in a cache; values are medians, times those of one op\n\n", r.Rounds, r.Sessions)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "figure\tinterval\tours\tbase\tlibssl\tbase\tunit\tB\tallocs\t  work")
	for _, x := range r.Works {
		fmt.Fprintf(t, "%s\t%.3g to %.3g\t%s\t%s\t%s\t%s\t%s\t%.0f\t%.1f\t  %s: %s (%s)\n",
			x.number(x.Figure.Median), x.Figure.Low, x.Figure.High,
			median(&x.Ours), median(x.OursBase), median(x.Libssl), median(x.LibsslBase), x.Unit,
			x.Bytes, x.Allocs, x.Name, x.Does, x.verdict())
	}
	return t.Flush()
}
