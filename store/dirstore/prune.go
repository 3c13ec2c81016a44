package dirstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
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
	_, err := s.pruneTo(ctx, s.most)
	return err
}

// pruneTo is Prune where so many sessions are allowed, and returns how many are
// left; a negative number allows any.
func (s *Store) pruneTo(ctx context.Context, most int) (left int, err error) {
	all, err := list(s.root)
	if err != nil {
		return 0, err
	}
	var errs []error
	var live []located
	for _, entry := range all {
		if err := ctx.Err(); err != nil {
			return len(live), errors.Join(append(errs, err)...)
		}
		if !isShard(entry) {
			s.pruneStale(s.root, entry)
			continue
		}
		found, err := s.pruneShard(entry)
		errs, live = append(errs, err), append(live, found...)
	}
	if excess := len(live) - most; most >= 0 && excess > 0 {
		slices.SortFunc(live, func(a, b located) int { return cmp.Compare(a.expires, b.expires) })
		for _, l := range live[:excess] {
			s.prune(s.root, l.file())
		}
		live = live[excess:]
	}
	return len(live), errors.Join(errs...)
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
			s.pruneStale(shard, entry)
		case n.peer.shard() != dir: // nobody looks for it here
			s.prune(shard, entry)
		case n.expires <= now:
			s.prune(shard, entry)
		default:
			live = append(live, located{dir, entry, n.expires})
		}
	}
	return live, nil
}

// pruneStale removes a file that a killed process left.
func (s *Store) pruneStale(in remover, entry string) {
	made, ok := parseTemporary(entry)
	if age := time.Duration(s.now() - made); ok && (age > staleAfter || age < -staleAfter) {
		s.prune(in, entry)
	}
}

// prune removes a file, and counts it unless another process was faster.
func (s *Store) prune(in remover, file string) {
	err := in.Remove(file)
	if err == nil {
		s.stats.pruned.Add(1)
	} else if !errors.Is(err, fs.ErrNotExist) {
		s.logger.Warn("session file not pruned", "file", file, "err", err)
	}
}

// pruneFor is Prune before so many Puts, where nobody waits for its error. The
// next time is when there may be no room for another.
func (s *Store) pruneFor(ctx context.Context, puts int64) {
	most := s.most
	if most > 0 {
		most = max(most-int(puts), 0)
	}
	left, err := s.pruneTo(ctx, most)
	if err != nil {
		s.logger.Warn("session directory not pruned", "err", err)
	}
	room := s.pruneEvery
	if s.most > 0 {
		room = min(room, int64(s.most-left))
	}
	s.room.Store(room)
}
