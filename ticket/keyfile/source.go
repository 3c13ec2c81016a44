package keyfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/reprise-tls/reprise/ticket"
)

// Config is for [NewSource].
type Config struct {
	Format Format   // of the files
	Files  []string // one for HAProxy; for nginx and Apache the first encrypts

	// Logger is told when an outage begins and ends, and when the files cannot be
	// watched: nil means that nobody is.
	Logger *slog.Logger
}

// Source gives the keys in files to a [ticket.KeyRing], and tells it when they
// have changed: replaced by rename, written in place, or behind a symbolic link
// that was swapped, as Kubernetes does. It says nothing about the keys' times:
// a key is in the ring as long as it is in the files.
//
// [ticket.KeyRing.Follow] does the rest. It reads the files at once, when the
// source says that they changed, and at its Interval, where the system does not
// say so (network file systems) or not in time. While a file is missing, is cut
// off or holds anything but keys the ring goes on with the last good ones;
// Follow raises its alarm once and keeps reading.
//
// Safe for concurrent use.
type Source struct {
	format Format
	files  []string // absolute
	log    *slog.Logger
	watch  *watcher // nil: the system cannot

	unwatched sync.Once // what cannot be watched is told once

	mu      sync.Mutex
	changed chan struct{} // closed when the files may have changed
	down    bool
}

var _ ticket.Notifier = (*Source)(nil)

const notWatched = "ticket keys are not watched for change, only read from time to time"

// NewSource returns a source of the keys in files. It reads none of them yet:
// that is what [ticket.KeyRing.Load] and Follow do. Close it when nothing
// follows it any more.
func NewSource(c Config) (*Source, error) {
	s, err := newSource(c)
	if err != nil {
		return nil, err
	}
	if s.watch, err = newWatcher(s.files, s.Reload); err != nil {
		s.log.Warn(notWatched, "err", err)
	}
	return s, nil
}

// newSource is NewSource without a watcher.
func newSource(c Config) (*Source, error) {
	l, err := c.Format.layout()
	if err != nil {
		return nil, err
	}
	if len(c.Files) == 0 || l.lines && len(c.Files) > 1 {
		return nil, errFiles(c.Format, len(c.Files))
	}
	s := &Source{format: c.Format, log: c.Logger, changed: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, name := range c.Files {
		name, err := filepath.Abs(name) // for as long as the source lives, wherever the program goes
		if err != nil {
			return nil, fmt.Errorf("keyfile: %w", err)
		}
		s.files = append(s.files, name)
	}
	return s, nil
}

// Keys implements [ticket.Source]: it reads the files. The key that encrypts
// comes first. The last line of a file of HAProxy is [ticket.Published]; all
// other keys only decrypt, so that what they open is renewed.
func (s *Source) Keys(context.Context) (ticket.RingState, error) {
	if s.watch != nil {
		// Before reading: what changes from now on is told.
		if err := s.watch.follow(); err != nil {
			s.unwatched.Do(func() { s.log.Warn(notWatched, "err", err) })
		}
	}
	state, err := s.read()
	s.mu.Lock()
	turned := s.down != (err != nil)
	s.down = err != nil
	s.mu.Unlock()
	switch {
	case turned && err != nil:
		s.log.Warn("ticket keys cannot be read, the last good ones stay in use", "err", err)
	case turned:
		s.log.Info("ticket keys can be read again")
	}
	return state, err
}

func (s *Source) read() (ticket.RingState, error) {
	for _, name := range s.files {
		// Opening a pipe would wait for somebody to write.
		if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
			return ticket.RingState{}, fmt.Errorf("keyfile: %s: not a regular file", name)
		}
	}
	set, err := Read(s.format, s.files...)
	if err != nil {
		return ticket.RingState{}, err
	}
	defer set.Wipe()
	var state ticket.RingState
	for i, k := range set.InUse() {
		key, err := k.TicketKey()
		if err != nil {
			return ticket.RingState{}, err // Read has refused it already
		}
		state.Keys = append(state.Keys, ticket.RingKey{Key: key, State: s.stateOf(i)})
	}
	return state, nil
}

// stateOf is the state of a key by its place among those in use.
func (s *Source) stateOf(i int) ticket.State {
	switch {
	case i == 0:
		return ticket.Encrypting
	case i == 1 && !s.format.MultipleFiles():
		return ticket.Published
	}
	return ticket.Decrypting
}

// Changed implements [ticket.Notifier].
func (s *Source) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Reload has everybody who follows the source read the files now: for SIGHUP.
// It does not wait for that; [ticket.KeyRing.Load] does, and returns the error.
func (s *Source) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.changed)
	s.changed = make(chan struct{})
}

// Close stops watching. Keys and Reload go on to work.
func (s *Source) Close() error {
	if s.watch == nil {
		return nil
	}
	return s.watch.close()
}

// String names the form and the files.
func (s *Source) String() string { return fmt.Sprintf("keyfile.Source(%v: %q)", s.format, s.files) }

// Format prints [Source.String] under every verb.
func (s *Source) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// errFiles says that a form does not have n files.
func errFiles(f Format, n int) error {
	if n == 0 {
		return errors.New("keyfile: no file")
	}
	return fmt.Errorf("keyfile: %d files of form %v, which has all keys in one", n, f)
}
