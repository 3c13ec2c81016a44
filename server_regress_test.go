package reprise_test

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
)

// serving serves at a level of use until the test is over, and returns where to dial.
func serving(t *testing.T, level string, m *reprise.Manager, config *tls.Config) *memoryListener {
	l, ended := newMemoryListener(), make(chan error, 1)
	go func() { ended <- servers[level](m, l, config) }()
	t.Cleanup(func() {
		l.Close()
		<-ended
	})
	return l
}

// asking returns a client's configuration for serving, with a cache of its own.
func asking(r *rig) *tls.Config {
	c := keeping(r.client)
	c.NextProtos = []string{"echo"}
	return c
}

// ask connects, exchanges a byte and reports whether the session was resumed.
func ask(l *memoryListener, config *tls.Config) (resumed bool, err error) {
	c := tls.Client(l.dialBuffered(), config)
	defer c.Close()
	buf := []byte{'x'}
	if _, err := c.Write(buf); err != nil {
		return false, err
	}
	_, err = io.ReadFull(c, buf)
	return c.ConnectionState().DidResume, err
}

// unmanaged returns how many handshakes were counted as such.
func unmanaged(m *reprise.Manager) uint64 { return m.Stats().NotResumed[reprise.Unmanaged] }

// TestWrappedManagedHooks: where the application wraps a session hook of a
// configuration that is managed already, handshakes are full and unmanaged, and
// no hook calls itself.
func TestWrappedManagedHooks(t *testing.T) {
	for _, level := range []string{"NewListener", "ServeTLS", "configuration"} {
		for name, wrap := range map[string]func(*tls.Config){
			"both":   func(c *tls.Config) { wrapWrap(c); wrapUnwrap(c) },
			"wrap":   wrapWrap,
			"unwrap": wrapUnwrap,
		} {
			t.Run(level+"/"+name, func(t *testing.T) {
				r := newRig(t)
				m := manager(t, reprise.Config{})
				r.server.NextProtos = []string{"echo"}
				sc := r.server.Clone()
				sc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					c := m.ConfigForClient(hello, r.server)
					wrap(c)
					return c, nil
				}
				l, client := serving(t, level, m, sc), asking(r)
				for range 2 {
					if resumed, err := ask(l, client); resumed || err != nil {
						t.Errorf("resumed %v, %v", resumed, err)
					}
				}
				if n := unmanaged(m); n != 2 {
					t.Errorf("%d handshakes are unmanaged: %+v", n, m.Stats())
				}
			})
		}
	}
}

func wrapWrap(c *tls.Config) {
	wrap := c.WrapSession
	c.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) { return wrap(cs, s) }
}

func wrapUnwrap(c *tls.Config) {
	unwrap := c.UnwrapSession
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) { return unwrap(ticket, cs) }
}

// refusal is an error whose Error panics on nil.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// recording is a slog.Handler that is called for each line.
type recording struct {
	slog.Handler
	f func(slog.Record)
}

func (h recording) Enabled(context.Context, slog.Level) bool { return true }
func (h recording) Handle(_ context.Context, r slog.Record) error {
	h.f(r)
	return nil
}

// logging returns a Logger that calls f for each line.
func logging(f func(slog.Record)) *slog.Logger { return slog.New(recording{f: f}) }

// readErrors calls Error of every error in a line.
func readErrors(r slog.Record) {
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			_ = err.Error()
		}
		return true
	})
}

// TestErrorThatPanics: where VerifyConnection returns an error whose Error
// panics, that handshake ends and the server goes on.
func TestErrorThatPanics(t *testing.T) {
	for _, level := range []string{"NewListener", "ServeTLS"} {
		t.Run(level, func(t *testing.T) {
			r := newRig(t)
			var refused atomic.Int32
			r.server.VerifyConnection = func(tls.ConnectionState) error {
				if refused.Add(1) == 1 {
					return (*refusal)(nil)
				}
				return nil
			}
			m := manager(t, reprise.Config{Logger: logging(readErrors)})
			l := serving(t, level, m, r.server)
			if _, err := ask(l, asking(r)); err == nil {
				t.Error("the peer got in though VerifyConnection refused it")
			}
			if _, err := ask(l, asking(r)); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}

// slowTransport is a connection whose RemoteAddr or Close waits.
type slowTransport struct {
	net.Conn
	addr, end <-chan struct{} // nil does not wait
}

func await(c <-chan struct{}) {
	if c != nil {
		<-c
	}
}

func (c slowTransport) RemoteAddr() net.Addr { await(c.addr); return c.Conn.RemoteAddr() }
func (c slowTransport) Close() error         { await(c.end); return c.Conn.Close() }

// slowListener gives its first n connections to slow.
type slowListener struct {
	net.Listener
	n    *atomic.Int32
	slow func(net.Conn) net.Conn
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil && l.n.Add(-1) >= 0 {
		c = l.slow(c)
	}
	return c, err
}

// TestSlowTransports: connections whose RemoteAddr or Close waits hold up no
// other connection.
func TestSlowTransports(t *testing.T) {
	for _, level := range []string{"NewListener", "ServeTLS"} {
		for name, slow := range map[string]func(net.Conn, <-chan struct{}) net.Conn{
			"RemoteAddr": func(c net.Conn, wait <-chan struct{}) net.Conn { return slowTransport{Conn: c, addr: wait} },
			"Close":      func(c net.Conn, wait <-chan struct{}) net.Conn { return slowTransport{Conn: c, end: wait} },
		} {
			t.Run(level+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					m := manager(t, reprise.Config{MaxHandshakes: 2})
					mem, n, wait := newMemoryListener(), new(atomic.Int32), make(chan struct{})
					n.Store(5)
					inner := slowListener{mem, n, func(c net.Conn) net.Conn { return slow(c, wait) }}
					ended := make(chan error, 1)
					go func() { ended <- servers[level](m, inner, r.server) }()
					for range 5 { // they say nothing
						defer mem.dialBuffered().Close()
					}
					start := time.Now()
					if _, err := ask(mem, asking(r)); err != nil {
						t.Error(err)
					}
					if d := time.Since(start); d != 0 {
						t.Errorf("it was held up for %v", d)
					}
					close(wait)
					mem.Close()
					<-ended
				})
			})
		}
	}
}
