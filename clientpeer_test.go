package reprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// lasting opens a door whose certificate outlives any test, and returns a
// client's configuration that does not mind about the roots.
func (s *shop) lasting() (config *tls.Config, addr string) {
	server := s.server.Clone()
	server.Certificates = []tls.Certificate{s.ca.LeafUntil(s.t, time.Now().Add(1000*time.Hour), "a.test", "127.0.0.1")}
	config = s.client.Clone()
	config.InsecureSkipVerify = true
	return config, s.open(server)
}

// TestClientLineEnds: renewals never prolong: a client that comes every half
// hour makes a full handshake at the latest MaxAge after the one before, on
// every way, and a server that renews for ever cannot change that.
func TestClientLineEnds(t *testing.T) {
	t.Parallel()
	s := newShop(t, reprise.Config{MaxAge: -1, Timeout: 7 * 24 * time.Hour})
	config, addr := s.lasting()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, w := range ways {
			clock := newClock()
			m := manager(t, reprise.Config{Time: clock.time, MaxAge: 5 * time.Hour})
			config := at(version, config)
			full := clock.time()
			s.visit(w, m.Partition(""), addr, config)
			fulls := 0
			for range 100 {
				clock.pass(30 * time.Minute)
				shown := s.visit(w, m.Partition(""), addr, config)
				if age := clock.time().Sub(full); shown == reprise.Resumed && age > 5*time.Hour {
					t.Fatalf("%s, %s: resumed %v after the full handshake", tls.VersionName(version), w.name, age)
				}
				if shown != reprise.Resumed {
					full = clock.time()
					fulls++
				}
			}
			// TLS 1.2 sessions are not renewed by our server: they end after an
			// hour, and where nobody watches with their line.
			if most := map[uint16]int{tls.VersionTLS12: 40, tls.VersionTLS13: 10}[version]; fulls > most {
				t.Errorf("%s, %s: %d full handshakes in 50 hours", tls.VersionName(version), w.name, fulls)
			}
		}
	}
}

// TestClientTimeouts: sessions are kept for an hour where nothing is said, for
// Config.Timeout else, and never past the server's certificate.
func TestClientTimeouts(t *testing.T) {
	s := newShop(t, reprise.Config{Timeout: 7 * 24 * time.Hour})
	config, addr := s.lasting()
	brief := s.server.Clone()
	brief.Certificates = []tls.Certificate{s.ca.LeafUntil(t, time.Now().Add(20*time.Minute), "a.test", "127.0.0.1")}
	briefly := s.open(brief)
	for _, c := range []struct {
		what    string
		timeout time.Duration
		addr    string
		want    time.Duration
	}{
		{"nothing said", 0, addr, time.Hour},
		{"a timeout", 3 * time.Hour, addr, 3 * time.Hour},
		{"seven days", 7 * 24 * time.Hour, addr, 7 * 24 * time.Hour},
		{"a certificate that ends", 3 * time.Hour, briefly, 20 * time.Minute},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			for _, w := range ways {
				name := fmt.Sprintf("%s, %s, %s", c.what, tls.VersionName(version), w.name)
				for _, past := range []bool{false, true} {
					clock := newClock()
					m := manager(t, reprise.Config{Time: clock.time, Timeout: c.timeout, MaxAge: -1})
					config := at(version, config)
					s.visit(w, m.Partition(""), c.addr, config)
					if past {
						clock.pass(c.want + 2*time.Second)
					} else {
						clock.pass(c.want - 10*time.Second)
					}
					if shown := s.visit(w, m.Partition(""), c.addr, config); shown == reprise.Resumed == past {
						t.Errorf("%s: past %v: %v", name, past, shown)
					}
				}
			}
		}
	}
}

// TestClientOtherVersion: a session of a version that a connection does not
// speak stays for those that do.
func TestClientOtherVersion(t *testing.T) {
	s := newShop(t, reprise.Config{})
	m := manager(t, reprise.Config{})
	dial := ways[2]
	s.visit(dial, m.Partition(""), s.addr, at(tls.VersionTLS13, s.client))
	if shown := s.visit(dial, m.Partition(""), s.addr, at(tls.VersionTLS12, s.client)); shown != reprise.NothingOffered {
		t.Errorf("TLS 1.2: %v", shown)
	}
	outcome := s.crowd(dial, m, at(tls.VersionTLS13, s.client), 2)
	if outcome[reprise.Resumed] != 1 {
		t.Errorf("TLS 1.3: %v", outcome)
	}
}

// shelf is a ClientStore in memory, which may fail.
type shelf struct {
	mu    sync.Mutex
	fail  error
	peers map[string][]shelved
	calls int
}

