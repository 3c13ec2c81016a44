package reprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
)

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

// dialBuffered is dial for a connection whose writes do not wait for the
// reader; nil once l was closed.
func (l *memoryListener) dialBuffered() net.Conn {
	up, down := newStream(), newStream()
	select {
	case l.conns <- &buffered{in: up, out: down}:
		return &buffered{in: down, out: up}
	case <-l.done:
		return nil
	}
}

// buffered is an end of a connection in memory, with buffers that hold whatever
// is written.
type buffered struct {
	in, out *stream
	remote  net.Addr // nil stands for memoryAddr

	mu       sync.Mutex
	deadline time.Time // for writing
}

// stream is one direction of it.
type stream struct {
	mu       sync.Mutex
	changed  sync.Cond
	buf      bytes.Buffer
	ended    bool // by the writer
	closed   bool // by the reader
	deadline time.Time
}

func newStream() *stream {
	s := new(stream)
	s.changed.L = &s.mu
	return s
}

func passed(deadline time.Time) bool { return !deadline.IsZero() && !time.Now().Before(deadline) }

func (c *buffered) Read(b []byte) (int, error) {
	s := c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, io.ErrClosedPipe
		case passed(s.deadline):
			return 0, os.ErrDeadlineExceeded
		case s.buf.Len() > 0 || len(b) == 0:
			return s.buf.Read(b)
		case s.ended:
			return 0, io.EOF
		}
		s.changed.Wait()
	}
}

func (c *buffered) Write(b []byte) (int, error) {
	c.mu.Lock()
	late := passed(c.deadline)
	c.mu.Unlock()
	s := c.out
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.closed {
		return 0, io.ErrClosedPipe
	}
	if late {
		return 0, os.ErrDeadlineExceeded
	}
	s.changed.Broadcast()
	return s.buf.Write(b)
}

func (s *stream) end(flag *bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*flag = true
	s.changed.Broadcast()
}

func (c *buffered) Close() error {
	c.in.end(&c.in.closed)
	c.out.end(&c.out.ended)
	return nil
}

func (c *buffered) SetReadDeadline(t time.Time) error {
	s := c.in
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deadline = t; !t.IsZero() {
		time.AfterFunc(time.Until(t), s.changed.Broadcast)
	}
	s.changed.Broadcast()
	return nil
}

func (c *buffered) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

func (c *buffered) SetDeadline(t time.Time) error {
	c.SetWriteDeadline(t)
	return c.SetReadDeadline(t)
}

func (c *buffered) LocalAddr() net.Addr { return endAddr{} }

func (c *buffered) RemoteAddr() net.Addr {
	if c.remote != nil {
		return c.remote
	}
	return memoryAddr{}
}

// endAddr is where a connection of a memoryListener ends.
type endAddr struct{ memoryAddr }

func (endAddr) String() string { return "end" }

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
					l := listenerOf(t, m, mem, r.server)
					go func() {
						c := mem.dial()
						client(c, at(version, keeping(r.client)))
						c.Close()
						synctest.Wait()
						l.Close()
					}()
					if c, err := l.Accept(); err == nil {
						t.Errorf("Accept gave %v", c)
					}
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

