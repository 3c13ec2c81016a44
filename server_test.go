package reprise_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/ticket"
)

// later lists the versions that sessions resume in by what a server keeps.
var later = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// at connects with session and returns both ends, the handshakes done.
func (r *rig) at(sm, cm *reprise.Manager, version uint16, session *reprise.Session) (*reprise.Conn, *reprise.Conn) {
	return r.connect(sm, cm, at(version, r.server), at(version, r.client), session)
}

// TestSingleUse: a session serves once, and what it leads to serves once more.
func TestSingleUse(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			causes := make(map[reprise.Cause]int)
			sm := manager(t, reprise.Config{NoTickets: true, SingleUse: true,
				OnRemove: func(_ *reprise.Session, why reprise.Cause) { causes[why]++ }})
			cm := manager(t, reprise.Config{})
			c, _ := r.at(sm, cm, version, nil)
			first := wait(t, c)
			defer first.Free()
			c2, s2 := r.at(sm, cm, version, first)
			if reused, why := s2.SessionReused(); !reused {
				t.Fatalf("not resumed: %v", why)
			}
			if causes[reprise.CauseTaken] != 1 || sm.Len() != 1 {
				t.Errorf("taken %d, cached %d", causes[reprise.CauseTaken], sm.Len())
			}
			second := wait(t, c2)
			defer second.Free()
			if _, s := r.at(sm, cm, version, first); reused(s) {
				t.Error("resumed twice")
			}
			if _, s := r.at(sm, cm, version, second); !reused(s) {
				t.Error("the next session does not resume")
			}
		})
	}
}

func reused(c *reprise.Conn) bool {
	yes, _ := c.SessionReused()
	return yes
}