type shelved struct {
	session []byte
	expires time.Time
	once    bool
}

func (s *shelf) Put(_ context.Context, peer string, session []byte, expires time.Time, once bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if s.peers == nil {
		s.peers = make(map[string][]shelved)
	}
	s.peers[peer] = append(s.peers[peer], shelved{slices.Clone(session), expires, once})
	return s.fail
}

func (s *shelf) Take(_ context.Context, peer string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	n := len(s.peers[peer]) - 1
	if n < 0 || s.fail != nil {
		return nil, s.fail
	}
	last := s.peers[peer][n]
	if last.once {
		s.peers[peer] = s.peers[peer][:n]
	}
	return slices.Clone(last.session), nil
}

func (s *shelf) Forget(_ context.Context, peer string, session []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.peers[peer] = slices.DeleteFunc(s.peers[peer], func(x shelved) bool { return session == nil || bytes.Equal(x.session, session) })
	return s.fail
}

// kept returns all that is on the shelf.
func (s *shelf) kept() (all []shelved) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.peers {
		all = append(all, p...)
	}
	return all
}

// TestClientStore: sessions serve a Manager that did not make them, each TLS
// 1.3 session once, under the conditions that made them.
func TestClientStore(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, w := range ways {
			name := tls.VersionName(version) + ", " + w.name
			shelf := new(shelf)
			process := func() reprise.Partition {
				return manager(t, reprise.Config{ClientStore: shelf}).Partition("")
			}
			config := at(version, s.client)
			before := time.Now()
			s.visit(w, process(), s.addr, config)
			kept := shelf.kept()
			if len(kept) != 1 || kept[0].once != (version == tls.VersionTLS13) ||
				kept[0].expires.Sub(before) > time.Hour+time.Second || kept[0].expires.Sub(before) < time.Hour-time.Second {
				t.Fatalf("%s: %d sessions in the store, the first until %v, once %v", name, len(kept), kept[0].expires, kept[0].once)
			}
			if _, rest, err := reprise.ParseSession(kept[0].session); err != nil || len(rest) > 0 {
				t.Errorf("%s: what is kept is not a session: %v", name, err)
			}
			for range 3 {
				if shown := s.visit(w, process(), s.addr, config); shown != reprise.Resumed {
					t.Errorf("%s: another process: %v", name, shown)
				}
			}
			other := config.Clone()
			other.NextProtos = []string{"two"}
			if shown := s.visit(w, process(), s.addr, other); shown != reprise.NothingOffered {
				t.Errorf("%s: under another condition: %v", name, shown)
			}
			if shown := s.visit(w, process(), s.addr, at(version, s.client)); shown != reprise.Resumed {
				t.Errorf("%s: the same conditions, anew: %v", name, shown)
			}
		}
	}
}

// TestClientStoreNameless: what another process could not tell apart stays in
// memory, and serves there.
func TestClientStoreNameless(t *testing.T) {
	s := newShop(t, reprise.Config{})
	me := s.ca.Leaf(t, "me")
	for what, change := range map[string]func(*tls.Config){
		"roots with a constraint": func(c *tls.Config) {
			c.RootCAs = x509.NewCertPool()
			c.RootCAs.AddCertWithConstraint(s.ca.Cert, func([]*x509.Certificate) error { return nil })
		},
		"a function": func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &me, nil }
		},
	} {
		for _, w := range ways {
			shelf := new(shelf)
			m := manager(t, reprise.Config{ClientStore: shelf})
			config := s.client.Clone()
			change(config)
			s.visit(w, m.Partition(""), s.addr, config)
			if shelf.calls != 0 {
				t.Errorf("%s, %s: %d calls of the store", what, w.name, shelf.calls)
			}
			if w.name == "DialTLSContext" && what == "a function" {
				continue // each call is a configuration of its own
			}
			if shown := s.visit(w, m.Partition(""), s.addr, config); shown != reprise.Resumed {
				t.Errorf("%s, %s: in the same process: %v", what, w.name, shown)
			}
		}
	}
}