// listenerOf is NewListener where it must work.
func listenerOf(t testing.TB, m *reprise.Manager, inner net.Listener, config *tls.Config) net.Listener {
	t.Helper()
	l, err := m.NewListener(inner, config)
	if err != nil {
		t.Fatal(err)
	}
	return l
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
				seen := accept(t, listenerOf(t, m, inner, r.server))
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

// tracer calls end in one of the functions that an application may set, where
// and when it is armed.
type tracer struct {
	place string
	end   func()
	armed atomic.Bool
}

func (tr *tracer) at(place string) {
	if tr.place == place && tr.armed.CompareAndSwap(true, false) {
		tr.end()
	}
}

// sealing is a Sealer whose methods may panic.
type sealing struct {
	ticket.Sealer
	*tracer
}

func (s sealing) Seal(session []byte) ([]byte, error) { s.at("Seal"); return s.Sealer.Seal(session) }
func (s sealing) Open(t []byte) ([]byte, bool, error) { s.at("Open"); return s.Sealer.Open(t) }

// callbacks lists where a tracer may be, and whether the first connection comes by.
var callbacks = map[string]bool{
	"GetCertificate": true, "GetConfigForClient": true, "VerifyConnection": true, "VerifyPeerCertificate": true,
	"OnNew": true, "OnRemove": false, "OnLookup": false, "OnSeal": true, "OnOpen": false, "GenerateID": true,
	"WrapSession": true, "UnwrapSession": false, "Seal": true, "Open": false, "PolicyName": true,
}

// configure returns the configurations of a server with a tracer in all places
// that its own place goes with.
func (tr *tracer) configure(r *rig) (reprise.Config, *tls.Config) {
	c := r.server.Clone()
	c.Certificates = nil
	c.ClientAuth = tls.RequireAnyClientCert
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		tr.at("GetCertificate")
		return &r.server.Certificates[0], nil
	}
	c.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { tr.at("GetConfigForClient"); return nil, nil }
	c.VerifyConnection = func(tls.ConnectionState) error { tr.at("VerifyConnection"); return nil }
	if tr.place == "VerifyPeerCertificate" {
		c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { tr.at("VerifyPeerCertificate"); return nil }
	}
	config := reprise.Config{
		MaxHandshakes: 1, OnNew: func(*reprise.Session) { tr.at("OnNew") },
		PolicyName: func(*tls.Config) string { tr.at("PolicyName"); return "" },
	}
	switch tr.place {
	case "OnNew", "GenerateID":
		config.NoTickets = true
		config.GenerateID = func() ([]byte, error) { tr.at("GenerateID"); return randomBytes(32), nil }
	case "OnRemove":
		config.NoTickets, config.CacheSize = true, 1
		config.OnRemove = func(*reprise.Session, reprise.Cause) { tr.at("OnRemove") }
	case "OnLookup":
		config.NoTickets, config.CacheMode = true, reprise.NoInternal
		config.OnLookup = func(uint16, []byte) *reprise.Session { tr.at("OnLookup"); return nil }
	case "WrapSession", "UnwrapSession":
		own := new(tls.Config)
		own.SetSessionTicketKeys([][32]byte{{1}})
		c.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
			tr.at("WrapSession")
			return own.EncryptTicket(cs, s)
		}
		c.UnwrapSession = func(identity []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			tr.at("UnwrapSession")
			return own.DecryptTicket(identity, cs)
		}
	case "Seal", "Open":
		config.Tickets = sealing{ticket.NewAEAD(), tr}
	default:
		config.OnSeal = func(*reprise.Session) { tr.at("OnSeal") }
		config.OnOpen = func(*reprise.Session) reprise.TicketDecision { tr.at("OnOpen"); return reprise.TicketUse }
	}
	return config, c
}

// echo answers a byte, if nc's handshake succeeds, and ends with nc.
func echo(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1)
	if _, err := io.ReadFull(c, buf); err == nil {
		c.Write(buf)
	}
}

// servers serve inner, each at its level of use, until inner is closed.
var servers = map[string]func(m *reprise.Manager, inner net.Listener, config *tls.Config) error{
	"NewListener": func(m *reprise.Manager, inner net.Listener, config *tls.Config) error {
		l, err := m.NewListener(inner, config)
		if err != nil {
			return err
		}
		defer l.Close()
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			go echo(c)
		}
	},
	"Accept": func(m *reprise.Manager, inner net.Listener, config *tls.Config) error {
		for {
			nc, err := inner.Accept()
			if err != nil {
				return err
			}
			go func() {
				if c, err := m.Accept(context.Background(), nc, config); err == nil {
					echo(c)
				}
			}()
		}
	},
	"ServeTLS": func(m *reprise.Manager, inner net.Listener, config *tls.Config) error {
		return m.ServeTLS(hijacking(config), inner, "", "")
	},
	"configuration": func(m *reprise.Manager, inner net.Listener, config *tls.Config) error {
		return hijacking(m.ServerConfig(config)).ServeTLS(inner, "", "")
	},
	"connection": func(m *reprise.Manager, inner net.Listener, config *tls.Config) error {
		for {
			nc, err := inner.Accept()
			if err != nil {
				return err
			}
			go func() {
				c := m.Server(nc, config)
				defer c.Free()
				defer func() { recover() }() // the panic is the caller's
				c.Handshake()
				echo(c)
			}()
		}
	},
}