// TestSingleUseInUse: of two handshakes that offer one session the one that
// offered it first resumes, and the other is full. The second is run while the
// first waits for its client.
func TestSingleUseInUse(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			sm := manager(t, reprise.Config{NoTickets: true, SingleUse: true})
			cm := manager(t, reprise.Config{})
			c, _ := r.at(sm, cm, version, nil)
			session := wait(t, c)
			defer session.Free()
			nc, ns := pipe(t)
			slow := at(version, r.server)
			slow.VerifyConnection = func(tls.ConnectionState) error {
				_, s := r.at(sm, cm, version, session)
				if yes, why := s.SessionReused(); yes || why != reprise.InUse {
					t.Errorf("the handshake that overtakes: reused %v, %v", yes, why)
				}
				return nil
			}
			client, server := cm.Client(nc, at(version, r.client)), sm.Server(ns, slow)
			if err := client.SetSession(session); err != nil {
				t.Fatal(err)
			}
			go client.Handshake()
			if err := server.Handshake(); err != nil || !reused(server) {
				t.Errorf("the handshake that came first: reused %v, %v", reused(server), err)
			}
			if _, s := r.at(sm, cm, version, session); reused(s) {
				t.Error("resumed twice")
			}
			st := sm.Stats()
			if st.NotResumed[reprise.InUse] != 1 || outcomes(st) != st.AcceptGood {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestSingleUseUnseen: where nobody sees handshakes complete nothing can be taken.
func TestSingleUseUnseen(t *testing.T) {
	r := newRig(t)
	sm := manager(t, reprise.Config{NoTickets: true, SingleUse: true})
	cm := manager(t, reprise.Config{})
	session := func() *reprise.Session {
		c, _ := r.at(sm, cm, tls.VersionTLS13, nil)
		return wait(t, c)
	}()
	defer session.Free()
	nc, ns := pipe(t)
	client, server := cm.Client(nc, r.client), tls.Server(ns, sm.ServerConfig(r.server))
	if err := client.SetSession(session); err != nil {
		t.Fatal(err)
	}
	talk(t, client, server)
	if reused(client) {
		t.Error("resumed")
	}
	if n := sm.Stats().NotResumed[reprise.NotResumable]; n != 1 {
		t.Errorf("counted %d", n)
	}
}

// TestOnLookup: a second server finds in an external cache what the first told it.
func TestOnLookup(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		for _, mode := range []reprise.CacheMode{reprise.CacheServer, reprise.NoInternal, reprise.CacheOff, reprise.NoInternalStore} {
			t.Run(fmt.Sprintf("%s/%v", tls.VersionName(version), mode), func(t *testing.T) {
				store := make(map[string][]byte)
				asked := 0
				key := randomBytes(32)
				config := reprise.Config{
					NoTickets: true, HandleKey: key,
					OnNew: func(s *reprise.Session) { store[string(s.ID())], _ = s.MarshalBinary() },
				}
				first := manager(t, config)
				config.CacheMode = mode
				config.OnLookup = func(v uint16, id []byte) *reprise.Session {
					asked++
					der, ok := store[string(id)]
					if !ok || v != version {
						return nil
					}
					s, _, err := reprise.ParseSession(der)
					if err != nil {
						t.Error(err)
					}
					return s
				}
				second := manager(t, config)
				cm := manager(t, reprise.Config{})
				c, _ := r.at(first, cm, version, nil)
				session := wait(t, c)
				defer session.Free()
				if _, s := r.at(second, cm, version, session); !reused(s) {
					t.Fatal("not resumed")
				}
				if st := second.Stats(); asked != 1 || st.CallbackHits != 1 || st.Hits != 1 {
					t.Errorf("asked %d times: %+v", asked, st)
				}
				cached := second.Has(version, session.ID()) || second.Has(version, session.Ticket())
				if want := mode&reprise.NoInternalStore == 0; cached != want {
					t.Errorf("cached %v, want %v", cached, want)
				}
				if _, s := r.at(second, cm, version, session); !reused(s) {
					t.Error("not resumed again")
				}
				want := 2 // without a cache of its own it asks every time
				if mode == reprise.CacheServer || mode == reprise.CacheOff {
					want = 1
				}
				if asked != want {
					t.Errorf("asked %d times, want %d", asked, want)
				}
			})
		}
	}
}

// TestOnLookupUnproven: a handle that nobody of us made is looked up nowhere,
// and a session of no use is not used.
func TestOnLookupUnproven(t *testing.T) {
	r := newRig(t)
	asked := 0
	var answer func(version uint16, id []byte) *reprise.Session
	sm := manager(t, reprise.Config{NoTickets: true, OnLookup: func(v uint16, id []byte) *reprise.Session {
		asked++
		return answer(v, id)
	}})
	cm := manager(t, reprise.Config{})
	foreign, _ := r.at(manager(t, reprise.Config{NoTickets: true}), cm, tls.VersionTLS13, nil)
	session := wait(t, foreign)
	defer session.Free()
	if _, s := r.at(sm, cm, tls.VersionTLS13, session); reused(s) || asked != 0 {
		t.Errorf("reused %v, asked %d times for a handle of others", reused(s), asked)
	}
	c, _ := r.at(sm, cm, tls.VersionTLS13, nil)
	known := wait(t, c)
	defer known.Free()
	sm.FlushAll()
	other := manager(t, reprise.Config{})
	for name, wrong := range map[string]func(uint16, []byte) *reprise.Session{
		"nothing": func(uint16, []byte) *reprise.Session { return nil },
		"another id": func(v uint16, _ []byte) *reprise.Session {
			s := reprise.NewSession()
			s.SetProtocolVersion(v)
			s.SetID([]byte("another"))
			return s
		},
		"not resumable": func(v uint16, id []byte) *reprise.Session {
			s := reprise.NewSession()
			s.SetProtocolVersion(v)
			s.SetID(id)
			sm.Remove(s)
			return s
		},
		"another Manager's": func(v uint16, id []byte) *reprise.Session {
			s := reprise.NewSession()
			s.SetProtocolVersion(v)
			s.SetID(id)
			other.Add(s)
			return s
		},
	} {
		answer = wrong
		if _, s := r.at(sm, cm, tls.VersionTLS13, known); reused(s) {
			t.Errorf("%s: resumed", name)
		}
	}
	if st := sm.Stats(); asked != 4 || st.CallbackHits != 0 {
		t.Errorf("asked %d times: %+v", asked, st)
	}
}

// TestGenerateID: ids of the application's own, and what happens if they run out.
func TestGenerateID(t *testing.T) {
	r := newRig(t)
	var n atomic.Int32
	id := func() ([]byte, error) { return fmt.Appendf(nil, "id %d", n.Add(1)/3), nil } // each id three times
	sm := manager(t, reprise.Config{NoTickets: true, GenerateID: id})
	cm := manager(t, reprise.Config{})
	for _, version := range later {
		c, s := r.at(sm, cm, version, nil)
		session := wait(t, c)
		if _, again := r.at(sm, cm, version, session); !reused(again) {
			t.Errorf("%s: not resumed by %q", tls.VersionName(version), s.Session().ID())
		}
		session.Free()
	}
	for name, bad := range map[string]func() ([]byte, error){
		"always the same": func() ([]byte, error) { return []byte("id 1"), nil },
		"empty":           func() ([]byte, error) { return nil, nil },
		"too long":        func() ([]byte, error) { return make([]byte, 33), nil },
		"an error":        func() ([]byte, error) { return nil, errors.New("no ids today") },
	} {
		sm := manager(t, reprise.Config{NoTickets: true, GenerateID: bad})
		taken := reprise.NewSession()
		taken.SetProtocolVersion(tls.VersionTLS13)
		taken.SetID([]byte("id 1"))
		mustAdd(t, sm, taken)
		c, _ := r.at(sm, cm, tls.VersionTLS13, nil)
		session := wait(t, c)
		if st := sm.Stats(); st.WrapFailures != 1 || sm.Len() != 1 {
			t.Errorf("%s: %+v", name, st)
		}
		if _, s := r.at(sm, cm, tls.VersionTLS13, session); reused(s) {
			t.Errorf("%s: resumed", name)
		}
		session.Free()
	}
}

// TestAutoClear: expired sessions go as others come, or every so many
// handshakes, or not at all.
func TestAutoClear(t *testing.T) {
	r := newRig(t)
	for _, row := range []struct {
		config reprise.Config
		left   []int // cached after each handshake; ten have expired at first
	}{
		{reprise.Config{}, []int{9, 8, 7, 6, 5}},
		{reprise.Config{FlushEvery: 3}, []int{11, 12, 3, 4, 5}},
		{reprise.Config{CacheMode: reprise.NoAutoClear}, []int{11, 12, 13, 14, 15}},
		{reprise.Config{CacheMode: reprise.NoAutoClear, FlushEvery: 3}, []int{11, 12, 13, 14, 15}},
	} {
		t.Run(fmt.Sprintf("%v, every %d", row.config.CacheMode, row.config.FlushEvery), func(t *testing.T) {
			row.config.NoTickets = true
			sm, cm := manager(t, row.config), manager(t, reprise.Config{})
			for i := range 10 {
				mustAdd(t, sm, named(fmt.Sprint(i), time.Unix(1000, 0)))
			}
			for i, want := range row.left {
				r.at(sm, cm, tls.VersionTLS12, nil)
				if n := sm.Len(); n != want {
					t.Errorf("after handshake %d: %d cached, want %d", i+1, n, want)
				}
			}
		})
	}
}

// TestUpdateTime: under this mode a session's time is when it is cached.
func TestUpdateTime(t *testing.T) {
	now := time.Unix(1<<31, 0)
	for _, mode := range []reprise.CacheMode{0, reprise.UpdateTime} {
		m := manager(t, reprise.Config{CacheMode: mode, Time: func() time.Time { return now }})
		s := named("s", time.Unix(1000, 0))
		mustAdd(t, m, s)
		if got := s.Time().Equal(now); got != (mode == reprise.UpdateTime) {
			t.Errorf("mode %v: time %v", mode, s.Time())
		}
		if n := m.Flush(now); n == 1 == (mode == reprise.UpdateTime) {
			t.Errorf("mode %v: flushed %d", mode, n)
		}
	}
}

// TestCacheBytes: the cache holds its entries' bytes under the limit, whatever
// their number.
func TestCacheBytes(t *testing.T) {
	const limit = 64 << 10
	m := manager(t, reprise.Config{CacheBytes: limit, CacheSize: -1})
	for i := range 2000 {
		s := named(fmt.Sprint(i), time.Now().Add(time.Duration(i)*time.Second))
		s.SetTicketAppData(make([]byte, i))
		mustAdd(t, m, s)
		s.Free()
	}
	if n := m.Len(); n < 10 || n > limit/1500 {
		t.Errorf("%d sessions of about 2 kB in 64 kB", n)
	}
	if !m.Has(tls.VersionTLS12, []byte("1999")) {
		t.Error("what was added last is gone")
	}
	big := named("big", time.Now())
	big.SetTicketAppData(make([]byte, 63999))
	defer big.Free()
	if added, err := m.Add(big); added || err == nil {
		t.Errorf("added %v, %v: more than the whole cache holds", added, err)
	}
	other := manager(t, reprise.Config{})
	mustAdd(t, other, big) // it was left free
}

// TestRotations: under a ring that rotates a thousand times, whoever comes back
// within the session's time resumes, whichever key its ticket is under; who
// comes later, or after a clock that jumps too far, gets a full handshake.
func TestRotations(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			now := time.Now()
			clock := func() time.Time { return now }
			ring, err := ticket.GenerateRing(ticket.RingConfig{Rotate: time.Minute, Lifetime: 10 * time.Minute, Time: clock})
			if err != nil {
				t.Fatal(err)
			}
			sm := manager(t, reprise.Config{Tickets: ring, Time: clock, Timeout: 10 * time.Minute, MaxAge: -1})
			cm := manager(t, reprise.Config{Time: clock})
			c, _ := r.at(sm, cm, version, nil)
			session := wait(t, c)
			defer func() { session.Free() }()
			for i := range 1000 {
				now = now.Add(time.Minute)
				c, s := r.at(sm, cm, version, session)
				if !reused(s) {
					// TLS 1.2 keeps the time of the full handshake through every renewal.
					if _, why := s.SessionReused(); version == tls.VersionTLS13 || why != reprise.Expired {
						t.Fatalf("rotation %d: %v", i, why)
					}
				}
				next := wait(t, c)
				session.Free()
				session = next
				c.Close()
				s.Close()
			}
			for _, jump := range []time.Duration{time.Hour, -2 * time.Hour, time.Hour} {
				now = now.Add(jump)
				c, s := r.at(sm, cm, version, session) // never fails, whatever it resumes
				next := wait(t, c)
				if _, again := r.at(sm, cm, version, next); !reused(again) {
					_, why := again.SessionReused()
					t.Errorf("after a jump of %v a new session does not resume: %v", jump, why)
				}
				s.Close()
				session.Free()
				session = next
			}
			now = now.Add(time.Hour)
			if _, s := r.at(sm, cm, version, session); reused(s) {
				t.Error("resumed an hour after a ten minutes' session")
			}
		})
	}
}

