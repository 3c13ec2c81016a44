package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseOutput(t *testing.T) {
	one := work{name: "dupFree", rows: []row{{}}}
	based := work{name: "dupFree", rows: []row{{}, {figure: byBase}}}
	for _, tc := range []struct {
		work work
		out  string
		want []float64 // nil for an error
	}{
		{one, "dupFree 100 262.125\n", []float64{262.125}},
		{one, "dupFree 100 1810000.000\n", []float64{1810000}},
		{based, "dupFree 100 1 2.5 3\n", []float64{1, 2.5, 3}},
		{one, "", nil},
		{one, "dupFree 100\n", nil},
		{one, "upRefFree 100 262.125\n", nil},
		{one, "dupFree 99 262.125\n", nil},
		{one, "dupFree 100 262.125 1\n", nil},
		{one, "dupFree 100 fast\n", nil},
		{one, "dupFree 100 0.000\n", nil},
		{one, "dupFree 100 -1\n", nil},
		{one, "dupFree 100 nan\n", nil},
		{one, "dupFree 100 inf\n", nil},
		{based, "dupFree 100 1 2.5\n", nil},
	} {
		got, err := tc.work.parseOutput(tc.out, 100)
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.want != nil) {
			t.Errorf("%q: got %v, %v, want %v", tc.out, got, err, tc.want)
		}
	}
}

// TestApart does the works that want one in a process of their own.
func TestApart(t *testing.T) {
	sessions := testSamples(t)
	for _, w := range works {
		if !w.place.apart() {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			_, err := runApart(&w, fewOps(w, sessions))
			if errors.Is(err, errors.ErrUnsupported) {
				t.Skip(err)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("arguments", func(t *testing.T) {
		for args, want := range map[string]string{
			"":                       "want NAME",
			"memory 1 1000":          "want NAME",
			"noSuchWork 1 1000 30":   "no work named",
			"memory 1 many 30":       "invalid syntax",
			"memory 1 1000 xy":       "invalid byte",
			"parseSession 1 1000 30": "asn1", // what the work says of such a session
		} {
			var stdout, stderr strings.Builder
			status := runWork(strings.Fields(args), &stdout, &stderr)
			if status != exitFailure || stdout.Len() != 0 || !strings.Contains(stderr.String(), want) {
				t.Errorf("%q: status %d, %q, %q", args, status, &stdout, &stderr)
			}
		}
	})
}
