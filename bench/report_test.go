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
	if got, want := newResult(work{}, pairs).Ratio, (spread{0.5, 0.5, 0.5}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	pairs = []pair{{Ours: 1, Libssl: 10}, {Ours: 20, Libssl: 20}, {Ours: 60, Libssl: 30}}
	if got, want := newResult(work{}, pairs).Ratio, (spread{1, 0.1, 2}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestVerdict(t *testing.T) {
	for _, tc := range []struct {
		aim, ours float64
		want      string
	}{
		{0, 50, "no aim"},
		{0.5, 49, "aim at most 0.5: met"},
		{0.5, 50, "aim at most 0.5: met"},
		{0.5, 51, "aim at most 0.5: not met"},
	} {
		r := newResult(work{aim: tc.aim}, []pair{{Ours: tc.ours, Libssl: 100}})
		if got := r.verdict(); got != tc.want {
			t.Errorf("%v of 100 at an aim of %v: %q, want %q", tc.ours, tc.aim, got, tc.want)
		}
	}
}

func TestWrite(t *testing.T) {
	r := &report{
		Machine: machine{CPU: "Fast CPU", Cores: 2, System: "linux/amd64", Go: "go1.26", OpenSSL: "OpenSSL 3.0"},
		Rounds:  1, Sessions: 1000,
		Works: []result{newResult(work{name: "dupFree", does: "Dup, Free", aim: 1}, []pair{{Ours: 150, Libssl: 100, Bytes: 968, Allocs: 5}})},
	}
	var text strings.Builder
	if err := r.write(&text, false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Fast CPU, 2 cores", "go1.26; OpenSSL 3.0", "1000 sessions", "1.5", "968", "dupFree: Dup, Free (aim at most 1: not met)"} {
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
	if len(back.Works) != 1 || back.Works[0].Ratio.Median != 1.5 || *back.Works[0].Met || back.Machine != r.Machine {
		t.Errorf("came back as %+v", back)
	}
}
