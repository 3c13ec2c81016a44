package reprise_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"go/ast"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
)

// manual has the rules that libssl's manual pages state: A from SSL_SESSION_new,
// SSL_SESSION_dup, SSL_SESSION_up_ref and SSL_SESSION_free, B from
// SSL_get_session, SSL_get0_session and SSL_get1_session.
var manual = []struct {
	number string
	test   func(*testing.T)
}{
	{"A1", manualA1}, {"A2", manualA2}, {"A3", manualA3}, {"A4", manualA4}, {"A5", manualA5}, {"A6", manualA6},
	{"A7", manualA7}, {"A8", manualA8}, {"A9", manualA9}, {"A10", manualA10}, {"A11", manualA11}, {"A12", manualA12},
	{"A13", manualA13}, {"A14", manualA14}, {"A15", manualA15}, {"A16", manualA16},
	{"B1", manualB1}, {"B2", manualB2}, {"B3", manualB3}, {"B4", manualB4}, {"B5", manualB5}, {"B6", manualB6},
	{"B7", manualB7}, {"B8", manualB8}, {"B9", manualB9}, {"B10", manualB10}, {"B11", manualB11},
}

// TestManPage has a subtest for each rule, and docs/parity.md a row.
func TestManPage(t *testing.T) {
	var want, have, rows []string
	for part, n := range map[string]int{"A": 16, "B": 11} {
		for i := range n {
			want = append(want, fmt.Sprint(part, i+1))
		}
	}
	for _, rule := range manual {
		have = append(have, rule.number)
	}
	for _, row := range parityTable(t, "No.") {
		number := row["No."]
		rows = append(rows, number)
		if row["Rule"] == "" || row["How reprise keeps it"] == "" {
			t.Errorf("docs/parity.md: rule %s: a cell is empty", number)
		}
		if link := fmt.Sprintf("[TestManPage/%s](../manpage_test.go)", number); row["Test"] != link {
			t.Errorf("docs/parity.md: rule %s: test is %q, want %q", number, row["Test"], link)
		}
	}
	slices.Sort(want)
	for what, got := range map[string][]string{"subtests": have, "rows of docs/parity.md": rows} {
		if slices.Sort(got); !slices.Equal(got, want) {
			t.Errorf("%s are for rules %v, want %v", what, got, want)
		}
	}
	for _, rule := range manual {
		t.Run(rule.number, rule.test)
	}
}

// atEach runs f for every TLS version, with a rig whose configurations speak
// that version only.
func atEach(t *testing.T, f func(t *testing.T, r *rig, version uint16)) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			r.server, r.client = at(version, r.server), at(version, r.client)
			f(t, r, version)
		})
	}
}

// keepers returns Managers that cache every session of their side.
func keepers(t *testing.T) (sm, cm *reprise.Manager) {
	return manager(t, reprise.Config{NoTickets: true}), manager(t, reprise.Config{CacheMode: reprise.CacheClient})
}

// sides runs f for the connection of each side, with its Manager. Both cache
// the connection's session.
func sides(t *testing.T, f func(t *testing.T, m *reprise.Manager, c *reprise.Conn)) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		for _, side := range []string{"client", "server"} {
			t.Run(side, func(t *testing.T) {
				r.t = t
				sm, cm := keepers(t)
				client, server := r.connect(sm, cm, r.server, r.client, nil)
				m, c := cm, client
				if side == "server" {
					m, c = sm, server
				}
				if s := c.Session(); s == nil || !cached(m, s) {
					t.Fatalf("the connection's session %v is not cached", s)
				}
				f(t, m, c)
			})
		}
	})
}

// cached reports whether m finds s itself by its version and id.
func cached(m *reprise.Manager, s *reprise.Session) bool {
	got := m.Lookup(s.ProtocolVersion(), s.ID())
	got.Free()
	return got != nil && got == s
}

// again connects, offering s, and reports whether both sides resumed.
func (r *rig) again(sm, cm *reprise.Manager, s *reprise.Session) bool {
	r.t.Helper()
	client, server := r.connect(sm, cm, r.server, r.client, s)
	atClient, _ := client.SessionReused()
	atServer, _ := server.SessionReused()
	if atClient != atServer {
		r.t.Errorf("resumed: client %v, server %v", atClient, atServer)
	}
	client.Close()
	server.Close()
	return atClient
}

// freeUnowned frees s where the caller owns nothing, and demands that Free says so.
func freeUnowned(t *testing.T, s *reprise.Session) (said error) {
	t.Helper()
	defer func() {
		t.Helper()
		said, _ = recover().(error)
		if !errors.Is(said, reprise.ErrOverFree) {
			t.Errorf("Free of what the caller does not own: %v", said)
		}
	}()
	s.Free()
	return nil
}

// masterKey returns the secret, which must be there.
func masterKey(t *testing.T, s *reprise.Session) []byte {
	t.Helper()
	key, err := s.MasterKey()
	if err != nil || len(key) == 0 {
		t.Fatalf("session %v has no secret: %v", s, err)
	}
	return key
}

