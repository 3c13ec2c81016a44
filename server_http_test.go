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
	"sync"
	"testing"
	"testing/synctest"

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

// TestServeTLSNoCertificate: without a certificate the error is net/http's.
func TestServeTLSNoCertificate(t *testing.T) {
	m := manager(t, reprise.Config{})
	for _, config := range []*tls.Config{nil, {}} {
		srv := &http.Server{TLSConfig: config}
		l := newMemoryListener()
		plain := (&http.Server{TLSConfig: config}).ServeTLS(newMemoryListener(), "", "")
		if err := m.ServeTLS(srv, l, "", ""); err == nil || err.Error() != plain.Error() {
			t.Errorf("got %v, want %v", err, plain)
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
