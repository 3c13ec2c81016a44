package reprise

import (
	"context"
	"time"
)

// DefaultStoreTimeout is how long a client waits for its ClientStore, where
// Config.StoreTimeout says nothing.
const DefaultStoreTimeout = time.Second

// ClientStore keeps sessions of clients outside the process, so that they
// outlive it and serve others: see store/dirstore. It must be safe for
// concurrent use by any number of processes.
//
// peer names whom a session is for and under which conditions it may be
// offered: at most 64 KiB, with server names and other things in it that are
// nobody's business. A store compares it and should not show it.
// session is the DER encoding of a session, with its secrets; a store must not
// change it.
//
// An error is logged and otherwise ignored: it costs a full handshake. A store
// should return when ctx is done.
type ClientStore interface {
	// Put keeps a session of peer until it expires. One that is kept with once
	// is for a single Take.
	Put(ctx context.Context, peer string, session []byte, expires time.Time, once bool) error

	// Take returns the session of peer that was put last and has not expired,
	// nil if there is none. One that was kept with once is gone, for every
	// process, before Take returns it: it is never returned twice.
	Take(ctx context.Context, peer string) (session []byte, err error)

	// Forget removes a session of peer, with the bytes that it was put with, if
	// it is still there: it turned out bad. nil removes all sessions of peer.
	Forget(ctx context.Context, peer string, session []byte) error
}
