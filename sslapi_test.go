package reprise_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
)

// The tests in this file are libssl's own of sessions, on handshakes of
// crypto/tls. docs/parity.md lists them beside upstream's.

// tally counts what a Manager told or asked since it was last read.
type tally struct{ news, gone, asked int }

func (n *tally) watch(c reprise.Config) reprise.Config {
	c.OnNew = func(*reprise.Session) { n.news++ }
	c.OnRemove = func(*reprise.Session, reprise.Cause) { n.gone++ }
	return c
}

func (n *tally) want(t *testing.T, when string, want tally) {
	t.Helper()
	if *n != want {
		t.Errorf("%s: told %+v, want %+v", when, *n, want)
	}
	*n = tally{}
}

// newRigAt returns a rig whose configurations speak one version only.
func newRigAt(t *testing.T, version uint16) *rig {
	r := newRig(t)
	r.server, r.client = at(version, r.server), at(version, r.client)
	return r
}

// acquire returns the connection's session, freed at the end of the test.
func acquire(t *testing.T, c *reprise.Conn) *reprise.Session {
	t.Helper()
	s := wait(t, c)
	t.Cleanup(s.Free)
	return s
}

// end closes both ends cleanly.
func end(client, server *reprise.Conn) {
	client.Close()
	server.Close()
}

// keptIn are the caches of upstream's three tests.
var keptIn = []struct {
	name               string
	internal, external bool
}{
	{"internal", true, false},
	{"external", false, true},
	{"both", true, true},
}

// eachCache runs f for each kind of cache and for TLS 1.2 and 1.3. mode is that
// of a cache of the kind, without its side.
func eachCache(t *testing.T, f func(t *testing.T, mode reprise.CacheMode, external bool, version uint16)) {
	for _, kind := range keptIn {
		mode := reprise.NoInternalStore
		if kind.internal {
			mode = 0
		}
		for _, version := range later {
			t.Run(kind.name+"/"+tls.VersionName(version), func(t *testing.T) { f(t, mode, kind.external, version) })
		}
	}
}

// TestSSLAPIClientCaches is the client's half of test_session_with_*_cache.
func TestSSLAPIClientCaches(t *testing.T) {
	eachCache(t, func(t *testing.T, mode reprise.CacheMode, external bool, version uint16) {
		r, told := newRig(t), new(tally)
		config := reprise.Config{CacheMode: reprise.CacheClient | mode}
		want := func(string, tally) {}
		if external {
			config = told.watch(config)
			want = func(when string, n tally) { t.Helper(); told.want(t, when, n) }
		}
		internal := mode == 0
		sm, cm := manager(t, reprise.Config{}), manager(t, config)

		c, s := r.at(sm, cm, version, nil)
		first := acquire(t, c)
		want("full handshake", tally{news: 1})
		if cached(cm, first) != internal {
			t.Errorf("cached: %v", !internal)
		}
		end(c, s)

		c, s = r.at(sm, cm, version, first)
		if !reused(c) {
			t.Fatal("not resumed")
		}
		if version == tls.VersionTLS13 { // a new ticket, and the old one is spent
			want("resumed", tally{news: 1, gone: 1})
		} else {
			want("resumed", tally{})
		}
		first = acquire(t, c)
		end(c, s)

		c, _ = r.at(sm, cm, version, nil)
		second := acquire(t, c)
		want("full again", tally{news: 1})
		if err := c.SetSession(first); err != nil { // on a connection that is open: its own session is bad
			t.Fatal(err)
		}
		want("another session set", tally{gone: 1})
		for _, bad := range []*reprise.Session{second, second.Dup()} {
			if added, err := cm.Add(bad); added || !errors.Is(err, reprise.ErrNotResumable) {
				t.Errorf("Add of a bad session: %v, %v", added, err)
			}
		}
		want("refused", tally{})
		if cm.Remove(second) {
			t.Error("a bad session was cached still")
		}
		want("removed again", tally{gone: 1}) // told all the same

		nc, ns := pipe(t)
		older, client := sm.Server(ns, at(version-1, r.server)), cm.Client(nc, at(version, r.client))
		if err := client.SetSession(first); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 1)
		go func() { failed <- older.Handshake() }()
		if client.Handshake() == nil || <-failed == nil {
			t.Error("a handshake without a common version")
		}
		client.Free()
		want("failed handshake", tally{}) // nothing was proven: it stays, unlike libssl's
		if !first.Resumable() || cached(cm, first) != internal {
			t.Errorf("a failed handshake took the session away")
		}

		if internal {
			if added, err := cm.Add(first); added || err != nil {
				t.Errorf("Add of a cached session: %v, %v", added, err)
			}
		}
		if cm.Remove(first) != internal || cm.Remove(first) {
			t.Error("Remove does not say whether the session was there")
		}
		want("removed twice", tally{gone: 2})
	})
}

