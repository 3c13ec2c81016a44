package reprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
)

// web is an http.Server under ServeTLS, told what it sees.
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
func serveTLS(t testing.TB, m *reprise.Manager, srv *http.Server) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return err
	}
	return m.ServeTLS(srv, l, "", "")
}

func listenAndServeTLS(_ testing.TB, m *reprise.Manager, srv *http.Server) error {
	srv.Addr = "127.0.0.1:0"
	return m.ListenAndServeTLS(srv, "", "")
}

// newWeb configures srv for m, the certificate and the conn key added, and starts it.
func newWeb(r *rig, m *reprise.Manager, srv *http.Server, start func(testing.TB, *reprise.Manager, *http.Server) error) *web {
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
	ended := make(chan error, 1)
	go func() { ended <- start(t, m, srv) }()
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

func TestServeTLS(t *testing.T) {
	r := newRig(t)
	starts := map[string]func(testing.TB, *reprise.Manager, *http.Server) error{"ServeTLS": serveTLS, "ListenAndServeTLS": listenAndServeTLS}
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

func TestServeTLSHTTP1(t *testing.T) {
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

// TestServeTLSChains: the application's own hooks go on working.
func TestServeTLSChains(t *testing.T) {
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

// TestServeTLSNoCertificate: without a certificate the error says what to do.
func TestServeTLSNoCertificate(t *testing.T) {
	m := manager(t, reprise.Config{})
	for _, config := range []*tls.Config{nil, {}} {
		srv := &http.Server{TLSConfig: config}
		l := newMemoryListener()
		if err := m.ServeTLS(srv, l, "", ""); !errors.Is(err, reprise.ErrNoCertificate) {
			t.Errorf("got %v", err)
		}
		if srv.ConnContext != nil {
			t.Error("the server was changed in spite of the error")
		}
	}
}

func TestServeTLSHijack(t *testing.T) {
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
		l := newMemoryListener()
		go m.ServeTLS(srv, l, "", "")
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
			l := newMemoryListener()
			go m.ServeTLS(srv, l, "", "")
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

// serveFunc is http.Server.ServeTLS, plain or ours.
type serveFunc func(srv *http.Server, l net.Listener, certFile, keyFile string) error

// stage is a server in a synctest bubble and what it says.
type stage struct {
	*rig
	srv  *http.Server
	l    *memoryListener
	cert string // files
	key  string
	// inner wraps l, if it is set.
	inner func(net.Listener) net.Listener

	log    syncBuffer
	states syncBuffer
	ended  chan error

	mu    sync.Mutex
	lines []string
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// say adds a line to what is compared.
func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// start serves, once play has set everything up.
func (s *stage) start(serve serveFunc, cert, key string) {
	var l net.Listener = s.l
	if s.inner != nil {
		l = s.inner(l)
	}
	go func() { s.ended <- serve(s.srv, l, cert, key) }()
}

// dial connects with the client's configuration, changed.
func (s *stage) dial(change func(*tls.Config)) *tls.Conn {
	config := s.client.Clone()
	if change != nil {
		change(config)
	}
	return tls.Client(s.l.dialBuffered(), config)
}

// get makes a request over HTTP/1 on a connection of its own and says what comes of it.
func (s *stage) get(change func(*tls.Config), request string) {
	c := s.dial(change)
	defer c.Close()
	s.exchange(c, request)
}

func (s *stage) exchange(c net.Conn, request string) {
	if tc, ok := c.(*tls.Conn); ok && tc.Handshake() == nil {
		time.Sleep(time.Millisecond) // virtual: the server's side ends before, and the client sees how
	}
	c.SetReadDeadline(time.Now().Add(2 * time.Hour)) // where the server waits for ever
	if request != "" {
		if _, err := io.WriteString(c, request); err != nil {
			s.say("%q: %v", request[:min(len(request), 40)], err)
			return
		}
	}
	got, err := io.ReadAll(c)
	s.say("%q gives %q, %v", request[:min(len(request), 40)], dated.ReplaceAll(got, nil), err)
}

var dated = regexp.MustCompile(`(?m)^Date: .*\n`)

const plainRequest = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"

// logged says what was logged, without the stacks.
func (s *stage) logged() {
	synctest.Wait()
	for line := range strings.Lines(s.log.String()) {
		if strings.HasPrefix(line, "http: ") || strings.Contains(line, "superfluous") {
			s.say("log: %s", line)
		}
	}
}

// acts are what the two are compared in. Each is a play in a bubble of its own.
var acts = map[string]func(*stage, serveFunc){}

// TestServeTLSComparison: one program against net/http's ServeTLS and ours sees
// the same, but for what the doc comment names.
func TestServeTLSComparison(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(acts)) {
		t.Run(name, func(t *testing.T) {
			plain := play(t, acts[name], nil)
			managed := play(t, acts[name], new(reprise.Config))
			if len(plain) == 0 {
				t.Fatal("nothing to compare")
			}
			if !slices.Equal(plain, managed) {
				t.Errorf("net/http:\n\t%s\nours:\n\t%s", strings.Join(plain, "\n\t"), strings.Join(managed, "\n\t"))
			}
		})
	}
}

// play returns what an act says, under a Manager of config or, if it is nil, plain net/http.
func play(t *testing.T, act func(*stage, serveFunc), config *reprise.Config) (lines []string) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{rig: newRig(t), l: newMemoryListener(), ended: make(chan error, 2)}
		s.srv = &http.Server{
			TLSConfig: s.server, ErrorLog: log.New(&s.log, "", 0),
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%s %s %v %s", r.Proto, r.URL, r.TLS.NegotiatedProtocol, r.RemoteAddr)
			}),
		}
		serve := (*http.Server).ServeTLS
		if config != nil {
			serve = manager(t, *config).ServeTLS
		}
		act(s, serve)
		s.l.Close()
		s.srv.Close()
		time.Sleep(time.Minute) // connections linger for a moment
		s.mu.Lock()
		defer s.mu.Unlock()
		lines = s.lines
	})
	return lines
}