func encoded(t *testing.T, s *reprise.Session) []byte {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func add(t *testing.T, m *reprise.Manager, s *reprise.Session) {
	t.Helper()
	if added, err := m.Add(s); !added || err != nil {
		t.Fatalf("Add: %v, %v", added, err)
	}
}

// filled returns a session of the caller's that has an id and secrets.
func filled(t *testing.T, id string) *reprise.Session {
	t.Helper()
	s := reprise.NewSession()
	s.SetCipherSuite(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	for _, err := range []error{
		s.SetProtocolVersion(tls.VersionTLS12), s.SetID([]byte(id)),
		s.SetMasterKey(bytes.Repeat([]byte{0xAA}, 48)), s.SetTicketAppData([]byte("application data")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// wantHeld checks who holds s.
func wantHeld(t *testing.T, s *reprise.Session, caller, library int) {
	t.Helper()
	if c, l := reprise.Held(s); c != caller || l != library {
		t.Errorf("session is held %d times by the caller and %d by the library, want %d and %d", c, l, caller, library)
	}
}

// A new session is empty, and belongs to whoever made it.
func manualA1(t *testing.T) {
	before := time.Now().Truncate(time.Second)
	s := reprise.NewSession()
	if made := s.Time(); made.Before(before) || made.After(time.Now()) {
		t.Errorf("time %v is not now", made)
	}
	if d := s.Timeout(); d != 304*time.Second {
		t.Errorf("timeout %v", d)
	}
	key, err := s.MasterKey()
	peer, _ := s.PeerCertificate()
	if s.Resumable() || s.HasTicket() || len(s.ID()) > 0 || len(key) > 0 || err != nil || peer != nil ||
		s.ProtocolVersion() != 0 || s.CipherSuite() != 0 || s.Hostname() != "" || s.ALPN() != "" {
		t.Errorf("a new session is not empty: %v", s)
	}
	if s.VerifyResult() == 0 {
		t.Error("a new session says that a peer was verified")
	}
	wantHeld(t, s, 1, 0)
	s.Free()
	freeUnowned(t, s)
}

// A copy has all that its source has, and shares nothing that can be written.
// (TestDupDeep does it field by field.)
func manualA2(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		sm, cm := keepers(t)
		client, server := r.connect(sm, cm, r.server, r.client, nil)
		for _, s := range []*reprise.Session{client.Session(), server.Session()} {
			original := encoded(t, s)
			d := s.Dup()
			if !bytes.Equal(encoded(t, d), original) {
				t.Error("the copy is not what its source is")
			}
			scribble(t, d)
			if !bytes.Equal(encoded(t, s), original) {
				t.Error("a change of the copy shows in its source")
			}
			d.Free()

			other := filled(t, "the source of a copy")
			d = other.Dup()
			original = encoded(t, d)
			scribble(t, other)
			other.Free()
			if !bytes.Equal(encoded(t, d), original) {
				t.Error("a change of the source shows in the copy")
			}
			d.Free()
		}
	})
}

// scribble changes every field that has a setter.
func scribble(t *testing.T, s *reprise.Session) {
	t.Helper()
	s.SetTime(time.Unix(1, 0))
	s.SetCipherSuite(tls.TLS_CHACHA20_POLY1305_SHA256)
	s.SetHostname("scribble.test")
	s.SetALPN("scribble")
	s.SetMaxEarlyData(1)
	s.SetIntermediates(nil)
	for _, err := range []error{
		s.SetID([]byte("scribble")), s.SetIDContext([]byte("scribble")), s.SetTimeout(time.Second),
		s.SetProtocolVersion(tls.VersionTLS10), s.SetMasterKey([]byte("scribble")), s.SetTicketAppData([]byte("scribble")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// No cache that the source is in owns the copy; the source stays as it is.
func manualA3(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		s := c.Session()
		original, n := encoded(t, s), m.Len()
		d := s.Dup()
		defer d.Free()
		if m.Len() != n || cached(m, d) || !cached(m, s) || !bytes.Equal(encoded(t, s), original) {
			t.Error("Dup touched the cache or its source")
		}
		wantHeld(t, d, 1, 0)
		if !m.Remove(s) || s.Resumable() {
			t.Fatal("the source was not removed")
		}
		if !d.Resumable() {
			t.Error("the copy shared its source's removal")
		}
		m.Close()
		if !bytes.Equal(encoded(t, d), original) || !d.Resumable() {
			t.Error("the copy did not survive its source's Manager")
		}
		other := manager(t, reprise.Config{})
		add(t, other, d)
		if !cached(other, d) {
			t.Error("the copy is not found in the Manager it was added to")
		}
	})
}

// UpRef adds one reference, so one Free more is needed.
func manualA4(t *testing.T) {
	s := filled(t, "counted")
	if err := s.UpRef(); err != nil {
		t.Fatal(err)
	}
	wantHeld(t, s, 2, 0)
	s.Free()
	masterKey(t, s)
	const goroutines, rounds = 16, 200
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				if err := s.UpRef(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	wantHeld(t, s, 1+goroutines*rounds, 0)
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				s.Free()
			}
		})
	}
	wg.Wait()
	wantHeld(t, s, 1, 0)
	s.Free()
	if !reprise.SecretsOf(s).Wiped() {
		t.Error("the last Free did not wipe")
	}
	freeUnowned(t, s)
}

// Free gives one reference back; with the last one the session is removed and
// what it held is released. Here: its secrets are zero then, and not before.
func manualA5(t *testing.T) {
	t.Run("caller last", func(t *testing.T) {
		sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
			s := c.AcquireSession()
			wantUntil(t, s, func() { m.FlushAll(); c.Free() }, s.Free)
		})
	})
	t.Run("connection last", func(t *testing.T) {
		sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
			s := c.AcquireSession()
			wantUntil(t, s, func() { s.Free(); m.FlushAll() }, c.Free)
		})
	})
	t.Run("cache last", func(t *testing.T) {
		sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
			s := c.AcquireSession()
			wantUntil(t, s, func() { c.Close(); c.Free(); s.Free() }, func() { m.FlushAll() })
		})
	})
	t.Run("collector", func(t *testing.T) {
		sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
			s := c.AcquireSession() // and never a Free
			d := s.Dup()
			if err := d.SetTicketAppData([]byte("application data")); err != nil {
				t.Fatal(err)
			}
			collectWiped(t, d)
			masterKey(t, s)
		})
	})
}

