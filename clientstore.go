package reprise

import (
	"context"
	"errors"
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
// must return when ctx is done; one that did not answer until then is not asked
// again for ten seconds.
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

// storePause is for how many seconds a store is left alone that did not answer
// in time: handshakes would else wait for it one after the other.
const storePause = 10

var errStorePaused = errors.New("reprise: the store did not answer in time a while ago")

// askStore calls ask within Config.StoreTimeout, unless the store is left alone.
func (m *Manager) askStore(ask func(context.Context) error) error {
	now := m.clock.unix()
	if now < m.storeUp.Load() {
		return errStorePaused
	}
	ctx := newDeadline(m.config.StoreTimeout)
	defer ctx.cancel()
	err := ask(ctx)
	if ctx.Err() != nil {
		m.storeUp.Store(now + storePause)
	}
	return err
}

// storeFailed logs what became of a session, once for each time that the store
// is left alone.
func (m *Manager) storeFailed(what string, err error) {
	switch {
	case errors.Is(err, errStorePaused):
		m.config.Logger.Debug("client store: "+what, "err", err)
	case err != nil:
		m.config.Logger.Warn("client store: "+what, "err", err)
	}
}