// hijacking is an http.Server that hands its connections to echo.
func hijacking(config *tls.Config) *http.Server {
	own := func(_ *http.Server, c *tls.Conn, _ http.Handler) { echo(c) }
	config = config.Clone()
	config.NextProtos = []string{"echo"}
	return &http.Server{
		TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){"echo": own},
	}
}

// TestCallbackPanics: a panic in any function of the application ends its
// connection and nothing else: the process, the slots and the Manager go on, at
// every level of use. So does runtime.Goexit.
func TestCallbackPanics(t *testing.T) {
	for level, serve := range servers {
		for place, early := range callbacks {
			for name, end := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
				for _, version := range later {
					if level == "configuration" && version == tls.VersionTLS13 && (place == "OnNew" || place == "OnRemove" || place == "OnLookup") {
						continue // sessions stay on probation there
					}
					t.Run(level+"/"+place+"/"+name+"/"+tls.VersionName(version), func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) {
							callbackPanics(t, serve, &tracer{place: place, end: end}, early, version)
						})
					})
				}
			}
		}
	}
}

func callbackPanics(t *testing.T, serve func(*reprise.Manager, net.Listener, *tls.Config) error, tr *tracer, early bool, version uint16) {
	r := newRig(t)
	config, server := tr.configure(r)
	m := manager(t, config)
	l := newMemoryListener()
	ended := make(chan error, 1)
	go func() { ended <- serve(m, l, server) }()
	defer func() {
		l.Close()
		<-ended
	}()
	client := at(version, keeping(r.client))
	client.NextProtos = []string{"echo"}
	client.Certificates = r.server.Certificates
	client.InsecureSkipVerify = true // a certificate of today's clock is not valid in a bubble's
	ask := func() error {
		nc := l.dialBuffered()
		defer synctest.Wait() // until the server has given its slot back
		defer nc.Close()
		c := tls.Client(nc, client)
		buf := []byte{'x'}
		if _, err := c.Write(buf); err != nil {
			return err
		}
		_, err := io.ReadFull(c, buf)
		return err
	}
	if !early {
		if err := ask(); err != nil {
			t.Fatalf("before: %v", err)
		}
	}
	if tr.place == "OnRemove" {
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1) // so that another session pushes out the first
	}
	tr.armed.Store(true)
	start := time.Now()
	err := ask()
	if tr.armed.Load() {
		t.Fatal("it was not called: the test proves nothing")
	}
	if err == nil {
		t.Error("the connection went on")
	}
	if d := time.Since(start); d != 0 {
		t.Errorf("the connection ended after %v", d)
	}
	for range 3 {
		if err := ask(); err != nil {
			t.Errorf("afterwards: %v", err)
		}
	}
	if n := m.Stats().HandshakesShed; n != 0 {
		t.Errorf("%d handshakes shed: a slot was lost", n)
	}
	if m.FlushAll(); m.Len() != 0 {
		t.Error("the Manager is of no use")
	}
}

