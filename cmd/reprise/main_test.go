package main

import (
	"bytes"
	"context"
	"os"
	"testing"
	"time"
)

// TestMain is the command itself where a test runs it as a process of its own.
func TestMain(m *testing.M) {
	if os.Getenv("REPRISE_TEST_COMMAND") != "" {
		main()
	}
	os.Exit(m.Run())
}

// command runs a command line and returns what came of it.
func command(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	code = run(ctx, args, &out, &errs)
	return code, out.String(), errs.String()
}
