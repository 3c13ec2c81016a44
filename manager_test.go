package reprise_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"iter"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
)

// named returns a session under an id that was established at t and lasts ten seconds.
func named(id string, t time.Time) *reprise.Session {
	s := reprise.NewSession()
	s.SetID([]byte(id))
	s.SetProtocolVersion(tls.VersionTLS12)
	s.SetTime(t)
	s.SetTimeout(10 * time.Second)
	return s
}

// event is one call of OnRemove.
type event struct {
	s     *reprise.Session
	cause reprise.Cause
}

// observed returns a Manager whose OnRemove writes to the events.
func observed(t testing.TB, c reprise.Config) (*reprise.Manager, *[]event) {
	t.Helper()
	events := new([]event)
	c.OnRemove = func(s *reprise.Session, cause reprise.Cause) { *events = append(*events, event{s, cause}) }
	return manager(t, c), events
}

func mustAdd(t testing.TB, m *reprise.Manager, sessions ...*reprise.Session) {
	t.Helper()
	for _, s := range sessions {
		if added, err := m.Add(s); !added || err != nil {
			t.Fatalf("Add: %v, %v", added, err)
		}
	}
}

func TestAddErrors(t *testing.T) {
	m := manager(t, reprise.Config{})
	now := time.Unix(1000, 0)
	freed := named("freed", now)
	freed.Free()
	elsewhere := named("elsewhere", now)
	mustAdd(t, manager(t, reprise.Config{}), elsewhere)
	removed := named("removed", now)
	m.Remove(removed)
	closed := manager(t, reprise.Config{})
	closed.Close()
	for name, c := range map[string]struct {
		m    *reprise.Manager
		s    *reprise.Session
		want error
	}{
		"no id":             {m, reprise.NewSession(), reprise.ErrNotResumable},
		"freed":             {m, freed, reprise.ErrFreed},
		"of another":        {m, elsewhere, reprise.ErrOtherManager},
		"removed":           {m, removed, reprise.ErrNotResumable},
		"closed Manager":    {closed, named("s", now), reprise.ErrClosed},
		"copy of a bad one": {m, removed.Dup(), reprise.ErrNotResumable},
	} {
		if added, err := c.m.Add(c.s); added || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v, want %v", name, added, err, c.want)
		}
	}
	if m.Len() != 0 {
		t.Errorf("%d sessions cached after nothing but errors", m.Len())
	}
	huge := named("huge", now)
	huge.SetCipherSuite(tls.TLS_AES_128_GCM_SHA256)
	huge.SetALPN(strings.Repeat("x", 1<<20))
	if added, err := m.Add(huge); added || err == nil || m.Len() != 0 {
		t.Errorf("a session too big for an entry: %v, %v, %d cached", added, err, m.Len())
	}
	if caller, library := reprise.Held(huge); caller != 1 || library != 0 {
		t.Errorf("the refused session is held %d and %d times", caller, library)
	}
}

func TestAddTwin(t *testing.T) {
	m, events := observed(t, reprise.Config{})
	now := time.Unix(1000, 0)
	first, second := named("same", now), named("same", now)
	mustAdd(t, m, first)
	if added, err := m.Add(first); added || err != nil {
		t.Errorf("Add again: %v, %v", added, err)
	}
	mustAdd(t, m, second)
	if want := []event{{first, reprise.CauseReplaced}}; !slices.Equal(*events, want) || m.Len() != 1 {
		t.Errorf("told %v, %d cached, want %v", *events, m.Len(), want)
	}
	if !first.Resumable() {
		t.Error("being replaced made the twin not resumable")
	}
	got := m.Lookup(tls.VersionTLS12, []byte("same"))
	defer got.Free()
	if got != second {
		t.Error("Lookup does not give the one added last")
	}
	// The same id under another version is another session.
	other := named("same", now)
	other.SetProtocolVersion(tls.VersionTLS13)
	mustAdd(t, m, other)
	if m.Len() != 2 || len(*events) != 1 {
		t.Errorf("%d cached, told %v: the version is part of the key", m.Len(), *events)
	}
	// What was replaced may come back, and removing a twin removes what is cached.
	mustAdd(t, m, first)
	*events = nil
	if !m.Remove(second) || first.Resumable() || second.Resumable() {
		t.Error("Remove of a twin left one of the two resumable")
	}
	if want := []event{{first, reprise.CauseRemoved}}; !slices.Equal(*events, want) {
		t.Errorf("told %v, want %v", *events, want)
	}
}

