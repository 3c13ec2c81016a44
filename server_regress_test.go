package reprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"runtime"
	"strings"
	"sync"
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
	err = answered(c)
	return c.ConnectionState().DidResume, err
}

// answered sends a byte and waits for the answer.
func answered(c net.Conn) error {
	buf := []byte{'x'}
	if _, err := c.Write(buf); err != nil {
		return err
	}
	_, err := io.ReadFull(c, buf)
	return err
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

// firstFlight is a transport whose client sends one record and goes away.
type firstFlight struct {
	deadEnd
	r *bytes.Reader
}

func (c *firstFlight) Read(b []byte) (int, error) { return c.r.Read(b) }

// TestLabelInUse: a VerifyPeerCertificate that is in use keeps its label, and its
// sessions resume, though 5000 clients that prove nothing bring a function each.
func TestLabelInUse(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	verify := func(tag *int) func([][]byte, [][]*x509.Certificate) error {
		return func([][]byte, [][]*x509.Certificate) error { _ = *tag; return nil }
	}
	sc := at(tls.VersionTLS12, r.server)
	sc.ClientAuth = tls.RequestClientCert
	sc.CurvePreferences = []tls.CurveID{tls.CurveP256} // the fastest under the race detector
	stable, strange := sc.Clone(), sc.Clone()
	stable.VerifyPeerCertificate = verify(new(int))
	strange.VerifyPeerCertificate = verify(new(int))
	sc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if hello.ServerName == "a.test" {
			return stable, nil
		}
		return strange, nil
	}
	cc := at(tls.VersionTLS12, r.client)
	session := r.session(sm, cm, sc, cc)
	defer session.Free()
	if resumed, why := r.offer(sm, cm, sc, cc, session); !resumed {
		t.Fatal(why)
	}
	other := cc.Clone()
	other.ServerName = "b.test"
	theirs := r.session(sm, cm, sc, other)
	defer theirs.Free()
	hello := r.sniff(sm, cm, sc, other, theirs)
	managed := sm.ServerConfig(sc)
	before := reprise.Labels(sm)
	for range 5000 {
		strange = strange.Clone()
		strange.VerifyPeerCertificate = verify(new(int))
		tls.Server(&firstFlight{r: bytes.NewReader(hello)}, managed).Handshake()
	}
	if reprise.Labels(sm) == before {
		t.Fatal("they got no labels: the test proves nothing")
	}
	if resumed, why := r.offer(sm, cm, sc, cc, session); !resumed {
		t.Errorf("afterwards: %v", why)
	}
}

// TestCallbackContext: a callback that waits for its ClientHelloInfo's context
// ends when HandshakeTimeout is over, and soon after its connection made room or
// its listener was closed.
func TestCallbackContext(t *testing.T) {
	const timeout, soon = time.Hour, 2 * time.Second
	for _, level := range []string{"NewListener", "ServeTLS", "Accept"} {
		for cause, limit := range map[string]time.Duration{"timeout": timeout + soon, "shed": soon, "Close": soon} {
			if level == "Accept" && cause == "Close" {
				continue // nothing to close
			}
			t.Run(level+"/"+cause, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t)
					m := manager(t, reprise.Config{MaxHandshakes: 1, HandshakeTimeout: timeout})
					over, sc := make(chan struct{}, 2), r.server.Clone()
					sc.Certificates = nil
					sc.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
						<-hello.Context().Done()
						over <- struct{}{}
						return nil, hello.Context().Err()
					}
					mem, ended := newMemoryListener(), make(chan error, 1)
					go func() { ended <- servers[level](m, mem, sc) }()
					nc := mem.dialBuffered()
					defer nc.Close()
					go tls.Client(nc, r.client).Handshake()
					synctest.Wait()
					start := time.Now()
					switch cause {
					case "shed":
						defer mem.dialBuffered().Close()
					case "Close":
						mem.Close() // the servers close their listener after that
					}
					<-over
					if d := time.Since(start); d > limit {
						t.Errorf("the callback waited for %v", d)
					}
					mem.Close()
					<-ended
				})
			})
		}
	}
}

