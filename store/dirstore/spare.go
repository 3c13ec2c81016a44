package dirstore

import (
	"errors"
	"io/fs"
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

// spare is one of them, all zero. Whoever is killed leaves it to be pruned.
type spare struct {
	name string // a temporary one
	made int64
	info fs.FileInfo // of the session's file
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

// setAside makes a spare of a session's file that is open: of all that try to,
// one succeeds, and has the session alone. It is wiped.
func (s *Store) setAside(shard *shard, file string, f *openFile) error {
	to := spare{newTemporary(s.now()), s.now(), f.info}
	if err := shard.Rename(file, to.name); err != nil {
		return err
	}
	if _, err := f.WriteAt(make([]byte, len(f.content)), 0); err != nil || !shard.spares.add(to) {
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
		age := time.Duration(s.now() - f.made)
		if age >= 0 && age < spareFor && f.write(shard.Root, content) == nil {
			return f.name, true
		}
		s.removeTemporary(shard, f.name)
	}
	return "", false
}

var errChanged = errors.New("dirstore: spare file is not as it was left")

func (f *spare) write(root *os.Root, content []byte) error {
	file, err := root.OpenFile(f.name, os.O_WRONLY|noWait, 0)
	if err != nil {
		return err
	}
	err = f.unchanged(file)
	if err == nil {
		_, err = file.Write(content)
	}
	if err == nil && int64(len(content)) < f.info.Size() {
		err = file.Truncate(int64(len(content)))
	}
	if closing := file.Close(); err == nil {
		err = closing
	}
	return err
}

// unchanged makes sure that what was opened is the file, not what a link of its
// name leads to, and nobody else's to read: a secret will be in it.
func (f *spare) unchanged(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(info, f.info) || info.Size() != f.info.Size() || !reusable(info) {
		return errChanged
	}
	return privateFile(info)
}
