package reprise

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
)

// wire is the transport under a tls.Conn of ours: it leads from the connection
// that a hook is given to the state of its handshake.
type wire struct {
	net.Conn
	server *serverHandshake // nil on a client
	ids    *sessionIDs      // nil on a server
	writes atomic.Uint64
	heard  atomic.Bool // the peer sent something
	ended  atomic.Bool // the peer ended the transport, and no record was left of it
	failed atomic.Bool // the transport is broken
	closed atomic.Bool
	once   sync.Once
	err    error
	onEnd  func() // where nobody calls Free
}

// NetConn returns the transport itself: a hook of crypto/tls that wants to know
// its type asks for an interface{ NetConn() net.Conn }.
func (w *wire) NetConn() net.Conn { return w.Conn }

// SyscallConn gives access to the transport's file descriptor, where it has one.
func (w *wire) SyscallConn() (syscall.RawConn, error) {
	if c, ok := w.Conn.(syscall.Conn); ok {
		return c.SyscallConn()
	}
	return nil, fmt.Errorf("reprise: %T has no SyscallConn: %w", w.Conn, errors.ErrUnsupported)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if n > 0 && !w.heard.Load() {
		w.heard.Store(true)
	}
	if w.ids != nil {
		w.ids.receive(b[:n])
	}
	if err == io.EOF {
		w.ended.Store(n == 0)
	} else {
		w.note(err)
	}
	return n, err
}

func (w *wire) Write(b []byte) (int, error) {
	w.writes.Add(1)
	if w.ids != nil {
		return w.send(b)
	}
	n, err := w.Conn.Write(b)
	w.note(err)
	return n, err
}

// send writes what may leave: not the ClientHello, before all of it is there.
func (w *wire) send(b []byte) (int, error) {
	out, err := w.ids.send(b)
	if err != nil {
		w.Close()
		return 0, err
	}
	if len(out) == 0 {
		return len(b), nil
	}
	n, err := w.Conn.Write(out)
	w.note(err)
	return max(0, n-(len(out)-len(b))), err
}

// note keeps that the transport failed; a deadline that passed is no failure.
func (w *wire) note(err error) {
	var timeout net.Error
	if err != nil && !(errors.As(err, &timeout) && timeout.Timeout()) {
		w.failed.Store(true)
	}
}

// Close closes the transport once.
func (w *wire) Close() error {
	w.once.Do(func() {
		w.closed.Store(true)
		w.err = w.Conn.Close()
		if w.onEnd != nil {
			w.onEnd()
		}
	})
	return w.err
}