// wantUntil demands that s's secrets are there after first, and zero after last.
func wantUntil(t *testing.T, s *reprise.Session, first, last func()) {
	t.Helper()
	if err := s.SetTicketAppData([]byte("application data")); err != nil {
		t.Fatal(err)
	}
	secrets := reprise.SecretsOf(s)
	whole := bytes.Join(secrets, nil)
	first()
	if !bytes.Equal(bytes.Join(secrets, nil), whole) || secrets.Wiped() {
		t.Error("secrets were touched while the session has an owner")
	}
	last()
	if !secrets.Wiped() || secrets.Len() != len(whole) {
		t.Error("secrets were not wiped with the last owner")
	}
	if _, err := s.MasterKey(); !errors.Is(err, reprise.ErrFreed) {
		t.Errorf("secret of a freed session: %v", err)
	}
	if s.ProtocolVersion() == 0 {
		t.Error("a freed session lost its metadata")
	}
}

// collectWiped drops s, whose secrets must be zero once it was collected.
func collectWiped(t *testing.T, s *reprise.Session) {
	t.Helper()
	left := make(chan reprise.Secrets, 1)
	reprise.OnCollected(s, func(b reprise.Secrets) { left <- b })
	if reprise.SecretsOf(s).Wiped() {
		t.Error("secrets were wiped before the session was collected")
	}
	runtime.KeepAlive(s)
	secrets := collect(t, left)
	if secrets.Len() == 0 || !secrets.Wiped() {
		t.Errorf("%d bytes of secrets of a collected session are not zero", secrets.Len())
	}
}

// collect runs the collector until done says something.
func collect[T any](t *testing.T, done <-chan T) (v T) {
	t.Helper()
	for range 1000 {
		runtime.GC()
		select {
		case v = <-done:
			return v
		default:
			runtime.Gosched()
		}
	}
	t.Fatal("was not collected")
	return v
}

// Free of nothing does nothing.
func manualA6(t *testing.T) {
	var s *reprise.Session
	s.Free()
	s.Free()
}

// A session comes into being when a handshake completes successfully.
func manualA7(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		t.Run("complete", func(t *testing.T) {
			r.t = t
			sm, cm := keepers(t)
			client, server := r.connect(sm, cm, r.server, r.client, nil)
			for side, c := range map[string]*reprise.Conn{"client": client, "server": server} {
				s := c.Session()
				if s == nil {
					t.Fatalf("%s: no session", side)
				}
				if s.ProtocolVersion() != version || !s.Resumable() {
					t.Errorf("%s: session %v, resumable %v", side, s, s.Resumable())
				}
				masterKey(t, s)
			}
			if sm.Len() != 1 || cm.Len() != 1 {
				t.Errorf("cached: server %d, client %d", sm.Len(), cm.Len())
			}
		})
		t.Run("failed", func(t *testing.T) {
			r.t = t
			told := make(chan *reprise.Session, 10)
			config := reprise.Config{CacheMode: reprise.CacheBoth, NoTickets: true, OnNew: func(s *reprise.Session) { told <- s }}
			sm, cm := manager(t, config), manager(t, config)
			client, server := r.refused(sm, cm)
			for side, c := range map[string]*reprise.Conn{"client": client, "server": server} {
				if s := c.Session(); s != nil {
					t.Errorf("%s: a failed handshake has session %v", side, s)
				}
			}
			if len(told) != 0 || sm.Len() != 0 || cm.Len() != 0 {
				t.Errorf("a failed handshake left sessions: %d told, cached %d and %d", len(told), sm.Len(), cm.Len())
			}
		})
	})
}

// refused runs a handshake that the client ends, because it does not trust the server.
func (r *rig) refused(sm, cm *reprise.Manager) (client, server *reprise.Conn) {
	r.t.Helper()
	nc, ns := pipe(r.t)
	strict := r.client.Clone()
	strict.RootCAs = testpki.New(r.t, "another root").Pool()
	client, server = cm.Client(nc, strict), sm.Server(ns, r.server)
	ended := make(chan error, 1)
	go func() { ended <- server.Handshake() }()
	if err := client.Handshake(); err == nil {
		r.t.Error("the client took a certificate that it does not trust")
	}
	if err := <-ended; err == nil {
		r.t.Error("the server's handshake succeeded against a client that refused")
	}
	return client, server
}

