package reprise

import (
	"context"
	"sync"
	"time"
)

// deadline is the context of a call that is over before its deadline, as a rule,
// and that rarely waits for it: it has a timer only once somebody does.
type deadline struct {
	at time.Time

	mu   sync.Mutex
	over bool
	done context.Context // what Done and Err go by once it was made
	end  context.CancelFunc
}

func newDeadline(timeout time.Duration) *deadline {
	return &deadline{at: time.Now().Add(timeout)}
}

// cancel ends the call.
func (d *deadline) cancel() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.done != nil {
		d.end()
	}
}

// decided returns the context that d is from now on. The caller holds d.mu.
func (d *deadline) decided() context.Context {
	if d.done == nil {
		if d.over {
			d.done, d.end = context.WithCancel(context.Background())
			d.end()
		} else {
			d.done, d.end = context.WithDeadline(context.Background(), d.at)
		}
	}
	return d.done
}

func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.decided().Done()
}

func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil && !d.over && time.Now().Before(d.at) {
		return nil
	}
	return d.decided().Err()
}

func (d *deadline) Value(any) any { return nil }