// TestNewListenerNothing: what cannot work is an error, a result of ServeTLS's
// kin without a certificate, too.
func TestNewListenerNothing(t *testing.T) {
	m := manager(t, reprise.Config{})
	if _, err := m.NewListener(nil, newRig(t).server); err == nil || errors.Is(err, reprise.ErrNoCertificate) {
		t.Errorf("no listener: %v", err)
	}
	for _, config := range []*tls.Config{nil, {}, m.ServerConfig(nil), m.ServerConfig(&tls.Config{})} {
		if _, err := m.NewListener(newMemoryListener(), config); !errors.Is(err, reprise.ErrNoCertificate) {
			t.Errorf("NewListener: %v", err)
		}
		nc, ns := net.Pipe()
		if _, err := m.Accept(t.Context(), ns, config); !errors.Is(err, reprise.ErrNoCertificate) {
			t.Errorf("Accept: %v", err)
		}
		if _, err := nc.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection stays open: %v", err)
		}
	}
}

// TestListenerErrors: errors of the inner listener come out of Accept, and keep
// no connection waiting; after Close there is net.ErrClosed and nothing else.
func TestListenerErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		f := flaky{newMemoryListener(), make(chan error, 100)}
		l := listenerOf(t, manager(t, reprise.Config{}), f, r.server)
		mem := f.Listener.(*memoryListener)
		for range 3 {
			go func() { tls.Client(mem.dialBuffered(), r.client).Handshake() }()
			if c, err := l.Accept(); err != nil {
				t.Error(err)
			} else {
				c.Close()
			}
		}
		go func() { tls.Client(mem.dialBuffered(), r.client).Handshake() }()
		synctest.Wait() // there is a connection to take
		for range 50 {
			f.errs <- errors.New("odd")
		}
		mem.dialBuffered().Close() // wakes Accept, so that the errors come
		synctest.Wait()
		if c, err := l.Accept(); err != nil {
			t.Errorf("an error goes before a connection: %v", err)
		} else {
			c.Close()
		}
		for range 50 {
			if _, err := l.Accept(); err == nil || err.Error() != "odd" {
				t.Errorf("Accept: %v", err)
			}
		}
		l.Close()
		for range 10 {
			if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
	})
}

// TestListenerClose: Close ends handshakes under way and connections that wait
// for Accept, at once, also where Accept was never called.
func TestListenerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		mem := newMemoryListener()
		m := manager(t, reprise.Config{})
		l := listenerOf(t, m, mem, r.server)
		go func() {
			if c, err := l.Accept(); err == nil {
				c.Close()
			}
		}()
		tls.Client(mem.dialBuffered(), r.client).Handshake()
		silent, done := mem.dialBuffered(), tls.Client(mem.dialBuffered(), r.client)
		if err := done.Handshake(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		start := time.Now()
		l.Close()
		if err := l.Close(); err != nil {
			t.Errorf("again: %v", err)
		}
		for _, c := range []net.Conn{silent, done} {
			if n, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("read %d, %v", n, err)
			}
		}
		if d := time.Since(start); d != 0 {
			t.Errorf("after %v", d)
		}
		if err := listenerOf(t, m, mem, r.server).Close(); err != nil {
			t.Error(err)
		}
	})
}

// stalling is a client's connection that writes n times, then all but the last
// byte once if almost is set, and nothing more.
type stalling struct {
	net.Conn
	n      *atomic.Int32
	almost bool
}

func stalled(nc net.Conn, n int32, almost bool) stalling {
	c := stalling{nc, new(atomic.Int32), almost}
	c.n.Store(n)
	return c
}

func (c stalling) Write(b []byte) (int, error) {
	switch n := c.n.Add(-1); {
	case n >= 0:
		return c.Conn.Write(b)
	case n == -1 && c.almost:
		c.Conn.Write(b[:len(b)-1])
	}
	return len(b), nil
}

// undated is a connection without deadlines, as an SSH channel is.
type undated struct{ net.Conn }

func (undated) SetDeadline(time.Time) error      { return errors.ErrUnsupported }
func (undated) SetReadDeadline(time.Time) error  { return errors.ErrUnsupported }
func (undated) SetWriteDeadline(time.Time) error { return errors.ErrUnsupported }

