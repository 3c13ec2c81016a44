package dirstore

import (
	"errors"
	"os"
	"sync"
	"time"
)

// spares are files of a subdirectory that sessions were taken from and the next
// will be written to: who takes a session to connect mostly is given another. A
// file system may make new files slowly where many were removed a moment ago:
// ext4 gives none of their inodes away for minutes, and looks at each before it
// finds another.
type spares struct {
	mu    sync.Mutex
	files []spare
}

// spare is one of them, open and all zero. Whoever is killed leaves it to be
// pruned.
type spare struct {
	*os.File
	name string // a temporary one
	made int64
	size int64
}

const (
	maxSpares = 4
	// spareFor is for how long a spare file is used: Prune, of any process, takes
	// it for left behind a while later.
	spareFor = staleAfter / 2
)

// add keeps a file, if there is room.
func (s *spares) add(f spare) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.files) == maxSpares {
		return false
	}
	s.files = append(s.files, f)
	return true
}

// take returns the file that was kept last, which is the caller's then.
func (s *spares) take() (f spare, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.files) - 1; n >= 0 {
		f, s.files = s.files[n], s.files[:n]
		return f, true
	}
	return spare{}, false
}

func (s *spares) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.files) == maxSpares
}

// setAside makes a spare of a session's file: of all that try to, one succeeds,
// and has the session alone. It is wiped, and no longer the caller's to close.
func (s *Store) setAside(shard *shard, file string, f *openFile) error {
	to := spare{f.File, newTemporary(s.now()), s.now(), f.info.Size()}
	if err := shard.rename(file, to.name); err != nil {
		return err
	}
	f.File = nil
	if _, err := to.WriteAt(make([]byte, to.size), 0); err != nil || !shard.spares.add(to) {
		to.Close()
		s.removeTemporary(shard, to.name)
	}
	return nil
}

// removeTemporary removes a file that is of no use. If it cannot, Prune will.
func (s *Store) removeTemporary(shard *shard, name string) {
	if err := removeIfThere(shard.Root, name); err != nil {
		s.logger.Warn("temporary file not removed", "file", name, "err", err)
	}
}

// refill writes to a spare file, if there is one, and returns its name.
func (s *Store) refill(shard *shard, content []byte) (name string, ok bool) {
	for f, found := shard.spares.take(); found; f, found = shard.spares.take() {
		err := errChanged
		if age := time.Duration(s.now() - f.made); age >= 0 && age < spareFor {
			err = f.write(content)
		}
		if closing := f.Close(); err == nil && closing == nil {
			return f.name, true
		}
		s.removeTemporary(shard, f.name)
	}
	return "", false
}

var errChanged = errors.New("dirstore: spare file is not as it was left")

func (f *spare) write(content []byte) error {
	if err := f.unchanged(); err != nil {
		return err
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	if size := int64(len(content)); size < f.size {
		return f.Truncate(size)
	}
	return nil
}

// unchanged makes sure that the file still has its one name, and is nobody
// else's to read: a secret will be in it.
func (f *spare) unchanged() error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() != f.size || !reusable(info) {
		return errChanged
	}
	return privateFile(info)
}