// TestSSLAPIServerCaches is the server's half of test_session_with_*_cache.
func TestSSLAPIServerCaches(t *testing.T) {
	eachCache(t, func(t *testing.T, mode reprise.CacheMode, external bool, version uint16) {
		for _, handle := range []bool{false, true} {
			t.Run(map[bool]string{false: "ticket", true: "handle"}[handle], func(t *testing.T) {
				serverCaches(t, mode, external, handle, version)
			})
		}
	})
}

func serverCaches(t *testing.T, mode reprise.CacheMode, external, handle bool, version uint16) {
	r, told := newRig(t), new(tally)
	var kept *reprise.Session // by the external cache
	config := reprise.Config{CacheMode: mode, NoTickets: handle}
	want := func(string, tally) {}
	if external {
		config = told.watch(config)
		config.OnLookup = func(_ uint16, id []byte) *reprise.Session {
			told.asked++
			if !bytes.Equal(id, kept.ID()) || kept.UpRef() != nil {
				return nil
			}
			return kept
		}
		want = func(when string, n tally) { t.Helper(); told.want(t, when, n) }
	}
	sm, cm := manager(t, config), manager(t, reprise.Config{})

	c, s := r.at(sm, cm, version, nil)
	session, own := acquire(t, c), acquire(t, s)
	has := handle && mode == 0 // a session in a ticket is the client's to keep
	if cached(sm, own) != has {
		t.Errorf("cached: %v", !has)
	}
	announced := 0
	if handle || version == tls.VersionTLS13 { // else it has no id
		announced = 1
	}
	want("full handshake", tally{news: announced})
	if has {
		if added, err := sm.Add(own); added || err != nil {
			t.Errorf("Add of a cached session: %v, %v", added, err)
		}
	}
	end(c, s)

	if kept = own.Dup(); external { // force a look at the external cache
		if wantHeld(t, kept, 1, 0); sm.Remove(own) != has {
			t.Errorf("Remove: %v", !has)
		}
		if announced > 0 {
			if want("removed", tally{gone: 1}); own.Resumable() || !kept.Resumable() {
				t.Error("Remove is about the session, not its copies")
			}
		}
	}
	defer kept.Free()
	renewed := 0
	if version == tls.VersionTLS13 {
		renewed = 1
	}
	for i := range 2 {
		asked := 0
		if handle && (i == 0 || mode != 0) { // once it was found it is cached
			asked = 1
		}
		c, s := r.at(sm, cm, version, session)
		removed := external && !handle // here that holds for tickets, too
		if reused(c) == removed || reused(s) == removed {
			t.Errorf("resumption %d: resumed %v", i, reused(c))
		}
		want(fmt.Sprint("resumption ", i), tally{news: renewed, asked: asked})
		end(c, s)
	}
}

// TestSSLAPISizeOne ends the same tests: what expires later is pushed out by
// what is added, though that expires first.
func TestSSLAPISizeOne(t *testing.T) {
	for _, version := range later {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: true}), manager(t, reprise.Config{})
		var copies [2]*reprise.Session
		for i := range copies {
			_, s := r.at(sm, cm, version, nil)
			copies[i] = s.Session().Dup()
			copies[i].SetTime(time.Now().Add(-time.Duration(i) * time.Minute))
		}
		small, events := observed(t, reprise.Config{CacheSize: 1})
		mustAdd(t, small, copies[:]...)
		if !cached(small, copies[1]) || cached(small, copies[0]) || copies[0].Resumable() {
			t.Errorf("%s: the cache of one holds not what was added last", tls.VersionName(version))
		}
		if want := []event{{copies[0], reprise.CauseEvicted}}; !slices.Equal(*events, want) {
			t.Errorf("%s: told %v, want %v", tls.VersionName(version), *events, want)
		}
	}
}

