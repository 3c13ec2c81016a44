package reprise

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of connections.
var (
	// ErrServerSide: a session can be set on a client's connection only.
	ErrServerSide = errors.New("reprise: SetSession on a server's connection: the client offers sessions, the server finds them")
	// ErrNoSession: the connection has no session that can be resumed, and will get none.
	ErrNoSession = errors.New("reprise: the server gave no session that can be resumed")
)

// Conn is a TLS connection with libssl's session rules: what OpenSSL calls an
// SSL. It is a net.Conn with a crypto/tls connection inside.
//
// All methods are safe from any goroutine, but Clear, which is not to run beside
// Read, Write, Handshake or WaitSession. No order of calls makes a session bad
// whose connection ends in good order. After Free, methods that return an error
// return net.ErrClosed.
//
// A fatal alert makes the connection's session bad, which then resumes no more.
// Where the caller has taken sessions into its own hands with SetSession, and on
// servers, so does an end without close_notify on either side, as in libssl (but
// see Config.IgnoreUnexpectedEOF). Sessions that clients keep by themselves
// survive that.
type Conn struct {
	m      *Manager
	config *tls.Config
	client bool
	peer   *clientPeer // client: whose sessions are kept; nil where none are

	link atomic.Pointer[link]

	dial func(context.Context) (net.Conn, error) // nil unless we dialled

	mu     sync.Mutex
	offer  *Session    // client: set for the next handshake; held
	set    bool        // client: SetSession was called for the next handshake
	manual bool        // client: SetSession was called
	lent   []*Session  // kept readable until Clear or Free; held
	freed  atomic.Bool // set under mu
}

// link is what a Conn has per transport: Clear starts a new one.
type link struct {
	tls    *tls.Conn
	wire   *wire
	server *serverHandshake // one of the two
	client *clientHandshake

	turn   chan struct{} // full while somebody runs the handshake
	done   atomic.Bool
	good   bool // done, and without error
	err    error
	fate   fate
	closed atomic.Bool   // Close was called
	begun  atomic.Uint64 // calls of Write
	ended  atomic.Uint64 // those that returned

	reader chan struct{} // full while somebody reads: WaitSession may be it
	unread []byte        // these two are the reader's
	failed error
}

// Server returns a connection on the server's side of nc. config is copied and
// used as by ServerConfig; it must bring a certificate. The handshake runs at
// the first Read or Write, or when asked for.
//
// It is SSL_new and SSL_set_accept_state.
func (m *Manager) Server(nc net.Conn, config *tls.Config) *Conn {
	c := &Conn{m: m, config: m.ServerConfig(config)}
	c.start(nc)
	return c
}

// start begins a link over nc.
func (c *Conn) start(nc net.Conn) {
	l := &link{wire: &wire{Conn: nc}, reader: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	c.mu.Lock()
	l.fate.strict, l.fate.ignoreEOF = !c.client || c.manual, c.m.config.IgnoreUnexpectedEOF
	c.mu.Unlock()
	if c.client {
		config := c.config.Clone()
		l.client = newClientHandshake(c.m, config, c.peer.connection(config), l.wire)
		config.ClientSessionCache = l.client
		l.wire.ids = &l.client.ids
		if c.m.config.SessionIDs {
			l.client.ids.watch(c.m, config)
		}
		l.tls = tls.Client(l.wire, config)
	} else {
		l.server = &serverHandshake{m: c.m, watched: true, peer: addressOf(l.wire)}
		l.wire.server = l.server
		l.tls = tls.Server(l.wire, c.config)
	}
	c.link.Store(l)
}

// Handshake runs the handshake unless it has been run.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext is Handshake under a context. If ctx ends while this call runs
// the handshake, the handshake fails and the connection cannot be used any more;
// if another call runs it, only this call ends. The error is then that of ctx.
//
// It is SSL_do_handshake.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	for {
		l := c.link.Load()
		err := c.handshake(ctx, l)
		if c.freed.Load() {
			return net.ErrClosed
		}
		if c.link.Load() == l || !errors.Is(err, ErrSessionIDs) { // else it was dialled again
			return err
		}
	}
}

// dialAgain replaces a link that ended before a byte left. Deadlines that were
// set on it end with it. The error is why it stays.
func (c *Conn) dialAgain(ctx context.Context, ended *link) error {
	nc, err := c.dial(ctx)
	if err != nil {
		return err
	}
	ended.release()
	c.start(nc)
	if ended.closed.Load() { // by the application, meanwhile
		c.close(c.link.Load())
	}
	if c.freed.Load() {
		c.link.Load().end()
	}
	return ended.err
}

