package reprise_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// shop is a server that many clients visit: it echoes a byte to each and tells
// what it was offered.
type shop struct {
	*rig
	m     *reprise.Manager
	addr  string
	shown chan reprise.Reason // Resumed, NothingOffered, or why what was offered did not do
}

func newShop(t testing.TB, config reprise.Config) *shop {
	s := &shop{rig: newRig(t), shown: make(chan reprise.Reason, 1000)}
	s.m = manager(t, config)
	s.server.ClientAuth = tls.RequestClientCert
	s.server.NextProtos = []string{"one", "two", "h2", "http/1.1"}
	s.addr = s.open(s.server)
	return s
}

// open opens one more door, with the same sessions.
func (s *shop) open(config *tls.Config) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	tl := listenerOf(s.t, s.m, l, config)
	var clerks sync.WaitGroup
	s.t.Cleanup(func() { l.Close(); clerks.Wait() })
	clerks.Go(func() {
		for {
			c, err := tl.Accept()
			if err != nil {
				return
			}
			clerks.Go(func() { s.attend(c.(*tls.Conn)) })
		}
	})
	return l.Addr().String()
}

func (s *shop) attend(c *tls.Conn) {
	defer c.Close()
	if err := c.Handshake(); err != nil {
		return
	}
	r, ok := reprise.ResumptionOf(c)
	if !ok {
		s.t.Error("the server knows nothing of a handshake that it completed")
	}
	s.shown <- r.Reason
	io.Copy(c, c)
}

// way is a way to connect: it returns the connection, its handshake done or not.
type way struct {
	name string
	dial func(p reprise.Partition, addr string, config *tls.Config) (net.Conn, error)
}

// ways are all there are.
var ways = []way{
	{"ClientConfig", func(p reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
		return tls.Dial("tcp", addr, p.ClientConfig(config))
	}},
	{"Client", func(p reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		return p.Client(nc, config), nil
	}},
	{"Dial", func(p reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
		return p.Dial("tcp", addr, config)
	}},
	{"DialTLSContext", func(p reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
		return p.DialTLSContext(config)(context.Background(), "tcp", addr)
	}},
}

// visit connects, exchanges a byte, so that sessions have come, and leaves. It
// returns what the client showed.
func (s *shop) visit(w way, p reprise.Partition, addr string, config *tls.Config) reprise.Reason {
	s.t.Helper()
	c, err := w.dial(p, addr, config)
	if err != nil {
		s.t.Fatalf("%s: %v", w.name, err)
	}
	defer c.Close()
	buf := []byte{'x'}
	if _, err := c.Write(buf); err != nil {
		s.t.Fatalf("%s: %v", w.name, err)
	}
	if _, err := io.ReadFull(c, buf); err != nil {
		s.t.Fatalf("%s: %v", w.name, err)
	}
	return <-s.shown
}

// TestClientsResume: whichever way a client connects, it resumes, with no
// configuration at all, as often as it comes.
func TestClientsResume(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range versions {
		for _, w := range ways {
			p := manager(t, reprise.Config{}).Partition("")
			for n := range 4 {
				if shown := s.visit(w, p, s.addr, at(version, s.client)); shown == reprise.Resumed != (n > 0) {
					t.Errorf("%s, %s: visit %d: %v", tls.VersionName(version), w.name, n, shown)
				}
			}
		}
	}
}

