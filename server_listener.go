package reprise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"sync"
	"time"
)

// ErrNoCertificate is returned where the configuration of a server brings no
// certificate: neither Certificates, GetCertificate nor GetConfigForClient.
var ErrNoCertificate = errors.New("reprise: no certificate in the server's tls.Config: " +
	"set Certificates, GetCertificate or GetConfigForClient, or give ServeTLS files")

// NewListener returns a listener that accepts from inner, runs the handshakes by
// itself, side by side, and gives connections whose handshake is complete and
// whose peer is proven: real *tls.Conn, with sessions managed by m, of which
// SessionOf and ResumptionOf tell. Single use holds, and a session that was
// revoked while its handshake was under way does not get through.
//
// config is copied and used as by ServerConfig; without a certificate the error
// is ErrNoCertificate. Handshakes take Config.HandshakeTimeout at most, and
// there are Config.MaxHandshakes at most; those that fail are logged (debug). A
// panic of the application's callbacks ends that connection and is logged
// (error). Alerts and the bad-session rule need Server.
//
// What hooks see as ClientHelloInfo.Conn, and the NetConn of the connections, is
// not the connection that inner accepted, but has methods NetConn, which returns
// that, and SyscallConn:
//
//	transport := c.NetConn().(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn)
//
// Close closes inner and the handshakes under way.
func (m *Manager) NewListener(inner net.Listener, config *tls.Config) (net.Listener, error) {
	if inner == nil {
		return nil, errors.New("reprise: NewListener wants the listener to accept from")
	}
	if !bringsCertificate(config) {
		return nil, ErrNoCertificate
	}
	return m.newListener(inner, config), nil
}

// bringsCertificate asks what the application set: a result of ServerConfig has a
// GetConfigForClient that brings none.
func bringsCertificate(c *tls.Config) bool {
	c = plain(c, markOf(c))
	return len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil
}

func (m *Manager) newListener(inner net.Listener, config *tls.Config) *listener {
	l := &listener{
		Listener: inner, m: m, config: m.ServerConfig(config),
		timeout: m.config.HandshakeTimeout, gate: newGate(m.config.MaxHandshakes),
		ready: make(chan *tls.Conn), errs: make(chan error),
		closing: make(chan struct{}), ended: make(chan struct{}),
	}
	l.context = func(ctx context.Context, _ net.Conn) context.Context { return ctx }
	l.failed = l.logFailed
	return l
}

// listener is what NewListener returns. Its goroutine, which begins with the
// first Accept, accepts from the inner listener; each handshake has its own.
type listener struct {
	net.Listener
	m       *Manager
	config  *tls.Config
	timeout time.Duration
	context func(ctx context.Context, nc net.Conn) context.Context // of a handshake
	failed  func(nc net.Conn, err error)                           // told of handshakes that failed, before nc is closed
	// graceful reports, when Close is called, whether handshakes under way are
	// let finish. nil means that they are closed.
	graceful func() bool

	gate    *gate
	start   sync.Once
	close   sync.Once
	ready   chan *tls.Conn
	errs    chan error    // of the inner listener
	closing chan struct{} // Close was called
	ended   chan struct{} // and nothing more comes
}

// Accept returns the next connection, a *tls.Conn whose handshake is complete.
func (l *listener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.run() })
	select {
	case c := <-l.ready: // errors of the inner listener keep none of these waiting
		return c, nil
	default:
	}
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.ended:
		return nil, &net.OpError{Op: "accept", Net: l.Addr().Network(), Addr: l.Addr(), Err: net.ErrClosed}
	}
}

func (l *listener) run() {
	for l.gate.wait() {
		nc, err := l.Listener.Accept()
		if err != nil {
			if !l.report(err) {
				return
			}
			continue
		}
		s := l.gate.enter(context.Background(), nc, l.m)
		if s == nil {
			nc.Close()
			return
		}
		go l.shake(nc, s)
	}
}

// report hands an error of the inner listener to Accept; false once Close was
// called, of which the error then tells.
func (l *listener) report(err error) bool {
	select {
	case <-l.closing:
		return false
	default:
	}
	select {
	case l.errs <- err:
		return true
	case <-l.closing:
		return false
	}
}

// shake runs a handshake and hands the connection to Accept.
func (l *listener) shake(nc net.Conn, s *slot) {
	defer s.leave()
	nc.SetDeadline(time.Now().Add(l.timeout)) // also for what file may read
	s.file(l.m)
	c := l.m.serverSide(nc, l.config)
	var err error = &panicError{value: errGoexit} // unless shakeHands returns
	defer func() {
		if err != nil {
			l.fail(nc, c, err)
		}
	}()
	err = l.m.shakeHands(l.context(s.ctx, nc), c, l.timeout)
	if err == nil && !s.finish() {
		err = net.ErrClosed // to make room, a moment ago
	}
	if err != nil {
		return
	}
	select {
	case l.ready <- c:
	case <-l.ended:
		c.Close()
	}
}

// fail tells of a handshake that failed and closes its connection. An error of the
// application's, or a logger, that panics costs its line and no more.
func (l *listener) fail(nc net.Conn, c *tls.Conn, err error) {
	defer c.Close()
	defer func() { recover() }()
	l.failed(nc, err)
}