// What the cache mode covers is linked into the cache, whose reference keeps it.
func manualA8(t *testing.T) {
	for mode, covers := range map[reprise.CacheMode]struct{ client, server bool }{
		reprise.CacheOff:    {false, false},
		reprise.CacheClient: {true, false},
		reprise.CacheServer: {false, true},
		reprise.CacheBoth:   {true, true},
	} {
		t.Run(mode.String(), func(t *testing.T) {
			atEach(t, func(t *testing.T, r *rig, version uint16) {
				// A server keeps what it gives no ticket for.
				sm := manager(t, reprise.Config{CacheMode: mode, NoTickets: true, OnLookup: nothing})
				cm := manager(t, reprise.Config{CacheMode: mode})
				giver := manager(t, reprise.Config{CacheMode: mode})
				client, _ := r.connect(giver, cm, r.server, r.client, nil)
				_, server := r.connect(sm, cm, r.server, r.client, nil)
				checkKept(t, cm, client, covers.client)
				checkKept(t, sm, server, covers.server)
				if n := giver.Len(); n != 0 {
					t.Errorf("a server that gives tickets cached %d sessions: the client has them", n)
				}
			})
		})
	}
}

// checkKept ends c and demands that the cache alone has, or has not, its session.
func checkKept(t *testing.T, m *reprise.Manager, c *reprise.Conn, want bool) {
	t.Helper()
	s := c.Session()
	version, id := s.ProtocolVersion(), s.ID()
	if !want {
		if cached(m, s) {
			t.Errorf("session %v is cached against the mode", s)
		}
		return
	}
	if !cached(m, s) {
		t.Fatalf("session %v is not cached", s)
	}
	key := masterKey(t, s)
	gone := make(chan struct{})
	runtime.AddCleanup(s, func(gone chan struct{}) { close(gone) }, gone)
	c.Close()
	c.Free()
	wantHeld(t, s, 0, 1)
	collect(t, gone) // nobody but the cache has it now
	again := m.Lookup(version, id)
	if again == nil {
		t.Fatal("the cache lost a session that nobody else holds")
	}
	defer again.Free()
	if !again.Resumable() || !bytes.Equal(masterKey(t, again), key) {
		t.Error("the cache's session is not what it was")
	}
}

// Several connections may use one session at the same time.
//
// In TLS 1.2 and before that is one object on either side (on a server that
// keeps its sessions; one that gives tickets has an object for each time that
// a ticket is opened). In TLS 1.3 every handshake makes a session: connections
// that resumed one have each their own, descending from the same full
// handshake, and the one that they resumed stays what it was.
func manualA9(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		sm := manager(t, reprise.Config{NoTickets: true})
		cm := manager(t, reprise.Config{CacheMode: reprise.CacheOff}) // where it is on, TLS 1.3 sessions serve once
		first, kept := r.connect(sm, cm, r.server, r.client, nil)
		one := wait(t, first)
		defer one.Free()
		oneAtServer := kept.AcquireSession()
		defer oneAtServer.Free()

		var clients, servers [3]*reprise.Conn
		for i := range clients {
			clients[i], servers[i] = r.connect(sm, cm, r.server, r.client, one)
			for _, c := range []*reprise.Conn{clients[i], servers[i]} {
				if reused, why := c.SessionReused(); !reused {
					t.Fatalf("connection %d did not resume: %v", i, why)
				}
			}
		}
		for i := range clients {
			sharedOrDescends(t, version, clients[i].Session(), one)
			sharedOrDescends(t, version, servers[i].Session(), oneAtServer)
		}
		for _, c := range []*reprise.Conn{clients[0], servers[0], clients[1], servers[1]} {
			c.Close()
			c.Free()
		}
		talk(t, clients[2], servers[2])
		masterKey(t, clients[2].Session())
		masterKey(t, servers[2].Session())
		if !r.again(sm, cm, one) {
			t.Error("the shared session does not resume any more")
		}

		caching := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
		once := r.fresh(sm, caching)
		defer once.Free()
		if !r.again(sm, caching, once) || once.Resumable() != (version < tls.VersionTLS13) {
			t.Errorf("a client that caches: resumable again %v", once.Resumable())
		}
	})
}

func sharedOrDescends(t *testing.T, version uint16, s, from *reprise.Session) {
	t.Helper()
	if version < tls.VersionTLS13 {
		if s != from {
			t.Errorf("session %v is not the object that was resumed, %v", s, from)
		}
		return
	}
	if s == from || bytes.Equal(s.ID(), from.ID()) {
		t.Errorf("TLS 1.3 session %v is the one that was resumed", s)
	}
	if !s.FirstAuthentication().Equal(from.FirstAuthentication()) {
		t.Errorf("session %v descends from a handshake of %v, not of %v", s, s.FirstAuthentication(), from.FirstAuthentication())
	}
}