func TestRemove(t *testing.T) {
	m, events := observed(t, reprise.Config{})
	now := time.Unix(1000, 0)
	s := named("s", now)
	mustAdd(t, m, s)
	if !m.Remove(s) || m.Remove(s) {
		t.Error("Remove did not say whether the session was there")
	}
	uncached := named("uncached", now)
	if m.Remove(uncached) || uncached.Resumable() {
		t.Error("Remove of a session that is not cached")
	}
	elsewhere := named("elsewhere", now)
	mustAdd(t, manager(t, reprise.Config{}), elsewhere)
	bare := reprise.NewSession()
	if m.Remove(elsewhere) || !elsewhere.Resumable() || m.Remove(bare) || m.Remove(nil) {
		t.Error("Remove touched what is not its own")
	}
	want := []event{{s, reprise.CauseRemoved}, {s, reprise.CauseRemoved}, {uncached, reprise.CauseRemoved}}
	if !slices.Equal(*events, want) {
		t.Errorf("told %v, want %v", *events, want)
	}
}

// TestFlush: a session goes once the time is past its last second.
func TestFlush(t *testing.T) {
	m, events := observed(t, reprise.Config{})
	start := time.Unix(1000, 0)
	var sessions []*reprise.Session
	for i := range 200 { // more than a batch
		sessions = append(sessions, named(fmt.Sprint(i), start.Add(time.Duration(i)*time.Second)))
	}
	mustAdd(t, m, sessions...)
	expires, _ := sessions[99].ExpiresAt()
	if n := m.Flush(expires); n != 99 || m.Len() != 101 {
		t.Errorf("Flush in a session's last second removed %d, left %d, want 99 and 101", n, m.Len())
	}
	if n := m.Flush(expires.Add(999 * time.Millisecond)); n != 0 {
		t.Errorf("Flush later in that second removed %d", n)
	}
	if n := m.Flush(expires.Add(time.Second)); n != 1 {
		t.Errorf("Flush in the next second removed %d, want 1", n)
	}
	for i, e := range *events {
		if e.s != sessions[i] || e.cause != reprise.CauseExpired || e.s.Resumable() {
			t.Errorf("removal %d was %v, %v", i, e.s, e.cause)
		}
	}
	*events = nil
	if n := m.FlushAll(); n != 100 || m.Len() != 0 || len(*events) != 100 || (*events)[0].cause != reprise.CauseFlushed {
		t.Errorf("FlushAll removed %d, left %d, told %d", n, m.Len(), len(*events))
	}
	if n := m.FlushAll(); n != 0 {
		t.Errorf("FlushAll of nothing removed %d", n)
	}
}

// TestFlushNever: what never expires goes only with everything.
func TestFlushNever(t *testing.T) {
	m := manager(t, reprise.Config{})
	s := named("s", time.Unix(1<<62, 0))
	s.SetTimeout(1<<63 - 1)
	s.SetTime(time.Unix(1<<63-2, 0))
	if _, ok := s.ExpiresAt(); ok {
		t.Fatal("the session expires")
	}
	mustAdd(t, m, s)
	if n := m.Flush(time.Unix(1<<63-1, 0)); n != 0 {
		t.Errorf("Flush removed %d", n)
	}
	if n := m.FlushAll(); n != 1 {
		t.Errorf("FlushAll removed %d", n)
	}
}

