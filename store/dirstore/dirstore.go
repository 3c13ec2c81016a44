package dirstore

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-tls/reprise"
)

// Defaults of Options.
const (
	DefaultPerPeer = 8
	DefaultMax     = 8192
)

// MaxSession is the longest session, in bytes of DER, that a Store keeps.
const MaxSession = maxFile - sealedOverhead

// Options configure a Store. The zero value is good to use.
type Options struct {
	// Key seals the sessions: 32 bytes from a random generator. A key that is
	// visibly a pattern is refused. nil leaves them unsealed. What is derived of
	// it depends on the directory too, so that one key may serve several. It is
	// not kept.
	Key []byte

	// PerPeer is the most sessions that are kept of one peer: the oldest go.
	// Zero means DefaultPerPeer, a negative number no limit. What several
	// processes put beyond it goes with the next Take.
	PerPeer int

	// Max is the most sessions in the directory: those that expire first go.
	// Zero means DefaultMax, a negative number no limit. A Put that may exceed it
	// makes room for an eighth of Max, so of several processes each may exceed it
	// by that for a while.
	Max int

	// Inspect is for tools that look into a directory: Open makes nothing, but
	// returns fs.ErrNotExist if the directory or its salt is missing, and Open
	// and Put leave pruning to calls of Prune.
	Inspect bool

	// Time is the clock; nil means time.Now.
	Time func() time.Time

	// Logger is told which files were skipped or removed, and why, by names
	// that reveal no peer; nil means nobody is.
	Logger *slog.Logger
}

// Store keeps sessions of clients in a directory. It is a
// [reprise.ClientStore], safe for concurrent use by any number of goroutines
// and, through Stores of their own, processes.
type Store struct {
	root   *os.Root
	shards shards
	names  sync.Pool // of the HMAC that names peers
	codec  codec

	perPeer    perPeer
	most       int // sessions; negative: no limit
	pruneEvery int64
	inspect    bool
	time       func() time.Time
	logger     *slog.Logger

	room    atomic.Int64 // Puts until the next prune
	lastPut atomic.Int64
	stats   stats
}

var _ reprise.ClientStore = (*Store)(nil)

