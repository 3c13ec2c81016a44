package dirstore

import (
	"os"
	"path"
	"slices"
	"sync"
	"time"
)

// spares are files that sessions were taken from and the next of their
// subdirectories will be written to: who takes a session to connect mostly is
// given another. A file system may make new files slowly where many were removed
// a moment ago: ext4 gives none of their inodes away for minutes, and looks at
// each before it finds another.
type spares struct {
	mu    sync.Mutex
	files []spare // oldest first
}

// spare is one of them, all zero. Whoever is killed leaves it to be pruned.
type spare struct {
	dir, name string // the name is a temporary one
	made      int64
	size      int // bytes
}

const (
	maxSpares = 8 // of a Store
	// spareFor is for how long a spare file is used: Prune, of any process, takes
	// it for left behind a while later.
	spareFor = staleAfter / 2
)

// add keeps a file, and returns the one that has to go for it.
func (s *spares) add(f spare) (gone spare, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if full = len(s.files) == maxSpares; full {
		gone = s.files[0]
		s.files = slices.Delete(s.files, 0, 1)
	}
	s.files = append(s.files, f)
	return gone, full
}

// take returns a file in a subdirectory, which is the caller's then.
func (s *spares) take(dir string) (f spare, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.files, func(f spare) bool { return f.dir == dir })
	if i < 0 {
		return spare{}, false
	}
	f = s.files[i]
	s.files = slices.Delete(s.files, i, i+1)
	return f, true
}

// all returns every file, which are the caller's then.
func (s *spares) all() (files []spare) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, s.files = s.files, nil
	return files
}

// setAside makes a spare of a session's file, which is open: of all that try to,
// one succeeds, and has the session alone. It is wiped.
func (s *Store) setAside(shard *shard, file string, f *os.File, size int) error {
	to := spare{shard.dir, newTemporary(s.now()), s.now(), size}
	if err := shard.Rename(file, to.name); err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, size), 0); err != nil {
		s.discard(to)
	} else if gone, full := s.spares.add(to); full {
		s.discard(gone)
	}
	return nil
}

// discard removes a spare file. If it cannot, Prune will.
func (s *Store) discard(f spare) { s.root.Remove(path.Join(f.dir, f.name)) }

// writeTemporary writes to a file in a subdirectory that is not there yet for
// anybody else, and returns its name.
func (s *Store) writeTemporary(shard *shard, content []byte) (name string, err error) {
	if f, ok := s.spares.take(shard.dir); ok {
		age := time.Duration(s.now() - f.made)
		if age >= 0 && age < spareFor && f.write(shard.Root, content) == nil {
			return f.name, nil
		}
		s.discard(f)
	}
	name = newTemporary(s.now())
	return name, writeNew(shard.Root, name, content, false)
}

func (f *spare) write(root *os.Root, content []byte) error {
	file, err := root.OpenFile(f.name, os.O_WRONLY|noWait, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	if err == nil && len(content) < f.size {
		err = file.Truncate(int64(len(content)))
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}