// TestAttackClientScopes: a session is never offered under another name, root
// set, client certificate, verification mode, protocol list, partition or port
// than it was made under, and is still there for the one it was made under.
func TestAttackClientScopes(t *testing.T) {
	t.Parallel()
	s := newShop(t, reprise.Config{})
	moved := s.open(s.server)
	me, you := s.ca.Leaf(t, "me"), s.ca.Leaf(t, "you")
	s.client.Certificates = []tls.Certificate{me}
	s.client.NextProtos = []string{"one"}
	larger := s.ca.Pool()
	larger.AddCert(testpki.New(t, "root").Cert)
	for _, other := range []struct {
		what   string
		addr   string
		label  string
		ways   []string // none: all
		change func(*tls.Config)
	}{
		{what: "name", change: func(c *tls.Config) { c.ServerName = "b.test" }},
		{what: "name that is an address", change: func(c *tls.Config) { c.ServerName = "127.0.0.1" }},
		{what: "more roots", change: func(c *tls.Config) { c.RootCAs = larger }},
		{what: "no verification", change: func(c *tls.Config) { c.InsecureSkipVerify = true }},
		{what: "no verification and no name", change: func(c *tls.Config) { c.InsecureSkipVerify = true; c.ServerName = "" }},
		{what: "certificate", change: func(c *tls.Config) { c.Certificates = []tls.Certificate{you} }},
		{what: "no certificate", change: func(c *tls.Config) { c.Certificates = nil }},
		{what: "a function's certificate", change: func(c *tls.Config) {
			c.Certificates = nil
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &you, nil }
		}},
		{what: "a function that verifies", change: func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		}},
		{what: "protocol", change: func(c *tls.Config) { c.NextProtos = []string{"two"} }},
		{what: "protocols", change: func(c *tls.Config) { c.NextProtos = []string{"one", "two"} }},
		{what: "partition", label: "you", change: func(*tls.Config) {}},
		{what: "port", addr: moved, ways: []string{"Dial", "DialTLSContext"}, change: func(*tls.Config) {}},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, w := range ways {
				if len(other.ways) > 0 && !slices.Contains(other.ways, w.name) {
					continue
				}
				name := fmt.Sprintf("%s, %s, %s", other.what, tls.VersionName(version), w.name)
				m := manager(t, reprise.Config{})
				mine := at(version, s.client)
				s.visit(w, m.Partition(""), s.addr, mine)
				yours := mine.Clone()
				other.change(yours)
				addr := s.addr
				if other.addr != "" {
					addr = other.addr
				}
				if shown := s.visit(w, m.Partition(other.label), addr, yours); shown != reprise.NothingOffered {
					t.Errorf("%s: the other showed a session: %v", name, shown)
				}
				if shown := s.visit(w, m.Partition(""), s.addr, mine); shown != reprise.Resumed {
					t.Errorf("%s: the first does not resume: %v", name, shown)
				}
			}
		}
	}
}

// TestClientRootsByContent: an equal pool is the same roots, a pool that was
// added to is not.
func TestClientRootsByContent(t *testing.T) {
	s := newShop(t, reprise.Config{})
	m := manager(t, reprise.Config{})
	dial := ways[2]
	s.visit(dial, m.Partition(""), s.addr, s.client)
	equal := s.client.Clone()
	equal.RootCAs = s.ca.Pool()
	if shown := s.visit(dial, m.Partition(""), s.addr, equal); shown != reprise.Resumed {
		t.Errorf("under an equal pool: %v", shown)
	}
	equal.RootCAs.AddCert(testpki.New(t, "another").Cert)
	if shown := s.visit(dial, m.Partition(""), s.addr, equal); shown != reprise.NothingOffered {
		t.Errorf("under a pool that was added to: %v", shown)
	}
}

// TestClientFunctionsApart: functions cannot be compared: sessions under them
// are shared by the connections of one configuration, or of a named partition.
func TestClientFunctionsApart(t *testing.T) {
	s := newShop(t, reprise.Config{})
	me := s.ca.Leaf(t, "me")
	get := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &me, nil }
	for _, w := range ways {
		m := manager(t, reprise.Config{})
		one, other := s.client.Clone(), s.client.Clone()
		one.GetClientCertificate, other.GetClientCertificate = get, get
		s.visit(w, m.Partition(""), s.addr, one)
		if shown := s.visit(w, m.Partition(""), s.addr, other); shown != reprise.NothingOffered {
			t.Errorf("%s: another configuration: %v", w.name, shown)
		}
		if shown := s.visit(w, m.Partition(""), s.addr, one); shown != reprise.Resumed {
			t.Errorf("%s: the same configuration: %v", w.name, shown)
		}
		s.visit(w, m.Partition("me"), s.addr, one)
		if shown := s.visit(w, m.Partition("me"), s.addr, other); shown != reprise.Resumed {
			t.Errorf("%s: in a named partition: %v", w.name, shown)
		}
	}
}

