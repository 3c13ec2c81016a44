package reprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
)

// web is an http.Server that ConfigureServer configured, told what it sees.
type web struct {
	t    testing.TB
	m    *reprise.Manager
	srv  *http.Server
	addr string
}

// request is what a handler saw of its connection.
type request struct {
	Proto    int
	ALPN     string
	Session  bool // FromContext gave one
	Same     bool // and SessionOf the same one
	Told     bool // ResumptionFromContext knew, and ResumptionOf agreed
	Resumed  bool
	Reason   string
	Version  uint16
	Hostname string
}

type connKey struct{}

// answer is the handler: it tells the client what it saw, and the client shall
// not come again on this connection.
func answer(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	c, _ := ctx.Value(connKey{}).(*tls.Conn)
	s := reprise.FromContext(ctx)
	res, ok := reprise.ResumptionFromContext(ctx)
	other, also := reprise.ResumptionOf(c)
	saw := request{
		Proto: r.ProtoMajor, ALPN: r.TLS.NegotiatedProtocol,
		Session: s != nil, Same: s == reprise.SessionOf(c),
		Told: ok && also && res == other, Resumed: res.Resumed, Reason: res.Reason.String(),
	}
	if s != nil {
		saw.Version, saw.Hostname = s.ProtocolVersion(), s.Hostname()
	}
	json.NewEncoder(w).Encode(saw)
}

// serveTLS and listenAndServeTLS are the two ways to start a server.
func serveTLS(t testing.TB, srv *http.Server) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return err
	}
	return srv.ServeTLS(l, "", "")
}

func listenAndServeTLS(_ testing.TB, srv *http.Server) error {
	srv.Addr = "127.0.0.1:0"
	return srv.ListenAndServeTLS("", "")
}

// newWeb configures srv for m, the certificate and the conn key added, and starts it.
func newWeb(r *rig, m *reprise.Manager, srv *http.Server, start func(testing.TB, *http.Server) error) *web {
	t := r.t
	t.Helper()
	srv.TLSConfig = r.server
	if srv.Handler == nil {
		srv.Handler = http.HandlerFunc(answer)
	}
	inner := srv.ConnContext
	srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if inner != nil {
			ctx = inner(ctx, c)
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	srv.ErrorLog = log.New(io.Discard, "", 0)
	started := make(chan string, 1)
	srv.BaseContext = func(l net.Listener) context.Context {
		started <- l.Addr().String()
		return context.Background()
	}
	if err := m.ConfigureServer(srv); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- start(t, srv) }()
	t.Cleanup(func() {
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("server ended: %v", err)
		}
	})
	select {
	case addr := <-started:
		return &web{t: t, m: m, srv: srv, addr: addr}
	case err := <-ended:
		ended <- http.ErrServerClosed
		t.Fatalf("server did not start: %v", err)
		return nil
	}
}

// get makes one request on a connection of its own.
func (w *web) get(config *tls.Config) (saw request) {
	w.t.Helper()
	tr := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://" + w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&saw); err != nil {
		w.t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	return saw
}

func TestConfigureServer(t *testing.T) {
	r := newRig(t)
	starts := map[string]func(testing.TB, *http.Server) error{"ServeTLS": serveTLS, "ListenAndServeTLS": listenAndServeTLS}
	for name, start := range starts {
		for _, version := range versions[2:] {
			for _, noTickets := range []bool{false, true} {
				t.Run(name+"/"+tls.VersionName(version)+map[bool]string{false: "/ticket", true: "/handle"}[noTickets], func(t *testing.T) {
					m := manager(t, reprise.Config{NoTickets: noTickets})
					w := newWeb(&rig{t: t, server: r.server}, m, &http.Server{}, start)
					cc := manager(t, reprise.Config{}).ClientConfig(at(version, r.client))
					want := request{
						Proto: 2, ALPN: "h2", Session: true, Same: true, Told: true,
						Reason: "nothing offered", Version: version, Hostname: "a.test",
					}
					if saw := w.get(cc); saw != want {
						t.Errorf("first request saw %+v\nwant %+v", saw, want)
					}
					want.Resumed, want.Reason = true, "resumed"
					if saw := w.get(cc); saw != want {
						t.Errorf("second request saw %+v\nwant %+v", saw, want)
					}
					st := m.Stats()
					if st.Accept != 2 || st.AcceptGood != 2 || st.Hits != 1 || st.NotResumed[reprise.NothingOffered] != 1 {
						t.Errorf("%+v: want two handshakes, both finished, one resumed", st)
					}
					if cached := m.Len() > 0; cached != noTickets {
						t.Errorf("%d sessions cached, tickets are off: %v", m.Len(), noTickets)
					}
				})
			}
		}
	}
}