func TestManagerClose(t *testing.T) {
	m, events := observed(t, reprise.Config{})
	s := named("s", time.Unix(1000, 0))
	s.SetMasterKey([]byte("key"))
	mustAdd(t, m, s)
	for range 2 {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
	if want := []event{{s, reprise.CauseClosed}}; !slices.Equal(*events, want) || m.Len() != 0 {
		t.Errorf("told %v, %d cached, want %v", *events, m.Len(), want)
	}
	if key, err := s.MasterKey(); err != nil || !bytes.Equal(key, []byte("key")) {
		t.Errorf("a session that is held lost its secret: %v", err)
	}
	if m.Lookup(tls.VersionTLS12, []byte("s")) != nil {
		t.Error("Lookup in a closed Manager")
	}
	// Handshakes go on, all full.
	r := newRig(t)
	cm := manager(t, reprise.Config{})
	c1, _ := r.connect(m, cm, r.server, r.client, nil)
	c1.Close()
	c2, s2 := r.connect(m, cm, r.server, r.client, nil)
	if reused, _ := s2.SessionReused(); reused || c2.Session() == nil {
		t.Error("a closed Manager's connection")
	}
}

func TestAllStops(t *testing.T) {
	m := manager(t, reprise.Config{})
	now := time.Unix(1000, 0)
	sessions := []*reprise.Session{named("a", now), named("b", now), named("c", now)}
	mustAdd(t, m, sessions...)
	next, stop := iter.Pull(m.All())
	first, _ := next()
	m.Remove(first)
	if err := first.UpRef(); err != nil {
		t.Errorf("a session is not held for its turn: %v", err)
	} else {
		first.Free()
	}
	stop()
	n := 0
	for s := range m.All() {
		n++
		if s == first {
			t.Error("All gave what was removed")
		}
	}
	if n != 2 {
		t.Errorf("All gave %d sessions, want 2", n)
	}
	for _, s := range sessions {
		if _, library := reprise.Held(s); library > 1 {
			t.Errorf("All kept %d references", library-1)
		}
	}
}

// TestCallbacksCallBack: callbacks run without a lock, so they may use the Manager.
func TestCallbacksCallBack(t *testing.T) {
	var m *reprise.Manager
	now := time.Unix(1000, 0)
	depth := 0
	use := func(s *reprise.Session) {
		if depth++; depth > 3 {
			return
		}
		twin := s.Dup()
		defer twin.Free()
		if got := m.Lookup(s.ProtocolVersion(), s.ID()); got != nil {
			got.Free()
		}
		other := named(fmt.Sprint("other", depth), now)
		if _, err := m.Add(other); err != nil && !errors.Is(err, reprise.ErrClosed) {
			t.Errorf("Add in a callback: %v", err)
		}
		s.SetTimeout(20 * time.Second)
		s.SetValue("key", depth)
		m.Remove(other)
		m.Flush(now.Add(15 * time.Second))
		for range m.All() {
			m.Len()
		}
		m.Stats()
	}
	m = manager(t, reprise.Config{
		NoTickets: true, CacheSize: 2,
		OnNew:    use,
		OnRemove: func(s *reprise.Session, _ reprise.Cause) { use(s) },
	})
	do := map[string]func(){
		"remove":    func() { s := named("s", now); m.Add(s); m.Remove(s) },
		"flush":     func() { m.Add(named("s", now)); m.Flush(now.Add(time.Hour)) },
		"flush all": func() { m.Add(named("s", now)); m.FlushAll() },
		"replace":   func() { m.Add(named("s", now)); m.Add(named("s", now)) },
		"evict":     func() { m.Add(named("a", now)); m.Add(named("b", now)); m.Add(named("c", now)) },
		"new": func() {
			r := newRig(t)
			c, _ := r.connect(m, manager(t, reprise.Config{}), r.server, r.client, nil)
			c.Close()
		},
		"close": func() { m.Add(named("s", now)); m.Close() },
	}
	for _, name := range []string{"remove", "flush", "flush all", "replace", "evict", "new", "close"} {
		depth = 0
		if do[name](); depth == 0 {
			t.Errorf("%s: no callback", name)
		}
	}
}

// TestOnNewLends: the session of OnNew is cached already, and kept by who takes a reference.
func TestOnNewLends(t *testing.T) {
	for _, version := range versions {
		var kept *reprise.Session
		var m *reprise.Manager
		m = manager(t, reprise.Config{NoTickets: true, OnNew: func(s *reprise.Session) {
			if got := m.Lookup(s.ProtocolVersion(), s.ID()); got != s {
				t.Errorf("the cache gives %v in OnNew of %v", got, s)
			} else {
				got.Free()
			}
			if err := s.UpRef(); err != nil {
				t.Error(err)
			}
			kept = s
		}})
		r := newRig(t)
		c, s := r.connect(m, manager(t, reprise.Config{}), at(version, r.server), at(version, r.client), nil)
		c.Close()
		s.Close()
		s.Free()
		m.FlushAll()
		if kept == nil {
			t.Fatalf("%s: no OnNew", tls.VersionName(version))
		}
		if key, err := kept.MasterKey(); err != nil || len(key) == 0 {
			t.Errorf("%s: the session that was kept lost its secret: %v", tls.VersionName(version), err)
		}
		kept.Free()
	}
}

// TestExpiredLeavesCache: a lookup by a client that finds an expired session removes it.
func TestExpiredLeavesCache(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	m, events := observed(t, reprise.Config{NoTickets: true, Timeout: time.Minute, Time: func() time.Time { return now }})
	cm := manager(t, reprise.Config{})
	c, _ := r.connect(m, cm, r.server, r.client, nil)
	session := wait(t, c)
	defer session.Free()
	c.Close()
	now = now.Add(61 * time.Second)
	_, s := r.connect(m, cm, r.server, r.client, session)
	if reused, why := s.SessionReused(); reused || why != reprise.Expired {
		t.Errorf("resumed %v, %v", reused, why)
	}
	if len(*events) != 1 || (*events)[0].cause != reprise.CauseExpired || m.Stats().Timeouts != 1 {
		t.Errorf("told %v", *events)
	}
}

// TestRemoveUnproven: Remove finds what is on probation, too.
func TestRemoveUnproven(t *testing.T) {
	r := newRigAt(t, tls.VersionTLS13)
	sm, cm := manager(t, reprise.Config{NoTickets: true}), manager(t, reprise.Config{})
	connect := func(session *reprise.Session) *reprise.Conn {
		nc, ns := pipe(t)
		client := cm.Client(nc, r.client)
		if err := client.SetSession(session); err != nil {
			t.Fatal(err)
		}
		talk(t, client, tls.Server(ns, sm.ServerConfig(r.server)))
		return client
	}
	session := wait(t, connect(nil))
	defer session.Free()
	if !reused(connect(session)) {
		t.Fatal("not resumed: the test would prove nothing")
	}
	named := reprise.NewSession()
	defer named.Free()
	named.SetProtocolVersion(tls.VersionTLS13)
	named.SetID(session.Ticket())
	sm.Remove(named)
	if reused(connect(session)) {
		t.Error("it resumes still")
	}
}

// TestOnNewUnderWay: while OnNew puts a session elsewhere a client that comes
// back at once resumes, and the session is announced once.
func TestOnNewUnderWay(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		for _, mode := range []reprise.CacheMode{reprise.CacheServer, reprise.NoInternalStore, reprise.NoInternal} {
			var sm *reprise.Manager
			var client *reprise.Conn
			cm, news := manager(t, reprise.Config{}), make(map[string]int)
			sm = manager(t, reprise.Config{
				NoTickets: true, CacheMode: mode, OnLookup: func(uint16, []byte) *reprise.Session { return nil },
				OnNew: func(s *reprise.Session) {
					if news[string(s.ID())]++; len(news) > 1 {
						return
					}
					session := wait(t, client)
					defer session.Free()
					for range 2 {
						if _, why := r.offer(sm, cm, at(version, r.server), at(version, r.client), session); why != reprise.Resumed {
							t.Errorf("%s, %v: %v", tls.VersionName(version), mode, why)
						}
					}
				},
			})
			nc, ns := pipe(t)
			client = cm.Client(nc, at(version, r.client))
			if err := client.SetSession(nil); err != nil {
				t.Fatal(err)
			}
			talk(t, client, sm.Server(ns, at(version, r.server)))
			for id, n := range news {
				if n != 1 {
					t.Errorf("session %x was announced %d times", id, n)
				}
			}
			if len(news) == 0 {
				t.Error("nothing was announced")
			}
		}
	}
}

