package reprise

import (
	"net"
	"sync"
	"sync/atomic"
)

// wire is the transport under a tls.Conn of ours: it leads from the connection
// that a hook is given to the state of its handshake.
type wire struct {
	net.Conn
	server *serverHandshake // nil on a client
	writes atomic.Uint64
	closed atomic.Bool
	once   sync.Once
	err    error
	onEnd  func() // listener level
}

func (w *wire) Write(b []byte) (int, error) {
	w.writes.Add(1)
	return w.Conn.Write(b)
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