// handshake runs l's handshake, once, and returns what is to be said of it to
// this caller.
func (c *Conn) handshake(ctx context.Context, l *link) error {
	if c.freed.Load() {
		return net.ErrClosed
	}
	if l.done.Load() {
		return l.err
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	callbacks, err := c.handshakeInTurn(ctx, l)
	callbacks()
	return err
}

func (c *Conn) handshakeInTurn(ctx context.Context, l *link) (callbacks func(), err error) {
	defer func() { <-l.turn }()
	callbacks = func() {}
	if l.done.Load() {
		return callbacks, l.err
	}
	if c.client {
		c.m.stats.connect.Add(1)
		c.handOver(l)
	}
	returned := false
	defer func() {
		if !returned { // a callback panicked, or called runtime.Goexit
			l.fail()
		}
	}()
	err = l.tls.HandshakeContext(ctx)
	returned = true
	if l.err = err; ctx.Err() != nil {
		l.err = l.tls.Handshake() // for other calls, without ctx's error
	}
	if l.err == nil {
		cs := l.tls.ConnectionState()
		if callbacks, l.err = l.finish(&cs); l.err != nil {
			err = l.err
			l.tls.Close()
		}
	} else {
		l.fail()
		if c.dial != nil && errors.Is(l.err, ErrSessionIDs) {
			l.err = c.dialAgain(ctx, l)
			err = l.err
		}
	}
	if l.good = l.err == nil; l.good {
		l.fate.on(handshakeComplete)
	}
	l.done.Store(true)
	return callbacks, err
}

// handOver gives the session that was set to the handshake that offers it.
func (c *Conn) handOver(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.client.mu.Lock()
	defer l.client.mu.Unlock()
	l.client.offer, l.client.manual = c.offer, c.manual
	l.client.line = c.m.newLine()
	c.offer, c.set = nil, false
	l.client.prepare()
}

func (l *link) finish(cs *tls.ConnectionState) (callbacks func(), err error) {
	if l.client != nil {
		return l.client.finish(cs), nil
	}
	return l.server.finish(cs)
}

func (l *link) fail() {
	if l.client != nil {
		l.client.fail()
	} else {
		l.server.fail()
	}
}

// session returns the link's session with a reference of the library's, nil
// before the handshake, after a failed one and once it was given up.
func (l *link) session() *Session {
	var s *Session
	if l.client != nil {
		l.client.mu.Lock()
		defer l.client.mu.Unlock()
		if l.client.finished {
			s = l.client.session
		}
	} else {
		l.server.mu.Lock()
		defer l.server.mu.Unlock()
		if l.server.finished {
			s = l.server.session
		}
	}
	if s == nil || !s.hold() {
		return nil
	}
	return s
}

// release gives up the link's sessions.
func (l *link) release() {
	if l.server != nil {
		l.server.fail() // if it was never run
		l.server.release()
		return
	}
	l.client.release()
}

// Session returns the connection's session, nil before the handshake is
// complete and after one that failed. It is lent: the connection keeps it
// readable until Clear or Free, and Free of it is a misuse that panics. To
// keep it longer use AcquireSession.
//
// On a client in TLS 1.3 it is the last session that the server sent; until
// one arrives (see WaitSession) the session is there but not resumable, or is
// the one that was resumed. On a server it is the last that was sent.
//
// It is SSL_get_session, which is SSL_get0_session.
func (c *Conn) Session() *Session {
	s := c.link.Load().session()
	if s == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed.Load() || slices.Contains(c.lent, s) {
		s.release()
	} else {
		c.lent = append(c.lent, s)
	}
	return s
}

// AcquireSession is Session with a reference for the caller, who must Free it.
//
// It is SSL_get1_session.
func (c *Conn) AcquireSession() *Session {
	s := c.link.Load().session()
	if s == nil {
		return nil
	}
	defer s.release()
	if s.UpRef() != nil {
		return nil
	}
	return s
}

// SessionReused reports whether the handshake resumed a session, and the
// reason if not: NoneYet before the handshake and after one that failed.
//
// It is SSL_session_reused.
func (c *Conn) SessionReused() (bool, Reason) {
	l := c.link.Load()
	switch {
	case !l.done.Load():
		return false, NoneYet
	case errors.Is(l.err, ErrRevoked):
		return false, Revoked
	case !l.good:
		return false, NoneYet
	}
	if l.client != nil {
		l.client.mu.Lock()
		defer l.client.mu.Unlock()
		return l.client.resumed, l.client.reason
	}
	l.server.mu.Lock()
	defer l.server.mu.Unlock()
	return l.server.resumed, l.server.reason
}

// SetSession sets the session that the next handshake offers: the one to come,
// or the one after Clear. The connection takes a reference of its own. nil
// takes back what was set. What the connection was using falls under the
// bad-session rule, as in libssl: see Clear.
//
// From then on the connection's sessions are in the caller's hands: it offers
// what was set, nothing after nil, and what the server sends is not kept for
// connections to come (see Client).
//
// A session that was imported is verified first, against the configuration's
// roots and for its ServerName; the error says which check failed. The other
// errors are ErrServerSide, ErrOtherManager, ErrNotResumable and ErrFreed.
// Nothing changes on an error.
//
// It is SSL_set_session.
func (c *Conn) SetSession(s *Session) error {
	if !c.client {
		return ErrServerSide
	}
	if s != nil {
		if err := c.acceptable(s); err != nil {
			return err
		}
		if !s.hold() {
			return ErrFreed
		}
	}
	if c.freed.Load() {
		s.release()
		return net.ErrClosed
	}
	l := c.link.Load()
	c.on(l, sessionSet)
	c.on(l, left)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.freed.Load() {
		s.release()
		return net.ErrClosed
	}
	c.offer.release()
	c.offer, c.set, c.manual = s, true, true
	return nil
}

func (c *Conn) acceptable(s *Session) error {
	byID := !s.HasTicket()
	if !s.Resumable() || byID && !c.m.offersByID(s, c.config) {
		if s.isWiped() {
			return ErrFreed
		}
		if byID {
			return fmt.Errorf("%w: session %s has no ticket, and its id is not offered (see Config.SessionIDs)", ErrNotResumable, s.Fingerprint())
		}
		return fmt.Errorf("%w: session %s", ErrNotResumable, s.Fingerprint())
	}
	if owner := s.owner.Load(); owner != nil && owner != c.m {
		return ErrOtherManager
	}
	if err := c.m.vouch(s, c.config); err != nil {
		return err
	}
	if !s.own(c.m) {
		return ErrOtherManager
	}
	return nil
}

func (s *Session) isWiped() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.secrets.wiped
}

