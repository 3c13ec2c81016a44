package dirstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
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

// TestSpareChanged: a spare file that somebody removed or changed is not used: the
// next session has a file of its own, and nothing else is written to.
func TestSpareChanged(t *testing.T) {
	unix(t)
	for what, change := range map[string]func(file string) error{
		"removed":    func(file string) error { return os.Remove(file) },
		"for others": func(file string) error { return os.Chmod(file, 0o644) },
		"linked":     func(file string) error { return os.Link(file, file+"x") },
		"grown":      func(file string) error { return os.Truncate(file, 1000) },
		"shorter":    func(file string) error { return os.Truncate(file, 1) },
		"moved":      func(file string) error { return os.Rename(file, filepath.Join(filepath.Dir(file), "moved")) },
		"directory":  func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
		"a link": func(file string) error {
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
		if err := errors.Join(err, change(temporaries(t, dir)[0])); err != nil {
			t.Fatal(err)
		}
		put(t, s, peer, "second", c.in(time.Hour), true)
		all := entries(t, s)
		is, err := os.Lstat(filepath.Join(dir, all[len(all)-1].File))
		if err != nil || is.Mode() != 0o600 || os.SameFile(was, is) {
			t.Errorf("%s: written to the spare file, or to one with mode %v (%v)", what, is.Mode(), err)
		}
		if left, err := io.ReadAll(spare); err != nil || len(bytes.Trim(left, "\x00")) > 0 {
			t.Errorf("%s: the spare file holds %q, %v", what, left, err)
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
	c.after(2, func() { // once its files are listed
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
	c.after(2, func() { // once the first has listed its files
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

// handles are the files that this process has open, as the system calls them.
func handles(t *testing.T) (names []string) {
	t.Helper()
	const dir = "/proc/self/fd"
	open, err := os.ReadDir(dir)
	if err != nil {
		t.Skip(err)
	}
	for _, file := range open {
		if name, err := os.Readlink(filepath.Join(dir, file.Name())); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// openIn are those of them in a directory.
func openIn(t *testing.T, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(handles(t), func(name string) bool { return !strings.HasPrefix(name, dir) })
}

// TestHandles: whatever becomes of the sessions, few files stay open, and none
// after Close.
func TestHandles(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // which would close what was forgotten
	c, dir := newClock(), filepath.Join(t.TempDir(), "sessions")
	var stores []*dirstore.Store
	for range 3 {
		stores = append(stores, open(t, dir, dirstore.Options{Time: c.now, PerPeer: 6, Max: 200}))
	}
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() { comeAndGo(t, stores[g%3], c, dir, g) })
	}
	wg.Wait()
	const most = 81 // of one Store
	if n := len(openIn(t, dir)); n > 3*most {
		t.Errorf("%d handles are open, want at most %d", n, 3*most)
	}
	for _, s := range stores {
		s.Close()
	}
	if left := openIn(t, dir); len(left) > 0 {
		t.Errorf("after Close %q are open", left)
	}
}

// comeAndGo has sessions put, taken, forgotten, expire, pruned and damaged.
func comeAndGo(t *testing.T, s *dirstore.Store, c *clock, dir string, seed int) {
	for i := range 300 {
		peer, session := fmt.Sprint("peer ", (i*7+seed)%40), []byte(strings.Repeat("x", 1+i*31%300))
		err := s.Put(t.Context(), peer, session, c.in(time.Duration(1+i%5)*time.Minute), i%3 > 0)
		if i%2 == 0 {
			_, taking := s.Take(t.Context(), peer)
			err = errors.Join(err, taking)
		}
		switch {
		case i%17 == 0:
			err = errors.Join(err, s.Forget(t.Context(), peer, session))
		case i%23 == 0:
			err = errors.Join(err, s.Forget(t.Context(), peer, nil))
		case i%47 == 0:
			c.advance(time.Minute)
			err = errors.Join(err, s.Prune(t.Context()))
		case i%59 == 0:
			files, globbing := filepath.Glob(filepath.Join(dir, "*", "*-once-*"))
			err = errors.Join(err, globbing)
			for ; len(files) > 10; files = files[10:] {
				os.Truncate(files[0], 10) // it may be gone
			}
		}
		if err != nil {
			t.Error(err)
			return
		}
	}
}

// TestRemovedFileIsClosed: a session that a Store removes is not kept by a handle.
func TestRemovedFileIsClosed(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{PerPeer: 1})
	for what, remove := range map[string]func() error{
		"forgotten":    func() error { return s.Forget(t.Context(), peer, nil) },
		"one too many": func() error { return s.Put(t.Context(), peer, []byte("another"), c.in(time.Hour), true) },
		"expired":      func() error { c.advance(time.Hour); return s.Prune(t.Context()) },
		"for many":     func() error { return s.Put(t.Context(), peer, []byte("another"), c.in(time.Hour), false) },
	} {
		put(t, s, peer, "earlier", c.in(time.Hour), true)
		takes(t, s, peer, "earlier")
		put(t, s, peer, "session", c.in(time.Hour), true) // to the same file
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		for _, name := range openIn(t, dir) {
			if strings.HasSuffix(name, "(deleted)") {
				t.Errorf("%s: %s is open", what, name)
			}
		}
		if err := s.Forget(t.Context(), peer, nil); err != nil {
			t.Fatal(err)
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