// Open opens the directory dir, and makes it if it is missing (but not its
// parents). It prunes it, unless Options say otherwise. The error is
// [ErrNotPrivate] if others have rights to the directory or to its salt, or
// could have made them; it then says what is wrong and what to do.
func Open(dir string, opts Options) (*Store, error) {
	root, err := openPrivate(dir, !opts.Inspect)
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, inspect: opts.Inspect, time: opts.Time, logger: opts.Logger}
	if s.time == nil {
		s.time = time.Now
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.limit(opts.PerPeer, opts.Max)
	salt, err := loadSalt(root, !opts.Inspect, s.now())
	if err == nil {
		s.names.New = func() any { return hmac.New(sha256.New, salt) }
		s.codec, err = newCodec(opts.Key, salt)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	if !s.inspect {
		s.pruneFor(context.Background(), 0)
	}
	return s, nil
}

// unlimitedPruneEvery is how many Puts there are between two Prunes without Max.
const unlimitedPruneEvery = 1024

func (s *Store) limit(perPeer, most int) {
	if perPeer == 0 {
		perPeer = DefaultPerPeer
	}
	if most == 0 {
		most = DefaultMax
	}
	s.perPeer.limit, s.most, s.pruneEvery = perPeer, most, unlimitedPruneEvery
	if most > 0 {
		s.pruneEvery = int64(max(most/8, 1))
	}
}

// Close gives back what the Store holds open. It is not to be used afterwards.
func (s *Store) Close() error {
	s.shards.close()
	return s.root.Close()
}

// Put keeps a session of peer until it expires, for one Take or for many; if
// peer has too many, the oldest goes. One that has expired is not kept. Errors:
// the session is empty or longer than MaxSession; those of the file system.
func (s *Store) Put(ctx context.Context, peer string, session []byte, expires time.Time, once bool) error {
	if n := len(session); n == 0 || n > MaxSession {
		return fmt.Errorf("dirstore: session of %d bytes not kept: at least 1 and at most %d", n, MaxSession)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := newName(s.peer(peer), s.putTime(), nanos(expires), once)
	if n.expires <= s.now() {
		return nil
	}
	if s.room.Add(-1) == -1 && !s.inspect { // one of several Puts at a time
		s.pruneFor(ctx, s.pruneEvery)
		s.room.Add(-1)
	}
	return s.within(n.peer, true, func(shard *shard) error { return s.put(shard, n, session) })
}

func (s *Store) put(shard *shard, n name, session []byte) error {
	content := s.codec.seal(n.String(), session)
	defer clear(content)
	if err := s.write(shard, n, content); err != nil {
		return fmt.Errorf("dirstore: session not kept: %w", err)
	}
	s.stats.puts.Add(1)
	if s.perPeer.exceeded(n.peer) {
		if _, err := s.trimmed(shard, n.peer, s.perPeer.listing()); err != nil {
			s.logger.Warn("sessions of a peer not trimmed", "err", err)
		}
	}
	return nil
}

// Take returns the session of peer that was put last and has not expired, nil
// if there is none; it is the caller's. One that was put for one use is gone
// before Take returns it: no other Take, in any process, returns it too. Files
// that are not as they should be are never an error; the errors are those of the
// file system.
func (s *Store) Take(ctx context.Context, peer string) (session []byte, err error) {
	p := s.peer(peer)
	began := s.perPeer.listing()
	trimmed := func(shard *shard, p peerName) ([]name, error) { return s.trimmed(shard, p, began) }
	err = s.each(ctx, p, trimmed, func(shard *shard, n name) (bool, error) {
		if n.once { // and is there no longer
			s.perPeer.add(p, -1)
		}
		session, err = s.read(shard, n, n.once)
		if n.once && session == nil {
			s.perPeer.add(p, +1)
		}
		return session == nil, err
	})
	switch {
	case err != nil:
		return nil, err
	case session == nil:
		s.stats.misses.Add(1)
	default:
		s.stats.taken.Add(1)
	}
	return session, nil
}

// Forget removes the session of peer that was put with these bytes, if it is
// there, or with nil all sessions of peer, those that cannot be read too.
func (s *Store) Forget(ctx context.Context, peer string, session []byte) error {
	return s.each(ctx, s.peer(peer), namesOf, func(shard *shard, n name) (bool, error) {
		if session != nil {
			der, err := s.read(shard, n, false)
			same := bytes.Equal(der, session)
			clear(der)
			if err != nil || !same {
				return true, err
			}
		}
		return true, removeIfThere(shard, n.String())
	})
}

// each calls f with the files of a peer as list gives them, in the order of newest.
func (s *Store) each(ctx context.Context, p peerName, list func(*shard, peerName) ([]name, error), f func(*shard, name) (more bool, err error)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	eachOf := func(shard *shard) error {
		names, err := list(shard, p)
		if err != nil {
			return err
		}
		return newest(ctx, names, func(n name) (bool, error) { return f(shard, n) })
	}
	err := s.within(p, false, eachOf)
	if errors.Is(err, fs.ErrNotExist) {
		return eachOf(nil)
	}
	return err
}

// newest calls f with names, which come oldest first, from the last on until it
// returns false or an error. Where a file goes meanwhile, others are taking them
// from the newest on: the rest comes in any order, for the two not to meet at
// every file.
func newest(ctx context.Context, names []name, f func(name) (more bool, err error)) error {
	slices.Reverse(names)
	for i, n := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		more, err := f(n)
		if errors.Is(err, errGone) {
			rest := names[i+1:]
			rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		} else if err != nil || !more {
			return err
		}
	}
	return nil
}

// namesOf lists a peer's files, oldest first. The shard is nil if it was never made.
func namesOf(shard *shard, p peerName) ([]name, error) {
	if shard == nil {
		return nil, nil
	}
	all, err := shard.list()
	if err != nil {
		return nil, err
	}
	prefix := p.String()
	all = slices.DeleteFunc(all, func(s string) bool { return !strings.HasPrefix(s, prefix) })
	slices.Sort(all) // by the time of the Put, which has a fixed width
	names := make([]name, 0, len(all))
	for _, s := range all {
		if n, ok := parseName(s); ok {
			names = append(names, n)
		}
	}
	return names, nil
}

// list returns the names in a directory.
func list(root *os.Root) ([]string, error) {
	d, err := root.OpenFile(".", os.O_RDONLY|noWait, 0)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	return names, nil
}

// write makes a session's file, which is there whole or not at all.
func (s *Store) write(shard *shard, n name, content []byte) error {
	if s.rewrite(shard, n, content) {
		return nil
	}
	tmp := newTemporary(s.now())
	if err := writeNew(shard.Root, tmp, content, false); err != nil {
		return err
	}
	if err := shard.rename(tmp, n.String()); err != nil {
		s.removeTemporary(shard, tmp)
		return err
	}
	return nil
}

// writeNew makes a private file that was not there.
func writeNew(root *os.Root, name string, content []byte, sync bool) (err error) {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL|noWait, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		root.Remove(name)
	}
	return err
}

