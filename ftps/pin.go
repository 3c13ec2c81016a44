package ftps

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"sync"
)

// Errors of a Pin, beside ErrNotResumed.
var (
	// ErrNoSession: the server has sent no session on the control connection. In
	// TLS 1.3 it arrives only while somebody reads from that connection.
	ErrNoSession = errors.New("ftps: no session of the control connection: " +
		"the server sent none, or nobody has read from the control connection since its handshake")
	// ErrSecondControl: the pin has a control connection already. Make a pin for each.
	ErrSecondControl = errors.New("ftps: second control connection with one pin: its sessions would be mixed with those of the first: make a new pin for it")
	// ErrClosed: the pin was closed.
	ErrClosed = errors.New("ftps: pin is closed")
)

// Pin holds the session of one FTP control connection and offers it for each
// of its data connections, any number of times and to any number at once. Make
// a new one for each control connection, a reconnection too.
//
// The first session that the server sends on the control connection is kept
// for good: sessions that data connections bring, and later ones of the control
// connection, are not. That a TLS 1.3 session is offered more than once lets an
// observer see that the connections are one client's (RFC 8446, appendix C.4),
// as FTP shows him anyway.
//
// A session that does not resume any more, because it expired, its certificate
// did, or the server forgot it, means full handshakes, which the server may
// refuse; Err tells. Only another control connection brings another session.
//
// All methods are safe for concurrent use.
type Pin struct {
	base *tls.Config

	mu      sync.Mutex
	key     string // under which crypto/tls knows the control connection
	control bool   // whose peer has been verified
	session *tls.ClientSessionState
	mixed   bool // what comes under key may be a data connection's: one began before there was a session
	second  bool // another control connection was seen
	closed  bool
	err     error
	news    chan struct{} // closed with the first session, or by Close
}

// NewPin returns a pin without a session. base is copied and may be nil; it is
// the configuration of an ordinary client, whose ClientSessionCache and
// SessionTicketsDisabled the pin takes charge of. Everything else keeps
// working, VerifyConnection too.
//
// Set ServerName wherever the certificate has a name: without one the session
// is still pinned, but servers that bind sessions to names may decline it where
// a library gives a name to the control connection alone.
func NewPin(base *tls.Config) *Pin {
	if base == nil {
		base = new(tls.Config)
	}
	base = base.Clone()
	base.SessionTicketsDisabled = false
	return &Pin{base: base, news: make(chan struct{})}
}

// Config returns a configuration for libraries that take one for both kinds of
// connection: the first handshake that succeeds is the control connection's,
// all others are data connections'. Where crypto/tls knows both by one name, a
// data connection that begins before the session is there leaves the pin without
// one for good: nobody could tell whose session comes then.
//
// A second control connection can be told from a data connection only where
// neither the configuration nor the library sets a server name: then all
// handshakes fail with ErrSecondControl. Elsewhere it is offered the session of
// the first; if the server declines that, data connections find none that is
// theirs, and Err returns ErrNotResumed.
func (p *Pin) Config() *tls.Config { return p.config(either) }

// Control returns the configuration of the control connection, for libraries
// that take two. A second connection with it fails with ErrSecondControl.
func (p *Pin) Control() *tls.Config { return p.config(control) }

// Data returns the configuration of data connections, for libraries that take
// two.
func (p *Pin) Data() *tls.Config { return p.config(data) }

func (p *Pin) config(r role) *tls.Config {
	c := p.base.Clone()
	c.ClientSessionCache = &sessions{p, r}
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		if verify := p.base.VerifyConnection; verify != nil {
			if err := verify(cs); err != nil {
				return err
			}
		}
		return p.verified(r, cs.DidResume)
	}
	return c
}

// Wait waits for the session. In TLS 1.2 the handshake of the control
// connection brings it; in TLS 1.3 it comes later, and only while somebody
// reads from that connection, which Wait does not do: FTP libraries read the
// reply to a command before they open a data connection, and need no Wait.
//
// The error is ErrClosed, or ErrNoSession and the cause of ctx. No other call
// tells that a server sends no sessions at all: give ctx a deadline.
func (p *Pin) Wait(ctx context.Context) error {
	select {
	case <-p.news:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrNoSession, context.Cause(ctx))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	return nil
}

// Err tells why the last data connection that did not resume did not:
// ErrNoSession, ErrNotResumed or ErrClosed; or ErrSecondControl. It is nil as
// long as all did. A data connection fails for it only if the server wills so,
// and then servers say no more than that they want session reuse.
func (p *Pin) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Close lets go of the session; connections go on, new ones do not resume. The
// secret of the session is crypto/tls's, so it is left to the garbage collector
// and not wiped. Closing again does nothing. The error is always nil.
func (p *Pin) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil && !p.closed {
		close(p.news)
	}
	p.session, p.closed = nil, true
	return nil
}

// role is the kind of connections that a configuration is for.
type role uint8

const (
	control role = iota
	data
	either // the first is the control connection
)

// sessions is to crypto/tls the cache of one configuration of a pin.
type sessions struct {
	pin  *Pin
	role role
}

// Get is crypto/tls beginning a handshake.
func (s *sessions) Get(key string) (*tls.ClientSessionState, bool) {
	p := s.pin
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case s.role == control:
		return nil, false
	case s.role == either && !p.control:
		p.key = key
		return nil, false
	case s.role == either && p.returns(key):
		p.second = true
		p.err = ErrSecondControl
		return nil, false
	case p.closed:
		p.err = ErrClosed
	case p.session == nil:
		p.mixed = p.mixed || key == p.key
		p.err = ErrNoSession
	}
	return p.session, p.session != nil
}

// returns reports whether key, of a later connection, is that of the control
// connection and can be no data connection's: an address with its port.
func (p *Pin) returns(key string) bool {
	_, err := netip.ParseAddrPort(key)
	return key == p.key && err == nil
}

// Put is crypto/tls giving a session. It gives nil where it found a session
// expired, and where a handshake failed that had offered one, for whatever
// reason: the session stays, crypto/tls checks it again each time.
func (s *sessions) Put(key string, cs *tls.ClientSessionState) {
	p := s.pin
	p.mu.Lock()
	defer p.mu.Unlock()
	if cs == nil || p.session != nil || p.closed || s.role == data {
		return
	}
	if s.role == either && (key != p.key || p.mixed) {
		return
	}
	p.session = cs
	close(p.news)
}

// verified ends what is seen of a handshake: the peer is who it should be.
func (p *Pin) verified(r role, resumed bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.second, r == control && p.control:
		p.err = ErrSecondControl
		return ErrSecondControl
	case r == control, r == either && !p.control:
		p.control = true
	case !resumed && p.session != nil:
		p.err = ErrNotResumed
	}
	return nil
}