func protocolsOf(set ...func(*http.Protocols, bool)) *http.Protocols {
	p := new(http.Protocols)
	for _, f := range set {
		f(p, true)
	}
	return p
}

var (
	withHTTP1       = (*http.Protocols).SetHTTP1
	withHTTP2       = (*http.Protocols).SetHTTP2
	withUnencrypted = (*http.Protocols).SetUnencryptedHTTP2
)

// protocolRows are settings that decide on protocols.
func protocolRows() map[string]func(*http.Server) {
	own := func(_ *http.Server, c *tls.Conn, _ http.Handler) { io.WriteString(c, "own protocol"); c.Close() }
	type handlers = map[string]func(*http.Server, *tls.Conn, http.Handler)
	rows := map[string]func(*http.Server){
		"nothing set":           func(*http.Server) {},
		"HTTP1":                 func(s *http.Server) { s.Protocols = protocolsOf(withHTTP1) },
		"HTTP2":                 func(s *http.Server) { s.Protocols = protocolsOf(withHTTP2) },
		"both":                  func(s *http.Server) { s.Protocols = protocolsOf(withHTTP1, withHTTP2) },
		"HTTP1 and unencrypted": func(s *http.Server) { s.Protocols = protocolsOf(withHTTP1, withUnencrypted) },
		"all":                   func(s *http.Server) { s.Protocols = protocolsOf(withHTTP1, withHTTP2, withUnencrypted) },
		"no TLSNextProto":       func(s *http.Server) { s.TLSNextProto = handlers{} },
		"own TLSNextProto":      func(s *http.Server) { s.TLSNextProto = handlers{"own": own}; s.TLSConfig.NextProtos = []string{"own"} },
		"own h2":                func(s *http.Server) { s.TLSNextProto = handlers{"h2": own} },
		"no TLSNextProto, both": func(s *http.Server) { s.TLSNextProto = handlers{}; s.Protocols = protocolsOf(withHTTP1, withHTTP2) },
		"own h2, HTTP1":         func(s *http.Server) { s.TLSNextProto = handlers{"h2": own}; s.Protocols = protocolsOf(withHTTP1) },
		"NextProtos h2":         func(s *http.Server) { s.TLSConfig.NextProtos = []string{"h2"} },
		"NextProtos http/1.1":   func(s *http.Server) { s.TLSConfig.NextProtos = []string{"http/1.1"} },
		"NextProtos other":      func(s *http.Server) { s.TLSConfig.NextProtos = []string{"acme-tls/1"} },
		"NextProtos h2, no HTTP2": func(s *http.Server) {
			s.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
			s.Protocols = protocolsOf(withHTTP1)
		},
		"suites without HTTP/2's": func(s *http.Server) {
			s.TLSConfig.MinVersion = tls.VersionTLS12
			s.TLSConfig.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
		},
	}
	return rows
}