// TestSSLAPISessionTimeout is test_session_timeout, with sessions of a handshake.
func TestSSLAPISessionTimeout(t *testing.T) {
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			_, s := r.at(manager(t, reprise.Config{NoTickets: true}), manager(t, reprise.Config{}), version, nil)
			now := time.Now().Truncate(time.Second)
			m, events := observed(t, reprise.Config{})
			three := func() (all [3]*reprise.Session) { // early, middle, late
				for i := range all {
					all[i] = s.Session().Dup()
					all[i].SetID(fmt.Appendf(nil, "%d", i))
					all[i].SetTimeout(10 * time.Second)
				}
				return all
			}
			all := three()
			mustAdd(t, m, all[2], all[0], all[1])
			for i, s := range all { // what is cached takes its place
				s.SetTime(now.Add(time.Duration(i-1) * 10 * time.Second))
			}
			for i, after := range []time.Duration{9, 11, 21} {
				if n := m.Flush(now.Add(after * time.Second)); n != 1 || all[i].Resumable() || m.Len() != 2-i {
					t.Errorf("flush after %d s removed %d, left %d", after, n, m.Len())
				}
			}
			if added, err := m.Add(all[0]); added || !errors.Is(err, reprise.ErrNotResumable) {
				t.Errorf("Add of a session that was flushed: %v, %v", added, err)
			}
			*events = nil
			again := three()
			mustAdd(t, m, again[:]...)
			again[0].SetTimeout(30 * time.Second)
			if n := m.FlushAll(); n != 3 || m.Len() != 0 {
				t.Errorf("FlushAll removed %d, left %d", n, m.Len())
			}
			if last := (*events)[2]; last.s != again[0] || last.cause != reprise.CauseFlushed {
				t.Errorf("last to go is %v, %v, want the one that expires last", last.s, last.cause)
			}
			dated := three()[0]
			dated.SetTime(now.Add(-time.Hour))
			mustAdd(t, manager(t, reprise.Config{CacheMode: reprise.UpdateTime, Time: func() time.Time { return now }}), dated)
			if !dated.Time().Equal(now) {
				t.Errorf("with UpdateTime a session's time is %v, want %v", dated.Time(), now)
			}
		})
	}
}

// TestSSLAPICacheOverflow is test_session_cache_overflow, for caches of one to
// five: sessions are evicted while their connections run, and an external cache
// gives them back.
func TestSSLAPICacheOverflow(t *testing.T) {
	for _, version := range later {
		for _, stays := range []bool{false, true} { // the first one never expires
			for size := 1; size <= 5; size++ {
				t.Run(fmt.Sprintf("%s/stays %v/size %d", tls.VersionName(version), stays, size), func(t *testing.T) {
					overflow(t, version, stays, size)
				})
			}
		}
	}
}

func overflow(t *testing.T, version uint16, stays bool, size int) {
	r := newRigAt(t, version)
	external := make(map[string]*reprise.Session)
	var evicted []*reprise.Session
	sm := manager(t, reprise.Config{
		NoTickets: true, CacheSize: size,
		OnLookup: func(_ uint16, id []byte) *reprise.Session {
			s := external[string(id)]
			if s == nil || s.UpRef() != nil {
				return nil
			}
			return s
		},
		OnRemove: func(s *reprise.Session, why reprise.Cause) {
			if why == reprise.CauseEvicted {
				evicted = append(evicted, s)
			}
		},
	})
	cm := manager(t, reprise.Config{})
	var clients, servers []*reprise.Conn
	var own []*reprise.Session
	for i := range size + 2 {
		c, s := r.at(sm, cm, version, nil)
		clients, servers, own = append(clients, c), append(servers, s), append(own, acquire(t, s))
		external[string(own[i].ID())] = own[i]
		wantHeld(t, own[i], 1, 2) // by the connection and the cache
		if i == 0 && stays {
			own[0].SetTimeout(math.MaxInt64)
		}
		if n := sm.Len(); n != min(i+1, size) {
			t.Errorf("%d sessions cached after %d handshakes", n, i+1)
		}
	}
	first := 0
	if stays && size > 1 { // there it is never the first to expire
		first = 1
	}
	if want := own[first : first+2]; !slices.Equal(evicted, want) {
		t.Fatalf("evicted %v, want %v", evicted, want)
	}
	for i := first; i < first+2; i++ {
		talk(t, clients[i], servers[i])
		if servers[i].Session() != own[i] || own[i].Resumable() {
			t.Error("the eviction changed the connection's session")
		}
		masterKey(t, own[i])
		offered := acquire(t, clients[i])
		if r.again(sm, cm, offered) {
			t.Error("resumed what is not resumable")
		}
		if n := sm.Stats().CallbackHits; n != uint64(i-first) {
			t.Errorf("%d hits in the external cache", n)
		}
		whole, _, err := reprise.ParseSession(encoded(t, own[i]))
		if err != nil {
			t.Fatal(err)
		}
		external[string(own[i].ID())] = whole
		if !r.again(sm, cm, offered) {
			t.Error("a session out of the external cache does not resume")
		}
		whole.Free()
		if n := sm.Len(); n != size {
			t.Errorf("%d sessions cached", n)
		}
	}
}