// A session in use must not be deleted because of a wrong count. Here no count
// of the caller's reaches what a connection or the cache holds.
func manualA10(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		s := c.Session()
		secrets := reprise.SecretsOf(s)
		_, library := reprise.Held(s)
		for range 3 {
			freeUnowned(t, s)
			wantHeld(t, s, 0, library)
		}
		if secrets.Wiped() || !s.Resumable() || !cached(m, s) {
			t.Error("a Free too many took the session from its connection or from the cache")
		}
		c.Close()
		c.Free()
		freeUnowned(t, s)
		if secrets.Wiped() || !cached(m, s) {
			t.Error("a Free too many took the session from the cache")
		}
	})
}

// A wrong count shows late in libssl: the session is freed, still cached, and
// hit when a flush walks the list. Here it shows at the Free, and the flush,
// lookups and resumptions go on.
func manualA11(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		sm, cm := keepers(t)
		client, server := r.connect(sm, cm, r.server, r.client, nil)
		session := wait(t, client)
		defer session.Free()
		freeUnowned(t, server.Session())
		client.Close()
		server.Close()
		server.Free()
		s := cachedSession(t, sm)
		s.Free()
		freeUnowned(t, s)

		old := filled(t, "expired long ago")
		old.SetTime(time.Unix(1, 0))
		add(t, sm, old)
		old.Free()
		freeUnowned(t, old)
		if n := sm.Flush(time.Now()); n != 1 || sm.Len() != 1 {
			t.Fatalf("the flush removed %d sessions, %d are left", n, sm.Len())
		}
		if !cached(sm, s) {
			t.Error("a lookup does not find the session")
		}
		if !r.again(sm, cm, session) {
			t.Error("the session does not resume")
		}
		if n := sm.FlushAll(); n == 0 || sm.Len() != 0 || s.Resumable() {
			t.Errorf("FlushAll removed %d sessions, %d are left", n, sm.Len())
		}
	})
}

// cachedSession returns the one session that m caches, to be freed.
func cachedSession(t *testing.T, m *reprise.Manager) (s *reprise.Session) {
	t.Helper()
	for lent := range m.All() {
		if s != nil {
			t.Fatal("more than one session is cached")
		}
		s = lent
		if err := s.UpRef(); err != nil {
			t.Fatal(err)
		}
	}
	if s == nil {
		t.Fatal("no session is cached")
	}
	return s
}

// To be freed is what was counted up for the caller, or made outside a
// handshake; the documentation of each such call says so.
func manualA12(t *testing.T) {
	r := newRig(t)
	sm, cm := keepers(t)
	client, server := r.connect(sm, cm, r.server, r.client, nil)
	pem, err := client.Session().MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	must := func(s *reprise.Session, _ []byte, err error) *reprise.Session {
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	sources := map[string]func() *reprise.Session{
		"NewSession":          reprise.NewSession,
		"Session.Dup":         client.Session().Dup,
		"ParseSession":        func() *reprise.Session { return must(reprise.ParseSession(encoded(t, client.Session()))) },
		"ParseSessionPEM":     func() *reprise.Session { return must(reprise.ParseSessionPEM(pem)) },
		"Conn.AcquireSession": server.AcquireSession,
		"Conn.WaitSession":    func() *reprise.Session { return wait(t, client) },
		"Manager.Lookup":      func() *reprise.Session { return sm.Lookup(server.Session().ProtocolVersion(), server.Session().ID()) },
		"Session.UpRef": func() *reprise.Session {
			s := server.Session()
			if err := s.UpRef(); err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	docs := docComments(t)
	for name, source := range sources {
		s := source()
		if caller, _ := reprise.Held(s); caller != 1 {
			t.Errorf("%s: the caller has %d references", name, caller)
		}
		s.Free()
		freeUnowned(t, s)
		doc := strings.Join(strings.Fields(docs[name]), " ")
		if !strings.Contains(doc, "Free") && !strings.Contains(doc, "owns one reference") {
			t.Errorf("%s: its documentation does not say what to free: %q", name, doc)
		}
	}
	// Nothing else gives a session to free.
	for name, fn := range publicFuncs(t) {
		if returnsSession(fn) && sources[name] == nil && !strings.Contains(docs[name], "lent") {
			t.Errorf("%s gives a session: say whether it is lent or to be freed, and test it here", name)
		}
	}
}

func returnsSession(fn *ast.FuncDecl) bool {
	if fn.Type.Results == nil {
		return false
	}
	for _, result := range fn.Type.Results.List {
		if p, ok := result.Type.(*ast.StarExpr); ok {
			if id, ok := p.X.(*ast.Ident); ok && id.Name == "Session" {
				return true
			}
		}
	}
	return false
}

// No other session is ever freed.
func manualA13(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		s := c.Session()
		freeUnowned(t, s)
		for lent := range m.All() {
			freeUnowned(t, lent)
		}
		c.Close()
		freeUnowned(t, s)
		c.Free()
		freeUnowned(t, s)
		m.FlushAll()
		freeUnowned(t, s)
	})
}

// Making and copying can fail in libssl, when memory runs out. In Go they
// return a session whatever they are called on.
func manualA14(t *testing.T) {
	if reprise.NewSession() == nil {
		t.Error("NewSession gave nil")
	}
	s := filled(t, "to be freed")
	s.Free()
	d := s.Dup()
	if d == nil {
		t.Fatal("Dup of a freed session gave nil")
	}
	if key, err := d.MasterKey(); err != nil || len(key) != 0 || d.Resumable() {
		t.Errorf("the copy of a freed session has a key of %d bytes (%v), resumable %v", len(key), err, d.Resumable())
	}
	d.Free()
	freeUnowned(t, d)
}

// Counting up says whether it worked: not once nobody owns the session.
func manualA15(t *testing.T) {
	s := filled(t, "counted up")
	if err := s.UpRef(); err != nil {
		t.Errorf("UpRef of a session that is owned: %v", err)
	}
	s.Free()
	s.Free()
	if err := s.UpRef(); !errors.Is(err, reprise.ErrFreed) {
		t.Errorf("UpRef of a session that nobody owns: %v", err)
	}
	wantHeld(t, s, 0, 0)
	freeUnowned(t, s)
}

// Free says nothing in libssl, whatever it was given. Here misuse is told,
// with the session's fingerprint and never with a secret.
func manualA16(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		s := c.Session()
		said := freeUnowned(t, s)
		if !strings.Contains(fmt.Sprint(said), s.Fingerprint()) {
			t.Errorf("%q does not name session %s", said, s.Fingerprint())
		}
		if key := masterKey(t, s); strings.Contains(fmt.Sprintf("%v %+q %x", said, said, said), fmt.Sprintf("%x", key)) {
			t.Error("the diagnosis shows the secret")
		}
	})
}