func init() {
	for name, set := range protocolRows() {
		acts["protocols/"+name] = func(s *stage, serve serveFunc) {
			s.srv.TLSConfig = s.srv.TLSConfig.Clone()
			set(s.srv)
			s.start(serve, "", "")
			if synctest.Wait(); len(s.ended) > 0 {
				s.say("ended: %v", <-s.ended)
				return
			}
			s.say("TLSConfig has %q, TLSNextProto %q", s.srv.TLSConfig.NextProtos, slices.Sorted(maps.Keys(s.srv.TLSNextProto)))
			for _, offer := range [][]string{nil, {"h2"}, {"http/1.1"}, {"h2", "http/1.1"}, {"own"}, {"acme-tls/1"}} {
				s.speak(offer)
			}
		}
	}
}

// speak offers protocols and talks what was agreed on.
func (s *stage) speak(offer []string) {
	c := s.dial(func(c *tls.Config) { c.NextProtos = offer })
	defer c.Close()
	if err := c.Handshake(); err != nil {
		s.say("%q: %v", offer, err)
		return
	}
	switch agreed := c.ConnectionState().NegotiatedProtocol; agreed {
	case "", "http/1.1":
		s.exchange(c, plainRequest)
	default:
		go io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
		first := make([]byte, 9)
		n, err := io.ReadFull(c, first)
		s.say("%q agreed on %q: %q, %v", offer, agreed, first[3:max(n, 3)], err)
	}
}

// pemFiles writes the server's certificate and key.
func (s *stage) pemFiles() {
	cert := s.server.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		s.t.Fatal(err)
	}
	dir := s.t.TempDir()
	s.cert, s.key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{
		s.cert: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		s.key:  {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
}

func init() {
	certificate := func(s *stage) *tls.Certificate { return &s.server.Certificates[0] }
	none := func(*stage) *tls.Config { return &tls.Config{} }
	configs := map[string]func(*stage) *tls.Config{
		"nil":          func(*stage) *tls.Config { return nil },
		"empty":        none,
		"Certificates": func(s *stage) *tls.Config { return s.server },
		"GetCertificate": func(s *stage) *tls.Config {
			return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return certificate(s), nil }}
		},
		"GetCertificate of nothing": func(*stage) *tls.Config {
			return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}
		},
		"GetCertificate fails": func(*stage) *tls.Config {
			return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("none today") }}
		},
		"GetConfigForClient": func(s *stage) *tls.Config {
			return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.server, nil }}
		},
		"GetConfigForClient of nil": func(s *stage) *tls.Config {
			return &tls.Config{Certificates: s.server.Certificates, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }}
		},
		"GetConfigForClient fails": func(*stage) *tls.Config {
			return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("not for you") }}
		},
	}
	for name, config := range configs {
		for _, files := range []string{"no files", "files", "missing files"} {
			if files == "no files" && (name == "nil" || name == "empty") {
				continue // the error says more than net/http's: TestServeTLSNoCertificate
			}
			acts["certificates/"+name+"/"+files] = func(s *stage, serve serveFunc) {
				if s.pemFiles(); files == "no files" {
					s.cert, s.key = "", ""
				} else if files == "missing files" {
					s.cert, s.key = "none.pem", "none.pem"
				}
				s.srv.TLSConfig = config(s)
				s.start(serve, s.cert, s.key)
				if synctest.Wait(); len(s.ended) > 0 {
					s.say("ended: %v", <-s.ended)
					return
				}
				s.say("TLSConfig has %q", s.srv.TLSConfig.NextProtos)
				s.get(nil, plainRequest)
				s.logged()
			}
		}
	}
}

