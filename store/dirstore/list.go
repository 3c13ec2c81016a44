package dirstore

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path"
	"time"
)

// Entry is a session's file, as far as it can be told without opening it.
type Entry struct {
	File    string    // its path in the directory, with slashes; it reveals no peer
	Put     time.Time // when it was put
	Expires time.Time
	Once    bool  // for one Take
	Size    int64 // of the file, in bytes
}

// List returns the files of sessions in the directory, in no order, those that
// have expired or are damaged too. It changes nothing. An error ends it. What
// other processes do meanwhile is seen or not.
func (s *Store) List() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		shards, err := list(s.root)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for _, dir := range shards {
			if isShard(dir) && !s.listShard(dir, yield) {
				return
			}
		}
	}
}

func (s *Store) listShard(dir string, yield func(Entry, error) bool) (more bool) {
	shard, err := s.shard(dir, false)
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	defer s.shards.release(shard)
	all, err := shard.list()
	if err != nil {
		yield(Entry{}, err)
		return false
	}
	for _, base := range all {
		n, ok := parseName(base)
		if !ok || n.peer.shard() != dir {
			continue
		}
		info, err := shard.Lstat(base)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			yield(Entry{}, fmt.Errorf("dirstore: %w", err))
			return false
		}
		e := Entry{path.Join(dir, base), time.Unix(0, n.put), time.Unix(0, n.expires), n.once, info.Size()}
		if !yield(e, nil) {
			return false
		}
	}
	return true
}

// Read returns the session's DER, which is the caller's and holds secrets, and
// whether the file is sealed. It leaves the file as it is. Errors: ErrDamaged,
// ErrSealed, ErrNotSealed, fs.ErrNotExist if it is gone.
func (s *Store) Read(e Entry) (session []byte, sealed bool, err error) {
	dir, n, err := e.parse()
	if err != nil {
		return nil, false, err
	}
	shard, err := s.shard(dir, false)
	if err != nil {
		return nil, false, err
	}
	defer s.shards.release(shard)
	return s.decode(shard, n, false)
}

// Remove removes a session's file. One that is gone already is no error.
func (s *Store) Remove(e Entry) error {
	if _, _, err := e.parse(); err != nil {
		return err
	}
	return removeIfThere(s.root, e.File)
}

func (e Entry) parse() (dir string, n name, err error) {
	dir, base := path.Split(e.File)
	dir = path.Clean(dir)
	if n, ok := parseName(base); ok && isShard(dir) && path.Join(dir, base) == e.File {
		return dir, n, nil
	}
	return "", name{}, fmt.Errorf("dirstore: %q is no session's file", e.File)
}
