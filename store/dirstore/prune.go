package dirstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"
)

// staleAfter is how old a file must be that is there only for the time of a
// call, to be taken for one that a killed process left. A call that takes longer
// fails, no more.
const staleAfter = 10 * time.Minute

// Prune removes what has expired and what killed processes left behind, and
// then, of more sessions than Options.Max allows, those that expire first. It
// goes by the names of files and opens none. It goes on after an error and
// returns all there were.
func (s *Store) Prune(ctx context.Context) error {
	all, err := list(s.root)
	if err != nil {
		return err
	}
	var errs []error
	var live []located
	for _, entry := range all {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if !isShard(entry) {
			s.pruneStale(s.root, entry)
			continue
		}
		found, err := s.pruneShard(entry)
		errs, live = append(errs, err), append(live, found...)
	}
	if excess := len(live) - s.keep; s.keep >= 0 && excess > 0 {
		slices.SortFunc(live, func(a, b located) int { return cmp.Compare(a.expires, b.expires) })
		for _, l := range live[:excess] {
			s.prune(s.root, l.file())
		}
	}
	return errors.Join(errs...)
}

// located is a session's file in its subdirectory, without what is in the name
// beside.
type located struct {
	shard, base string
	expires     int64
}

func (l *located) file() string { return path.Join(l.shard, l.base) }

// pruneShard prunes a subdirectory and returns what is left.
func (s *Store) pruneShard(dir string) (live []located, err error) {
	shard, err := s.shard(dir, false)
	if err != nil {
		return nil, err
	}
	defer s.shards.release(shard)
	all, err := shard.list()
	if err != nil {
		return nil, err
	}
	now := s.now()
	for _, entry := range all {
		n, ok := parseName(entry)
		switch {
		case !ok:
			s.pruneStale(shard.Root, entry)
		case n.peer.shard() != dir: // nobody looks for it here
			s.prune(shard.Root, entry)
		case n.expires <= now:
			s.prune(shard.Root, entry)
		default:
			live = append(live, located{dir, entry, n.expires})
		}
	}
	return live, nil
}

// pruneStale removes a file that a killed process left.
func (s *Store) pruneStale(root *os.Root, entry string) {
	made, ok := parseTemporary(entry)
	if age := time.Duration(s.now() - made); ok && (age > staleAfter || age < -staleAfter) {
		s.prune(root, entry)
	}
}

// prune removes a file, and counts it unless another process was faster.
func (s *Store) prune(root *os.Root, file string) {
	err := root.Remove(file)
	if err == nil {
		s.stats.pruned.Add(1)
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.logger.Warn("session file not pruned", "file", file, "err", err)
	}
}

// pruneQuietly is Prune where nobody waits for its error.
func (s *Store) pruneQuietly(ctx context.Context) {
	if err := s.Prune(ctx); err != nil {
		s.logger.Warn("session directory not pruned", "err", err)
	}
}