func init() {
	for _, first := range []string{
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "HEAD / HTTP/1.0\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "PUT / HTTP/1.1\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\n\r\n", "DELETE / HTTP/1.1\r\n\r\n", "GET http://a.test/ HTTP/1.1\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"SSH-2.0-x\r\n", "\x16\x03\x01\xff\xff\x01", "\x15\x03\x01\x00\x02\x02\x28", "\x16\x03\x01\x00\x04\x0b\x00\x00\x00",
	} {
		acts[fmt.Sprintf("no TLS/%.10q", first)] = func(s *stage, serve serveFunc) {
			s.start(serve, "", "")
			nc := s.l.dialBuffered()
			time.AfterFunc(time.Second, func() { nc.Close() }) // of a record that never ends
			s.exchange(nc, first)
			nc.Close()
			s.logged()
		}
	}
	for name, change := range map[string]func(server, client *tls.Config, s *stage){
		"good": func(_, _ *tls.Config, _ *stage) {},
		"old version": func(server, client *tls.Config, _ *stage) {
			server.MinVersion, client.MaxVersion = tls.VersionTLS13, tls.VersionTLS12
		},
		"unknown authority": func(_, client *tls.Config, _ *stage) { client.RootCAs = x509.NewCertPool() },
		"another name":      func(_, client *tls.Config, _ *stage) { client.ServerName = "c.test" },
		"no certificate": func(server, _ *tls.Config, s *stage) {
			server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, s.ca.Pool()
		},
		"no certificate 1.2": func(server, client *tls.Config, s *stage) {
			server.ClientAuth, client.MaxVersion = tls.RequireAnyClientCert, tls.VersionTLS12
		},
		"no suite": func(server, client *tls.Config, _ *stage) {
			server.MaxVersion, client.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}
		},
		"not verified": func(server, _ *tls.Config, _ *stage) {
			server.VerifyConnection = func(tls.ConnectionState) error { return errors.New("I do not like you") }
		},
	} {
		acts["handshakes/"+name] = func(s *stage, serve serveFunc) {
			s.srv.TLSConfig = s.server.Clone()
			s.client = s.client.Clone()
			change(s.srv.TLSConfig, s.client, s)
			s.start(serve, "", "")
			s.get(nil, plainRequest)
			s.logged()
		}
	}
	acts["handshakes/given up"] = func(s *stage, serve serveFunc) {
		s.start(serve, "", "")
		s.l.dialBuffered().Close()
		synctest.Wait()
		s.say("%v", tls.Client(deaf{s.l.dialBuffered()}, s.client).Handshake())
		s.logged()
	}
}

// within says what f said, and after what time.
func (s *stage) within(f func()) {
	start := time.Now()
	f()
	s.say("after %v", time.Since(start).Round(time.Second))
}

func init() {
	for name, set := range map[string]func(*http.Server){
		"ReadHeaderTimeout": func(s *http.Server) { s.ReadHeaderTimeout = 2 * time.Second },
		"ReadTimeout":       func(s *http.Server) { s.ReadTimeout = 3 * time.Second },
		"WriteTimeout":      func(s *http.Server) { s.WriteTimeout = 4 * time.Second },
		"IdleTimeout":       func(s *http.Server) { s.ReadTimeout, s.IdleTimeout = 9*time.Second, 5*time.Second },
		"all": func(s *http.Server) {
			s.ReadHeaderTimeout, s.ReadTimeout, s.WriteTimeout = 4*time.Second, 5*time.Second, 3*time.Second
		},
	} {
		acts["time-outs/"+name] = func(s *stage, serve serveFunc) {
			set(s.srv)
			answer := s.srv.Handler
			s.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/slow" {
					time.Sleep(7 * time.Second)
				}
				answer.ServeHTTP(w, r)
			})
			s.start(serve, "", "")
			s.within(func() { s.exchange(s.l.dialBuffered(), "") })
			s.within(func() { s.exchange(s.l.dialBuffered(), "\x16\x03\x01\x02\x00\x01") })
			s.within(func() { s.exchange(s.handshaken(), "") })
			s.within(func() { s.exchange(s.handshaken(), "GET / HT") })
			s.within(func() { s.exchange(s.handshaken(), "GET /slow HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n") })
			s.within(func() { s.exchange(s.handshaken(), "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n") })
			s.logged()
		}
	}
}