// TestCloseUnderWay: a handshake that is under way when the Manager is closed is
// complete, makes no ticket, and counts as no failure; handshakes that begin later
// are full. What New made is wiped, and what the caller gave is not.
func TestCloseUnderWay(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		for level, end := range ends {
			for _, given := range []bool{false, true} {
				r, config := newRig(t), reprise.Config{NoTickets: noTickets}
				if given {
					config.Tickets = newRing(t)
				}
				m := manager(t, config)
				r.server, r.client = at(version, r.server), at(version, r.client)
				serve := func(nc net.Conn) error { return end(m, nc, r.server) }
				o := offers(nil)
				for i := range 2 {
					if resumed, err := visit(serve, "192.0.2.1", r.client, &o); err != nil || resumed != (i > 0) {
						t.Fatalf("%s: resumed %v, %v", level, resumed, err)
					}
				}
				before := o
				slow, fresh := r.server.Clone(), offers(nil)
				slow.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
					m.Close()
					return &r.server.Certificates[0], nil
				}
				slow.Certificates = nil
				if _, err := visit(func(nc net.Conn) error { return end(m, nc, slow) }, "192.0.2.1", r.client, &fresh); err != nil {
					t.Errorf("%s: under way: %v", level, err)
				}
				for _, o := range []*offering{before, fresh} {
					if resumed, err := visit(serve, "192.0.2.1", r.client, &o); err != nil || resumed {
						t.Errorf("%s: after Close: resumed %v, %v", level, resumed, err)
					}
				}
				n, weight := reprise.Unproven(m)
				if st := m.Stats(); n != 0 || weight != 0 || st.Number != 0 || st.WrapFailures != 0 {
					t.Errorf("%s: %d on probation, %d bytes, %+v", level, n, weight, st)
				}
				ring := reprise.OwnRing(m)
				if given {
					if _, err := config.Tickets.Seal([]byte("a session")); err != nil || ring != nil {
						t.Errorf("the caller's ring was closed: %v", err)
					}
					continue
				}
				if _, err := ring.Seal([]byte("a session")); err == nil {
					t.Error("the ring that New made seals")
				}
			}
		}
	})
}