func TestConfigureServerHTTP1(t *testing.T) {
	r := newRig(t)
	onlyHTTP1 := new(http.Protocols)
	onlyHTTP1.SetHTTP1(true)
	for name, srv := range map[string]*http.Server{
		"Protocols":    {Protocols: onlyHTTP1},
		"TLSNextProto": {TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWeb(&rig{t: t, server: r.server}, manager(t, reprise.Config{}), srv, serveTLS)
			cc := manager(t, reprise.Config{}).ClientConfig(r.client)
			for _, resumed := range []bool{false, true} {
				saw := w.get(cc)
				if saw.Proto != 1 || saw.ALPN != "http/1.1" || saw.Resumed != resumed || !saw.Same {
					t.Errorf("saw %+v, want HTTP/1.1, resumed %v", saw, resumed)
				}
			}
		})
	}
}

// TestConfigureServerChains: the application's own hooks go on working.
func TestConfigureServerChains(t *testing.T) {
	r := newRig(t)
	type mine struct{}
	states := make(chan http.ConnState, 16)
	var value any
	srv := &http.Server{
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context { return context.WithValue(ctx, mine{}, "kept") },
		ConnState:   func(_ net.Conn, s http.ConnState) { states <- s },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			value = r.Context().Value(mine{})
			answer(w, r)
		}),
	}
	w := newWeb(r, manager(t, reprise.Config{}), srv, serveTLS)
	if saw := w.get(r.client); !saw.Session {
		t.Errorf("no session with hooks of the application: %+v", saw)
	}
	if value != "kept" {
		t.Errorf("the application's ConnContext gave %v", value)
	}
	for _, want := range []http.ConnState{http.StateNew, http.StateActive} {
		if got := <-states; got != want {
			t.Errorf("ConnState was told %v, want %v", got, want)
		}
	}
	for got := range states { // the test hangs if it never comes
		if got == http.StateClosed {
			break
		}
	}
}

func TestConfigureServerNoCertificate(t *testing.T) {
	m := manager(t, reprise.Config{})
	for _, config := range []*tls.Config{nil, {}} {
		srv := &http.Server{TLSConfig: config}
		err := m.ConfigureServer(srv)
		if !errors.Is(err, reprise.ErrNoCertificate) {
			t.Fatalf("got %v, want ErrNoCertificate", err)
		}
		for _, word := range []string{"ServeTLS", "tls.LoadX509KeyPair", "TLSConfig.Certificates"} {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q does not say %q: the reader cannot act on it", err, word)
			}
		}
		if srv.ConnContext != nil || srv.ConnState != nil || srv.TLSConfig != config {
			t.Error("the server was changed in spite of the error")
		}
	}
	r := newRig(t)
	cert := r.server.Certificates[0]
	srv := &http.Server{TLSConfig: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }}}
	if err := m.ConfigureServer(srv); err != nil {
		t.Errorf("a GetCertificate brings certificates too: %v", err)
	}
}