// handshaken connects and runs the handshake.
func (s *stage) handshaken() *tls.Conn {
	c := s.dial(nil)
	if err := c.Handshake(); err != nil {
		s.t.Error(err)
	}
	return c
}

func init() {
	for name, end := range map[string]func(){
		"panic":  func() { panic("boom") },
		"error":  func() { panic(errors.New("boom")) },
		"slice":  func() { panic([]int{1}) },
		"abort":  func() { panic(http.ErrAbortHandler) },
		"Goexit": runtime.Goexit,
	} {
		for place, put := range map[string]func(*stage, *tls.Config){
			"handler": func(s *stage, _ *tls.Config) {
				s.srv.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { end() })
			},
			"GetCertificate": func(_ *stage, c *tls.Config) {
				c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { end(); return nil, nil }
			},
			"GetConfigForClient": func(_ *stage, c *tls.Config) {
				c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { end(); return nil, nil }
			},
			"VerifyConnection": func(_ *stage, c *tls.Config) {
				c.VerifyConnection = func(tls.ConnectionState) error { end(); return nil }
			},
		} {
			acts["panics/"+place+"/"+name] = func(s *stage, serve serveFunc) {
				s.srv.TLSConfig = s.server.Clone()
				if put(s, s.srv.TLSConfig); place == "GetCertificate" {
					s.srv.TLSConfig.Certificates = nil
				}
				s.start(serve, "", "")
				if name == "Goexit" && place == "handler" {
					s.get(nil, plainRequest)
				} else {
					s.get(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }, plainRequest)
					s.get(nil, plainRequest)
				}
				s.logged()
			}
		}
	}
}

func init() {
	acts["requests"] = func(s *stage, serve serveFunc) {
		s.srv.MaxHeaderBytes = 1 << 10
		s.srv.ConnState = func(_ net.Conn, state http.ConnState) { fmt.Fprintf(&s.states, "%v ", state) }
		s.srv.BaseContext = func(l net.Listener) context.Context {
			return context.WithValue(context.Background(), connKey{}, l.Addr().String())
		}
		type mine struct{}
		s.srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, mine{}, fmt.Sprintf("%T", c))
		}
		s.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ctx := r.Context()
			fmt.Fprint(w, r.Proto, r.TLS.HandshakeComplete, ctx.Value(connKey{}), ctx.Value(mine{}),
				ctx.Value(http.ServerContextKey) == s.srv, ctx.Value(http.LocalAddrContextKey), r.RemoteAddr, ctx.Err())
		})
		s.start(serve, "", "")
		for _, request := range []string{
			plainRequest, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n" + plainRequest, "nonsense\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("x", 8<<10) + "\r\n\r\n",
			"GET / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: odd\r\n\r\n", "GET / HTTP/1.1\r\nHost: a.test\r\nExpect: wonders\r\n\r\n",
		} {
			s.get(nil, request)
			synctest.Wait()
		}
		s.srv.SetKeepAlivesEnabled(false)
		s.get(nil, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		synctest.Wait()
		s.say("states %s", s.states.String())
		s.logged()
	}
	acts["HTTP/2"] = func(s *stage, serve serveFunc) {
		s.start(serve, "", "")
		tr := &http.Transport{
			ForceAttemptHTTP2: true, TLSClientConfig: s.client,
			DialContext: func(context.Context, string, string) (net.Conn, error) { return s.l.dialBuffered(), nil },
		}
		for range 3 {
			resp, err := (&http.Client{Transport: tr}).Get("https://a.test/x")
			if err != nil {
				s.say("%v", err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			s.say("%s %s %q %v", resp.Proto, resp.Status, body, err)
		}
		s.say("Shutdown: %v", s.srv.Shutdown(context.Background()))
		s.say("ended: %v", <-s.ended)
		tr.CloseIdleConnections()
	}
	acts["handshake context"] = func(s *stage, serve serveFunc) {
		s.srv.TLSConfig = s.server.Clone()
		s.srv.TLSConfig.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			ctx := hello.Context()
			s.say("%v %v %v", ctx.Value(http.ServerContextKey) == s.srv, ctx.Value(http.LocalAddrContextKey), ctx.Err())
			return nil, nil
		}
		s.start(serve, "", "")
		s.get(nil, plainRequest)
	}
	acts["Hijack"] = func(s *stage, serve serveFunc) {
		s.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			nc, rw, err := w.(http.Hijacker).Hijack()
			fmt.Fprintf(rw, "%T %v", nc, err)
			rw.Flush()
			time.AfterFunc(time.Hour, func() { io.WriteString(nc, ", and later"); nc.Close() })
		})
		s.start(serve, "", "")
		s.within(func() { s.get(nil, plainRequest) })
		s.logged()
	}
}

