package reprise

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestDeadline: a deadline is what context.WithTimeout would be, whether somebody
// waits for it or only asks.
func TestDeadline(t *testing.T) {
	for name, waits := range map[string]bool{"asked": false, "waited for": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDeadline(time.Minute)
				defer d.cancel()
				child, cancel := context.Context(d), func() {}
				if waits {
					child, cancel = context.WithCancel(d)
				}
				defer cancel()
				if at, ok := d.Deadline(); !ok || !at.Equal(time.Now().Add(time.Minute)) {
					t.Errorf("deadline %v, %t", at, ok)
				}
				time.Sleep(time.Minute - time.Second)
				if d.Err() != nil || child.Err() != nil {
					t.Error("over too early")
				}
				time.Sleep(time.Second)
				synctest.Wait()
				isOver(t, d, context.DeadlineExceeded)
				if err := child.Err(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("who waits gets %v", err)
				}
				d.cancel()
				isOver(t, d, context.DeadlineExceeded)
			})
		})
	}
}

// TestDeadlineCanceled: who was still waiting, or asks later, learns that the
// call is over.
func TestDeadlineCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, waits := range []bool{false, true} {
			d := newDeadline(time.Minute)
			if waits {
				d.Done()
			}
			d.cancel()
			isOver(t, d, context.Canceled)
			time.Sleep(2 * time.Minute)
			isOver(t, d, context.Canceled)
			d.cancel()
		}
	})
}

func isOver(t *testing.T, d *deadline, want error) {
	t.Helper()
	if err := d.Err(); !errors.Is(err, want) || !errors.Is(context.Cause(d), want) {
		t.Errorf("it is over for %v, want %v", err, want)
	}
	select {
	case <-d.Done():
	default:
		t.Error("Done is not closed")
	}
}