func TestConfigureServerHijack(t *testing.T) {
	r := newRig(t)
	r.server = r.server.Clone()
	sessions := make(chan bool, 1)
	srv := &http.Server{
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			nc, rw, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			go func() {
				defer nc.Close()
				rw.WriteString("mine now\n")
				rw.Flush()
				sessions <- reprise.SessionOf(nc.(*tls.Conn)) != nil
			}()
		}),
	}
	w := newWeb(r, manager(t, reprise.Config{}), srv, serveTLS)
	c, err := tls.Dial("tcp", w.addr, r.client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	if got, err := io.ReadAll(c); err != nil || string(got) != "mine now\n" {
		t.Errorf("read %q, %v", got, err)
	}
	if !<-sessions {
		t.Error("a hijacked connection has no session")
	}
}

// memoryListener hands out the server's ends of connections in memory.
type memoryListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newMemoryListener() *memoryListener {
	return &memoryListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *memoryListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *memoryListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *memoryListener) Addr() net.Addr { return memoryAddr{} }

type memoryAddr struct{}

func (memoryAddr) Network() string { return "memory" }
func (memoryAddr) String() string  { return "memory" }

func (l *memoryListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- untimed{server}
	return untimed{client}
}

// untimed is a connection in memory without the write deadlines that crypto/tls
// sets when it closes: their timers would hold the connection for a while.
type untimed struct{ net.Conn }

func (untimed) SetWriteDeadline(time.Time) error { return nil }

// keeping returns a client's configuration that wants tickets.
func keeping(c *tls.Config) *tls.Config {
	c = c.Clone()
	c.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	return c
}

// TestSessionOfClosed: the session is lent while the connection is open.
func TestSessionOfClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		conns := make(chan *tls.Conn, 1)
		srv := &http.Server{
			TLSConfig: r.server,
			Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				conns <- r.Context().Value(connKey{}).(*tls.Conn)
			}),
			ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		}
		m := manager(t, reprise.Config{NoTickets: true})
		if err := m.ConfigureServer(srv); err != nil {
			t.Fatal(err)
		}
		l := newMemoryListener()
		go srv.ServeTLS(l, "", "")
		c := tls.Client(l.dial(), keeping(r.client))
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		go io.Copy(io.Discard, c)
		served := <-conns
		s := reprise.SessionOf(served)
		if s == nil {
			t.Fatal("no session while the connection is open")
		}
		if err := s.UpRef(); err != nil {
			t.Fatal(err)
		}
		c.Close()
		synctest.Wait()
		if reprise.SessionOf(served) != nil {
			t.Error("SessionOf gives a session after the connection was closed")
		}
		if key, err := s.MasterKey(); err != nil || len(key) == 0 {
			t.Errorf("a session that was kept lost its secret: %v", err)
		}
		s.Free()
		if m.Len() != 1 {
			t.Errorf("%d sessions cached, want the one", m.Len())
		}
		srv.Close()
	})
}

// TestUnfinishedHandshake: of a client that goes away or is none, nothing stays.
func TestUnfinishedHandshake(t *testing.T) {
	clients := map[string]func(net.Conn, *tls.Config){
		"goes away after its hello": func(c net.Conn, config *tls.Config) {
			tls.Client(deaf{c}, config).Handshake()
		},
		"garbage":       func(c net.Conn, _ *tls.Config) { io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") },
		"half a record": func(c net.Conn, _ *tls.Config) { c.Write([]byte{22, 3, 1, 2, 0, 1}) },
		"says nothing":  func(net.Conn, *tls.Config) {},
	}
	for name, client := range clients {
		for _, version := range versions[2:] {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					m := manager(t, reprise.Config{
						NoTickets: true,
						OnNew:     func(s *reprise.Session) { t.Errorf("OnNew for %v", s) },
						OnRemove:  func(s *reprise.Session, c reprise.Cause) { t.Errorf("OnRemove for %v: %v", s, c) },
					})
					mem := newMemoryListener()
					l := m.NewListener(mem, r.server)
					go func() {
						c := mem.dial()
						client(c, at(version, keeping(r.client)))
						c.Close()
					}()
					c, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					tc := c.(*tls.Conn)
					if err := tc.Handshake(); err == nil {
						t.Fatal("the handshake was finished")
					}
					synctest.Wait()
					if s := reprise.SessionOf(tc); s != nil {
						t.Errorf("it has a session: %v", s)
					}
					if _, ok := reprise.ResumptionOf(tc); ok {
						t.Error("ResumptionOf says that it ended well")
					}
					c.Close()
					if st := m.Stats(); st.AcceptGood != 0 || st.Number != 0 || st.Hits != 0 || len(st.NotResumed) != 0 {
						t.Errorf("it was counted: %+v", st)
					}
				})
			})
		}
	}
}