// flaky is a listener whose Accept fails at times.
type flaky struct {
	net.Listener
	errs chan error
}

func (l flaky) Accept() (net.Conn, error) {
	select {
	case err := <-l.errs:
		return nil, err
	default:
		return l.Listener.Accept()
	}
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }
func (temporary) Timeout() bool   { return false }

func init() {
	acts["Accept/fails for a while"] = func(s *stage, serve serveFunc) {
		f := flaky{errs: make(chan error, 9)}
		for range 4 {
			f.errs <- temporary{errors.New("no file descriptors")}
		}
		s.inner = func(l net.Listener) net.Listener { f.Listener = l; return f }
		s.start(serve, "", "")
		s.get(nil, plainRequest)
		s.logged()
	}
	acts["Accept/fails for good"] = func(s *stage, serve serveFunc) {
		f := flaky{errs: make(chan error, 9)}
		f.errs <- errors.New("the cable was cut")
		s.inner = func(l net.Listener) net.Listener { f.Listener = l; return f }
		s.start(serve, "", "")
		s.say("ended: %v", <-s.ended)
		s.say("closed: %v", closed(s.l))
		s.logged()
	}
	for name, end := range map[string]func(*http.Server) error{
		"Close":    (*http.Server).Close,
		"Shutdown": func(srv *http.Server) error { return srv.Shutdown(context.Background()) },
	} {
		acts[name+"/before"] = func(s *stage, serve serveFunc) {
			s.say("%v", end(s.srv))
			s.start(serve, "", "")
			s.say("ended: %v", <-s.ended)
			s.say("closed: %v", closed(s.l))
			s.start(serve, "none.pem", "none.pem")
			s.say("ended: %v", <-s.ended)
		}
		acts[name+"/nothing under way"] = func(s *stage, serve serveFunc) {
			s.start(serve, "", "")
			s.get(nil, plainRequest)
			s.within(func() { s.say("%v", end(s.srv)) })
			s.say("ended: %v, again: %v, closed: %v", <-s.ended, end(s.srv), closed(s.l))
		}
		acts[name+"/a request under way"] = func(s *stage, serve serveFunc) {
			s.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(time.Minute)
				io.WriteString(w, "done")
			})
			s.start(serve, "", "")
			c, idle := s.handshaken(), s.handshaken()
			go s.exchange(idle, "")
			time.AfterFunc(time.Second, func() { s.say("%v", end(s.srv)) }) // Shutdown looks at random moments
			go s.within(func() { s.exchange(c, plainRequest) })
			time.Sleep(2 * time.Minute)
			s.mu.Lock()
			slices.Sort(s.lines)
			s.mu.Unlock()
			s.say("ended: %v", <-s.ended)
			s.logged()
		}
	}
	acts["Close/handshakes under way"] = func(s *stage, serve serveFunc) {
		s.start(serve, "", "")
		silent, half := s.l.dialBuffered(), s.l.dialBuffered()
		half.Write([]byte{22, 3, 1})
		synctest.Wait()
		s.within(func() {
			s.say("%v", s.srv.Close())
			s.exchange(silent, "")
			s.exchange(half, "")
		})
		s.say("ended: %v", <-s.ended)
		s.logged()
	}
	acts["Shutdown/a handshake finishes"] = func(s *stage, serve serveFunc) {
		s.start(serve, "", "")
		nc := s.l.dialBuffered()
		synctest.Wait()
		down := make(chan error)
		go func() { down <- s.srv.Shutdown(context.Background()) }()
		time.Sleep(time.Second)
		c := tls.Client(nc, s.client)
		s.say("handshake: %v", c.Handshake())
		s.exchange(c, plainRequest)
		s.say("Shutdown: %v, ended: %v", <-down, <-s.ended)
		s.logged()
	}
}