// on tells the fate of l's session, and gives the session up if that is bad now.
func (c *Conn) on(l *link, e event) {
	if why, turned := l.fate.on(e); turned {
		c.discard(l, why)
	}
}

// discard takes the link's session out of the cache and makes it not resumable.
func (c *Conn) discard(l *link, cause Cause) {
	if s := l.session(); s != nil {
		c.m.cache.remove(s, cause)
		if c.peer != nil { // whoever set it: it may be kept, too
			l.client.peer.drop(clientSession{session: s, once: s.ProtocolVersion() == tls.VersionTLS13})
		}
		s.release()
	}
}

// note looks for an alert, or an end without close_notify, in what the
// engine's connection said after the handshake.
func (c *Conn) note(l *link, err error) {
	if err == nil {
		return
	}
	if e, ok := l.meaning(err); ok {
		c.on(l, e)
	}
}

// meaning returns what err, from the engine's connection, says of the peer: a
// fatal alert, received or sent, or an end without close_notify; false if neither.
func (l *link) meaning(err error) (e event, ok bool) {
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		return alerted, true
	case errors.Is(err, io.ErrUnexpectedEOF):
		return peerEnded, true
	case errors.Is(err, io.EOF): // the end of the transport between two records, or close_notify
		return peerEnded, l.wire.ended.Load()
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, net.ErrClosed), l.wire.failed.Load():
		return 0, false
	}
	return alerted, true // crypto/tls's own words, beside an alert that it sent
}

// over is err, or net.ErrClosed after Free.
func (c *Conn) over(err error) error {
	if err != nil && c.freed.Load() {
		return net.ErrClosed
	}
	return err
}

// Read reads from the peer, after the handshake. If b is empty Read returns
// once the handshake is complete.
func (c *Conn) Read(b []byte) (int, error) {
	if err := c.Handshake(); err != nil || len(b) == 0 {
		return 0, err
	}
	l := c.link.Load()
	l.reader <- struct{}{}
	defer l.endRead()
	if len(l.unread) > 0 {
		n := copy(b, l.unread)
		l.unread = l.unread[n:]
		return n, nil
	}
	if l.failed != nil {
		return 0, c.over(l.failed)
	}
	n, err := l.tls.Read(b)
	c.note(l, err)
	return n, c.over(err)
}