// TestSSLAPIMultiResume is test_multi_resume: thirty connections, every third
// of them full, never make a cache of five hold more (CVE-2024-2511).
func TestSSLAPIMultiResume(t *testing.T) {
	for _, version := range later {
		for name, test := range map[string]struct {
			config  reprise.Config
			meddle  func(m *multi) // before the first resumption of each three
			resumes [3]bool
		}{
			"tickets":        {reprise.Config{}, nil, [3]bool{false, true, true}},
			"handles":        {reprise.Config{NoTickets: true}, nil, [3]bool{false, true, true}},
			"nested failure": {reprise.Config{NoTickets: true}, (*multi).failWithin, [3]bool{false, true, true}},
			"removed meanwhile": {reprise.Config{NoTickets: true}, (*multi).removeWithin,
				[3]bool{false, true, version == tls.VersionTLS13}}, // which has a session for each connection
		} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				test.config.CacheSize = 5
				m := &multi{rig: newRigAt(t, version), sm: manager(t, test.config), cm: manager(t, reprise.Config{})}
				for i := range 30 {
					if i%3 == 0 {
						m.session = nil
					}
					if test.meddle != nil && i%3 == 1 {
						test.meddle(m)
					}
					if got := m.next(); got != test.resumes[i%3] {
						t.Errorf("connection %d: resumed %v", i, got)
					}
					if n := m.sm.Len(); n > 5 || test.config.NoTickets && n < min(i/3+1, 5)-1 {
						t.Errorf("connection %d: %d sessions cached", i, n)
					}
				}
			})
		}
	}
}

// multi is a client that connects to a server again and again, offering the
// session it got last.
type multi struct {
	*rig
	sm, cm        *reprise.Manager
	session, own  *reprise.Session // the client's and the server's
	hello, verify func() error     // run within the server's next handshake
}

// once runs what f points to, once.
func once(f *func() error) error {
	if run := *f; run != nil {
		*f = nil
		return run()
	}
	return nil
}

// next makes a connection and reports whether it resumed. The server's hooks
// run on the test's goroutine.
func (m *multi) next() bool {
	t := m.t.(*testing.T)
	sc := m.server.Clone()
	sc.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, once(&m.hello) }
	sc.VerifyConnection = func(tls.ConnectionState) error { return once(&m.verify) }
	nc, ns := pipe(t)
	client, server := m.cm.Client(nc, m.client), m.sm.Server(ns, sc)
	if err := client.SetSession(m.session); err != nil {
		t.Fatal(err)
	}
	shaken := make(chan error, 1)
	go func() { shaken <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	talk(t, client, server)
	m.session, m.own = client.AcquireSession(), server.AcquireSession()
	t.Cleanup(m.session.Free)
	t.Cleanup(m.own.Free)
	end(client, server)
	return reused(client) && reused(server)
}

// failWithin has another connection offer the session, and fail, within the
// next handshake. libssl's then makes the session not resumable; here nothing
// is proven before a handshake is complete.
func (m *multi) failWithin() {
	session := m.session
	m.hello = func() error {
		refusing := m.server.Clone()
		refusing.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, errors.New("refused") }
		nc, ns := pipe(m.t)
		client, server := m.cm.Client(nc, m.client), m.sm.Server(ns, refusing)
		defer client.Free()
		defer server.Free()
		if err := client.SetSession(session); err != nil {
			return err
		}
		shaken := make(chan error, 1)
		go func() { shaken <- client.Handshake() }()
		if server.Handshake() == nil || <-shaken == nil {
			return errors.New("the nested handshake succeeded")
		}
		return nil
	}
}

// removeWithin removes the session within the next handshake, which found it already.
func (m *multi) removeWithin() {
	own := m.own
	m.verify = func() error {
		if !m.sm.Remove(own) {
			return errors.New("the session was not cached")
		}
		return nil
	}
}