// Session gives what the connection uses and counts nothing up: other
// operations can make it invalid. Here it stays readable until the connection
// is cleared or freed.
func manualB1(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		for name, end := range map[string]func(*reprise.Conn){
			"free":  (*reprise.Conn).Free,
			"clear": func(c *reprise.Conn) { clearConn(t, c) },
		} {
			t.Run(name, func(t *testing.T) {
				r.t = t
				// Nobody but the connection holds a session here.
				off := manager(t, reprise.Config{CacheMode: reprise.CacheOff})
				_, server := r.connect(off, off, r.server, r.client, nil)
				s := server.Session()
				wantHeldByCaller(t, s, 0)
				whole := encoded(t, s)
				server.Close()
				if !bytes.Equal(encoded(t, s), whole) {
					t.Error("what Session lent changed when the connection closed")
				}
				end(server)
				if _, err := s.MasterKey(); !errors.Is(err, reprise.ErrFreed) {
					t.Errorf("the secret outlived its last owner: %v", err)
				}
			})
		}
		t.Run("replaced", func(t *testing.T) {
			r.t = t
			off := manager(t, reprise.Config{CacheMode: reprise.CacheOff})
			nc, ns := pipe(t)
			client, server := off.Client(nc, r.client), off.Server(ns, r.server)
			handshakes(t, client, server)
			lent := client.Session()
			talk(t, client, server) // in TLS 1.3 brings a session to resume
			if now := client.Session(); (now != lent) != (version == tls.VersionTLS13) {
				t.Errorf("the connection's session went from %v to %v", lent, now)
			}
			if err := lent.UpRef(); err != nil {
				t.Fatalf("a new ticket took the old session from its reader: %v", err)
			}
			lent.Free()
			client.Close()
			client.Free()
			if err := lent.UpRef(); !errors.Is(err, reprise.ErrFreed) {
				t.Errorf("the session outlived its connection: %v", err)
			}
		})
	})
}

// clearConn clears c and leaves it with a transport that is used no more.
func clearConn(t *testing.T, c *reprise.Conn) {
	t.Helper()
	next, _ := pipe(t)
	if err := c.Clear(next); err != nil {
		t.Fatal(err)
	}
}

func wantHeldByCaller(t *testing.T, s *reprise.Session, want int) {
	t.Helper()
	if caller, _ := reprise.Held(s); caller != want {
		t.Errorf("the caller has %d references, want %d", caller, want)
	}
}

// handshakes runs both handshakes and nothing more.
func handshakes(t *testing.T, client, server *reprise.Conn) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// SSL_get0_session is another name of SSL_get_session: one method here.
func manualB2(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		s := c.Session()
		_, before := reprise.Held(s)
		for range 3 {
			if c.Session() != s {
				t.Error("Session gives one object, then another")
			}
		}
		wantHeld(t, s, 0, before)
	})
	if doc := docComments(t)["Conn.Session"]; !strings.Contains(doc, "SSL_get_session") || !strings.Contains(doc, "SSL_get0_session") {
		t.Error("the documentation of Conn.Session does not name both functions")
	}
}

// SSL_get1_session gives the same session with one reference more.
func manualB3(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		lent := c.Session()
		_, library := reprise.Held(lent)
		s := c.AcquireSession()
		if s != lent {
			t.Error("AcquireSession gives another session than Session")
		}
		wantHeld(t, s, 1, library)
		s.Free()
		freeUnowned(t, s)
	})
}