// closed reports whether l was closed.
func closed(l *memoryListener) bool {
	select {
	case <-l.done:
		return true
	default:
		return false
	}
}

// TestShutdownUnderWay: Shutdown waits for handshakes five seconds, be their
// client silent or a callback of the application stuck, and closes them then.
func TestShutdownUnderWay(t *testing.T) {
	lines := play(t, func(s *stage, serve serveFunc) {
		stuck := make(chan struct{})
		s.srv.TLSConfig = s.server.Clone()
		s.srv.TLSConfig.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { <-stuck; return nil, nil }
		s.srv.TLSConfig.Certificates = nil
		s.start(serve, "", "")
		silent, waiting := s.l.dialBuffered(), s.dial(nil)
		go waiting.Handshake()
		synctest.Wait()
		s.within(func() { s.say("%v", s.srv.Shutdown(context.Background())) })
		s.say("ended: %v", <-s.ended)
		s.exchange(silent, "")
		s.say("%v", waiting.Handshake())
		synctest.Wait()
		close(stuck)
		s.logged()
	}, new(reprise.Config))
	want := []string{
		"<nil>", "after 5s", "ended: http: Server closed", `"" gives "", <nil>`, "EOF",
		"log: http: TLS handshake error from memory: io: read/write on closed pipe\n",
		"log: http: TLS handshake error from memory: tls: no certificates configured\n",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n\t%s", strings.Join(lines, "\n\t"))
	}
}

// lazy is a listener whose Accept ends a moment before its Close does.
type lazy struct{ net.Listener }

func (l lazy) Close() error {
	err := l.Listener.Close()
	time.Sleep(time.Millisecond)
	return err
}

// TestShutdownServesLast: ServeTLS does not return, nor Shutdown, before the
// last handshake is served, though the listener's Accept says at once that it
// was closed.
func TestShutdownServesLast(t *testing.T) {
	lines := play(t, func(s *stage, serve serveFunc) {
		s.inner = func(l net.Listener) net.Listener { return lazy{l} }
		s.start(serve, "", "")
		nc := s.l.dialBuffered()
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- s.srv.Shutdown(context.Background()) }()
		time.Sleep(time.Second)
		s.say("%d %d", len(s.ended), len(down))
		c := tls.Client(nc, s.client)
		s.say("handshake: %v", c.Handshake())
		s.within(func() { s.exchange(c, plainRequest) })
		s.say("Shutdown: %v, ended: %v", <-down, <-s.ended)
	}, new(reprise.Config))
	want := []string{"0 0", "handshake: <nil>", `"GET / HTTP/1.1\r\nHost: a.test\r\nConnection" gives "", <nil>`, "after 0s", "Shutdown: <nil>, ended: http: Server closed"}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n\t%s", strings.Join(lines, "\n\t"))
	}
}