// newRing returns a ring of one key.
func newRing(t testing.TB) *ticket.KeyRing {
	t.Helper()
	ring, err := ticket.NewKeyRing(ticket.GenerateKey(ticket.FormAEAD))
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

// TestCloseWhileSealing: a ring that is closed while a ticket is made is no failure.
func TestCloseWhileSealing(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		var m *reprise.Manager
		m = manager(t, reprise.Config{OnSeal: func(*reprise.Session) { m.Close() }})
		if _, s := r.at(m, manager(t, reprise.Config{}), version, nil); reused(s) {
			t.Error("resumed")
		}
		if st := m.Stats(); st.WrapFailures != 0 {
			t.Errorf("%d failures", st.WrapFailures)
		}
	}
}

// TestCloseSingleUse: what handshakes under way offer is free once they are over.
func TestCloseSingleUse(t *testing.T) {
	for _, version := range later {
		s := &singleServer{rig: newRig(t), m: manager(t, reprise.Config{NoTickets: true, SingleUse: true})}
		singleServers["Accept"](t, s)
		resumed, _, err := s.both(version, s.first(version), true, func() {
			if n := reprise.Claims(s.m); n != 1 {
				t.Errorf("%d claims", n)
			}
			s.m.Close()
		})
		if err != nil || resumed != 1 || reprise.Claims(s.m) != 0 {
			t.Errorf("%d resumed, %d claims, %v", resumed, reprise.Claims(s.m), err)
		}
	}
}