// TestClientCertificateChanges: once a function gave another certificate, the
// sessions of the one before are not offered, and those that come are not kept:
// nobody tells whose they are. In a named partition that does not matter.
func TestClientCertificateChanges(t *testing.T) {
	s := newShop(t, reprise.Config{})
	old, renewed := s.ca.Leaf(t, "me"), s.ca.Leaf(t, "me")
	for n := range 4 {
		version, named := []uint16{tls.VersionTLS12, tls.VersionTLS13}[n%2], n/2 == 1
		want := map[bool]reprise.Reason{false: reprise.NothingOffered, true: reprise.Resumed}[named]
		m := manager(t, reprise.Config{})
		certificate := &old
		c := at(version, s.client)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		config := m.Partition(map[bool]string{true: "me"}[named]).ClientConfig(c)
		fixed := way{"ClientConfig", func(_ reprise.Partition, addr string, _ *tls.Config) (net.Conn, error) {
			return tls.Dial("tcp", addr, config)
		}}
		b := config.Clone()
		b.ServerName = "b.test"
		other := way{"its clone", func(_ reprise.Partition, addr string, _ *tls.Config) (net.Conn, error) {
			return tls.Dial("tcp", addr, b)
		}}
		s.visit(fixed, m.Partition(""), s.addr, nil)
		if shown := s.visit(fixed, m.Partition(""), s.addr, nil); shown != reprise.Resumed {
			t.Errorf("%s: %v", tls.VersionName(version), shown)
		}
		certificate = &renewed
		s.visit(other, m.Partition(""), s.addr, nil) // full, for another name: here it shows
		for range 2 {
			if shown := s.visit(fixed, m.Partition(""), s.addr, nil); shown != want {
				t.Errorf("%s, named %v: with another certificate: %v", tls.VersionName(version), named, shown)
			}
		}
	}
}

// TestAttackClientCertificateMeanwhile: a session that arrives after the
// certificate has changed, on a connection that showed the one before, is not
// offered by those that show the new one.
func TestAttackClientCertificateMeanwhile(t *testing.T) {
	s := newShop(t, reprise.Config{})
	me, you := s.ca.Leaf(t, "me"), s.ca.Leaf(t, "you")
	for _, w := range ways[1:] {
		m := manager(t, reprise.Config{})
		config := at(tls.VersionTLS13, s.client)
		certificate := &me
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
		if w.name == "DialTLSContext" { // each call makes a configuration of its own
			dial := m.DialTLSContext(config)
			w.dial = func(_ reprise.Partition, addr string, _ *tls.Config) (net.Conn, error) {
				return dial(t.Context(), "tcp", addr)
			}
		}
		open := func() net.Conn {
			c, err := w.dial(m.Partition(""), s.addr, config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			if err := c.(interface{ Handshake() error }).Handshake(); err != nil {
				t.Fatal(err)
			}
			return c
		}
		read := func(c net.Conn) {
			buf := []byte{'x'}
			if _, err := c.Write(buf); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c, buf); err != nil {
				t.Fatal(err)
			}
		}
		mine := open()
		certificate = &you
		yours := open()
		read(mine) // its session comes only now
		open()
		for _, which := range []string{"mine", "yours", "the next"} {
			if shown := <-s.shown; shown != reprise.NothingOffered {
				t.Errorf("%s, %s: %v", w.name, which, shown)
			}
		}
		read(yours)
		open()
		if shown := <-s.shown; shown != reprise.Resumed {
			t.Errorf("%s, with a session of its own: %v", w.name, shown)
		}
	}
}

// TestClientsSpend: ten dials at once with three tickets: three resume, seven
// do not, and no ticket is on the wire twice (RFC 8446, appendix C.4).
func TestClientsSpend(t *testing.T) {
	for _, w := range ways[1:] {
		s := newShop(t, reprise.Config{NoTickets: true, SingleUse: true}) // where a second use fails the handshake
		m := manager(t, reprise.Config{})
		config := at(tls.VersionTLS13, s.client)
		s.fill(w, m, config, 3)
		outcome := s.crowd(w, m, config, 10)
		if outcome[reprise.Resumed] != 3 || outcome[reprise.NothingOffered] != 7 {
			t.Errorf("%s: %v", w.name, outcome)
		}
	}
}