// TestRenewalsEnd: a hundred renewals do not outlive MaxAge.
func TestRenewalsEnd(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	clock := func() time.Time { return now }
	sm := manager(t, reprise.Config{Time: clock, MaxAge: 100 * time.Minute})
	cm := manager(t, reprise.Config{Time: clock})
	c, _ := r.at(sm, cm, tls.VersionTLS13, nil)
	session := wait(t, c)
	for i := range 100 {
		now = now.Add(time.Minute)
		c, s := r.at(sm, cm, tls.VersionTLS13, session)
		if !reused(s) {
			_, why := s.SessionReused()
			t.Fatalf("renewal %d: %v", i, why)
		}
		session.Free()
		session = wait(t, c)
	}
	defer session.Free()
	now = now.Add(time.Second)
	_, s := r.at(sm, cm, tls.VersionTLS13, session)
	if yes, why := s.SessionReused(); yes || why != reprise.TooOld {
		t.Errorf("resumed %v, %v, past MaxAge", yes, why)
	}
}

// TestTruncatedTickets: a ticket that was cut anywhere means a full handshake.
func TestTruncatedTickets(t *testing.T) {
	r := newRig(t)
	sealers := map[string]ticket.Sealer{"AEAD": ticket.NewAEAD()}
	ring, err := ticket.NewKeyRing(ticket.GenerateKey(ticket.FormOpenSSL256))
	if err != nil {
		t.Fatal(err)
	}
	sealers["OpenSSL"] = ring
	for name, sealer := range sealers {
		t.Run(name, func(t *testing.T) {
			sm := manager(t, reprise.Config{Tickets: sealer})
			cm := manager(t, reprise.Config{})
			c, _ := r.at(sm, cm, tls.VersionTLS13, nil)
			whole := wait(t, c)
			defer whole.Free()
			n := len(whole.Ticket())
			for cut := 1; cut < n; cut += 7 {
				s := rebuilt(t, whole, func(f *asn1sess.Session) { f.Ticket = f.Ticket[:n-cut] })
				if _, conn := r.at(sm, cm, tls.VersionTLS13, s); reused(conn) {
					t.Errorf("resumed a ticket without its last %d bytes", cut)
				}
				s.Free()
			}
			if _, conn := r.at(sm, cm, tls.VersionTLS13, whole); !reused(conn) {
				t.Error("the whole ticket does not resume")
			}
		})
	}
}