// deaf is a connection that ends when it is read from.
type deaf struct{ net.Conn }

func (c deaf) Read([]byte) (int, error) {
	c.Close()
	return 0, io.EOF
}

// accept runs a server that says what it saw on each connection.
func accept(t *testing.T, l net.Listener) <-chan *reprise.Session {
	seen := make(chan *reprise.Session, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			tc := c.(*tls.Conn)
			if reprise.SessionOf(tc) != nil {
				t.Error("a session before the handshake")
			}
			buf := make([]byte, 1)
			if _, err := io.ReadFull(tc, buf); err != nil {
				t.Error(err)
			}
			s := reprise.SessionOf(tc)
			if s != nil {
				if err := s.UpRef(); err != nil {
					t.Error(err)
				}
			}
			tc.Write(buf)
			tc.Close()
			if reprise.SessionOf(tc) != nil {
				t.Error("a session after Close")
			}
			seen <- s
		}
	}()
	return seen
}

// ping dials, exchanges a byte and reports whether the session was resumed.
func ping(t *testing.T, addr net.Addr, config *tls.Config) (resumed bool) {
	t.Helper()
	c, err := tls.Dial("tcp", addr.String(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write([]byte{'x'})
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, []byte{'x'}) {
		t.Fatalf("read %q, %v", got, err)
	}
	return c.ConnectionState().DidResume
}

func TestNewListener(t *testing.T) {
	r := newRig(t)
	for _, version := range versions {
		for _, noTickets := range []bool{false, true} {
			t.Run(tls.VersionName(version)+map[bool]string{false: "/ticket", true: "/handle"}[noTickets], func(t *testing.T) {
				m := manager(t, reprise.Config{NoTickets: noTickets})
				inner, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer inner.Close()
				seen := accept(t, m.NewListener(inner, r.server))
				cc := manager(t, reprise.Config{}).ClientConfig(at(version, r.client))
				var firstAuth [2]int64
				for i := range firstAuth {
					if resumed := ping(t, inner.Addr(), cc); resumed != (i == 1) {
						t.Errorf("connection %d: resumed %v", i, resumed)
					}
					s := <-seen
					if s == nil {
						t.Fatalf("connection %d has no session", i)
					}
					firstAuth[i] = s.FirstAuthentication().Unix()
					s.Free()
				}
				if firstAuth[0] != firstAuth[1] {
					t.Error("the resumption forgot when its line began")
				}
				if st := m.Stats(); st.Accept != 2 || st.AcceptGood != 2 || st.Hits != 1 {
					t.Errorf("%+v: want two handshakes, one of them resumed", st)
				}
			})
		}
	}
}

// TestServerConfigListener: the lowest level resumes too, but knows no connections.
func TestServerConfigListener(t *testing.T) {
	r := newRig(t)
	for _, version := range versions[2:] {
		for _, noTickets := range []bool{false, true} {
			t.Run(tls.VersionName(version)+map[bool]string{false: "/ticket", true: "/handle"}[noTickets], func(t *testing.T) {
				m := manager(t, reprise.Config{NoTickets: noTickets})
				l, err := tls.Listen("tcp", "127.0.0.1:0", m.ServerConfig(r.server))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				seen := accept(t, l)
				cc := manager(t, reprise.Config{}).ClientConfig(at(version, r.client))
				for i := range 3 {
					if resumed := ping(t, l.Addr(), cc); resumed != (i > 0) {
						t.Errorf("connection %d: resumed %v", i, resumed)
					}
					if s := <-seen; s != nil {
						t.Errorf("SessionOf knows a connection that is not ours: %v", s)
					}
				}
				if st := m.Stats(); st.Accept != 3 || st.AcceptGood != 0 || st.Hits != 2 {
					t.Errorf("%+v: want three handshakes, two resumed, and none seen complete", st)
				}
			})
		}
	}
}

func TestSessionOfForeign(t *testing.T) {
	if reprise.SessionOf(nil) != nil || reprise.FromContext(t.Context()) != nil {
		t.Error("a session out of nothing")
	}
	if _, ok := reprise.ResumptionOf(nil); ok {
		t.Error("a resumption of nothing")
	}
	if _, ok := reprise.ResumptionFromContext(t.Context()); ok {
		t.Error("a resumption out of an empty context")
	}
}

// TestHeapFlat: connections leave nothing behind in the process.
func TestHeapFlat(t *testing.T) { heapFlat(t, 500, 1000) }

// TestLongHeapFlat is TestHeapFlat with 100 000 connections.
func TestLongHeapFlat(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 to make 100 000 connections")
	}
	heapFlat(t, 2000, 50_000)
}