// errGone: somebody was faster.
var errGone = errors.New("dirstore: file is gone")

// read returns the session in a file and, to take it, sees to it that nobody else
// has it. The error is errGone if it is not there any more; the session nil if it
// is not to be used, which is told and counted, and the file removed if it is
// damaged.
func (s *Store) read(shard *shard, n name, take bool) ([]byte, error) {
	der, _, err := s.decode(shard, n, take)
	switch {
	case err == nil:
		return der, nil
	case errors.Is(err, fs.ErrNotExist):
		return nil, errGone
	case errors.Is(err, ErrSealed), errors.Is(err, ErrNotSealed):
		s.stats.skipped.Add(1)
		s.logger.Debug("session file passed over", "file", n.String(), "err", err)
	case errors.Is(err, ErrDamaged):
		s.stats.damaged.Add(1)
		s.logger.Warn("session file removed", "file", n.String(), "err", err)
		if err := removeIfThere(shard, n.String()); err != nil {
			s.logger.Warn("session file not removed", "file", n.String(), "err", err)
		}
	default:
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	return nil, nil
}

// decode returns the session in a file, which it may take, and whether it is
// sealed. The error is fs.ErrNotExist if it is not there any more, among others.
func (s *Store) decode(shard *shard, n name, take bool) (session []byte, sealed bool, err error) {
	session, sealed, err = s.decodeFile(shard, n, take)
	if err != nil { // perhaps for its file being a spare now, or used again
		if _, gone := shard.Lstat(n.String()); errors.Is(gone, fs.ErrNotExist) {
			return nil, false, gone
		}
	}
	return session, sealed, err
}

func (s *Store) decodeFile(shard *shard, n name, take bool) (session []byte, sealed bool, err error) {
	var f *openFile
	file := n.String()
	if take {
		f, err = shard.readToTake(file)
	} else {
		f, err = readPrivate(shard.Root, file)
	}
	if err != nil {
		return nil, false, err
	}
	defer f.close()
	session, sealed, err = s.codec.open(file, f.content)
	if err == nil && take && !s.claim(shard, file, f) {
		clear(session)
		return nil, false, fs.ErrNotExist
	}
	return session, sealed, err
}

// claim sees to it that the caller alone has what is in a session's file: of all
// that rename or remove it, one succeeds.
func (s *Store) claim(shard *shard, file string, f *openFile) bool {
	var err error
	if f.writable && reusable(f.info) {
		err = s.setAside(shard, file, f)
	} else {
		err = shard.removeAlone(file)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.logger.Warn("session file not taken", "file", file, "err", err)
	}
	return err == nil
}

// putTime is the time to put a session under: later than that of every other
// that was put through this Store, so that the last one is the newest.
func (s *Store) putTime() int64 {
	for {
		last := s.lastPut.Load()
		now := s.now()
		if now <= last {
			now = last + 1
		}
		if s.lastPut.CompareAndSwap(last, now) {
			return now
		}
	}
}

func (s *Store) now() int64 { return nanos(s.time()) }

// remover is a directory: an [os.Root] or a shard.
type remover interface{ Remove(name string) error }

func removeIfThere(in remover, name string) error {
	if err := in.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("dirstore: %w", err)
	}
	return nil
}

// Format prints the fields under every verb, without Key.
func (o Options) Format(f fmt.State, verb rune) {
	type plain Options
	o.Key = nil
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(o))
}

// LogValue gives slog what Format prints under %+v.
func (o Options) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", o)) }

// MarshalText gives JSON what Format prints under %+v.
func (o Options) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%+v", o), nil }

// String names the directory.
func (s *Store) String() string {
	if s == nil {
		return "dirstore.Store(nil)"
	}
	return fmt.Sprintf("dirstore.Store(%q)", s.root.Name())
}

// Format prints [Store.String] under every verb: fmt would walk into the key.
func (s *Store) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue implements [slog.LogValuer] with [Store.String].
func (s *Store) LogValue() slog.Value { return slog.StringValue(s.String()) }
