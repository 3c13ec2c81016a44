package reprise_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
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

func (c *buffered) LocalAddr() net.Addr  { return memoryAddr{} }
func (c *buffered) RemoteAddr() net.Addr { return memoryAddr{} }

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
