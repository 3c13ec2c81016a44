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
		sh, err := s.shardToPut(dirs[i])
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
	used, err := s.shard(dirs[0])
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 200 {
				sh, err := s.shard(dirs[(7*i+n)%len(dirs)])
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
		sh, err := s.shard(dir)
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
	last := s.shards.use(dirs[len(dirs)-1])
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
// is noticed.
func TestShardReplaced(t *testing.T) {
	for what, again := range map[string]bool{"removed": false, "made anew": true} {
		s, dirs := opened(t, 256)
		const peer = "a.test"
		put := func() error { return s.Put(t.Context(), peer, []byte("session"), time.Now().Add(time.Hour), true) }
		if err := put(); err != nil {
			t.Fatal(err)
		}
		p := s.peer(peer)
		dir := filepath.Join(s.root.Name(), dirs[p[0]])
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if again {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := put(); err == nil {
			t.Errorf("%s: Put into what is not there succeeds", what)
		}
		if err := put(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if session, err := s.Take(t.Context(), peer); session != nil || err != nil {
			t.Errorf("%s: took %q, %v", what, session, err)
		}
		if err := put(); err != nil {
			t.Errorf("%s, after a Take: %v", what, err)
		}
		if session, err := s.Take(t.Context(), peer); string(session) != "session" || err != nil {
			t.Errorf("%s, after a Take: took %q, %v", what, session, err)
		}
	}
}