// TestClaimAfterPanic: a panic or runtime.Goexit in a callback of a Conn leaves no
// claim to a session of single use, though the Conn is closed and not freed.
func TestClaimAfterPanic(t *testing.T) {
	for name, end := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		for _, version := range later {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				r := newRig(t)
				sm, cm := manager(t, reprise.Config{NoTickets: true, SingleUse: true}), manager(t, reprise.Config{})
				sc, cc := at(version, r.server), at(version, r.client)
				session := r.session(sm, cm, sc, cc)
				defer session.Free()
				ending := sc.Clone()
				claimed := 0
				ending.VerifyConnection = func(tls.ConnectionState) error {
					claimed = reprise.Claims(sm)
					end()
					return nil
				}
				nc, ns := pipe(t)
				client, server := cm.Client(nc, cc), sm.Server(ns, ending)
				if err := client.SetSession(session); err != nil {
					t.Fatal(err)
				}
				go client.Handshake()
				over := make(chan struct{})
				go func() {
					defer close(over)
					defer func() { recover() }()
					defer server.Close()
					server.Handshake()
				}()
				<-over
				if claimed != 1 {
					t.Fatalf("%d claims during the callback: the test proves nothing", claimed)
				}
				if n := reprise.Claims(sm); n != 0 {
					t.Errorf("%d claims", n)
				}
				if resumed, why := r.offer(sm, cm, sc, cc, session); !resumed {
					t.Errorf("afterwards: %v", why)
				}
			})
		}
	}
}

// TestStricterClone: a clone of a result that lost both of its marks and requires
// client certificates lets in no client without one.
func TestStricterClone(t *testing.T) {
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			m := manager(t, reprise.Config{})
			sc := m.ServerConfig(at(version, r.server)).Clone()
			sc.ClientSessionCache = nil
			sc.VerifyConnection = func(tls.ConnectionState) error { return nil }
			sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
			with := r.client.Clone()
			with.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
			for _, cc := range []*tls.Config{r.client, with} {
				nc, ns := pipe(t)
				go tls.Client(nc, cc).Handshake()
				err := tls.Server(ns, sc).Handshake()
				if welcome := cc == with; (err == nil) != welcome {
					t.Errorf("has a certificate: %v, handshake: %v", welcome, err)
				}
			}
		})
	}
}

// TestLoggerThatPanics: a Logger that panics costs neither the process nor a slot,
// be the line of a handshake that made room or of a callback that panicked.
func TestLoggerThatPanics(t *testing.T) {
	for _, level := range []string{"NewListener", "ServeTLS", "Accept"} {
		t.Run(level, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				var lines, asked atomic.Int32
				m := manager(t, reprise.Config{MaxHandshakes: 1, Logger: logging(func(slog.Record) {
					lines.Add(1)
					panic("boom")
				})})
				r.server.VerifyConnection = func(tls.ConnectionState) error {
					if asked.Add(1) == 1 {
						panic("boom")
					}
					return nil
				}
				mem, ended := newMemoryListener(), make(chan error, 1)
				go func() { ended <- servers[level](m, mem, r.server) }()
				for range 2 { // the second has the first make room
					defer mem.dialBuffered().Close()
				}
				synctest.Wait()
				if lines.Load() == 0 {
					t.Error("nothing was logged: the test proves nothing")
				}
				if _, err := ask(mem, asking(r)); err == nil { // in place of the second
					t.Error("a callback's panic did not end the connection")
				}
				for range 3 {
					synctest.Wait()
					if _, err := ask(mem, asking(r)); err != nil {
						t.Errorf("afterwards: %v", err)
					}
				}
				synctest.Wait()
				if n := m.Stats().HandshakesShed; n != 2 {
					t.Errorf("%d handshakes shed, want 2: a slot was lost", n)
				}
				mem.Close()
				<-ended
			})
		})
	}
}

