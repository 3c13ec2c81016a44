package dirstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// opened opens a new directory and returns it with its subdirectories, which
// are made.
func opened(t *testing.T, subdirectories int) (s *Store, dirs []string) {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "sessions"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	for i := range subdirectories {
		dirs = append(dirs, fmt.Sprintf("%02x", i))
		sh, err := s.shard(dirs[i], true)
		if err != nil {
			t.Fatal(err)
		}
		s.shards.release(sh)
	}
	return s, dirs
}

// TestShardsBounded: a few subdirectories are held open, the last used, and those
// that somebody uses stay open until he is done.
func TestShardsBounded(t *testing.T) {
	s, dirs := opened(t, 3*maxShards)
	used, err := s.shard(dirs[0], false)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 200 {
				sh, err := s.shard(dirs[(7*i+n)%len(dirs)], false)
				if err == nil {
					_, err = sh.list()
					s.shards.release(sh)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(s.shards.open); n != maxShards {
		t.Errorf("%d are open, want %d", n, maxShards)
	}
	for _, dir := range dirs[1:] {
		sh, err := s.shard(dir, false)
		if err != nil {
			t.Fatal(err)
		}
		s.shards.release(sh)
	}
	if _, err := used.list(); err != nil || used.kept {
		t.Errorf("one in use: %v, or it is still held", err)
	}
	s.shards.release(used)
	if _, err := used.list(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after its use: %v", err)
	}
	last, err := s.shard(dirs[len(dirs)-1], false)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := last.list(); err != nil {
		t.Errorf("closed under somebody: %v", err)
	}
	s.shards.release(last)
	if _, err := last.Stat("."); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestShardReplaced: a subdirectory that was removed, or removed and made anew,
// costs what was in it, and so does one that was moved away, of which the Store
// learns when it looks again.
func TestShardReplaced(t *testing.T) {
	for what, replace := range map[string]func(dir string) error{
		"removed":   os.RemoveAll,
		"made anew": func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) },
		"moved":     func(dir string) error { return os.Rename(dir, dir+"x") },
	} {
		s, dirs := opened(t, 256)
		now := time.Now()
		s.time = func() time.Time { return now }
		replace := func(dir string) {
			t.Helper()
			if err := replace(dir); err != nil {
				t.Fatal(err)
			}
			if what == "moved" {
				now = now.Add(time.Duration(lookEvery))
			}
		}
		const peer = "a.test"
		dir := filepath.Join(s.root.Name(), dirs[s.peer(peer)[0]])
		put := func(session string) {
			t.Helper()
			if err := s.Put(t.Context(), peer, []byte(session), time.Now().Add(time.Hour), true); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		takes := func(want string) {
			t.Helper()
			if session, err := s.Take(t.Context(), peer); string(session) != want || err != nil {
				t.Errorf("%s: took %q, %v, want %q", what, session, err, want)
			}
		}
		put("lost")
		replace(dir)
		put("second")
		takes("second")
		if err := os.RemoveAll(dir + "x"); err != nil {
			t.Fatal(err)
		}
		put("third")
		replace(dir)
		takes("")
		put("fourth")
		takes("fourth")
		takes("")
	}
}

// TestShardListedAnew: who lists a directory sees what is there, however short ago
// a Put looked.
func TestShardListedAnew(t *testing.T) {
	s, _ := opened(t, 0)
	now := time.Now()
	s.time = func() time.Time { return now }
	if err := s.Put(t.Context(), "a.test", []byte("lost"), now.Add(time.Hour), true); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(s.root.Name(), s.peer("a.test").shard())
	if err := errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)); err != nil {
		t.Fatal(err)
	}
	for e, err := range s.List() {
		t.Errorf("listed %v, %v", e, err)
	}
	if err := s.Put(t.Context(), "a.test", []byte("second"), now.Add(time.Hour), true); err != nil {
		t.Error(err)
	}
	if session, err := s.Take(t.Context(), "a.test"); string(session) != "second" || err != nil {
		t.Errorf("took %q, %v", session, err)
	}
}

// TestShardAddedLate: a subdirectory that is opened while the Store is closed is
// closed with its last use.
func TestShardAddedLate(t *testing.T) {
	s, dirs := opened(t, 1)
	info, err := s.root.Lstat(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	sh, err := s.openShard(dirs[0], info)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	s.shards.release(s.shards.add(sh))
	if _, err := sh.list(); !errors.Is(err, os.ErrClosed) || len(s.shards.open) > 0 {
		t.Errorf("after Close and its last use: %v, %d are held", err, len(s.shards.open))
	}
}

// TestFileStaysOpen: a file is a spare, open, from a Take to the next Put, and
// open still until the next Take.
func TestFileStaysOpen(t *testing.T) {
	s, _ := opened(t, 0)
	session, expires := []byte("session"), time.Now().Add(time.Hour)
	p := s.peer("a.test")
	if err := s.Put(t.Context(), "a.test", session, expires, true); err != nil {
		t.Fatal(err)
	}
	sh, err := s.shard(p.shard(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.shards.release(sh)
	held := func(h *heldFiles) *os.File {
		if len(h.files) != 1 {
			t.Fatalf("%d files are held, want 1", len(h.files))
		}
		return h.files[0].File
	}
	var file *os.File
	for i := range 3 {
		if der, err := s.Take(t.Context(), "a.test"); der == nil || err != nil {
			t.Fatal(err)
		}
		spare := held(&sh.spares)
		if err := s.Put(t.Context(), "a.test", session, expires, true); err != nil {
			t.Fatal(err)
		}
		if written := held(&sh.written); written != spare || i > 0 && written != file {
			t.Error("another file is held open")
		}
		file = spare
	}
}
