package reprise

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"
)

// ServeTLS serves HTTP/1 and HTTP/2 on l with sessions managed by m, as
// http.Server.ServeTLS does without: it returns when srv was shut down
// (http.ErrServerClosed) or l failed. Certificates come from certFile and
// keyFile, or from srv.TLSConfig where both are "".
//
// Handshakes are those of NewListener, so that handlers are called for proven
// peers only. FromContext and ResumptionFromContext tell about a request's
// connection. For them ServeTLS sets srv.ConnContext, to call the one that was
// there and then [ConnContext], unless it is ConnContext: set that yourself if
// srv serves another listener already.
//
// As with net/http a handshake takes the shortest of srv's ReadHeaderTimeout,
// ReadTimeout, WriteTimeout and, here, Config.HandshakeTimeout; a client that
// speaks plain HTTP is answered 400; a handshake that fails, or panics, is
// logged to srv.ErrorLog; Close closes handshakes under way, and Shutdown waits
// for them.
//
// Unlike with net/http:
//
//   - ConnState and ConnContext are called when the handshake is complete, and
//     not for those that fail;
//   - the context of a handshake has http.ServerContextKey and
//     http.LocalAddrContextKey, but nothing of BaseContext or ConnContext;
//   - Config.MaxHandshakes bounds the handshakes under way;
//   - Shutdown waits for handshakes five seconds at most, without heeding its
//     context, and ServeTLS does not return before; a Close meanwhile waits, too;
//   - if l fails for good, the handshakes under way are closed;
//   - without any certificate the error is ErrNoCertificate.
func (m *Manager) ServeTLS(srv *http.Server, l net.Listener, certFile, keyFile string) error {
	config, err := httpConfig(srv)
	if err != nil {
		return err
	}
	if _, ok := l.(*listener); ok {
		return errors.New("reprise: ServeTLS wants the listener that NewListener was given, or Serve the listener of NewListener: this would be TLS within TLS")
	}
	if certFile == "" && keyFile == "" && !bringsCertificate(config) {
		return ErrNoCertificate
	}
	if !bringsCertificate(config) || certFile != "" || keyFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	prepare(srv)
	ln := m.newListener(l, config)
	ln.context = func(ctx context.Context, nc net.Conn) context.Context {
		ctx = context.WithValue(ctx, http.ServerContextKey, srv)
		return context.WithValue(ctx, http.LocalAddrContextKey, nc.LocalAddr())
	}
	ln.graceful = shuttingDown
	ln.failed = func(nc net.Conn, err error) { handshakeFailed(srv, nc, err) }
	for _, d := range []time.Duration{srv.ReadHeaderTimeout, srv.ReadTimeout, srv.WriteTimeout} {
		if d > 0 {
			ln.timeout = min(ln.timeout, d)
		}
	}
	return srv.Serve(ln)
}