// TestClientStoreFails: a store that fails, or gives what is no session, costs
// a full handshake and a line in the log, without secrets.
func TestClientStoreFails(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, w := range ways {
			name := tls.VersionName(version) + ", " + w.name
			shelf := new(shelf)
			var lines strings.Builder
			m := manager(t, reprise.Config{
				ClientStore: shelf, Logger: slog.New(slog.NewTextHandler(&lines, nil)),
			})
			config := at(version, s.client)
			s.visit(w, m.Partition(""), s.addr, config)
			shelf.fail = errors.New("on fire")
			if shown := s.visit(w, m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
				t.Errorf("%s: a store that fails: %v", name, shown)
			}
			if !strings.Contains(lines.String(), "on fire") {
				t.Errorf("%s: nothing in the log", name)
			}
			shelf.fail = nil
			for peer := range shelf.peers {
				good := shelf.peers[peer][0]
				shelf.peers[peer] = nil
				for i, bad := range [][]byte{{}, []byte("no session"), good.session[:len(good.session)/2], append(slices.Clone(good.session), 0)} {
					shelf.peers[peer] = append(shelf.peers[peer], shelved{bad, good.expires, i%2 == 0})
				}
			}
			if shown := s.visit(w, m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
				t.Errorf("%s: a store of rubbish: %v", name, shown)
			}
			if shown := s.visit(w, m.Partition(""), s.addr, config); shown != reprise.Resumed {
				t.Errorf("%s: after the rubbish: %v", name, shown)
			}
			if strings.Contains(lines.String(), "a.test") {
				t.Errorf("%s: the log names the peer:\n%s", name, &lines)
			}
		}
	}
}

// hung is a ClientStore that does not answer. It counts how often it is asked.
type hung struct{ asked atomic.Int32 }

func (h *hung) wait(ctx context.Context) error {
	h.asked.Add(1)
	<-ctx.Done()
	return ctx.Err()
}

func (h *hung) Put(ctx context.Context, _ string, _ []byte, _ time.Time, _ bool) error {
	return h.wait(ctx)
}
func (h *hung) Take(ctx context.Context, _ string) ([]byte, error)   { return nil, h.wait(ctx) }
func (h *hung) Forget(ctx context.Context, _ string, _ []byte) error { return h.wait(ctx) }

// TestClientStoreHangs: a store that does not answer costs the time that it is
// given once, then nothing for a while, and handshakes go on.
func TestClientStoreHangs(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways {
		clock, store := newClock(), new(hung)
		m := manager(t, reprise.Config{
			ClientStore: store, StoreTimeout: time.Millisecond, Time: clock.time,
		})
		for n, want := range []int32{1, 1, 1, 2, 2} {
			if n == 3 {
				clock.pass(10 * time.Second)
			}
			if shown := s.visit(w, m.Partition(""), s.addr, s.client); shown != reprise.NothingOffered {
				t.Errorf("%s: %v", w.name, shown)
			}
			if asked := store.asked.Load(); asked != want {
				t.Errorf("%s: visit %d: asked %d times, want %d", w.name, n, asked, want)
			}
		}
	}
}

// TestClientStoreForgetsBad: a session that turned out bad leaves the store,
// and no other does.
func TestClientStoreForgetsBad(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		shelf := new(shelf)
		m := manager(t, reprise.Config{ClientStore: shelf})
		config := at(version, s.client)
		var conns []*reprise.Conn
		for range 2 {
			c, err := m.Dial("tcp", s.addr, config)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
			if err := c.Handshake(); err != nil {
				t.Fatal(err)
			}
		}
		for range conns {
			<-s.shown
		}
		for _, c := range conns {
			wait(t, c).Free()
		}
		before := len(shelf.kept())
		provoke(t, conns[0])
		if after := len(shelf.kept()); after != before-1 {
			t.Errorf("%s: %d sessions in the store, were %d", tls.VersionName(version), after, before)
		}
		conns[1].Close()
		conns[1].Free()
	}
}

// TestClientStoreForgetsSet: a session that the caller set leaves the store, too,
// when it turned out bad.
func TestClientStoreForgetsSet(t *testing.T) {
	s := newShop(t, reprise.Config{})
	shelf := new(shelf)
	m := manager(t, reprise.Config{ClientStore: shelf})
	config := at(tls.VersionTLS12, s.client)
	first, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Free()
	session := wait(t, first)
	defer session.Free()
	first.Close()
	c, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.SetSession(session), c.Handshake()); err != nil {
		t.Fatal(err)
	}
	if reused, why := c.SessionReused(); !reused || len(shelf.kept()) != 1 {
		t.Fatalf("%v; %d sessions in the store", why, len(shelf.kept()))
	}
	c.Free() // without close_notify
	if n := len(shelf.kept()); n != 0 {
		t.Errorf("%d sessions in the store", n)
	}
}

