package dirstore

import (
	"errors"
	"io/fs"
	"path/filepath"
	"testing"
	"time"
)

// TestReadOnlyFile: a file that cannot be written is read, and taken by one.
func TestReadOnlyFile(t *testing.T) {
	s, _ := opened(t, 256)
	if err := s.Put(t.Context(), "a.test", []byte("session"), time.Now().Add(time.Hour), true); err != nil {
		t.Fatal(err)
	}
	p := s.peer("a.test")
	sh, err := s.shard(p.shard(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.shards.release(sh)
	names, err := namesOf(sh, p)
	if err != nil {
		t.Fatal(err)
	}
	file := names[0].String()
	if err := sh.Chmod(file, 0o400); err != nil {
		t.Fatal(err)
	}
	f, err := sh.readToTake(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.writable = false // root may write it
	if first, second := s.claim(sh, file, f), s.claim(sh, file, f); !first || second {
		t.Errorf("taken by the first %t, by the second %t", first, second)
	}
	if left, _ := filepath.Glob(filepath.Join(s.root.Name(), p.shard(), "*")); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if _, err := sh.readToTake(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was taken: %v", err)
	}
}