// ListenAndServeTLS is ServeTLS on a listener for srv.Addr, ":https" if that is "".
func (m *Manager) ListenAndServeTLS(srv *http.Server, certFile, keyFile string) error {
	addr := srv.Addr
	if addr == "" {
		addr = ":https"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer l.Close()
	return m.ServeTLS(srv, l, certFile, keyFile)
}

// ConnContext is for the ConnContext of an http.Server that serves a listener of
// NewListener: with it FromContext and ResumptionFromContext know about
// requests. ServeTLS sets it by itself.
func ConnContext(ctx context.Context, c net.Conn) context.Context {
	tc, _ := c.(*tls.Conn)
	if st := handshakeOf(tc); st != nil {
		ctx = context.WithValue(ctx, stateKey{}, st)
	}
	return ctx
}

// stateKey is the context key of a request's handshake.
type stateKey struct{}

// FromContext returns the session of the connection that a request came over,
// from the request's context, under ServeTLS or ConnContext. It is lent until
// the request has been served: UpRef it to keep it.
func FromContext(ctx context.Context) *Session { return handshakeIn(ctx).lend() }

// ResumptionFromContext is FromContext for how the handshake ended; ok is false
// where there is no such connection.
func ResumptionFromContext(ctx context.Context) (r Resumption, ok bool) {
	return handshakeIn(ctx).outcome()
}

func handshakeIn(ctx context.Context) *serverHandshake {
	st, _ := ctx.Value(stateKey{}).(*serverHandshake)
	return st
}

// httpConfig returns a copy of srv's configuration with the protocols that
// net/http would offer.
func httpConfig(srv *http.Server) (*tls.Config, error) {
	if err := setUpHTTP2(srv); err != nil {
		return nil, err
	}
	h1, h2 := httpProtocols(srv)
	config := cloneConfig(srv.TLSConfig)
	config.NextProtos = slices.DeleteFunc(slices.Clone(config.NextProtos), func(p string) bool {
		return p == "http/1.1" && !h1 || p == "h2" && !h2
	})
	if h2 && !slices.Contains(config.NextProtos, "h2") {
		config.NextProtos = append(config.NextProtos, "h2")
	}
	if h1 && !slices.Contains(config.NextProtos, "http/1.1") {
		config.NextProtos = append(config.NextProtos, "http/1.1")
	}
	return config, nil
}

// httpProtocols returns what srv, which was set up, speaks over TLS.
func httpProtocols(srv *http.Server) (h1, h2 bool) {
	if p := srv.Protocols; p != nil && *p != (http.Protocols{}) {
		return p.HTTP1(), p.HTTP2()
	}
	_, h2 = srv.TLSNextProto["h2"]
	return true, h2 && srv.Protocols == nil
}

// noFile is the name of no file on any system.
const noFile = "\x00"

// setUpHTTP2 has net/http set srv up for HTTP/2, which its ServeTLS does first,
// once and under a lock of its own; for want of a certificate it goes no further.
func setUpHTTP2(srv *http.Server) error {
	err := srv.ServeTLS(noConnections{}, noFile, noFile)
	if e, ok := errors.AsType[*fs.PathError](err); ok && e.Path == noFile {
		return nil
	}
	return err
}

// noConnections is a listener that gives none.
type noConnections struct{}

var errNoConnection = errors.New("reprise: no connection")

func (noConnections) Accept() (net.Conn, error) { return nil, errNoConnection }
func (noConnections) Close() error              { return nil }
func (noConnections) Addr() net.Addr            { return &net.TCPAddr{} }

// preparing is held while a server's ConnContext is looked at and set.
var preparing sync.Mutex

// prepare sets srv's ConnContext, unless it was set for another listener, which
// may be serving: then it must not be written to.
func prepare(srv *http.Server) {
	preparing.Lock()
	defer preparing.Unlock()
	if f := srv.ConnContext; f != nil && (code(f) == code(ConnContext) || code(f) == code(connContext{}.with)) {
		return
	}
	srv.ConnContext = connContext{srv.ConnContext}.with
}

// code returns the address of f's code. Closures of one literal share it, and so do
// method values of one method.
func code(f any) uintptr { return reflect.ValueOf(f).Pointer() }

// connContext calls the application's ConnContext and ours.
type connContext struct {
	inner func(context.Context, net.Conn) context.Context
}

func (cc connContext) with(ctx context.Context, c net.Conn) context.Context {
	if cc.inner != nil {
		ctx = cc.inner(ctx, c)
	}
	if ctx == nil {
		return nil // net/http panics, as without
	}
	return ConnContext(ctx, c)
}

// shuttingDown reports whether http.Server.Shutdown calls, and not Close. Both
// close the listener in the same way and wait for it, and tell nobody which they are.
func shuttingDown() bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if f.Function == "net/http.(*Server).Shutdown" {
			return true
		}
		if !more {
			return false
		}
	}
}

// handshakeFailed does what net/http does.
func handshakeFailed(srv *http.Server, nc net.Conn, err error) {
	logf := log.Printf
	if srv.ErrorLog != nil {
		logf = srv.ErrorLog.Printf
	}
	var p *panicError
	if errors.As(err, &p) {
		if p.value != http.ErrAbortHandler && p.value != errGoexit {
			logf("http: panic serving %v: %v\n%s", nc.RemoteAddr(), p.value, p.stack)
		}
		return
	}
	reason := fmt.Sprint(err) // an Error method that panics does not get further
	if re, ok := err.(tls.RecordHeaderError); ok && re.Conn != nil && looksLikeHTTP(re.RecordHeader) {
		io.WriteString(re.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
		re.Conn.Close()
		reason = "client sent an HTTP request to an HTTPS server"
	}
	logf("http: TLS handshake error from %s: %v", nc.RemoteAddr(), reason)
}

// looksLikeHTTP reports whether what came in place of a TLS record begins a request.
func looksLikeHTTP(header [5]byte) bool {
	switch string(header[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		return true
	}
	return false
}