// The session holds all that it takes to connect again with an abbreviated
// handshake: as an object, and as bytes in another process.
func manualB4(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		key := make([]byte, ticket.AEADKeySize)
		if _, err := rand.Read(key); err != nil {
			t.Fatal(err)
		}
		sealed := func() *reprise.Manager {
			sealer, err := ticket.NewAEADKey(key)
			if err != nil {
				t.Fatal(err)
			}
			return manager(t, reprise.Config{Tickets: sealer})
		}
		sm := sealed()
		cm := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
		session := r.fresh(sm, cm)
		defer session.Free()
		pem, err := session.MarshalPEM()
		if err != nil {
			t.Fatal(err)
		}
		if !r.again(sm, cm, session) {
			t.Error("the object does not resume")
		}

		imported, _, err := reprise.ParseSessionPEM(pem)
		if err != nil {
			t.Fatal(err)
		}
		defer imported.Free()
		other := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
		if !r.again(sealed(), other, imported) {
			t.Error("client and server in other processes: the exported session does not resume")
		}

		t.Run("kept by the server", func(t *testing.T) {
			r.t = t
			sm := manager(t, reprise.Config{NoTickets: true})
			session := r.fresh(sm, cm)
			defer session.Free()
			next := manager(t, reprise.Config{NoTickets: true})
			for s := range sm.All() {
				moved, _, err := reprise.ParseSession(encoded(t, s))
				if err != nil {
					t.Fatal(err)
				}
				add(t, next, moved)
				moved.Free()
			}
			sm.Close()
			if !r.again(next, cm, session) {
				t.Error("the server's exported sessions do not resume")
			}
		})
	})
}

// fresh returns the client's session of a full handshake, cleanly ended.
func (r *rig) fresh(sm, cm *reprise.Manager) *reprise.Session {
	r.t.Helper()
	client, server := r.connect(sm, cm, r.server, r.client, nil)
	s := wait(r.t, client)
	client.Close()
	server.Close()
	return s
}

// What was lent is valid while the connection is in use. Cleared or freed
// without close_notify, the session was bad and is gone; after a clean close it
// is still there.
func manualB5(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *reprise.Conn){
		"free":  func(_ *testing.T, c *reprise.Conn) { c.Free() },
		"clear": clearConn,
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("bad", func(t *testing.T) {
				sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
					s := c.Session()
					secrets := reprise.SecretsOf(s)
					end(t, c)
					if cached(m, s) || m.Len() != 0 {
						t.Error("a bad session is still cached")
					}
					if s.Resumable() {
						t.Error("a bad session may still be resumed")
					}
					if !secrets.Wiped() {
						t.Error("a bad session's secrets are still there")
					}
				})
			})
			t.Run("clean", func(t *testing.T) {
				sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
					s := c.Session()
					c.Close()
					end(t, c)
					if !cached(m, s) || !s.Resumable() {
						t.Error("a session whose connection ended cleanly is not there any more")
					}
					masterKey(t, s)
				})
			})
		})
	}
}

// A flush can take a session that has expired out at any time, whoever reads it.
func manualB6(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		borrowed, acquired := c.Session(), c.AcquireSession()
		key := masterKey(t, acquired)
		var ready, wg sync.WaitGroup
		flushed := make(chan struct{})
		for _, s := range []*reprise.Session{borrowed, acquired, borrowed, acquired} {
			ready.Add(1)
			wg.Go(func() {
				readAll(s)
				ready.Done()
				for reading := true; reading; {
					readAll(s)
					select {
					case <-flushed:
						reading = false
					default:
					}
				}
				if got, err := s.MasterKey(); err != nil || !bytes.Equal(got, key) {
					t.Errorf("the flush took the secret from its reader: %v", err)
				}
			})
		}
		ready.Wait()
		if n := m.Flush(time.Now().Add(30 * 24 * time.Hour)); n != 1 || m.Len() != 0 {
			t.Errorf("the flush removed %d sessions, %d are left", n, m.Len())
		}
		close(flushed)
		wg.Wait()
		if borrowed.Resumable() {
			t.Error("a flushed session may still be resumed")
		}
		c.Close()
		c.Free()
		masterKey(t, acquired)
		acquired.Free()
	})
}

// readAll reads what a session shows.
func readAll(s *reprise.Session) {
	_ = fmt.Sprint(s, s.ID(), s.IDContext(), s.Time(), s.Timeout(), s.Hostname(), s.ALPN(), s.Ticket(), s.TicketLifetimeHint(),
		s.MaxEarlyData(), s.MaxFragmentLength(), s.VerifyResult(), s.CompressID(), s.ExtendedMasterSecret(), s.CurveID(),
		s.FirstAuthentication(), s.Resumable(), s.Value("none"))
	s.ExpiresAt()
	s.MasterKey()
	s.TicketAppData()
	s.PeerCertificates()
	s.MarshalPEM()
	s.Dup().Free()
}

// Who keeps a session counts it up: then nothing removes it implicitly.
func manualB7(t *testing.T) {
	for name, happens := range map[string]func(*testing.T, *reprise.Manager, *reprise.Conn){
		"clear":     func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { clearConn(t, c) },
		"free":      func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { c.Free() },
		"flush":     func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { m.Flush(time.Now().Add(30 * 24 * time.Hour)) },
		"flush all": func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { m.FlushAll() },
		"remove":    func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { m.Remove(c.Session()) },
		"close":     func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { m.Close() },
		"all of it": func(t *testing.T, m *reprise.Manager, c *reprise.Conn) { m.FlushAll(); m.Close(); c.Close(); c.Free() },
	} {
		t.Run(name, func(t *testing.T) {
			sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
				s := c.AcquireSession()
				whole := encoded(t, s)
				happens(t, m, c)
				if m.Len() != 0 {
					t.Errorf("%d sessions are cached: nothing was removed that could matter", m.Len())
				}
				if !bytes.Equal(encoded(t, s), whole) {
					t.Error("an acquired session is not complete any more")
				}
				s.Free()
			})
		})
	}
}

