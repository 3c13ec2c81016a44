package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

func TestSessionsPrune(t *testing.T) {
	names := []string{"a.test", "b.test", "c.test", "d.test"} // put 59, 58, 57 and 56 minutes ago
	for _, c := range []struct {
		flags string
		left  int
	}{
		{"", 4},
		{"--keep=4", 4}, {"--keep=3", 3}, {"--keep=0", 0}, {"--keep=100", 4},
		{"--older-than=1h", 4}, {"--older-than=57m30s", 2}, {"--older-than=1ns", 0},
		{"--older-than=57m30s --keep=1", 1}, {"--older-than=57m30s --keep=3", 2},
	} {
		dir := sessionDir(t, sealingKey(t), names...)
		before := filesIn(t, dir)
		code, stdout, stderr := command(t, append([]string{"sessions", "prune", dir}, strings.Fields(c.flags)...)...)
		if want := fmt.Sprintf("%d removed, %d left\n", 4-c.left, c.left); code != exitGood || stdout != want || stderr != "" {
			t.Errorf("%s: exit code %d, %q, %q, want %q", c.flags, code, stdout, stderr, want)
		}
		if after := filesIn(t, dir); !slices.Equal(after, before[:c.left]) { // the newest
			t.Errorf("%s: left are %q of %q", c.flags, after, before)
		}
	}
}

// TestSessionsPruneExpired: what has expired goes without a flag.
func TestSessionsPruneExpired(t *testing.T) {
	dir := sessionDir(t, "", "a.test", "b.test")
	then := time.Now().Add(-time.Hour)
	store, err := dirstore.Open(dir, dirstore.Options{Time: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Put(t.Context(), "c.test", []byte("x"), then.Add(time.Minute), true); err != nil {
		t.Fatal(err)
	}
	var got sessionsPruned
	code, stdout, _ := command(t, "sessions", "prune", "--json", dir)
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitGood || got != (sessionsPruned{Removed: 1, Left: 2}) {
		t.Errorf("%v, exit code %d, %s", err, code, stdout)
	}
}