// crowd visits n times at once and counts what the server was shown.
func (s *shop) crowd(w way, m *reprise.Manager, config *tls.Config, n int) map[reprise.Reason]int {
	s.t.Helper()
	var conns []net.Conn
	for range n { // all have taken what they offer before any session comes
		c, err := w.dial(m.Partition(""), s.addr, config)
		if err != nil {
			s.t.Fatal(err)
		}
		if c, ok := c.(*reprise.Conn); ok {
			if err := c.Handshake(); err != nil {
				s.t.Fatal(err)
			}
		}
		conns = append(conns, c)
	}
	outcome := make(map[reprise.Reason]int)
	var all sync.WaitGroup
	for _, c := range conns {
		outcome[<-s.shown]++
		all.Go(func() {
			buf := []byte{'x'}
			c.Write(buf)
			if _, err := io.ReadFull(c, buf); err != nil {
				s.t.Error(err)
			}
			c.Close()
		})
	}
	all.Wait()
	return outcome
}

// fill makes the client get n sessions.
func (s *shop) fill(w way, m *reprise.Manager, config *tls.Config, n int) {
	s.t.Helper()
	if outcome := s.crowd(w, m, config, n); outcome[reprise.NothingOffered] != n {
		s.t.Fatalf("%d first visits: %v", n, outcome)
	}
}

// TestClientManual: after SetSession, with nil too, nothing is offered or kept
// but what the caller sets, as in libssl.
func TestClientManual(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		config := at(version, s.client)
		by := func(m *reprise.Manager, set *reprise.Session) way {
			return way{"Dial", func(_ reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
				c, err := m.Dial("tcp", addr, config)
				if err != nil {
					return nil, err
				}
				return c, c.SetSession(set)
			}}
		}
		m := manager(t, reprise.Config{})
		s.visit(ways[2], m.Partition(""), s.addr, config)
		if shown := s.visit(by(m, nil), m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
			t.Errorf("%s: after SetSession(nil): %v", tls.VersionName(version), shown)
		}
		if shown := s.visit(ways[2], m.Partition(""), s.addr, config); shown != reprise.Resumed {
			t.Errorf("%s: what was kept is gone: %v", tls.VersionName(version), shown)
		}
		m = manager(t, reprise.Config{})
		s.visit(by(m, nil), m.Partition(""), s.addr, config)
		if shown := s.visit(ways[2], m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
			t.Errorf("%s: a session was kept that is in the caller's hands: %v", tls.VersionName(version), shown)
		}
	}
}

// TestClientManualSpends: a TLS 1.3 session that is both kept and set by the
// caller is still offered once.
func TestClientManualSpends(t *testing.T) {
	s := newShop(t, reprise.Config{})
	m := manager(t, reprise.Config{})
	config := at(tls.VersionTLS13, s.client)
	c, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	session := wait(t, c)
	defer session.Free()
	<-s.shown
	c.Close()
	set := way{"set", func(_ reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
		c, err := m.Dial("tcp", addr, config)
		if err != nil {
			return nil, err
		}
		return c, c.SetSession(session)
	}}
	if shown := s.visit(set, m.Partition(""), s.addr, config); shown != reprise.Resumed {
		t.Errorf("the session that was set: %v", shown)
	}
	if shown := s.visit(ways[2], m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
		t.Errorf("the same session, of the client's own accord: %v", shown)
	}
}

// TestClientsOff: no sessions are kept where the configuration says so.
func TestClientsOff(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, config := range []reprise.Config{{SessionsPerPeer: -1}, {CacheMode: reprise.CacheOff}} {
		for _, w := range ways {
			p := manager(t, config).Partition("")
			s.visit(w, p, s.addr, s.client)
			if shown := s.visit(w, p, s.addr, s.client); shown != reprise.NothingOffered {
				t.Errorf("%s: %v", w.name, shown)
			}
		}
	}
}

// TestClientBadSession: the session of a connection that ended with an alert is
// not offered again.
func TestClientBadSession(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		m := manager(t, reprise.Config{})
		config := at(version, s.client)
		c, err := m.Dial("tcp", s.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		wait(t, c).Free()
		<-s.shown
		provoke(t, c)
		c.Free()
		if shown := s.visit(ways[2], m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
			t.Errorf("%s: %v", tls.VersionName(version), shown)
		}
	}
}

