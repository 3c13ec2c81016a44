package ticket

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Source is where the keys of a [KeyRing] come from: files, a store. See
// [KeyRing.Follow].
type Source interface {
	// Keys returns all keys that the ring is to have from now on. The ring
	// takes them over and wipes them in time, so each call returns new Key
	// values; that one is a twin of one in the ring is noticed. It is an error
	// to have none.
	//
	// After an error the ring goes on with the keys that it has. Errors tell
	// nothing of secrets. ctx ends when the ring has waited long enough.
	Keys(ctx context.Context) (RingState, error)
}

// Notifier is a [Source] that knows when its keys have changed.
type Notifier interface {
	Source

	// Changed returns a channel that receives a value, or is closed, when Keys
	// may return something else than it would have before. It is called before
	// each call of Keys, and waited for after it.
	Changed() <-chan struct{}
}

// FollowConfig is for [KeyRing.Follow]. The zero value is ready to use.
type FollowConfig struct {
	// Interval is how often the source is asked, besides when a Notifier says
	// so: 0 means a minute.
	Interval time.Duration

	// Retry is how long after a failure it is asked again: 0 means 5 seconds,
	// or Interval if that is less.
	Retry time.Duration

	// Timeout bounds the context of each call of Keys: 0 means 10 seconds.
	Timeout time.Duration

	// Alarm is called when an outage begins, with the error of the first
	// failure, and once more with nil when the source gives keys again. It is
	// called on the goroutine of Follow.
	Alarm func(err error)
}

func (c FollowConfig) withDefaults() FollowConfig {
	if c.Interval <= 0 {
		c.Interval = time.Minute
	}
	if c.Retry <= 0 {
		c.Retry = min(5*time.Second, c.Interval)
	}
	if c.Timeout <= 0 {
		c.Timeout = 10 * time.Second
	}
	if c.Alarm == nil {
		c.Alarm = func(error) {}
	}
	return c
}

// sourceStats is what a ring has seen of its source.
type sourceStats struct {
	loads, failures, outages uint64
	down                     bool
	loaded                   time.Time
}

// Load asks a source for its keys, once, and sets them. After an error the ring
// has the keys that it had; those that the source gave are wiped.
func (r *KeyRing) Load(ctx context.Context, s Source) error {
	err := r.load(ctx, s)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		r.source.loads++
		r.source.down, r.source.loaded = false, r.now().wall
		return nil
	case errors.Is(ctx.Err(), context.Canceled): // the caller's wish, and no failure
		return err
	case !r.source.down:
		r.source.down = true
		r.source.outages++
	}
	r.source.failures++
	return err
}

func (r *KeyRing) load(ctx context.Context, s Source) error {
	state, err := s.Keys(ctx)
	if err != nil {
		return fmt.Errorf("ticket: source of keys: %w", err)
	}
	if len(state.Keys) == 0 {
		// Not a way to take all keys back: it is what a file looks like while
		// it is being written.
		return fmt.Errorf("ticket: source of keys: %w", ErrNoKey)
	}
	if err := r.Set(state); err != nil {
		for _, k := range state.Keys {
			if k.Key != nil {
				k.Key.Wipe() // nothing for those in the ring
			}
		}
		return err
	}
	return nil
}

// Follow keeps the ring's keys those of a source until ctx is done, and returns
// its error; or [ErrClosed], once the ring is closed. It asks at once, then every
// Interval, and when a [Notifier] says so.
//
// When the source fails, or gives keys that are refused, the ring goes on with
// the last good ones, Follow raises the alarm, once, and keeps asking. For how
// long the last good keys serve is up to the times that the source gave them.
//
// A program that is not to start without keys calls [KeyRing.Load] first.
func (r *KeyRing) Follow(ctx context.Context, s Source, c FollowConfig) error {
	c = c.withDefaults()
	down := false
	for {
		var changed <-chan struct{}
		if n, ok := s.(Notifier); ok {
			changed = n.Changed()
		}
		err := r.loadWithin(ctx, s, c.Timeout)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, ErrClosed):
			return ErrClosed
		case (err != nil) != down:
			down = err != nil
			c.Alarm(err)
		}
		wait := c.Interval
		if down {
			wait = c.Retry
		}
		if err := sleep(ctx, changed, wait); err != nil {
			return err
		}
	}
}

func (r *KeyRing) loadWithin(ctx context.Context, s Source, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return r.Load(ctx, s)
}

// sleep waits until d is over or changed receives; the error is that of ctx.
func sleep(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C:
	}
	return nil
}
