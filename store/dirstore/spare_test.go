package dirstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

// temporaries are the files in a directory that are no sessions.
func temporaries(t *testing.T, dir string) (names []string) {
	t.Helper()
	for _, name := range tree(t, dir) {
		if strings.Contains(name, "tmp-") {
			names = append(names, filepath.Join(dir, name))
		}
	}
	return names
}

// TestSpare: the file that a session was taken from is wiped, and the next
// session of the peer is written to it, whichever is longer.
func TestSpare(t *testing.T) {
	for _, opts := range []dirstore.Options{{}, {Key: key(0)}} {
		s, c, dir := fresh(t, opts)
		put(t, s, peer, "first", c.in(time.Hour), true)
		was, err := os.Lstat(filepath.Join(dir, entries(t, s)[0].File))
		if err != nil {
			t.Fatal(err)
		}
		content := "first"
		for _, next := range []string{"one more than the first", "short", strings.Repeat("long ", 1000), "s"} {
			takes(t, s, peer, content)
			left := temporaries(t, dir)
			if len(left) != 1 {
				t.Fatalf("%q are left", left)
			}
			if b, err := os.ReadFile(left[0]); err != nil || len(bytes.Trim(b, "\x00")) > 0 {
				t.Errorf("%x is left of a session, %v", b, err)
			}
			content = next
			put(t, s, peer, content, c.in(time.Hour), true)
			is, err := os.Lstat(filepath.Join(dir, entries(t, s)[0].File))
			if err != nil || !os.SameFile(was, is) || len(temporaries(t, dir)) > 0 {
				t.Errorf("%q has a file of its own (%v), or others are left", content, err)
			}
		}
		takes(t, s, peer, content, "")
	}
}

// TestSpareOfAnother: a session of another subdirectory has a file of its own.
func TestSpareOfAnother(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	for i := range 40 {
		put(t, s, fmt.Sprint(i), "session", c.in(time.Hour), true)
		takes(t, s, fmt.Sprint(i), "session", "")
	}
	if n := len(temporaries(t, dir)); n < 2 || n > 8 {
		t.Errorf("%d spare files, want a few", n)
	}
	s.Close()
	if left := temporaries(t, dir); len(left) > 0 {
		t.Errorf("Close leaves %q", left)
	}
}

// TestSpareGone: a spare file that somebody removed, or that is so old that
// somebody may be about to, costs nothing.
func TestSpareGone(t *testing.T) {
	for what, lose := range map[string]func(c *clock, file string) error{
		"removed":   func(_ *clock, file string) error { return os.Remove(file) },
		"old":       func(c *clock, _ string) error { c.advance(5 * time.Minute); return nil },
		"of future": func(c *clock, _ string) error { c.advance(-time.Second); return nil },
		"directory": func(_ *clock, file string) error {
			if err := os.Remove(file); err != nil {
				return err
			}
			return os.Mkdir(file, 0o700)
		},
	} {
		s, c, dir := fresh(t, dirstore.Options{})
		put(t, s, peer, "first", c.in(time.Hour), true)
		takes(t, s, peer, "first")
		if err := lose(c, temporaries(t, dir)[0]); err != nil {
			t.Fatal(err)
		}
		put(t, s, peer, "second", c.in(time.Hour), true)
		takes(t, s, peer, "second", "")
		if got := s.Stats(); got.Damaged != 0 {
			t.Errorf("%s: %+v", what, got)
		}
	}
}

// TestSpareIsRead: who reads a file while another takes it and writes the next
// session to it finds it gone, not damaged.
func TestSpareIsRead(t *testing.T) {
	const takers, sessions = 8, 300
	first, c, dir := fresh(t, dirstore.Options{PerPeer: -1})
	stores := []*dirstore.Store{first, open(t, dir, dirstore.Options{PerPeer: -1, Time: c.now})}
	var mu sync.Mutex
	var taken []string
	var wg sync.WaitGroup
	for i := range takers {
		s := stores[i%2]
		wg.Go(func() {
			for n := range sessions {
				putting := s.Put(t.Context(), peer, fmt.Append(nil, i, ".", n), c.in(time.Hour), true)
				session, err := s.Take(t.Context(), peer)
				if err = errors.Join(putting, err); err != nil {
					t.Error(err)
					return
				}
				if session != nil {
					mu.Lock()
					taken = append(taken, string(session))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	for session := take(t, first, peer); session != ""; session = take(t, first, peer) {
		taken = append(taken, session)
	}
	all := len(taken)
	slices.Sort(taken)
	if n := len(slices.Compact(taken)); all != takers*sessions || n != all {
		t.Errorf("%d sessions were taken, %d different ones, want %d", all, n, takers*sessions)
	}
	for _, s := range stores {
		if got := s.Stats(); got.Damaged != 0 {
			t.Errorf("%+v", got)
		}
	}
}