// TestDialTLSContextReleases: a connection of DialTLSContext gives its sessions
// up when it is closed; a *tls.Conn has no Free.
func TestDialTLSContextReleases(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		var sessions []*reprise.Session
		m := manager(t, reprise.Config{CacheMode: reprise.CacheClient, OnNew: func(s *reprise.Session) {
			if err := s.UpRef(); err != nil {
				t.Error(err)
			}
			sessions = append(sessions, s)
		}})
		for range 3 {
			s.visit(ways[3], m.Partition(""), s.addr, at(version, s.client))
		}
		m.Close()
		for i, session := range sessions {
			if _, library := reprise.Held(session); library != 0 {
				t.Errorf("%s: session %d is held %d times", tls.VersionName(version), i, library)
			}
			session.Free()
		}
		if len(sessions) == 0 {
			t.Errorf("%s: no sessions", tls.VersionName(version))
		}
	}
}

// TestClientsHoldNothing: however connections end, on every way, nothing holds
// a session once they and the Manager were closed.
func TestClientsHoldNothing(t *testing.T) {
	defer reprise.Track(reprise.Track(true))
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, w := range ways {
			var sessions []*reprise.Session
			m := manager(t, reprise.Config{CacheMode: reprise.CacheClient, SessionsPerPeer: 3, OnNew: func(s *reprise.Session) {
				sessions = append(sessions, s)
			}})
			var conns []*reprise.Conn
			dial := w.dial
			w.dial = func(p reprise.Partition, addr string, config *tls.Config) (net.Conn, error) {
				c, err := dial(p, addr, config)
				if c, ok := c.(*reprise.Conn); ok {
					conns = append(conns, c)
				}
				return c, err
			}
			for range 10 {
				s.leave(w, m.Partition(""), at(version, s.client))
			}
			for _, c := range conns {
				c.Free()
			}
			m.Close()
			for i, session := range sessions {
				if caller, library := reprise.Held(session); caller+library != 0 {
					t.Errorf("%s, %s: session %d of %d: callers hold %d, the library %d",
						tls.VersionName(version), w.name, i, len(sessions), caller, library)
				}
			}
			if len(sessions) == 0 {
				t.Errorf("%s, %s: no sessions", tls.VersionName(version), w.name)
			}
		}
	}
	for _, r := range reprise.Outstanding() {
		t.Errorf("not freed: %v", r)
	}
}

// leave connects several times, and ends each connection otherwise.
func (s *shop) leave(w way, p reprise.Partition, config *tls.Config) {
	s.t.Helper()
	s.visit(w, p, s.addr, config)
	shake := func(config *tls.Config) (net.Conn, error) {
		c, err := w.dial(p, s.addr, config)
		if err != nil {
			return nil, err
		}
		return c, c.(interface{ Handshake() error }).Handshake()
	}
	unread, err := shake(config)
	if err != nil {
		s.t.Fatal(err)
	}
	unread.Close()
	<-s.shown
	distrustful := config.Clone()
	distrustful.VerifyConnection = func(tls.ConnectionState) error { return errors.New("no") }
	if c, err := shake(distrustful); err == nil {
		c.Close()
		s.t.Error("a handshake that VerifyConnection refused succeeded")
	}
	c, err := p.Dial("tcp", s.addr, config)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Free()
	if err := c.SetSession(nil); err != nil {
		s.t.Fatal(err)
	}
	session := wait(s.t, c)
	defer session.Free()
	<-s.shown
	c.Close()
	nc, err := net.Dial("tcp", s.addr)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := errors.Join(c.SetSession(session), c.Clear(nc), c.Handshake()); err != nil {
		s.t.Fatal(err)
	}
	<-s.shown
	c.Session()
}