// Write writes to the peer, after the handshake. A Write that is in progress
// when Close is called fails, and close_notify is then not sent.
func (c *Conn) Write(b []byte) (int, error) {
	if err := c.Handshake(); err != nil {
		return 0, err
	}
	l := c.link.Load()
	l.begun.Add(1)
	defer l.ended.Add(1)
	n, err := l.tls.Write(b)
	c.note(l, err)
	return n, c.over(err)
}

// WaitSession runs the handshake and waits until the server has sent a session
// that can be resumed; in TLS 1.3 that happens after the handshake and only
// while the client reads, which WaitSession does where nobody else is: what it
// reads is kept for Read. The caller must Free the session.
//
// The error is that of ctx or of a read deadline, net.ErrClosed after Free, or
// ErrNoSession where none will come: a TLS 1.2 server sent no ticket, the
// connection ended, or the server sent a megabyte and no session. ctx ends this
// wait, and the handshake only if this call runs it.
func (c *Conn) WaitSession(ctx context.Context) (*Session, error) {
	s, err := c.waitSession(ctx)
	return s, c.over(err)
}

func (c *Conn) waitSession(ctx context.Context) (*Session, error) {
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	l := c.link.Load()
	if l.client == nil {
		return c.haveSession()
	}
	for {
		arrived, news := l.client.sentSession()
		if arrived {
			return c.haveSession()
		}
		if l.client.state.Version < tls.VersionTLS13 {
			return nil, ErrNoSession
		}
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		case l.reader <- struct{}{}: // nobody else brings the session
			if err := c.waitRead(ctx, l, news); err != nil {
				return nil, err
			}
		}
	}
}

// waitRead reads ahead until there are news or the read is over. The error says
// why no other read can bring a session, or is ctx's.
func (c *Conn) waitRead(ctx context.Context, l *link, news <-chan struct{}) error {
	select {
	case <-news:
	case <-ctx.Done():
		return ctx.Err()
	case err := <-c.readAhead(l):
		if arrived, _ := l.client.sentSession(); !arrived {
			return err
		}
	}
	return nil
}

func (l *link) endRead() { <-l.reader }

func (c *Conn) haveSession() (*Session, error) {
	s := c.AcquireSession()
	if s == nil {
		return nil, ErrNoSession
	}
	if !s.Resumable() && c.client {
		s.Free()
		return nil, ErrNoSession
	}
	return s, nil
}

// sentSession reports whether the server has sent a session, and gives what is
// closed when one comes.
func (st *clientHandshake) sentSession() (bool, <-chan struct{}) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.arrived, st.news
}

// aheadLimit bounds what WaitSession reads ahead of Read.
const aheadLimit = 1 << 20

// readAhead reads once, in the background, for whoever reads next. The channel
// tells when that is over, and why no other read can bring a session. The caller
// is l's reader, and is not any more.
func (c *Conn) readAhead(l *link) <-chan error {
	ended := make(chan error, 1)
	if l.failed != nil || len(l.unread) >= aheadLimit {
		defer l.endRead()
		ended <- fmt.Errorf("%w: %w", ErrNoSession, cmp.Or(l.failed, errAheadLimit))
		return ended
	}
	go func() {
		defer l.endRead()
		ended <- c.readOnce(l)
	}()
	return ended
}

// readOnce keeps what a read gave. A deadline that has passed is for the reader
// to set anew; any other error stays. The caller is l's reader.
func (c *Conn) readOnce(l *link) error {
	buf := make([]byte, 16<<10)
	n, err := l.tls.Read(buf)
	c.note(l, err)
	l.unread = append(l.unread, buf[:n]...)
	var timeout net.Error
	if err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	l.failed = err
	return fmt.Errorf("%w: %w", ErrNoSession, err)
}

var errAheadLimit = errors.New("too much data before it")

// Close sends close_notify and closes the transport. The session stays as it
// is, cached and readable, and what the connection lent stays readable until
// Clear or Free.
//
// It is SSL_shutdown, with the transport.
func (c *Conn) Close() error {
	if c.freed.Load() {
		return net.ErrClosed
	}
	for {
		l := c.link.Load()
		if err := c.close(l); c.link.Load() == l {
			return c.over(err)
		}
	}
}