// TestBackAtOnce: clients that come back as soon as they have a session, while
// the server is about to move it from probation to the cache, all resume.
func TestBackAtOnce(t *testing.T) { backAtOnce(t, 6000) }

// TestLongBackAtOnce is TestBackAtOnce with more of them.
func TestLongBackAtOnce(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 for 60 000 clients")
	}
	backAtOnce(t, 60_000)
}

func backAtOnce(t *testing.T, clients int) {
	const workers = 10
	each := clients / (len(singleServers) * len(later) * workers)
	for level, start := range singleServers {
		for _, version := range later {
			t.Run(level+"/"+tls.VersionName(version), func(t *testing.T) {
				s := &singleServer{rig: newRig(t), m: manager(t, reprise.Config{NoTickets: true})}
				start(t, s)
				var wg sync.WaitGroup
				for range workers {
					wg.Go(func() {
						if err := s.chain(version, each); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				st := s.m.Stats()
				if st.Misses != 0 || len(st.NotResumed) != 1 || st.NotResumed[reprise.NothingOffered] != workers || st.Hits != workers*uint64(each-1) {
					t.Errorf("%+v", st)
				}
			})
		}
	}
}

// chain makes n connections, each as soon as the one before it brought a session.
func (s *singleServer) chain(version uint16, n int) error {
	var session *tls.ClientSessionState
	var ended []<-chan error
	for i := range n {
		o, done := offers(session), make(chan error, 1)
		ended = append(ended, done)
		c, err := s.begin(version, o, version == tls.VersionTLS13)
		if err != nil {
			return err
		}
		if c.ConnectionState().DidResume != (i > 0) {
			err = fmt.Errorf("connection %d: resumed %v", i, i == 0)
		}
		go func() {
			defer c.Close()
			_, failed := s.exchange(c)
			done <- errors.Join(err, failed)
		}()
		if version < tls.VersionTLS13 && i > 0 {
			continue // the session goes on
		}
		select {
		case <-o.came:
			session = o.next
		case err := <-done:
			return errors.Join(err, errors.New("no session came"))
		}
	}
	for _, done := range ended {
		if err := <-done; err != nil {
			return err
		}
	}
	return nil
}

// TestUnprovenSecrets: a hello that finds a session, be its binder right or not,
// keeps the secret no longer than its handshake, and announces nothing, where
// nobody sees handshakes complete.
func TestUnprovenSecrets(t *testing.T) {
	for _, wrong := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			seen := new(events)
			m, r := manager(t, seen.watch(reprise.Config{NoTickets: true})), newRigAt(t, tls.VersionTLS13)
			o := offers(nil)
			if _, err := visit(func(nc net.Conn) error { return ends["listener"](m, nc, r.server) }, "192.0.2.1", r.client, &o); err != nil {
				t.Fatal(err)
			}
			var session *reprise.Session
			for s := range m.All() {
				session = s
				if err := s.UpRef(); err != nil {
					t.Fatal(err)
				}
			}
			secrets := reprise.SecretsOf(session)
			hello := r.record(o.offer)
			if wrong {
				hello[len(hello)-1] ^= 1
			}
			news := seen.news.Load()
			err := ends["configuration"](m, &lone{silent{unread: hello}, memoryAddr{}}, r.server)
			if found := m.Stats().Hits == 1 || err != nil && strings.Contains(err.Error(), "binder"); !found {
				t.Errorf("the session was not found: %v", err)
			}
			synctest.Wait()
			if caller, library := reprise.Held(session); caller != 1 || library != 1 {
				t.Errorf("held by %d and %d, not by the test and the cache", caller, library)
			}
			if secrets.Wiped() {
				t.Error("no secret: the test would prove nothing")
			}
			m.Remove(session)
			session.Free()
			if !secrets.Wiped() {
				t.Error("the secret is still there")
			}
			if seen.news.Load() != news || m.Len() != 0 {
				t.Errorf("%d announced, %d cached", seen.news.Load()-news, m.Len())
			}
		})
	}
}