// TestDialTLSContextNetConn: the transport of a *tls.Conn can be had, for its type.
func TestDialTLSContextNetConn(t *testing.T) {
	s := newShop(t, reprise.Config{})
	c, err := manager(t, reprise.Config{}).DialTLSContext(s.client)(t.Context(), "tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	under, ok := c.(*tls.Conn).NetConn().(interface{ NetConn() net.Conn })
	if !ok {
		t.Fatalf("%T has no NetConn", c.(*tls.Conn).NetConn())
	}
	if _, ok := under.NetConn().(*net.TCPConn); !ok {
		t.Errorf("the transport is a %T", under.NetConn())
	}
}

// TestTransport: net/http over HTTP/2 and HTTP/1.1, many dials at once, resumes
// as often as there are tickets.
func TestTransport(t *testing.T) {
	s := newShop(t, reprise.Config{})
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		res, _ := reprise.ResumptionFromContext(r.Context())
		fmt.Fprint(w, r.ProtoMajor, res.Resumed)
	})}
	web.TLSConfig = s.server.Clone()
	web.TLSConfig.ClientAuth = tls.NoClientCert
	web.TLSConfig.NextProtos = nil
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.m.ServeTLS(web, l, "", "")
	t.Cleanup(func() { web.Close() })
	for n := range 4 {
		h2, byConfig := n%2 == 1, n/2 == 1
		config := s.client.Clone()
		config.ServerName = ""
		if h2 {
			config.NextProtos = []string{"h2", "http/1.1"}
		}
		m := manager(t, reprise.Config{})
		dial, kept := m.DialTLSContext(config), m.ClientConfig(config)
		get := func() string {
			tr := &http.Transport{ForceAttemptHTTP2: h2}
			if byConfig {
				tr.TLSClientConfig = kept.Clone() // a transport changes its own
			} else {
				tr.DialTLSContext = dial
			}
			defer tr.CloseIdleConnections()
			response, err := (&http.Client{Transport: tr}).Get("https://" + l.Addr().String())
			if err != nil {
				t.Error(err)
				return ""
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			return string(body)
		}
		proto := map[bool]string{false: "1", true: "2"}[h2]
		if got := get(); got != proto+" false" {
			t.Errorf("first: %s", got)
		}
		for range 5 {
			if got := get(); got != proto+" true" {
				t.Errorf("then: %s", got)
			}
		}
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() { get() })
		}
		all.Wait()
		get() // which may find that others were given all sessions
		if got := get(); got != proto+" true" {
			t.Errorf("after 20 at once: %s", got)
		}
	}
}

// TestClientLargeTickets: what a server can make a client keep is bounded.
func TestClientLargeTickets(t *testing.T) {
	for _, size := range []int{15 << 10, 58000} { // as long as our servers make them
		s := newShop(t, reprise.Config{OnSeal: func(s *reprise.Session) { s.SetTicketAppData(make([]byte, size)) }})
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, w := range ways {
				p := manager(t, reprise.Config{}).Partition("")
				s.visit(w, p, s.addr, at(version, s.client))
				if shown := s.visit(w, p, s.addr, at(version, s.client)); shown != reprise.Resumed {
					t.Errorf("%s, %s, %d bytes: %v", tls.VersionName(version), w.name, size, shown)
				}
			}
		}
	}
}

// TestClientTooLargeTickets: a ticket that is too long to keep is not kept, and
// the log says so, once for many.
func TestClientTooLargeTickets(t *testing.T) {
	r := newRig(t)
	r.server.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return make([]byte, 62000), nil }
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, w := range ways {
			var log lockedBuffer
			m := manager(t, reprise.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			for range 3 {
				if visitPlain(t, w, m, at(version, r.server), at(version, r.client)) {
					t.Errorf("%s, %s: resumed", tls.VersionName(version), w.name)
				}
			}
			if n := strings.Count(log.String(), "ticket of more than"); n != 1 {
				t.Errorf("%s, %s: %d lines: %s", tls.VersionName(version), w.name, n, log.String())
			}
		}
	}
}

// visitPlain visits a server of crypto/tls, which says a byte after the
// handshake, and reports whether the server resumed.
func visitPlain(t *testing.T, w way, m *reprise.Manager, sc, cc *tls.Config) (resumed bool) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended := make(chan bool, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			ended <- false
			return
		}
		c := tls.Server(nc, sc)
		c.Write([]byte("x"))
		io.Copy(io.Discard, c)
		ended <- c.ConnectionState().DidResume
		c.Close()
	}()
	c, err := w.dial(m.Partition(""), l.Addr().String(), cc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	return <-ended
}

// TestClientTicketless: a server that resumes and sends a ticket of length zero
// means the one that the client has.
func TestClientTicketless(t *testing.T) {
	r := newRig(t)
	sc := at(tls.VersionTLS12, r.server)
	sc.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
		if cs.DidResume {
			return []byte{}, nil
		}
		return sc.EncryptTicket(cs, ss)
	}
	for _, w := range ways[:2] { // the others keep sessions by port
		m := manager(t, reprise.Config{})
		for n := range 4 {
			if resumed := visitPlain(t, w, m, sc, at(tls.VersionTLS12, r.client)); resumed != (n > 0) {
				t.Errorf("%s: visit %d: resumed %v", w.name, n, resumed)
			}
		}
	}
}