// TestHandshakeTimeout: a client that says nothing, stops after its ClientHello
// or holds back its Finished is closed when time is up, and no sooner.
func TestHandshakeTimeout(t *testing.T) {
	for name, client := range map[string]func(net.Conn) net.Conn{
		"nothing":            func(nc net.Conn) net.Conn { return stalled(nc, 0, false) },
		"half a ClientHello": func(nc net.Conn) net.Conn { return stalled(nc, 0, true) },
		"ClientHello":        func(nc net.Conn) net.Conn { return stalled(nc, 1, false) },
		"no Finished":        func(nc net.Conn) net.Conn { return stalled(nc, 1, true) },
	} {
		for _, dated := range []bool{true, false} {
			for _, version := range later {
				t.Run(fmt.Sprintf("%s/%v/%s", name, dated, tls.VersionName(version)), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { handshakeTimeout(t, client, dated, version) })
				})
			}
		}
	}
}

func handshakeTimeout(t *testing.T, client func(net.Conn) net.Conn, dated bool, version uint16) {
	r := newRig(t)
	m := manager(t, reprise.Config{HandshakeTimeout: 7 * time.Second})
	mem := newMemoryListener()
	var inner net.Listener = mem
	if !dated {
		inner = undatedListener{mem}
	}
	l := listenerOf(t, m, inner, at(version, r.server))
	go l.Accept()
	nc := mem.dialBuffered()
	go tls.Client(client(nc), at(version, r.client)).Handshake()
	time.Sleep(7*time.Second - time.Nanosecond)
	if synctest.Wait(); isClosed(nc) {
		t.Error("closed before time was up")
	}
	time.Sleep(time.Nanosecond)
	if synctest.Wait(); !isClosed(nc) {
		t.Error("not closed though time is up")
	}
	if m.Len() != 0 || m.Stats().AcceptGood != 0 {
		t.Errorf("%+v", m.Stats())
	}
	nc.Close()
	l.Close()
}

type undatedListener struct{ net.Listener }

func (l undatedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return undated{c}, err
}

// isClosed reports whether the other end was closed, whatever it wrote before.
func isClosed(nc net.Conn) bool {
	s := nc.(*buffered).in
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// TestAcceptSTARTTLS: bytes may be exchanged and deadlines set before, and none
// is left afterwards.
func TestAcceptSTARTTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		m := manager(t, reprise.Config{})
		config := keeping(r.client)
		for _, resumed := range []bool{false, true} {
			mem := newMemoryListener()
			var nc net.Conn
			go func() { nc = mem.dialBuffered() }()
			ns, _ := mem.Accept()
			synctest.Wait()
			ns.SetDeadline(time.Now().Add(time.Second))
			go func() {
				io.WriteString(nc, "STARTTLS\n")
				io.ReadFull(nc, make([]byte, 3))
				c := tls.Client(nc, config)
				c.Handshake()
				time.Sleep(time.Hour)
				echo(c)
			}()
			hello := make([]byte, 9)
			if _, err := io.ReadFull(ns, hello); err != nil || string(hello) != "STARTTLS\n" {
				t.Fatalf("%q, %v", hello, err)
			}
			io.WriteString(ns, "OK\n")
			c, err := m.Accept(t.Context(), ns, r.server)
			if err != nil {
				t.Fatal(err)
			}
			res, ok := reprise.ResumptionOf(c)
			if !ok || res.Resumed != resumed || reprise.SessionOf(c) == nil {
				t.Errorf("%+v, %v, session %v", res, ok, reprise.SessionOf(c))
			}
			io.WriteString(c, "x")
			if got, err := io.ReadAll(c); err != nil || string(got) != "x" {
				t.Errorf("an hour later: %q, %v", got, err)
			}
			c.Close()
		}
	})
}