// TestServeTLSTwice: one server may serve two listeners, at once and beside one
// of NewListener, and its hooks are set once.
func TestServeTLSTwice(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	called := make(chan int, 100)
	srv := &http.Server{
		TLSConfig: r.server, Handler: http.HandlerFunc(answer), ErrorLog: log.New(io.Discard, "", 0),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			called <- 1
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	var wg sync.WaitGroup
	for range 4 {
		l := newMemoryListener()
		wg.Go(func() {
			if err := m.ServeTLS(srv, l, "", ""); !errors.Is(err, http.ErrServerClosed) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			c := tls.Client(l.dial(), r.client)
			defer c.Close()
			io.WriteString(c, plainRequest)
			if got, err := io.ReadAll(c); err != nil || !bytes.Contains(got, []byte(`"Same":true,"Told":true`)) {
				t.Errorf("read %q, %v", got, err)
			}
			if called <- 0; len(called) == 8 {
				srv.Close()
			}
		})
	}
	wg.Wait()
	if len(called) != 8 {
		t.Errorf("ConnContext of the application was called %d times for four connections", len(called)-4)
	}
}

// TestConnContext: a server that serves a listener of NewListener with it tells
// handlers about their connection, and ServeTLS leaves it as it is.
func TestConnContext(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	srv := &http.Server{ConnContext: reprise.ConnContext, TLSConfig: r.server, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res, ok := reprise.ResumptionFromContext(r.Context())
		fmt.Fprint(w, reprise.FromContext(r.Context()) != nil, res.Reason, ok)
	})}
	own, files := newMemoryListener(), newMemoryListener()
	ended := make(chan error, 2)
	go func() { ended <- srv.Serve(listenerOf(t, m, own, r.server)) }()
	get := func(l *memoryListener) {
		c := tls.Client(l.dial(), r.client)
		defer c.Close()
		io.WriteString(c, plainRequest)
		if got, err := io.ReadAll(c); err != nil || !bytes.HasSuffix(got, []byte("\r\n\r\ntrue nothing offered true")) {
			t.Errorf("read %q, %v", got, err)
		}
	}
	get(own)
	go func() { ended <- m.ServeTLS(srv, files, "", "") }()
	get(files)
	get(own)
	srv.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}
}

// TestServeTLSMixed: of connections of every kind nothing is left after a
// Shutdown in their midst, and no handshake is counted twice.
func TestServeTLSMixed(t *testing.T) { serveMixed(t, 300) }

// TestLongServeTLSMixed is TestServeTLSMixed with 3000 connections.
func TestLongServeTLSMixed(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 to make 3000 connections")
	}
	serveMixed(t, 3000)
}

func serveMixed(t *testing.T, n int) {
	play(t, func(s *stage, serve serveFunc) {
		var served atomic.Int64
		s.srv.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			served.Add(1)
			switch r.URL.Path {
			case "/panic":
				panic("boom")
			case "/abort":
				panic(http.ErrAbortHandler)
			case "/hijack":
				nc, _, err := w.(http.Hijacker).Hijack()
				if err != nil {
					s.t.Error(err)
				}
				nc.Close()
			case "/slow":
				time.Sleep(time.Second)
			}
		})
		var calls atomic.Int64
		s.srv.TLSConfig = s.server.Clone()
		s.srv.TLSConfig.VerifyConnection = func(tls.ConnectionState) error {
			switch calls.Add(1) % 10 {
			case 3:
				panic("boom")
			case 6:
				runtime.Goexit()
			}
			return nil
		}
		s.start(serve, "", "")
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 10 * time.Millisecond)
				s.mixed(i)
			})
		}
		time.Sleep(time.Duration(n) * 9 * time.Millisecond)
		if err := s.srv.Shutdown(context.Background()); err != nil {
			s.t.Error(err)
		}
		if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
			s.t.Error(err)
		}
		s.l.Close()
		wg.Wait()
		if served.Load() < int64(n)/3 {
			s.t.Errorf("%d requests were served on %d connections", served.Load(), n)
		}
	}, new(reprise.Config))
}

// mixed makes the i-th connection.
func (s *stage) mixed(i int) {
	nc := s.l.dialBuffered()
	if nc == nil {
		return
	}
	defer nc.Close()
	c := tls.Client(nc, s.client)
	request := func(path string) {
		io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		io.Copy(io.Discard, c)
	}
	switch i % 9 {
	case 0:
		io.WriteString(nc, plainRequest)
		io.Copy(io.Discard, nc)
	case 1:
		nc.Write([]byte{22, 3, 1, 2})
	case 2:
		tls.Client(deaf{nc}, s.client).Handshake()
	case 3:
		time.Sleep(20 * time.Second) // says nothing
	default:
		request([]string{"/", "/panic", "/abort", "/hijack", "/slow"}[i%5])
	}
}