// What was acquired is freed once, explicitly.
func manualB8(t *testing.T) {
	sides(t, func(t *testing.T, m *reprise.Manager, c *reprise.Conn) {
		s := c.AcquireSession()
		secrets := reprise.SecretsOf(s)
		c.Free() // without close_notify: the cache gives it up too
		wantHeld(t, s, 1, 0)
		if secrets.Wiped() {
			t.Error("an acquired session was wiped with its connection")
		}
		s.Free()
		if !secrets.Wiped() {
			t.Error("the one Free did not wipe")
		}
		freeUnowned(t, s)
	})
}

// A session belongs to the one context whose cache it is in, however often it
// was counted up.
func manualB9(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		sm, cm := keepers(t)
		other := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
		client, _ := r.connect(sm, cm, r.server, r.client, nil)
		s := wait(t, client)
		defer s.Free()
		client.Close()
		whole := encoded(t, s)
		_, library := reprise.Held(s)

		if added, err := other.Add(s); added || !errors.Is(err, reprise.ErrOtherManager) {
			t.Errorf("Add at another Manager: %v, %v", added, err)
		}
		if other.Remove(s) {
			t.Error("another Manager removed the session")
		}
		nc, _ := pipe(t)
		stranger := other.Client(nc, r.client)
		if err := stranger.SetSession(s); !errors.Is(err, reprise.ErrOtherManager) {
			t.Errorf("SetSession at another Manager: %v", err)
		}
		stranger.Free()
		wantHeld(t, s, 1, library)
		if !bytes.Equal(encoded(t, s), whole) || !s.Resumable() || !cached(cm, s) || other.Len() != 0 {
			t.Error("what was refused left a trace")
		}

		d := s.Dup()
		defer d.Free()
		add(t, other, d)
		if !r.again(sm, other, d) {
			t.Error("the copy does not resume with the other Manager")
		}
		if !r.again(sm, cm, s) {
			t.Error("the session does not resume with its own Manager")
		}
	})
}

// A connection without a session gives none.
func manualB10(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		sm, cm := keepers(t)
		nc, ns := pipe(t)
		conns := []*reprise.Conn{cm.Client(nc, r.client), sm.Server(ns, r.server)}
		client, server := r.refused(sm, cm)
		for _, c := range append(conns, client, server) {
			if s := c.Session(); s != nil {
				t.Errorf("Session gave %v", s)
			}
			if s := c.AcquireSession(); s != nil {
				t.Errorf("AcquireSession gave %v", s)
			}
			c.Free()
			if s := c.Session(); s != nil {
				t.Errorf("Session of a freed connection gave %v", s)
			}
		}
	})
}

// Otherwise what it gives is the data of that very connection.
func manualB11(t *testing.T) {
	atEach(t, func(t *testing.T, r *rig, version uint16) {
		r.server.NextProtos, r.client.NextProtos = []string{"alpha", "beta"}, []string{"beta"}
		r.server.ClientAuth, r.server.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
		r.client.Certificates = []tls.Certificate{r.ca.Leaf(t, "client.test")}
		sm, cm := keepers(t)
		client, server := r.connect(sm, cm, r.server, r.client, nil)
		agree(t, client)
		agree(t, server)
		session := wait(t, client)
		defer session.Free()
		client.Close()
		server.Close()
		client, server = r.connect(sm, cm, r.server, r.client, session)
		if reused, why := server.SessionReused(); !reused {
			t.Fatalf("not resumed: %v", why)
		}
		agree(t, client)
		agree(t, server)
	})
}

// agree compares a connection's session with what crypto/tls says of the connection.
func agree(t *testing.T, c *reprise.Conn) {
	t.Helper()
	s, cs := c.Session(), c.ConnectionState()
	for what, pair := range map[string][2]any{
		"version":     {s.ProtocolVersion(), cs.Version},
		"suite":       {s.CipherSuite(), cs.CipherSuite},
		"ALPN":        {s.ALPN(), cs.NegotiatedProtocol},
		"server name": {s.Hostname(), cs.ServerName},
		"group":       {s.CurveID(), cs.CurveID},
		"verified":    {s.VerifyResult() == 0, len(cs.VerifiedChains) > 0},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: session %v, connection %v", what, pair[0], pair[1])
		}
	}
	peers, err := s.PeerCertificates()
	if err != nil || len(peers) == 0 || len(peers) != len(cs.PeerCertificates) {
		t.Fatalf("session has %d peer certificates (%v), connection %d", len(peers), err, len(cs.PeerCertificates))
	}
	for i, peer := range peers {
		if !peer.Equal(cs.PeerCertificates[i]) {
			t.Errorf("peer certificate %d is another", i)
		}
	}
}