// TestClientStoreShared: of Managers that share a store each goes by its own
// limits, whatever the one allowed that put a session, and though the store has
// no clock. What is past them is forgotten.
func TestClientStoreShared(t *testing.T) {
	s := newShop(t, reprise.Config{Timeout: 7 * 24 * time.Hour, MaxAge: -1})
	config, addr := s.lasting()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, w := range ways {
			for _, c := range []struct {
				what   string
				config reprise.Config
				after  time.Duration
				want   bool
			}{
				{"at once", reprise.Config{}, 0, true},
				{"the time went back", reprise.Config{}, -4 * time.Minute, true},
				{"the time went back too far", reprise.Config{}, -6 * time.Minute, false},
				{"within its timeout", reprise.Config{Timeout: 30 * time.Minute}, 29 * time.Minute, true},
				{"after its timeout", reprise.Config{Timeout: 30 * time.Minute}, 31 * time.Minute, false},
				{"after its age", reprise.Config{MaxAge: 30 * time.Minute}, 31 * time.Minute, false},
				{"after the other's timeout", reprise.Config{Timeout: 7 * 24 * time.Hour}, 121 * time.Minute, false},
			} {
				name := fmt.Sprintf("%s, %s, %s", tls.VersionName(version), w.name, c.what)
				clock, shelf := newClock(), new(shelf)
				putting := manager(t, reprise.Config{Time: clock.time, ClientStore: shelf, Timeout: 2 * time.Hour})
				s.visit(w, putting.Partition(""), addr, at(version, config))
				before := shelf.kept()
				clock.pass(c.after)
				c.config.Time, c.config.ClientStore = clock.time, shelf
				taking := manager(t, c.config)
				if shown := s.visit(w, taking.Partition(""), addr, at(version, config)); shown == reprise.Resumed != c.want {
					t.Errorf("%s: %v", name, shown)
				}
				for _, kept := range shelf.kept() {
					if !c.want && bytes.Equal(kept.session, before[0].session) {
						t.Errorf("%s: still in the store", name)
					}
				}
			}
		}
	}
}

// TestClientStoreOwner: a session from a store belongs to the Manager that took it.
func TestClientStoreOwner(t *testing.T) {
	s := newShop(t, reprise.Config{})
	shelf := new(shelf)
	config := at(tls.VersionTLS12, s.client)
	m, other := manager(t, reprise.Config{ClientStore: shelf}), manager(t, reprise.Config{})
	s.visit(ways[2], m.Partition(""), s.addr, config)
	c, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Free()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if shown := <-s.shown; shown != reprise.Resumed {
		t.Fatal(shown)
	}
	d, err := other.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	if err := d.SetSession(c.Session()); !errors.Is(err, reprise.ErrOtherManager) {
		t.Errorf("SetSession with another Manager: %v", err)
	}
}

// TestAttackClientStoreMixed: a TLS 1.3 session that a store has among those
// which serve again is not offered: it would be again and again.
func TestAttackClientStoreMixed(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways {
		shelf := new(shelf)
		p := manager(t, reprise.Config{ClientStore: shelf}).Partition("")
		s.visit(w, p, s.addr, at(tls.VersionTLS12, s.client))
		s.visit(w, p, s.addr, at(tls.VersionTLS13, s.client))
		var once shelved
		for peer, kept := range shelf.peers {
			if kept[0].once {
				once = kept[0]
				delete(shelf.peers, peer)
			}
		}
		once.once = false
		for peer := range shelf.peers {
			shelf.peers[peer] = []shelved{once}
		}
		if shown := s.visit(w, p, s.addr, s.client); shown != reprise.NothingOffered {
			t.Errorf("%s: %v", w.name, shown)
		}
	}
}

// TestClientRenewalReplaces: in TLS 1.2 a session that the server renews makes
// room for the new one, as in libssl.
func TestClientRenewalReplaces(t *testing.T) {
	r := newRig(t)
	shelf := new(shelf)
	m := manager(t, reprise.Config{ClientStore: shelf})
	for i := range 3 { // crypto/tls's server renews every time
		nc, ns := pipe(t)
		c := m.Client(nc, at(tls.VersionTLS12, r.client))
		talk(t, c, tls.Server(ns, r.server))
		if resumed, why := c.SessionReused(); resumed != (i > 0) {
			t.Errorf("connection %d: %v", i, why)
		}
		c.Close()
		c.Free()
		if n := len(shelf.kept()); n != 1 {
			t.Errorf("after connection %d: %d sessions", i, n)
		}
	}
}

// TestClientsClosed: a Manager that was closed keeps and offers nothing.
func TestClientsClosed(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways {
		shelf := new(shelf)
		m := manager(t, reprise.Config{ClientStore: shelf})
		p := m.Partition("")
		s.visit(w, p, s.addr, s.client)
		m.Close()
		if shown := s.visit(w, p, s.addr, s.client); shown != reprise.NothingOffered {
			t.Errorf("%s: %v", w.name, shown)
		}
		if n := len(shelf.kept()); n != 1 {
			t.Errorf("%s: %d sessions in the store, want the one from before", w.name, n)
		}
	}
}
