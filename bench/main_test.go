package main

import (
	"io"
	"os"
	"strings"
	"testing"
)

// TestMain lets this program be the process that runApart starts.
func TestMain(m *testing.M) {
	if args, ok := apart(); ok {
		os.Exit(runWork(args, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func TestParseOptions(t *testing.T) {
	for _, tc := range []struct {
		args   string
		want   string // part of the error, "" for none
		size   int
		rounds int
		n      int // works
	}{
		{"", "", 100_000, 5, len(works)},
		{"-full", "", 1_000_000, 3, len(works)},
		{"-full -rounds 7", "", 1_000_000, 7, len(works)},
		{"-n 2000 -only ^(dupFree|lookup)$", "", 2000, 5, 2},
		{"-n 1500", "-n", 0, 0, 0},
		{"-n 0", "-n", 0, 0, 0},
		{"-n 8000000", "-n", 0, 0, 0},
		{"-rounds 0", "-rounds", 0, 0, 0},
		{"-only (", "missing", 0, 0, 0},
		{"-only noSuchWork", "no work matches", 0, 0, 0},
		{"dupFree", "unexpected argument", 0, 0, 0},
		{"-fast", "not defined", 0, 0, 0},
	} {
		o, err := parseOptions(strings.Fields(tc.args), io.Discard)
		switch {
		case tc.want != "":
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q: error %v, want one with %q", tc.args, err, tc.want)
			}
		case err != nil || o.size != tc.size || o.rounds != tc.rounds || len(o.works) != tc.n:
			t.Errorf("%q: %d sessions, %d rounds, %d works, %v", tc.args, o.size, o.rounds, len(o.works), err)
		}
	}
}

func TestExitStatus(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no cc
	for _, tc := range []struct {
		args   string
		status int
		stderr string
	}{
		{"-h", 0, "-rounds"},
		{"-rounds 0", exitUsage, "bench: -rounds"},
		{"-rounds 1", exitFailure, "no libssl to compare with"},
	} {
		var stdout, stderr strings.Builder
		if got := run(strings.Fields(tc.args), &stdout, &stderr); got != tc.status {
			t.Errorf("%q: status %d, want %d", tc.args, got, tc.status)
		}
		if !strings.Contains(stderr.String(), tc.stderr) {
			t.Errorf("%q: %q does not say %q", tc.args, &stderr, tc.stderr)
		}
		if stdout.Len() != 0 {
			t.Errorf("%q printed %q", tc.args, &stdout)
		}
	}
}