// heapFlat makes n connections under tickets and n under handles, and compares
// the heap at the end with the one after the first few.
func heapFlat(t *testing.T, first, n int) {
	const allowed = 1 << 20 // bytes; what is kept per connection shows as a multiple of n
	for _, noTickets := range []bool{false, true} {
		t.Run(map[bool]string{false: "ticket", true: "handle"}[noTickets], func(t *testing.T) {
			r := newRig(t)
			m := manager(t, reprise.Config{NoTickets: noTickets, CacheSize: 512})
			srv := &http.Server{TLSConfig: r.server, Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0)}
			if err := m.ConfigureServer(srv); err != nil {
				t.Fatal(err)
			}
			l := newMemoryListener()
			go srv.ServeTLS(l, "", "")
			defer srv.Close()
			many(t, l, r.client, first)
			before := heapBelow(0)
			many(t, l, r.client, n-first)
			if after := heapBelow(before + allowed); after > before+allowed {
				t.Errorf("heap grew from %d to %d bytes over %d connections", before, after, n-first)
			}
			if st := m.Stats(); st.AcceptGood != uint64(n) || st.Hits < uint64(n/2) || st.Number > 512 {
				t.Errorf("%+v: want %d handshakes, most of them resumed, at most 512 sessions", st, n)
			}
		})
	}
}

// heapBelow collects until the heap is at most limit or stays as it is: what
// cleanups let go of is collected in the next round.
func heapBelow(limit uint64) uint64 {
	var stats runtime.MemStats
	for range 10 {
		runtime.GC()
		runtime.ReadMemStats(&stats)
		if stats.HeapAlloc <= limit {
			break
		}
	}
	return stats.HeapAlloc
}

// many makes n connections, some at a time.
func many(t *testing.T, l *memoryListener, config *tls.Config, n int) {
	var wg sync.WaitGroup
	const workers = 4
	for w := range workers {
		wg.Go(func() {
			config := at(tls.VersionTLS13, config)
			config.CurvePreferences = []tls.CurveID{tls.X25519}
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			for i := w; i < n; i += workers {
				c := tls.Client(l.dial(), config)
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
				if got, err := io.ReadAll(c); err != nil || !bytes.Contains(got, []byte(`"Session":true`)) {
					t.Errorf("read %q, %v", got, err)
					return
				}
				c.Close()
			}
		})
	}
	wg.Wait()
}
