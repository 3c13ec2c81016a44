package reprise

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"reflect"
	"runtime"
	"slices"
	"time"
)

// ServeTLS serves HTTP/1 and HTTP/2 on l with sessions managed by m, as
// http.Server.ServeTLS does without: it returns when srv was shut down
// (http.ErrServerClosed) or l failed. Certificates come from certFile and
// keyFile, or from srv.TLSConfig where both are "".
//
// Handshakes are those of NewListener, so that handlers are called for proven
// peers only. SessionFromContext, ResumptionFromContext tell about a request's
// connection. It sets srv.ConnContext, which calls the one that was there, and
// adds "h2" to the protocols of srv.TLSConfig where srv speaks HTTP/2.
//
// As with net/http a handshake takes the shortest of srv's ReadHeaderTimeout,
// ReadTimeout, WriteTimeout and, here, Config.HandshakeTimeout; a client that
// speaks plain HTTP is answered 400; a handshake that fails, or panics, is
// logged to srv.ErrorLog; Close closes handshakes under way, and Shutdown waits
// for them, five seconds at most, without heeding its context meanwhile.
//
// Unlike with net/http, ConnState and ConnContext are called when the handshake
// is complete, and not for those that fail; the context of a handshake has
// http.ServerContextKey and http.LocalAddrContextKey, but nothing of BaseContext
// or ConnContext.
func (m *Manager) ServeTLS(srv *http.Server, l net.Listener, certFile, keyFile string) error {
	config, err := httpConfig(srv)
	if err != nil {
		return err
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
	ln.ctx = context.WithValue(context.WithValue(ln.ctx, http.ServerContextKey, srv), http.LocalAddrContextKey, l.Addr())
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
	h2, err := speaksHTTP2(srv)
	if err != nil {
		return nil, err
	}
	h1 := srv.Protocols == nil || srv.Protocols.HTTP1()
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
	if h2 && srv.TLSConfig != nil && !slices.Contains(srv.TLSConfig.NextProtos, "h2") {
		// Serve sets HTTP/2 up only where it finds it here.
		srv.TLSConfig = srv.TLSConfig.Clone()
		srv.TLSConfig.NextProtos = config.NextProtos
	}
	return config, nil
}

// speaksHTTP2 asks net/http itself, by a server that has srv's settings and
// serves nothing: GODEBUG has a say, too. The error is one that srv.ServeTLS
// would return.
func speaksHTTP2(srv *http.Server) (bool, error) {
	trial := &http.Server{TLSConfig: cloneConfig(srv.TLSConfig), TLSNextProto: srv.TLSNextProto, Protocols: srv.Protocols, HTTP2: srv.HTTP2}
	trial.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errNoConnection }
	if err := trial.ServeTLS(noConnections{}, "", ""); !errors.Is(err, errNoConnection) {
		return false, err
	}
	return trial.TLSNextProto["h2"] != nil, nil
}

// noConnections is a listener that gives none.
type noConnections struct{}

var errNoConnection = errors.New("reprise: no connection")

func (noConnections) Accept() (net.Conn, error) { return nil, errNoConnection }
func (noConnections) Close() error              { return nil }
func (noConnections) Addr() net.Addr            { return &net.TCPAddr{} }

// prepare sets srv's ConnContext, unless it was set for another listener.
func prepare(srv *http.Server) {
	if srv.ConnContext != nil && code(srv.ConnContext) == code(chained(nil)) {
		return
	}
	srv.ConnContext = chained(srv.ConnContext)
}

func code(f any) uintptr { return reflect.ValueOf(f).Pointer() }

// chained returns a ConnContext that calls inner and ConnContext.
func chained(inner func(context.Context, net.Conn) context.Context) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, c net.Conn) context.Context {
		if inner != nil {
			ctx = inner(ctx, c)
		}
		if ctx == nil {
			return nil // net/http panics, as without
		}
		return ConnContext(ctx, c)
	}
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
		if p.value != http.ErrAbortHandler {
			logf("http: panic serving %v: %v\n%s", nc.RemoteAddr(), p.value, p.stack)
		}
		return
	}
	reason := err.Error()
	if re, ok := err.(tls.RecordHeaderError); ok && re.Conn != nil && looksLikeHTTP(re.RecordHeader) {
		io.WriteString(re.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
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