// TestClientNoTicketAtAll: a ticket of length zero after a full handshake is none.
func TestClientNoTicketAtAll(t *testing.T) {
	r := newRig(t)
	r.server.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return []byte{}, nil }
	for _, w := range ways[:2] {
		m := manager(t, reprise.Config{})
		for range 2 {
			if visitPlain(t, w, m, at(tls.VersionTLS12, r.server), at(tls.VersionTLS12, r.client)) {
				t.Errorf("%s: resumed", w.name)
			}
		}
	}
}

// TestClientFailures: a TLS 1.2 session outlives a handshake that failed before
// the server said a thing, in memory and in a store, and none that the server failed.
func TestClientFailures(t *testing.T) {
	s := newShop(t, reprise.Config{})
	config := at(tls.VersionTLS12, s.client)
	silent := func(net.Conn) {}
	for name, c := range map[string]struct {
		server func(net.Conn) // does this to what it accepts
		client func(*reprise.Conn) error
		want   reprise.Reason
	}{
		"cancelled": {silent, func(c *reprise.Conn) error {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			return c.HandshakeContext(ctx)
		}, reprise.Resumed},
		"timed out": {silent, func(c *reprise.Conn) error {
			c.SetReadDeadline(time.Unix(1, 0))
			return c.Handshake()
		}, reprise.Resumed},
		"reset": {func(nc net.Conn) { nc.(*net.TCPConn).SetLinger(0); nc.Close() }, (*reprise.Conn).Handshake, reprise.Resumed},
		"ended": {func(nc net.Conn) { nc.Close() }, (*reprise.Conn).Handshake, reprise.Resumed},
		"alert": {func(nc net.Conn) { nc.Write([]byte{21, 3, 3, 0, 2, 2, 40}) }, (*reprise.Conn).Handshake, reprise.NothingOffered},
	} {
		for _, store := range []reprise.ClientStore{nil, new(shelf)} {
			m := manager(t, reprise.Config{ClientStore: store})
			s.visit(ways[1], m.Partition(""), s.addr, config)
			nc, ns := pipe(t)
			go c.server(ns)
			failed := m.Client(nc, config)
			if err := c.client(failed); err == nil {
				t.Errorf("%s: the handshake succeeded", name)
			}
			failed.Free()
			if shown := s.visit(ways[1], m.Partition(""), s.addr, config); shown != c.want {
				t.Errorf("%s, store %v: then %v, want %v", name, store != nil, shown, c.want)
			}
		}
	}
}

// TestDialTLSContextAnew: functions made of one configuration share its sessions,
// also where GetClientCertificate makes them its own.
func TestDialTLSContextAnew(t *testing.T) {
	s := newShop(t, reprise.Config{})
	card := s.ca.Leaf(t, "client")
	config := s.client.Clone()
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &card, nil }
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		p, config := manager(t, reprise.Config{}).Partition(""), at(version, config)
		s.visit(ways[3], p, s.addr, config)
		if shown := s.visit(ways[3], p, s.addr, config); shown != reprise.Resumed {
			t.Errorf("%s: %v", tls.VersionName(version), shown)
		}
		if shown := s.visit(ways[3], p, s.addr, config.Clone()); shown != reprise.NothingOffered {
			t.Errorf("%s: another configuration: %v", tls.VersionName(version), shown)
		}
	}
}

// TestClientDialContext: the application may say how to connect.
func TestClientDialContext(t *testing.T) {
	s := newShop(t, reprise.Config{})
	var asked []string
	m := manager(t, reprise.Config{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		asked = append(asked, network+" "+addr)
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	}})
	for _, w := range ways[2:] {
		for n := range 2 {
			if shown := s.visit(w, m.Partition(w.name), "a.test:443", s.client); shown == reprise.Resumed != (n > 0) {
				t.Errorf("%s: visit %d: %v", w.name, n, shown)
			}
		}
	}
	if len(asked) != 4 || asked[0] != "tcp a.test:443" || asked[3] != "tcp a.test:443" {
		t.Errorf("asked for %q", asked)
	}
}
