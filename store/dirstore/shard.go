package dirstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// shard is a subdirectory, open.
type shard struct {
	*os.Root
	dir  string      // its name
	info fs.FileInfo // what was there when it was opened

	listing sync.Mutex
	self    *os.File // to list it
	fd      int      // that of self

	spares  heldFiles
	written heldFiles // which are a session's

	// Guarded by shards.mu:
	users  int
	kept   bool  // in shards.open
	looked int64 // when it was last found to be private, and the one of its name
}

// maxShards is how many subdirectories a Store holds open. Whoever connects
// again and again to a few peers is spared to open theirs each time.
const maxShards = 8

// shards are the subdirectories that a Store holds open.
type shards struct {
	mu     sync.Mutex
	open   []*shard // the last used is the last
	closed bool
}

// lookEvery is how long within takes it for granted that a subdirectory is private,
// and that the one that is open is the one of its name.
const lookEvery = int64(time.Second / 4)

// within calls f with a peer's subdirectory, and again if it has not looked whether
// that is still there and f finds that it is not: fs.ErrNotExist.
func (s *Store) within(p peerName, create bool, f func(*shard) error) error {
	dir, now := p.shard(), s.now()
	if sh := s.shards.use(dir, func(sh *shard) bool { return sh.looked <= now && now-sh.looked < lookEvery }); sh != nil {
		err := f(sh)
		s.shards.release(sh)
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	sh, err := s.shard(dir, create)
	if err != nil {
		return err
	}
	defer s.shards.release(sh)
	return f(sh)
}

// shard returns a subdirectory, which it may make; the caller releases it. It
// looks anew who has rights there, and whether it is still the one that is open.
func (s *Store) shard(dir string, create bool) (*shard, error) {
	now := s.now()
	info, err := s.root.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := s.root.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("dirstore: %w", err)
		}
		info, err = s.root.Lstat(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	if err := privateDir(s.shardPath(dir), info); err != nil {
		return nil, err
	}
	same := func(sh *shard) bool {
		if !os.SameFile(sh.info, info) {
			return false
		}
		sh.looked = now
		return true
	}
	if sh := s.shards.use(dir, same); sh != nil {
		return sh, nil
	}
	sh, err := s.openShard(dir, info)
	if err != nil {
		return nil, err
	}
	sh.looked = now
	return s.shards.add(sh), nil
}

func (s *Store) shardPath(dir string) string {
	return s.root.Name() + string(os.PathSeparator) + dir
}

// openShard opens the subdirectory that info is of.
func (s *Store) openShard(dir string, info fs.FileInfo) (*shard, error) {
	root, err := s.root.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	sh := &shard{Root: root, dir: dir}
	if sh.self, err = root.OpenFile(".", os.O_RDONLY|noWait, 0); err == nil {
		sh.fd = int(sh.self.Fd())
		sh.info, err = sh.self.Stat()
	}
	if err == nil && !os.SameFile(info, sh.info) {
		err = fmt.Errorf("%w: %s was replaced while it was opened", ErrNotPrivate, s.shardPath(dir))
	}
	if err != nil {
		sh.close()
		return nil, err
	}
	return sh, nil
}

// list returns the names in the subdirectory.
func (sh *shard) list() ([]string, error) {
	sh.listing.Lock()
	defer sh.listing.Unlock()
	_, err := sh.self.Seek(0, io.SeekStart)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	names, err := sh.self.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	return names, nil
}

// Remove removes a file, which is not held open then.
func (sh *shard) Remove(file string) error {
	if f, ok := sh.written.named(file); ok {
		f.Close()
	}
	return sh.Root.Remove(file)
}

func (sh *shard) close() {
	for f, ok := sh.spares.last(); ok; f, ok = sh.spares.last() {
		f.Close()
		sh.Remove(f.name) // or Prune will
	}
	for f, ok := sh.written.last(); ok; f, ok = sh.written.last() {
		f.Close()
	}
	if sh.self != nil {
		sh.self.Close()
	}
	sh.Root.Close()
}

// use returns a subdirectory if it is open and good.
func (s *shards) use(dir string, good func(*shard) bool) *shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.open, func(sh *shard) bool { return sh.dir == dir && good(sh) })
	if i < 0 {
		return nil
	}
	sh := s.open[i]
	s.open = append(slices.Delete(s.open, i, i+1), sh)
	sh.users++
	return sh
}

// add has sh held open, instead of what had its name before and unless the Store
// was closed meanwhile, and returns it for use.
func (s *shards) add(sh *shard) *shard {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.users = 1
	if s.closed {
		return sh
	}
	sh.kept = true
	if i := slices.IndexFunc(s.open, func(old *shard) bool { return old.dir == sh.dir }); i >= 0 {
		s.drop(i)
	}
	if s.open = append(s.open, sh); len(s.open) > maxShards {
		s.drop(0)
	}
	return sh
}

// release gives back what use or add returned.
func (s *shards) release(sh *shard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sh.users--
	sh.closeUnused()
}

// close holds none open any longer.
func (s *shards) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for len(s.open) > 0 {
		s.drop(0)
	}
}

// drop holds the i-th no longer. The caller holds s.mu.
func (s *shards) drop(i int) {
	sh := s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	sh.kept = false
	sh.closeUnused()
}

func (sh *shard) closeUnused() {
	if !sh.kept && sh.users == 0 {
		sh.close()
	}
}