// TestAcceptEnds: a context that ends, time that is up, a client that is none
// and a panic are errors, and the connection is closed.
func TestAcceptEnds(t *testing.T) {
	for name, row := range map[string]struct {
		client func(nc net.Conn, cancel func())
		want   func(error) bool
		after  time.Duration
	}{
		"cancelled":  {func(_ net.Conn, cancel func()) { cancel() }, func(err error) bool { return errors.Is(err, context.Canceled) }, time.Second},
		"time is up": {func(net.Conn, func()) {}, func(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }, 10 * time.Second},
		"goes away":  {func(nc net.Conn, _ func()) { nc.Close() }, func(err error) bool { return errors.Is(err, io.EOF) }, time.Second},
		"no TLS": {func(nc net.Conn, _ func()) { io.WriteString(nc, "EHLO a.test\r\n") }, func(err error) bool {
			var re tls.RecordHeaderError
			return errors.As(err, &re)
		}, time.Second},
		"panics": {func(nc net.Conn, _ func()) { tls.Client(nc, &tls.Config{ServerName: "panic.test"}).Handshake() }, func(err error) bool {
			return strings.Contains(err.Error(), "panic in a callback: boom")
		}, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				config := r.server.Clone()
				config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { panic("boom") }
				mem := newMemoryListener()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				ended := make(chan bool)
				go func() {
					nc := mem.dialBuffered()
					time.Sleep(time.Second)
					row.client(nc, cancel)
					io.Copy(io.Discard, nc) // until the server closes
					close(ended)
				}()
				ns, _ := mem.Accept()
				m, start := manager(t, reprise.Config{MaxHandshakes: 1}), time.Now()
				c, err := m.Accept(ctx, ns, config)
				if c != nil || err == nil || !row.want(err) || !strings.HasPrefix(err.Error(), "reprise: handshake with memory: ") {
					t.Errorf("Accept: %v, %v", c, err)
				}
				if d := time.Since(start); d != row.after {
					t.Errorf("after %v", d)
				}
				<-ended
			})
		})
	}
}

// TestSessionOfNeverBlocks: in every state of a connection, and from within
// callbacks, there is an answer.
func TestSessionOfNeverBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var transport net.Conn // of the handshake that is under way
		seen := make(map[string]string)
		look := func(place string) {
			c := tls.Client(transport, &tls.Config{}) // the only way to have a *tls.Conn so early
			res, ok := reprise.ResumptionOf(c)
			seen[place] = fmt.Sprint(reprise.SessionOf(c) != nil, res.Reason, ok)
		}
		m := manager(t, reprise.Config{
			NoTickets: true, GenerateID: func() ([]byte, error) { look("GenerateID"); return randomBytes(32), nil },
			OnNew: func(*reprise.Session) { look("OnNew") }, OnSeal: func(*reprise.Session) { look("OnSeal") },
		})
		config := r.server.Clone()
		config.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			transport = hello.Conn
			look("GetConfigForClient")
			return nil, nil
		}
		config.VerifyConnection = func(tls.ConnectionState) error { look("VerifyConnection"); return nil }
		mem := newMemoryListener()
		l := listenerOf(t, m, mem, config)
		go l.Accept()
		silent := mem.dialBuffered()
		go tls.Client(stalled(silent, 1, true), keeping(r.client)).Handshake()
		synctest.Wait()
		look("stalled")
		go tls.Client(mem.dialBuffered(), keeping(r.client)).Handshake()
		synctest.Wait()
		want := map[string]string{
			"GetConfigForClient": "false none yet false", "VerifyConnection": "false none yet false", "GenerateID": "false none yet false",
			"stalled": "false none yet false", "OnNew": "true nothing offered true",
		}
		if !maps.Equal(seen, want) {
			t.Errorf("saw %v", seen)
		}
		silent.Close()
		l.Close()
		look("closed")
		if got := seen["closed"]; got != "true nothing offered true" { // Accept gave it away
			t.Errorf("a connection that is still open: %s", got)
		}
		transport.Close()
		look("closed")
		if got := seen["closed"]; got != "false nothing offered true" {
			t.Errorf("a closed connection: %s", got)
		}
	})
}
