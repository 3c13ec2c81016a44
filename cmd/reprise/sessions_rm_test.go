package main

import (
	"os"
	"strings"
	"testing"
)

func TestSessionsRm(t *testing.T) {
	keyFile := sealingKey(t)
	for _, key := range []string{"", keyFile} {
		dir := sessionDir(t, key, "a.test", "b.test", "a.test", "c.test")
		args := []string{"sessions", "rm", dir, namedSession(t, "c.test").Fingerprint(), namedSession(t, "a.test").Fingerprint()}
		list := []string{"sessions", "list", dir}
		if key != "" {
			args, list = append(args, "--key-file", key), append(list, "--key-file", key)
		}
		if code, stdout, stderr := command(t, args...); code != exitGood || stdout+stderr != "" {
			t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
		}
		if _, left, _ := command(t, list...); strings.Count(left, "\n") != 1 || !strings.Contains(left, "b.test") {
			t.Errorf("left are %q", left)
		}
	}
}

// TestSessionsRmAll takes no key, and what is damaged too.
func TestSessionsRmAll(t *testing.T) {
	dir := sessionDir(t, sealingKey(t), "a.test", "b.test")
	if err := os.Truncate(filesIn(t, dir)[0], 1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if code, stdout, stderr := command(t, "sessions", "rm", "--all", dir); code != exitGood || stdout+stderr != "" {
			t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
		}
	}
	if n := len(filesIn(t, dir)); n != 0 {
		t.Errorf("%d are left", n)
	}
}
