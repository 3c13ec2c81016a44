package dirstore

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"sync"
)

// A file that a session was taken from is a spare: the next session of the
// subdirectory is written to it, for who takes a session to connect mostly is
// given another. A file system may make new files slowly where many were removed
// a moment ago: ext4 gives none of their inodes away for minutes, and looks at
// each before it finds another.

// heldFile is a file that stays open: a spare, all zero, until the next Put, and
// a file that a Put wrote to until the session is taken. Whoever is killed leaves
// a spare to be pruned.
type heldFile struct {
	*os.File
	info fs.FileInfo
	name string // in the subdirectory: a temporary one, or a session's
}

// heldFiles are a few of them, the last that came the last.
type heldFiles struct {
	mu    sync.Mutex
	files []heldFile
}

const maxHeld = 4

// add keeps a file, and returns the one that it is kept instead of.
func (h *heldFiles) add(f heldFile) (dropped heldFile, full bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if full = len(h.files) == maxHeld; full {
		dropped = h.files[0]
		h.files = slices.Delete(h.files, 0, 1)
	}
	h.files = append(h.files, f)
	return dropped, full
}

// last returns the file that came last, which is the caller's then.
func (h *heldFiles) last() (f heldFile, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.take(len(h.files) - 1)
}

// named returns the file of that name, which is the caller's then.
func (h *heldFiles) named(name string) (f heldFile, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.take(slices.IndexFunc(h.files, func(f heldFile) bool { return f.name == name }))
}

// take is for those who hold h.mu.
func (h *heldFiles) take(i int) (f heldFile, ok bool) {
	if i < 0 {
		return heldFile{}, false
	}
	f = h.files[i]
	h.files = slices.Delete(h.files, i, i+1)
	return f, true
}

// zeros are what a spare holds.
var zeros [maxFile]byte

// setAside makes a spare of a session's file: of all that try to, one succeeds,
// and has the session alone. It is wiped, and no longer the caller's to close.
func (s *Store) setAside(shard *shard, file string, f *openFile) error {
	spare := heldFile{f.File, f.info, newTemporary(s.now())}
	if err := shard.rename(file, spare.name); err != nil {
		return err
	}
	f.File = nil
	if _, err := spare.WriteAt(zeros[:spare.info.Size()], 0); err != nil {
		s.discard(shard, spare)
	} else if old, full := shard.spares.add(spare); full {
		s.discard(shard, old)
	}
	return nil
}

// discard gives up a spare.
func (s *Store) discard(shard *shard, f heldFile) {
	f.Close()
	s.removeTemporary(shard, f.name)
}

// removeTemporary removes a file that is of no use. If it cannot, Prune will.
func (s *Store) removeTemporary(shard *shard, name string) {
	if err := removeIfThere(shard, name); err != nil {
		s.logger.Warn("temporary file not removed", "file", name, "err", err)
	}
}

// rewrite makes a session's file of a spare, and reports whether there was one
// to be had.
func (s *Store) rewrite(shard *shard, n name, content []byte) bool {
	file := n.String()
	for f, ok := shard.spares.last(); ok; f, ok = shard.spares.last() {
		if f.write(content) != nil {
			s.discard(shard, f)
			continue
		}
		if shard.rename(f.name, file) != nil { // it was pruned, or somebody gave it another name
			f.Truncate(0)
			s.discard(shard, f)
			continue
		}
		if f.name = file; n.once {
			shard.hold(f)
		} else {
			f.Close()
		}
		return true
	}
	return false
}

// hold keeps a session's file open for who takes the session.
func (sh *shard) hold(f heldFile) {
	if old, full := sh.written.add(f); full {
		old.Close()
	}
}

var errChanged = errors.New("dirstore: spare file is not as it was left")

func (f *heldFile) write(content []byte) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := privateFile(info); err != nil { // a secret will be in it
		return err
	}
	if info.Size() != f.info.Size() || !reusable(info) {
		return errChanged
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		return err
	}
	if size := int64(len(content)); size < info.Size() {
		return f.Truncate(size)
	}
	return nil
}