// TestPanicLinesAreFew: peers that have a callback panic have it logged once in a
// while, and not each time.
func TestPanicLinesAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var lines atomic.Int32
		m := manager(t, reprise.Config{Logger: logging(func(r slog.Record) {
			if r.Level >= slog.LevelWarn {
				lines.Add(1)
			}
		})})
		r.server.VerifyConnection = func(tls.ConnectionState) error { panic("boom") }
		mem, ended := newMemoryListener(), make(chan error, 1)
		go func() { ended <- servers["NewListener"](m, mem, r.server) }()
		for range 20 {
			if _, err := ask(mem, asking(r)); err == nil {
				t.Error("the connection went on")
			}
		}
		mem.Close()
		<-ended
		if n := lines.Load(); n != 1 {
			t.Errorf("%d lines at one instant", n)
		}
	})
}

// askingClients has a server ask for client certificates, so that policies are named.
func askingClients(r *rig) *tls.Config {
	c := r.server.Clone()
	c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, r.ca.Pool()
	return c
}

// TestPolicyNameUsesSession: PolicyName may change the session that is offered,
// for no lock is held.
func TestPolicyNameUsesSession(t *testing.T) {
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			var offered atomic.Pointer[reprise.Session]
			var named atomic.Int32
			sm := manager(t, reprise.Config{NoTickets: true, PolicyName: func(*tls.Config) string {
				if s := offered.Load(); s != nil {
					s.SetTimeout(time.Hour)
					named.Add(1)
				}
				return "x"
			}})
			cm, sc, cc := manager(t, reprise.Config{}), at(version, askingClients(r)), at(version, r.client)
			session := r.session(sm, cm, sc, cc)
			defer session.Free()
			for s := range sm.All() {
				offered.Store(s)
			}
			if resumed, why := r.offer(sm, cm, sc, cc, session); !resumed {
				t.Error(why)
			}
			if named.Load() == 0 {
				t.Error("no policy was named: the test proves nothing")
			}
		})
	}
}

// TestPolicyNamePanic: a PolicyName that panics keeps no reference to the session
// that is offered.
func TestPolicyNamePanic(t *testing.T) {
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			var armed atomic.Bool
			var kept atomic.Pointer[reprise.Session]
			sm := manager(t, reprise.Config{NoTickets: true,
				PolicyName: func(*tls.Config) string {
					if armed.Load() {
						panic("boom")
					}
					return "x"
				},
				OnNew: func(s *reprise.Session) {
					if err := s.UpRef(); err == nil && !kept.CompareAndSwap(nil, s) {
						s.Free()
					}
				},
			})
			cm, sc, cc := manager(t, reprise.Config{}), at(version, askingClients(r)), at(version, r.client)
			session := r.session(sm, cm, sc, cc)
			defer session.Free()
			s := kept.Load()
			defer s.Free()
			callers, library := reprise.Held(s)
			armed.Store(true)
			for range 3 {
				nc, ns := pipe(t)
				client := cm.Client(nc, cc)
				if err := client.SetSession(session); err != nil {
					t.Fatal(err)
				}
				go client.Handshake()
				if _, err := sm.Accept(t.Context(), ns, sc); err == nil || !strings.Contains(err.Error(), "boom") {
					t.Errorf("Accept: %v", err)
				}
			}
			if c, l := reprise.Held(s); c != callers || l != library {
				t.Errorf("held by %d and %d, was by %d and %d", c, l, callers, library)
			}
		})
	}
}

// heldBack is a client's connection that keeps what is written after the first
// write, until release.
type heldBack struct {
	net.Conn
	mu    sync.Mutex
	begun bool
	open  bool
	kept  []byte
}

func (h *heldBack) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.begun && !h.open {
		h.kept = append(h.kept, b...)
		return len(b), nil
	}
	h.begun = true
	return h.Conn.Write(b)
}

func (h *heldBack) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.open = true
	h.Conn.Write(h.kept)
}