// TestSSLAPITickets is test_stateless_tickets and test_stateful_tickets, for
// the one ticket that crypto/tls sends.
func TestSSLAPITickets(t *testing.T) {
	for _, version := range later {
		for _, handle := range []bool{false, true} {
			t.Run(tls.VersionName(version)+map[bool]string{false: "/stateless", true: "/stateful"}[handle], func(t *testing.T) {
				r, told := newRig(t), new(tally)
				sm, other := manager(t, reprise.Config{NoTickets: handle}), manager(t, reprise.Config{NoTickets: handle})
				cm := manager(t, told.watch(reprise.Config{CacheMode: reprise.CacheClient | reprise.NoInternalStore}))
				c, s := r.at(sm, cm, version, nil)
				session := acquire(t, c)
				told.want(t, "full handshake", tally{news: 1})
				end(c, s)
				elsewhere := session.Dup() // what is offered in TLS 1.3 is spent only where it resumes
				defer elsewhere.Free()
				if c, _ := r.at(other, cm, version, elsewhere); reused(c) {
					t.Error("another server resumed the session")
				}
				told.want(t, "another server", tally{news: 1})
				for i := range 3 {
					c, s := r.at(sm, cm, version, session)
					if !reused(c) {
						t.Errorf("resumption %d: not resumed", i)
					}
					if version == tls.VersionTLS13 {
						told.want(t, "resumed", tally{news: 1, gone: 1})
						if session.Resumable() {
							t.Error("the session was not spent")
						}
					} else {
						told.want(t, "resumed", tally{})
					}
					session = acquire(t, c)
					end(c, s)
				}
				off := at(version, r.server)
				off.SessionTicketsDisabled = true
				if c, _ := r.connect(manager(t, reprise.Config{}), cm, off, at(version, r.client), nil); c.Session().HasTicket() {
					t.Error("a server without tickets and without a cache gave a ticket")
				}
				told.want(t, "no ticket", tally{})
			})
		}
	}
}

// TestSSLAPITicketCallbacks is test_ticket_callbacks, with a sealer in the
// place of key callback and decryption callback.
func TestSSLAPITicketCallbacks(t *testing.T) {
	type answer struct{ use, renew bool }
	for _, version := range later {
		for _, a := range []answer{{false, false}, {true, false}, {true, true}} {
			r := newRig(t)
			keys := &keyring{Sealer: ticket.NewAEAD()}
			sm, cm := manager(t, reprise.Config{Tickets: keys}), manager(t, reprise.Config{})
			c, s := r.at(sm, cm, version, nil)
			session := acquire(t, c)
			end(c, s)
			if keys.sealed != 1 || keys.opened != 0 {
				t.Errorf("a full handshake sealed %d tickets and opened %d", keys.sealed, keys.opened)
			}
			keys.unknown, keys.renew = !a.use, a.renew
			c, s = r.at(sm, cm, version, session)
			if reused(c) != a.use || reused(s) != a.use {
				t.Errorf("%s, %+v: resumed %v", tls.VersionName(version), a, reused(s))
			}
			sealed := 2 // a full handshake, or TLS 1.3, where each makes a session
			if version < tls.VersionTLS13 && a.use && !a.renew {
				sealed = 1
			}
			if keys.sealed != sealed || keys.opened != 1 {
				t.Errorf("%s, %+v: sealed %d, want %d, opened %d", tls.VersionName(version), a, keys.sealed, sealed, keys.opened)
			}
			if fresh := acquire(t, c); bytes.Equal(fresh.Ticket(), session.Ticket()) == (sealed == 2) {
				t.Errorf("%s, %+v: %d tickets sealed, and the client's is the wrong one", tls.VersionName(version), a, sealed)
			}
		}
	}
}

// keyring counts what is sealed and opened, and answers as it is told to.
type keyring struct {
	ticket.Sealer
	sealed, opened int
	unknown, renew bool
}

func (k *keyring) Seal(der []byte) ([]byte, error) {
	k.sealed++
	return k.Sealer.Seal(der)
}

func (k *keyring) Open(label []byte) ([]byte, bool, error) {
	if k.opened++; k.unknown {
		return nil, false, ticket.ErrUnknownKey
	}
	der, _, err := k.Sealer.Open(label)
	return der, k.renew, err
}

// TestSSLAPITicketLifetime is test_ticket_lifetime: crypto/tls chooses the hint,
// so it is the server that ends a session in time.
func TestSSLAPITicketLifetime(t *testing.T) {
	const week = 7 * 24 * time.Hour
	if _, err := reprise.New(reprise.Config{Timeout: 2 * week}); err == nil {
		t.Error("a timeout of two weeks was taken")
	}
	for _, version := range later {
		for _, timeout := range []time.Duration{time.Minute, week} {
			r := newRig(t)
			now := time.Now()
			sm := manager(t, reprise.Config{Timeout: timeout, MaxAge: -1, Time: func() time.Time { return now }})
			cm := manager(t, reprise.Config{Timeout: week})
			c, s := r.at(sm, cm, version, nil)
			session := acquire(t, c)
			end(c, s)
			hint := map[uint16]time.Duration{tls.VersionTLS12: 0, tls.VersionTLS13: week}[version]
			if got := session.TicketLifetimeHint(); got != hint {
				t.Errorf("%s: hint %v, want %v", tls.VersionName(version), got, hint)
			}
			start := now
			for after, want := range map[time.Duration]bool{timeout - time.Second: true, timeout + time.Second: false} {
				now = start.Add(after)
				if c, _ := r.at(sm, cm, version, session); reused(c) != want {
					t.Errorf("%s: resumed %v after %v of %v", tls.VersionName(version), !want, after, timeout)
				}
			}
		}
	}
}