// close closes a link. If a Write is in progress crypto/tls closes the transport
// under it and sends nothing. That counts as closed in good order: the caller
// did its part, and whether a Write had just returned is chance.
func (c *Conn) close(l *link) error {
	if l.closed.Swap(true) {
		return l.tls.Close()
	}
	returned := l.ended.Load()
	c.on(l, closeBegins)
	err := l.tls.Close()
	writing := l.begun.Load() > returned
	c.closeEnds(l, writing || l.tls.CloseWrite() == nil) // it says what came of the close_notify that Close sent
	return err
}

func (c *Conn) closeEnds(l *link, sent bool) {
	if sent {
		c.on(l, closeSent)
	} else {
		c.on(l, closeUnsent)
	}
}

// Clear makes the connection ready for another handshake, over next. A session
// whose connection was closed cleanly stays: a client offers it again, unless
// it is of TLS 1.3 and the client offers sessions of its own accord: then it
// offers one that is kept and was not offered yet. After a complete handshake
// without close_notify, on servers and where SetSession was called, or after a
// fatal alert, the session is bad: it leaves the cache and is not resumed again,
// by anyone. What the connection lent is no longer kept. The old transport is
// closed.
//
// It is SSL_clear.
func (c *Conn) Clear(next net.Conn) error {
	if next == nil {
		return errors.New("reprise: Clear wants the connection to go on with")
	}
	if c.freed.Load() {
		return net.ErrClosed
	}
	l := c.link.Load()
	c.on(l, left)
	l.wire.Close()
	if c.client && !l.fate.isBad() {
		c.keep(l)
	}
	l.release()
	c.returnLent()
	c.start(next)
	return nil
}

// keep sets the link's session for the next handshake, unless SetSession was
// called for that, or the session serves once and others may offer it, or did.
func (c *Conn) keep(l *link) {
	s := l.session()
	if s == nil {
		s = l.client.unused()
	}
	shared := s != nil && s.ProtocolVersion() == tls.VersionTLS13 && l.client.keeps()
	c.mu.Lock()
	defer c.mu.Unlock()
	if s == nil || c.set || shared {
		s.release()
		return
	}
	c.offer.release()
	c.offer = s
}

func (c *Conn) returnLent() {
	c.mu.Lock()
	lent := c.lent
	c.lent = nil
	c.mu.Unlock()
	for _, s := range lent {
		s.release()
	}
}

// Free ends the connection and gives up its sessions, under the bad-session
// rule of Clear: Close first if the session is to live. Free again, or of nil,
// does nothing.
//
// It is SSL_free.
func (c *Conn) Free() {
	if c == nil {
		return
	}
	c.mu.Lock()
	freed, offer := c.freed.Swap(true), c.offer
	c.offer = nil
	c.mu.Unlock()
	if freed {
		return
	}
	l := c.link.Load()
	c.on(l, left)
	l.end()
	offer.release()
	c.returnLent()
}

// end closes the transport and gives up the link's sessions.
func (l *link) end() {
	l.wire.Close()
	l.release()
}

// ConnectionState returns crypto/tls's view of the connection. It waits for a
// handshake that is under way.
func (c *Conn) ConnectionState() tls.ConnectionState { return c.link.Load().tls.ConnectionState() }

// CloseWrite sends close_notify and leaves the reading half open. It waits for a
// Write in progress.
func (c *Conn) CloseWrite() error {
	l := c.link.Load()
	c.on(l, closeBegins)
	err := l.tls.CloseWrite()
	c.closeEnds(l, err == nil)
	return c.over(err)
}

// NetConn returns the transport, for use as tls.Conn.NetConn describes.
func (c *Conn) NetConn() net.Conn { return c.link.Load().wire.Conn }

// LocalAddr returns the transport's local address.
func (c *Conn) LocalAddr() net.Addr { return c.link.Load().tls.LocalAddr() }

// RemoteAddr returns the transport's remote address.
func (c *Conn) RemoteAddr() net.Addr { return c.link.Load().tls.RemoteAddr() }

// SetDeadline sets the transport's deadlines.
func (c *Conn) SetDeadline(t time.Time) error { return c.link.Load().tls.SetDeadline(t) }

// SetReadDeadline sets the transport's deadline for reading.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.link.Load().tls.SetReadDeadline(t) }

// SetWriteDeadline sets the transport's deadline for writing.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.link.Load().tls.SetWriteDeadline(t) }
