package reprise

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"weak"
)

// ErrNoCertificate: the configuration of a server brings no certificate.
var ErrNoCertificate = errors.New("reprise: no certificate in the server's TLSConfig: " +
	"files given to ServeTLS or ListenAndServeTLS are invisible to a per-connection configuration; " +
	"load them with tls.LoadX509KeyPair into TLSConfig.Certificates and give ServeTLS empty names")

// NewListener returns a listener whose connections are *tls.Conn of crypto/tls
// with sessions managed by m; SessionOf and ResumptionOf tell about each. It
// sees handshakes complete and connections end, unlike ServerConfig; alerts and
// the bad-session rule need Server. config is copied and must bring a
// certificate.
func (m *Manager) NewListener(inner net.Listener, config *tls.Config) net.Listener {
	return &listener{Listener: inner, m: m, config: m.ServerConfig(config)}
}

type listener struct {
	net.Listener
	m      *Manager
	config *tls.Config
}

// Accept returns the next connection, a *tls.Conn whose handshake is still to run.
func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	st := &serverHandshake{m: l.m, watched: true}
	c := tls.Server(&wire{Conn: nc, server: st, onEnd: st.release}, l.config)
	st.conn = c
	return c, nil
}

// Resumption says how a handshake ended.
type Resumption struct {
	Resumed bool
	Reason  Reason // why not; Resumed if so
}

// SessionOf returns the session of a connection that a NewListener accepted or
// a server configured by ConfigureServer serves, nil before the handshake is
// complete, once the connection is closed and for any other connection. It is
// lent while the connection is open: UpRef it to keep it. net/http does not tell
// when a connection that a handler hijacked is closed: its session stays. Not
// to be called from a hook of crypto/tls.
func SessionOf(c *tls.Conn) *Session { return handshakeOf(c).lend() }

// ResumptionOf is SessionOf for how the handshake ended; ok is false where
// SessionOf would say nothing.
func ResumptionOf(c *tls.Conn) (r Resumption, ok bool) { return handshakeOf(c).outcome() }

// FromContext returns the session of the connection that a request came over,
// from the request's context, under a server configured by ConfigureServer. It
// is lent until the request has been served: UpRef it to keep it.
func FromContext(ctx context.Context) *Session { return handshakeIn(ctx).lend() }

// ResumptionFromContext is FromContext for how the handshake ended; ok is false
// where there is no such connection.
func ResumptionFromContext(ctx context.Context) (r Resumption, ok bool) {
	return handshakeIn(ctx).outcome()
}

func handshakeOf(c *tls.Conn) *serverHandshake {
	if c == nil {
		return nil
	}
	if w, ok := c.NetConn().(*wire); ok {
		return w.server
	}
	if st, ok := served.Load(weak.Make(c)); ok {
		return st.(weak.Pointer[serverHandshake]).Value()
	}
	return nil
}

// served finds the state of a connection that a configured http.Server serves.
// Both sides are weak: whatever becomes of the connection, nothing stays.
var served sync.Map // weak.Pointer[tls.Conn] to weak.Pointer[serverHandshake]

func serve(c *tls.Conn, st *serverHandshake) {
	key := weak.Make(c)
	served.Store(key, weak.Make(st))
	runtime.AddCleanup(c, func(key weak.Pointer[tls.Conn]) { served.Delete(key) }, key)
}

func handshakeIn(ctx context.Context) *serverHandshake {
	st, _ := ctx.Value(stateKey{}).(*serverHandshake)
	return st
}

// lend returns the session of a completed handshake, without a reference.
func (st *serverHandshake) lend() *Session {
	if !st.complete() {
		return nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.session
}

func (st *serverHandshake) outcome() (Resumption, bool) {
	if !st.complete() {
		return Resumption{}, false
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return Resumption{st.resumed, st.reason}, true
}

// complete reports whether the handshake is. It does not wait for await, which
// may not have run yet.
func (st *serverHandshake) complete() bool {
	if st == nil || st.conn == nil {
		return false
	}
	st.mu.Lock()
	finished, completed := st.finished, st.completed
	st.mu.Unlock()
	if !finished {
		cs := st.conn.ConnectionState()
		if completed = cs.HandshakeComplete; completed {
			st.finish(&cs)()
		}
	}
	return completed
}

// ConfigureServer makes srv's TLS sessions managed by m, HTTP/1 and HTTP/2: it
// sets TLSConfig, its NextProtos, ConnContext and ConnState, chaining those
// that srv has. Call it once, before serving, with the certificate in
// srv.TLSConfig, and give ListenAndServeTLS or ServeTLS empty file names.
//
// It returns ErrNoCertificate where TLSConfig brings none: crypto/tls does not
// show the certificates of files given to ServeTLS to the configuration that
// each connection gets, and every handshake would fail.
func (m *Manager) ConfigureServer(srv *http.Server) error {
	base := cloneConfig(srv.TLSConfig)
	if len(base.Certificates) == 0 && base.GetCertificate == nil && base.GetConfigForClient == nil {
		return ErrNoCertificate
	}
	base.NextProtos = nextProtos(srv, base.NextProtos)
	srv.TLSConfig = m.ServerConfig(base)
	inner := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, nc net.Conn) context.Context {
		if inner != nil {
			ctx = inner(ctx, nc)
		}
		if c, ok := nc.(*tls.Conn); ok {
			st := &serverHandshake{m: m, watched: true, conn: c}
			serve(c, st)
			ctx = context.WithValue(ctx, stateKey{}, st)
		}
		return ctx
	}
	told := srv.ConnState
	srv.ConnState = func(nc net.Conn, state http.ConnState) {
		if told != nil {
			told(nc, state)
		}
		if c, ok := nc.(*tls.Conn); ok && state == http.StateClosed {
			if st := handshakeOf(c); st != nil {
				st.release()
			}
		}
	}
	return nil
}

// nextProtos is what net/http would offer: it looks only at its own copy of the
// configuration, not at the one that a connection gets.
func nextProtos(srv *http.Server, protos []string) []string {
	protos = slices.Clone(protos)
	h1, h2 := true, srv.TLSNextProto == nil || srv.TLSNextProto["h2"] != nil
	if p := srv.Protocols; p != nil {
		h1, h2 = p.HTTP1(), p.HTTP2()
	}
	if h2 && !slices.Contains(protos, "h2") {
		protos = append([]string{"h2"}, protos...)
	}
	if h1 && !slices.Contains(protos, "http/1.1") {
		protos = append(protos, "http/1.1")
	}
	return protos
}