// TestOnLookupEffects: what OnLookup gave is cached once its peer is proven, and
// not before: it pushes nothing out, and nobody is told. Where nobody sees
// handshakes complete it is not cached at all.
func TestOnLookupEffects(t *testing.T) {
	for level, end := range ends {
		for _, version := range later {
			t.Run(level+"/"+tls.VersionName(version), func(t *testing.T) {
				r, seen, elsewhere := newRig(t), new(events), make(map[string][]byte)
				config := seen.watch(reprise.Config{NoTickets: true, CacheSize: 1, OnLookup: func(_ uint16, id []byte) *reprise.Session {
					s, _, err := reprise.ParseSession(elsewhere[string(id)])
					if err != nil {
						return nil
					}
					return s
				}})
				told := config.OnNew
				config.OnNew = func(s *reprise.Session) {
					told(s)
					elsewhere[string(s.ID())], _ = s.MarshalBinary()
				}
				m := manager(t, config)
				r.server, r.client = at(version, r.server), at(version, r.client)
				serve := func(nc net.Conn) error { return end(m, nc, r.server) }
				o := offers(nil)
				if _, err := visit(func(nc net.Conn) error { return ends["listener"](m, nc, r.server) }, "192.0.2.1", r.client, &o); err != nil {
					t.Fatal(err)
				}
				resident := named("resident", time.Now())
				defer resident.Free()
				mustAdd(t, m, resident)
				if err := resident.SetTimeout(24 * time.Hour); err != nil {
					t.Fatal(err)
				}
				hello := r.record(o.offer)
				news, removals := seen.news.Load(), seen.removals.Load()
				for _, change := range []byte{0, 1} {
					h := slices.Clone(hello)
					h[len(h)-1] ^= change
					if version == tls.VersionTLS12 && change != 0 {
						continue // it has no binder
					}
					if serve(&lone{silent{unread: h}, memoryAddr{}}) == nil {
						t.Error("a lone hello completed a handshake")
					}
				}
				if n := m.Stats().CallbackHits; n == 0 {
					t.Error("nothing was found: the test would prove nothing")
				}
				if !cached(m, resident) || seen.news.Load() != news || seen.removals.Load() != removals {
					t.Errorf("before proof: the other session is cached: %v, %d announced, %d removed", cached(m, resident), seen.news.Load()-news, seen.removals.Load()-removals)
				}
				if resumed, err := visit(serve, "192.0.2.1", r.client, &o); err != nil || !resumed {
					t.Errorf("resumed %v, %v", resumed, err)
				}
				if proven := level != "configuration"; cached(m, resident) == proven {
					t.Errorf("after proof: the other session is cached: %v", !proven)
				}
			})
		}
	}
}