func (l *listener) logFailed(nc net.Conn, err error) {
	var p *panicError
	if errors.As(err, &p) {
		const message = "panic in a handshake"
		if suppressed, ok := l.m.warnings.admit(message); ok {
			l.m.config.Logger.Error(message, "peer", addressString(nc.RemoteAddr()), "panic", p.value, "stack", string(p.stack), "suppressed", suppressed)
		}
		return
	}
	l.m.config.Logger.Debug("handshake failed", "peer", addressString(nc.RemoteAddr()), "err", err)
}

// shutdownGrace is how long handshakes under way have left when the listener is
// closed gracefully: what net/http gives new connections.
const shutdownGrace = 5 * time.Second

// Close stops accepting. It closes the inner listener.
func (l *listener) Close() (err error) {
	l.close.Do(func() {
		close(l.closing)
		err = l.Listener.Close()
		empty := l.gate.close()
		if l.graceful != nil && l.graceful() {
			go l.drain(empty)
			return
		}
		l.end()
	})
	return err
}

// drain lets handshakes under way finish, for as long as they may take.
func (l *listener) drain(empty <-chan struct{}) {
	grace := time.NewTimer(shutdownGrace)
	defer grace.Stop()
	select {
	case <-empty:
	case <-grace.C:
	}
	l.end()
}

func (l *listener) end() {
	l.gate.abort()
	close(l.ended)
}

// Accept runs the server's handshake over nc, whatever was said on it before
// (STARTTLS), and returns a connection as those of NewListener. It is under ctx
// and Config.HandshakeTimeout. On an error nc is closed; the error is
// ErrNoCertificate, ErrRevoked, that of a panic of the application's callbacks,
// ctx's, or crypto/tls's, each wrapped with the peer's address. Deadlines of nc
// are cleared: set yours again. At Config.MaxHandshakes an older handshake is
// closed to make room, whose Accept then returns net.ErrClosed or the
// transport's error.
func (m *Manager) Accept(ctx context.Context, nc net.Conn, config *tls.Config) (*tls.Conn, error) {
	if nc == nil {
		return nil, errors.New("reprise: Accept wants the connection to go on with")
	}
	if !bringsCertificate(config) {
		nc.Close()
		return nil, ErrNoCertificate
	}
	s := m.gate.enter(ctx, nc, m)
	defer s.leave()
	nc.SetDeadline(time.Now().Add(m.config.HandshakeTimeout)) // also for what file may read
	s.file(m)
	c, good := m.serverSide(nc, m.ServerConfig(config)), false
	defer func() {
		if !good { // runtime.Goexit included
			c.Close()
		}
	}()
	err := m.shakeHands(s.ctx, c, m.config.HandshakeTimeout)
	if err == nil && !s.finish() {
		err = net.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("reprise: handshake with %s: %w", addressString(nc.RemoteAddr()), err)
	}
	good = true
	return c, nil
}

// serverSide returns the server's side of nc. config is ServerConfig's.
func (m *Manager) serverSide(nc net.Conn, config *tls.Config) *tls.Conn {
	st := &serverHandshake{m: m, watched: true, peer: nc.RemoteAddr()}
	return tls.Server(&wire{Conn: nc, server: st, onEnd: st.release}, config)
}

// shakeHands runs the handshake of a connection that serverSide made, and all
// that follows from it. After an error the caller closes the connection, and
// where a callback calls runtime.Goexit.
func (m *Manager) shakeHands(ctx context.Context, c *tls.Conn, timeout time.Duration) (err error) {
	st := handshakeOf(c)
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit
			err = &panicError{recover(), debug.Stack()}
		}
		if err != nil {
			st.fail()
		}
	}()
	// The context is for the application's callbacks, and for transports without
	// deadlines, such as an SSH channel.
	if c.SetDeadline(time.Now().Add(timeout)) == nil {
		timeout += abortGrace
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err = c.HandshakeContext(ctx); err == nil {
		cs := c.ConnectionState()
		var callbacks func()
		callbacks, err = st.finish(&cs)
		callbacks()
		c.SetDeadline(time.Time{})
	}
	returned = true
	return err
}

// panicError is a panic of the application's callbacks.
type panicError struct {
	value any
	stack []byte
}

func (p *panicError) Error() string { return fmt.Sprintf("panic in a callback: %v", p.value) }

// errGoexit is the value of a panicError where there was no panic.
var errGoexit = errors.New("runtime.Goexit")

// Resumption says how a handshake ended.
type Resumption struct {
	Resumed bool
	Reason  Reason // why not; Resumed if so
}

// SessionOf returns the session of a connection that comes from NewListener,
// Accept or ServeTLS, nil once the connection is closed and for any other
// connection. It is lent while the connection is open: UpRef it to keep it. It
// never blocks.
func SessionOf(c *tls.Conn) *Session { return handshakeOf(c).lend() }

// ResumptionOf is SessionOf for how the handshake ended; ok is false for other
// connections.
func ResumptionOf(c *tls.Conn) (r Resumption, ok bool) { return handshakeOf(c).outcome() }

func handshakeOf(c *tls.Conn) *serverHandshake {
	if c == nil {
		return nil
	}
	if w, ok := c.NetConn().(*wire); ok {
		return w.server
	}
	return nil
}

// lend returns the session of a completed handshake, without a reference.
func (st *serverHandshake) lend() *Session {
	if st == nil {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.completed {
		return nil
	}
	return st.session
}

func (st *serverHandshake) outcome() (r Resumption, ok bool) {
	if st == nil {
		return r, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.completed {
		return r, false
	}
	return Resumption{st.resumed, st.reason}, true
}