// TestSSLAPIClear is test_ssl_clear: after a clean end either side goes on with
// the connection it has, or with a new one, and resumes.
func TestSSLAPIClear(t *testing.T) {
	for _, version := range later {
		for _, keepClient := range []bool{false, true} {
			for _, keepServer := range []bool{false, true} {
				r := newRigAt(t, version)
				sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
				client, server := r.connect(sm, cm, r.server, r.client, nil)
				session := acquire(t, client)
				for range 2 {
					end(client, server)
					nc, ns := pipe(t)
					var err error
					if keepClient {
						err = client.Clear(nc)
					} else {
						client = cm.Client(nc, r.client)
						err = client.SetSession(session)
					}
					if keepServer {
						err = errors.Join(err, server.Clear(ns))
					} else {
						server = sm.Server(ns, r.server)
					}
					if err != nil {
						t.Fatal(err)
					}
					talk(t, client, server)
					if !reused(client) || !reused(server) {
						t.Errorf("%s, client kept %v, server kept %v: not resumed", tls.VersionName(version), keepClient, keepServer)
					}
				}
			}
		}
	}
}

// TestSSLAPIVersions is 10-resumption of ssl-tests: a session resumes in the
// version that made it and in no other, whichever side moves.
func TestSSLAPIVersions(t *testing.T) {
	for _, handle := range []bool{false, true} {
		for _, clientMoves := range []bool{false, true} {
			for _, made := range versions {
				for _, offered := range versions {
					r := newRig(t)
					sm, cm := manager(t, reprise.Config{NoTickets: handle}), manager(t, reprise.Config{})
					session := r.session(sm, cm, at(made, r.server), r.client)
					sc, cc := at(offered, r.server), r.client
					if clientMoves {
						sc, cc = r.server, at(offered, r.client)
					}
					if got, why := r.offer(sm, cm, sc, cc, session); got != (made == offered) {
						t.Errorf("handle %v, client moves %v, from %s to %s: resumed %v, %v", handle, clientMoves,
							tls.VersionName(made), tls.VersionName(offered), got, why)
					}
					session.Free()
				}
			}
		}
	}
}

// TestSSLAPITicketAllowed is 06-sni-ticket of ssl-tests: a client gets a ticket
// if it wants one and the configuration that was switched to gives them; what
// the first one says is of no account, unlike in libssl.
func TestSSLAPITicketAllowed(t *testing.T) {
	for _, version := range later {
		for bits := range 8 {
			client, first, selected := bits&1 == 0, bits&2 == 0, bits&4 == 0
			r := newRigAt(t, version)
			sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
			own := r.server.Clone()
			own.SessionTicketsDisabled = !selected
			r.server.SessionTicketsDisabled = !first
			r.server.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return own, nil }
			r.client.SessionTicketsDisabled = !client
			c, s := r.connect(sm, cm, r.server, r.client, nil)
			if got := c.Session().HasTicket(); got != (client && selected) {
				t.Errorf("%s, client %v, first %v, selected %v: ticket %v", tls.VersionName(version), client, first, selected, got)
			}
			if s.Session() == nil {
				t.Error("the server's connection has no session")
			}
		}
	}
}

// TestSSLAPIServerName is test_servername: a resumption goes on under the name
// of its session, and another name is another session.
func TestSSLAPIServerName(t *testing.T) {
	names := []string{"a.test", "b.test", ""}
	for _, version := range later {
		for _, first := range names {
			for _, second := range names {
				r := newRigAt(t, version)
				r.client.InsecureSkipVerify = true // so that no name is a choice, and any session is offered
				sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
				under := func(name string) *tls.Config {
					cc := r.client.Clone()
					cc.ServerName = name
					return cc
				}
				session := r.session(sm, cm, r.server, under(first))
				if got := session.Hostname(); got != first {
					t.Errorf("session for %q, want %q", got, first)
				}
				session.SetHostname("") // else a client keeps it to itself under another name
				c, s := r.connect(sm, cm, r.server, under(second), session)
				if got, why := s.SessionReused(); got != (first == second) || !got && why != reprise.OtherName {
					t.Errorf("%s, from %q to %q: resumed %v, %v", tls.VersionName(version), first, second, got, why)
				}
				if got, at := s.Session().Hostname(), s.ConnectionState().ServerName; got != second || at != second {
					t.Errorf("%s, from %q to %q: session for %q, connection for %q", tls.VersionName(version), first, second, got, at)
				}
				end(c, s)
				session.Free()
			}
		}
	}
}