// TestRemovedStaysRemoved: a session that is removed while the handshake that made
// it is under way does not come back when that is complete, and OnNew is told of
// it once.
func TestRemovedStaysRemoved(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			var mu sync.Mutex
			told := make(map[string]int)
			var first *reprise.Session
			m := manager(t, reprise.Config{NoTickets: true, OnNew: func(s *reprise.Session) {
				mu.Lock()
				defer mu.Unlock()
				told[string(s.ID())]++
				if first == nil && s.UpRef() == nil {
					first = s
				}
			}})
			mem, ended := newMemoryListener(), make(chan error, 1)
			go func() { ended <- servers["NewListener"](m, mem, r.server) }()
			cc := at(tls.VersionTLS13, r.client)
			cc.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			slow := &heldBack{Conn: mem.dialBuffered()}
			c := tls.Client(slow, cc)
			answer := make(chan error, 1)
			go func() { answer <- answered(c) }()
			synctest.Wait() // the client has the session, and its Finished is held back
			if resumed, err := ask(mem, cc); !resumed || err != nil {
				t.Fatalf("another connection: resumed %v, %v", resumed, err)
			}
			synctest.Wait()
			mu.Lock()
			s := first
			mu.Unlock()
			defer s.Free()
			if remove && !m.Remove(s) {
				t.Error("it was not cached")
			}
			slow.release()
			if err := <-answer; err != nil {
				t.Error(err)
			}
			c.Close()
			synctest.Wait()
			if m.Has(s.ProtocolVersion(), s.ID()) == remove {
				t.Errorf("removed: %v, cached: %v", remove, !remove)
			}
			if n := told[string(s.ID())]; n != 1 {
				t.Errorf("removed: %v, OnNew was told %d times", remove, n)
			}
			mem.Close()
			<-ended
		})
	}
}

// TestRefusedUnmanaged: an unmanaged handshake that VerifyConnection refuses is not
// counted as finished.
func TestRefusedUnmanaged(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	refused := errors.New("refused")
	sc := r.server.Clone()
	sc.VerifyConnection = func(tls.ConnectionState) error { return refused }
	sc.SetSessionTicketKeys([][32]byte{{1, 2, 3}})
	nc, ns := pipe(t)
	go tls.Client(nc, r.client).Handshake()
	if _, err := m.Accept(t.Context(), ns, sc); !errors.Is(err, refused) {
		t.Errorf("Accept: %v", err)
	}
	if st := m.Stats(); st.Accept != 1 || st.AcceptGood != 0 || len(st.Outcomes) != 0 {
		t.Errorf("%+v", st)
	}
}

// TestFlushEveryUnwatched: FlushEvery removes expired sessions at the level of
// configurations, too.
func TestFlushEveryUnwatched(t *testing.T) {
	r := newRig(t)
	clock := newClock()
	m := manager(t, reprise.Config{NoTickets: true, FlushEvery: 1, Timeout: time.Second, Time: clock.time})
	sc := m.ServerConfig(at(tls.VersionTLS12, r.server))
	for range 5 {
		nc, ns := pipe(t)
		go tls.Client(nc, keeping(r.client)).Handshake()
		if err := tls.Server(ns, sc).Handshake(); err != nil {
			t.Fatal(err)
		}
		if n := m.Len(); n != 1 {
			t.Errorf("%d sessions are cached, want the latest", n)
		}
		clock.pass(time.Minute)
	}
}

// TestLargestClockSkew: with the largest ClockSkew no session comes from the
// future.
func TestLargestClockSkew(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{ClockSkew: math.MaxInt64, NoTickets: noTickets}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		if resumed, why := r.offer(sm, cm, sc, cc, session); !resumed {
			t.Error(why)
		}
	})
}

// TestReasonAfterClose: once the Manager is closed, sessions that are offered are
// full for NotResumable.
func TestReasonAfterClose(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		if err := sm.Close(); err != nil {
			t.Fatal(err)
		}
		if resumed, why := r.offer(sm, cm, sc, cc, session); resumed || why != reprise.NotResumable {
			t.Errorf("resumed %v, %v", resumed, why)
		}
	})
}
