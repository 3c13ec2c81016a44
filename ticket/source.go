package ticket

import (
	"context"
	"time"
)

// State is what a key of a [KeyRing] is for at a time.
type State uint8

const (
	// Decrypting keys open tickets; what they open is to be renewed.
	Decrypting State = iota
	// Published keys open tickets and will encrypt later: every host that shares
	// a key must know it before the first one encrypts with it.
	Published
	// Encrypting keys seal tickets and open them.
	Encrypting
	// Gone keys are in no ring any more.
	Gone
)

// RingKey is a key with its state and the times when that changes. A time that
// is zero never comes.
type RingKey struct {
	Key   *Key
	State State     // to begin with
	Start time.Time // a Published key becomes Encrypting
	Stop  time.Time // it becomes Decrypting, if it is not yet
	End   time.Time // it is Gone
}

// RingState is the keys of a [KeyRing]. Of several that are Encrypting the one
// with the latest Start seals, and of those the first.
type RingState struct {
	Keys []RingKey
}

// Source is where the keys of a [KeyRing] come from: files, a store. See
// [KeyRing.Follow].
type Source interface {
	// Keys returns all keys that the ring is to have from now on. The ring
	// takes them over and wipes them in time, so each call returns either new
	// Key values or those of an earlier call that are still in the ring; that a
	// new one is a twin of one in the ring is noticed.
	//
	// After an error the ring goes on with the keys that it has. Errors tell
	// nothing of secrets.
	Keys(ctx context.Context) (RingState, error)
}

// Notifier is a [Source] that knows when its keys have changed.
type Notifier interface {
	Source

	// Changed returns a channel that receives, or is closed, when Keys may
	// return other keys than before. It is called again before each wait.
	Changed() <-chan struct{}
}
