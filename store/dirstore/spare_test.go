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

// TestSpares: a subdirectory has a few spare files, another none of them, and
// Close removes all.
func TestSpares(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{PerPeer: -1})
	for range 10 {
		put(t, s, peer, "session", c.in(time.Hour), true)
	}
	for range 10 {
		takes(t, s, peer, "session")
	}
	if n := len(temporaries(t, dir)); n != 4 {
		t.Errorf("%d spare files, want 4", n)
	}
	for i := range 100 {
		put(t, s, fmt.Sprint(i), "session", c.in(time.Hour), true)
		takes(t, s, fmt.Sprint(i), "session", "")
	}
	if n := len(temporaries(t, dir)); n < 4 || n > 8*4 {
		t.Errorf("%d spare files in all, want a few in each of 8 subdirectories", n)
	}
	s.Close()
	if left := temporaries(t, dir); len(left) > 0 {
		t.Errorf("Close leaves %q", left)
	}
}

// TestSpareChanged: a spare file that somebody removed or changed, or that is so
// old that somebody may be about to remove it, is not used: the next session has
// a file of its own, and nothing else is written to.
func TestSpareChanged(t *testing.T) {
	unix(t)
	for what, change := range map[string]func(c *clock, file string) error{
		"removed":    func(_ *clock, file string) error { return os.Remove(file) },
		"old":        func(c *clock, _ string) error { c.advance(5 * time.Minute); return nil },
		"of future":  func(c *clock, _ string) error { c.advance(-time.Second); return nil },
		"for others": func(_ *clock, file string) error { return os.Chmod(file, 0o644) },
		"linked":     func(_ *clock, file string) error { return os.Link(file, file+"x") },
		"grown":      func(_ *clock, file string) error { return os.Truncate(file, 1000) },
		"shorter":    func(_ *clock, file string) error { return os.Truncate(file, 1) },
		"directory":  func(_ *clock, file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"a link": func(_ *clock, file string) error {
			live, err := filepath.Glob(filepath.Join(filepath.Dir(file), "*-once-*"))
			return errors.Join(err, os.Remove(file), os.Symlink(filepath.Base(live[0]), file))
		},
	} {
		s, c, dir := fresh(t, dirstore.Options{})
		put(t, s, peer, "live", c.in(time.Hour), true)
		put(t, s, peer, "first", c.in(time.Hour), true)
		takes(t, s, peer, "first")
		spare, err := os.Open(temporaries(t, dir)[0]) // until the end, or its inode may be given away
		if err != nil {
			t.Fatal(err)
		}
		was, err := spare.Stat()
		if err := errors.Join(err, change(c, temporaries(t, dir)[0])); err != nil {
			t.Fatal(err)
		}
		put(t, s, peer, "second", c.in(time.Hour), true)
		all := entries(t, s)
		is, err := os.Lstat(filepath.Join(dir, all[len(all)-1].File))
		if err != nil || is.Mode() != 0o600 || os.SameFile(was, is) {
			t.Errorf("%s: written to the spare file, or to one with mode %v (%v)", what, is.Mode(), err)
		}
		takes(t, s, peer, "second", "live", "")
		if got := s.Stats(); got.Damaged != 0 {
			t.Errorf("%s: %+v", what, got)
		}
		spare.Close()
	}
}

// TestLinkedFileStays: a copy that was made of links keeps what it had.
func TestLinkedFileStays(t *testing.T) {
	unix(t)
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	file, copied := filepath.Join(dir, entries(t, s)[0].File), filepath.Join(t.TempDir(), "copy")
	before, err := os.ReadFile(file)
	if err := errors.Join(err, os.Link(file, copied)); err != nil {
		t.Fatal(err)
	}
	takes(t, s, peer, "session")
	put(t, s, peer, "next", c.in(time.Hour), true)
	if after, err := os.ReadFile(copied); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the copy holds %q, %v", after, err)
	}
	takes(t, s, peer, "next", "")
}

// TestCloseDuringTake: what a Take leaves that is under way is removed too.
func TestCloseDuringTake(t *testing.T) {
	c := &hooked{clock: newClock()}
	dir := filepath.Join(t.TempDir(), "sessions")
	s := open(t, dir, dirstore.Options{Time: c.now})
	put(t, s, peer, "session", c.in(time.Hour), true)
	c.after(1, func() { // once its files are listed
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	takes(t, s, peer, "session")
	if left := tree(t, dir); len(left) != 2 {
		t.Errorf("Close and a Take leave %q", left)
	}
}

// TestHeldFileIsTaken: what a Store holds open another may take, and write the
// next session to. Then that is what is there.
func TestHeldFileIsTaken(t *testing.T) {
	c := &hooked{clock: newClock()}
	dir := filepath.Join(t.TempDir(), "sessions")
	first, second := open(t, dir, dirstore.Options{Time: c.now}), open(t, dir, dirstore.Options{Time: c.now})
	held := func(session string) { // in a file of an earlier session
		put(t, first, peer, "earlier", c.in(time.Hour), true)
		takes(t, first, peer, "earlier")
		put(t, first, peer, session, c.in(time.Hour), true)
	}
	held("one")
	takes(t, second, peer, "one")
	takes(t, first, peer, "")
	put(t, second, peer, "two", c.in(time.Hour), true)
	takes(t, first, peer, "two", "")

	held("three")
	c.after(1, func() { // once the first has listed its files
		takes(t, second, peer, "three")
		put(t, second, peer, "four", c.clock.in(time.Hour), true)
	})
	takes(t, first, peer, "", "four", "")
	for _, s := range []*dirstore.Store{first, second} {
		if got := s.Stats(); got.Damaged != 0 || got.Skipped != 0 {
			t.Errorf("%+v", got)
		}
	}
}

// TestHandlesBounded: however many sessions come and go, few files stay open,
// and none after Close.
func TestHandlesBounded(t *testing.T) {
	handles := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(open)
	}
	before := handles()
	s, c, _ := fresh(t, dirstore.Options{})
	for i := range 400 {
		for range 3 {
			put(t, s, fmt.Sprint(i%40), "session", c.in(time.Hour), true)
		}
		take(t, s, fmt.Sprint(i%40))
		take(t, s, fmt.Sprint((i+1)%40))
	}
	const most = 1 + 8*(2+2*4) // the directory; of eight more two handles, and those of their files
	if n := handles() - before; n < 8 || n > most {
		t.Errorf("%d handles are open, want at most %d", n, most)
	}
	s.Close()
	if n := handles() - before; n > 0 {
		t.Errorf("%d handles are open after Close", n)
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
