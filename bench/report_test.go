package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRatioIsOfPairs: a machine that is ten times slower in one round slows
// both sides, so the ratio stays. The ratio of the medians would not.
func TestRatioIsOfPairs(t *testing.T) {
	pairs := []pair{{Ours: 10, Libssl: 20}, {Ours: 1000, Libssl: 2000}, {Ours: 11, Libssl: 22}}
	if got, want := newResult(work{}, row{}, pairs).Figure, (spread{0.5, 0.5, 0.5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	pairs = []pair{{Ours: 1, Libssl: 10}, {Ours: 20, Libssl: 20}, {Ours: 60, Libssl: 30}}
	if got, want := newResult(work{}, row{}, pairs).Figure, (spread{1, 0.1, 2}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		row  row
		ours float64
		want string
	}{
		{row{}, 50, "no aim"},
		{row{aim: 0.5}, 49, "aim at most 0.5: met"},
		{row{aim: 0.5}, 50, "aim at most 0.5: met"},
		{row{aim: 0.5}, 51, "aim at most 0.5: not met"},
		{row{aim: 0.5, allocs: 2}, 50, "aim at most 0.5: met; allocs at most 2: not met"},
		{row{aim: 3, figure: overBase, unit: "us"}, 43, "aim at most 3 us: met"},
		{row{aim: 3, figure: overBase, unit: "us"}, 44, "aim at most 3 us: not met"},
		{row{aim: 50, figure: itself, unit: "us"}, 51, "aim at most 50 us: not met"},
	} {
		r := newResult(work{}, tc.row, []pair{{Ours: tc.ours, OursBase: 40, Libssl: 100, Allocs: 3}})
		if got := r.verdict(); got != tc.want {
			t.Errorf("%v of 100 at %+v: %q, want %q", tc.ours, tc.row, got, tc.want)
		}
	}
}

func TestWrite(t *testing.T) {
	dup := work{name: "dupFree", rows: []row{{does: "Dup, Free", unit: "ns", aim: 1}}}
	mark := work{name: "marking", place: oursApart, rows: []row{{name: "late", does: "to mark", figure: overBase, unit: "ms", aim: 1}}}
	r := &report{
		Machine: machine{CPU: "Fast CPU", Cores: 2, System: "linux/amd64", Go: "go1.26", OpenSSL: "OpenSSL 3.0"},
		Rounds:  1, Sessions: 1000,
		Works: append(
			newResults(dup, [][]pair{{{Ours: 150, Libssl: 100, Bytes: 968, Allocs: 5}}}),
			newResults(mark, [][]pair{{{Ours: 2.5, OursBase: 2.25}}})...),
	}
	var text strings.Builder
	if err := r.write(&text, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Fast CPU, 2 cores", "go1.26; OpenSSL 3.0", "1000 sessions", "1.5", "968", "dupFree: Dup, Free (aim at most 1: not met)",
		"0.25 ms", "marking late: to mark (aim at most 1 ms: met)", "2.25       -     -    ms"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, &text)
		}
	}
	text.Reset()
	if err := r.write(&text, true); err != nil {
		t.Fatal(err)
	}
	var back report
	if err := json.Unmarshal([]byte(text.String()), &back); err != nil {
		t.Fatal(err)
	}
	if len(back.Works) != 2 || back.Works[0].Figure.Median != 1.5 || *back.Works[0].Met || back.Machine != r.Machine {
		t.Errorf("came back as %+v", back)
	}
}