// slowWriter is a server's connection whose second write, which ends a full
// handshake of TLS 1.2, reaches the client long before it returns.
type slowWriter struct {
	net.Conn
	writes  int
	resumes chan struct{}
}

func (w *slowWriter) Write(b []byte) (int, error) {
	n, err := w.Conn.Write(b)
	if w.writes++; w.writes == 2 {
		<-w.resumes
	}
	return n, err
}

// TestBackAtOnceOneObject: a client that comes back before the server knows that
// its first handshake is complete resumes, and both connections have the session
// that the cache gives.
func TestBackAtOnceOneObject(t *testing.T) {
	r, seen := newRigAt(t, tls.VersionTLS12), new(events)
	sm, cm := manager(t, seen.watch(reprise.Config{NoTickets: true})), manager(t, reprise.Config{})
	nc, ns := pipe(t)
	slow := &slowWriter{Conn: ns, resumes: make(chan struct{})}
	first, client, ended := sm.Server(slow, r.server), cm.Client(nc, r.client), make(chan error, 1)
	go func() { ended <- first.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	session := wait(t, client)
	defer session.Free()
	_, second := r.connect(sm, cm, r.server, r.client, session)
	cached := sm.Lookup(tls.VersionTLS12, session.Ticket())
	defer cached.Free()
	if !reused(second) || cached == nil || second.Session() != cached {
		t.Errorf("resumed %v, has %p, and %p is cached", reused(second), second.Session(), cached)
	}
	close(slow.resumes)
	if err := <-ended; err != nil || first.Session() != cached {
		t.Errorf("the first connection has %p, %v", first.Session(), err)
	}
	if n := seen.news.Load(); n != 1 {
		t.Errorf("announced %d times", n)
	}
}