// TestSSLAPITicketAppData is 27-ticket-appdata of ssl-tests, for sessions that
// the server keeps.
func TestSSLAPITicketAppData(t *testing.T) {
	for _, version := range later {
		for _, data := range []string{"", "HelloWorld"} {
			r := newRigAt(t, version)
			sm, cm := manager(t, reprise.Config{NoTickets: true}), manager(t, reprise.Config{})
			c, s := r.connect(sm, cm, r.server, r.client, nil)
			if err := s.Session().SetTicketAppData([]byte(data)); err != nil {
				t.Fatal(err)
			}
			session := acquire(t, c)
			for range 2 {
				end(c, s)
				c, s = r.connect(sm, cm, r.server, r.client, session)
				if got, err := s.Session().TicketAppData(); !reused(s) || err != nil || string(got) != data {
					t.Errorf("%s: resumed %v with %q, %v, want %q", tls.VersionName(version), reused(s), got, err, data)
				}
				session = acquire(t, c)
			}
		}
	}
}

// TestSSLAPIStatus is the resuming part of test_tlsext_status_type: the client
// knows the stapled response of the full handshake, and is not sent another.
func TestSSLAPIStatus(t *testing.T) {
	for _, version := range later {
		r := newRigAt(t, version)
		sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
		r.server.Certificates = slices.Clone(r.server.Certificates)
		r.server.Certificates[0].OCSPStaple = []byte("first")
		session := r.session(sm, cm, r.server, r.client)
		defer session.Free()
		r.server = r.server.Clone()
		r.server.Certificates = slices.Clone(r.server.Certificates)
		r.server.Certificates[0].OCSPStaple = []byte("second")
		c, _ := r.connect(sm, cm, r.server, r.client, session)
		if got := c.ConnectionState().OCSPResponse; !reused(c) || string(got) != "first" {
			t.Errorf("%s: resumed %v, response %q", tls.VersionName(version), reused(c), got)
		}
	}
}

// upstream are libssl's tests that touch sessions, each with those of ours that
// ask the same, or the reason why crypto/tls cannot be asked.
var upstream = []struct{ name, ours, why string }{
	{"sslapitest: test_session_with_only_int_cache", "TestSSLAPIClientCaches, TestSSLAPIServerCaches, TestSSLAPISizeOne", ""},
	{"sslapitest: test_session_with_only_ext_cache", "TestSSLAPIClientCaches, TestSSLAPIServerCaches", ""},
	{"sslapitest: test_session_with_both_cache", "TestSSLAPIClientCaches, TestSSLAPIServerCaches", ""},
	{"sslapitest: test_session_wo_ca_names", "", "crypto/tls cannot leave the names of CAs out"},
	{"sslapitest: test_session_timeout", "TestSSLAPISessionTimeout", ""},
	{"sslapitest: test_session_cache_overflow 0-3", "TestSSLAPICacheOverflow", ""},
	{"sslapitest: test_multi_resume 1-4", "TestSSLAPIMultiResume", ""},
	{"sslapitest: test_multi_resume 0", "", "no early data over TCP"},
	{"sslapitest: test_stateless_tickets", "TestSSLAPITickets", ""},
	{"sslapitest: test_stateful_tickets", "TestSSLAPITickets", ""},
	{"sslapitest: the two above with other numbers of tickets", "", "one ticket for each TLS 1.3 handshake, and no authentication after it"},
	{"sslapitest: test_psk_tickets", "", "no external PSKs"},
	{"sslapitest: test_extra_tickets", "", "one ticket for each TLS 1.3 handshake"},
	{"sslapitest: test_ticket_callbacks", "TestSSLAPITicketCallbacks", ""},
	{"sslapitest: test_ticket_abort_session_leak", "TestAttackBadSealer, TestAttackUserTicketHooksFail", ""},
	{"sslapitest: test_ticket_lifetime", "TestSSLAPITicketLifetime", ""},
	{"sslapitest: test_ssl_clear", "TestSSLAPIClear, TestClearBad", ""},
	{"sslapitest: test_early_data_*", "", "no early data over TCP"},
	{"sslapitest: test_session_secret_cb", "", "no hook for the raw extension (EAP-FAST)"},
	{"sslapitest: test_ssl_dup", "", "a connection cannot be copied"},
	{"sslapitest: test_servername, test_sni_tls13", "TestSSLAPIServerName", ""},
	{"sslapitest: test_no_ems", "TestReasons", ""},
	{"sslapitest: test_export_key_mat*", "", "exporters are crypto/tls's own, and take nothing from a session"},
	{"sslapitest: test_tls13_no_dhe_kex", "", "crypto/tls resumes with a key exchange always"},
	{"sslapitest: test_tlsext_status_type", "TestSSLAPIStatus", ""},
	{"sslapitest: test_set_alpn", "TestHandshakes", ""},
	{"sslapitest: test_info_callback", "", "crypto/tls has no such callback"},
	{"sslapitest: test_stateless", "", "crypto/tls sends no cookies"},
	{"tls13tickettest", "TestSSLAPITickets, TestReasons", ""},
	{"tls12psk: an external cache gives another id", "TestOnLookupUnproven", ""},
	{"70-test_sslsessiontick", "TestSSLAPITicketAllowed, TestAttackBadSealerOnRenewal", ""},
	{"70-test_tls13psk", "TestAttackReplay", ""},
	{"70-test_tls13kexmodes", "", "crypto/tls resumes with a key exchange always"},
	{"70-test_tlsextms", "TestReasons, TestAttackReplay", ""},
	{"ssl-tests: 10-resumption", "TestSSLAPIVersions", ""},
	{"ssl-tests: resumption-with-hrr", "TestHandshakes", ""},
	{"ssl-tests: 11-dtls_resumption", "", "no DTLS"},
	{"ssl-tests: 06-sni-ticket", "TestSSLAPITicketAllowed", ""},
	{"ssl-tests: 27-ticket-appdata", "TestSSLAPITicketAppData", ""},
	{"ssl-tests: 30-extended-master-secret", "TestReasons", ""},
	{"ssl-tests: 17-renegotiate, 18-dtls-renegotiate", "", "no renegotiation on servers, and clients do not start it"},
	{"ssl-tests: 04-client_auth, 26-tls13_client_auth", "TestAttackOtherPolicy, TestHandshakes", ""},
	{"25-test_sid", "TestCorpus, TestSessIDReadsOurs", ""},
	{"80-test_ssl_old: sessions from process to process", "TestSClientResumes, TestSServerResumes, TestSServerFileOfSClient", ""},
	{"fuzz/asn1: SSL_SESSION", "FuzzParseSession", ""},
	{"dtlstest, bad_dtls_test", "", "no DTLS"},
	{"rpktest", "", "no raw public keys"},
	{"quicapitest: resumption, test_quic_tls_early_data", "", "QUIC takes its sessions to crypto/tls by itself"},
	{"ech_test", "TestAttackUserECH", ""},
	{"tls13ccstest, clienthellotest", "", "what is on the wire is crypto/tls's own"},
}

// TestSSLAPIListed: docs/parity.md has the list above, and every test in it exists.
func TestSSLAPIListed(t *testing.T) {
	functions := testFunctions(t)
	var want []map[string]string
	for _, u := range upstream {
		if (u.ours == "") == (u.why == "") {
			t.Errorf("%s has a test and a reason, or neither", u.name)
		}
		var links []string
		for name := range strings.SplitSeq(u.ours, ", ") {
			switch file := functions[name]; {
			case file != "":
				links = append(links, "["+name+"](../"+file+")")
			case u.ours != "":
				t.Errorf("%s: there is no %s", u.name, name)
			}
		}
		want = append(want, map[string]string{"Upstream test": u.name, "Ours": strings.Join(links, ", "), "Why not": u.why})
	}
	got := parityTable(t, "Upstream test")
	for i, row := range want {
		if i >= len(got) || !maps.Equal(got[i], row) {
			t.Errorf("docs/parity.md, row %d, wants to be\n| %s | %s | %s |", i+1, row["Upstream test"], row["Ours"], row["Why not"])
		}
	}
	if len(got) != len(want) {
		t.Errorf("docs/parity.md lists %d tests, want %d", len(got), len(want))
	}
}

// testFunctions returns the module's tests and fuzz targets, each with its file.
func testFunctions(t *testing.T) map[string]string {
	t.Helper()
	functions := make(map[string]string)
	for _, f := range parseModule(t) {
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && f.test {
				functions[fn.Name.Name] = f.path
			}
		}
	}
	return functions
}
