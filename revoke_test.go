package reprise_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
)

// mutual returns configurations at a version with a client certificate.
func (r *rig) mutual(version uint16, cert tls.Certificate) (server, client *tls.Config) {
	server, client = at(version, r.server), at(version, r.client)
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
	client.Certificates = []tls.Certificate{cert}
	return server, client
}

// TestRevoke: each way to revoke ends what it names, tickets and handles,
// renewed ones too, and nothing else; what comes after a new full handshake
// resumes.
func TestRevoke(t *testing.T) {
	r := newRig(t)
	mine, others := r.ca.Leaf(t, "mine"), r.ca.Leaf(t, "others")
	leaf := func(c tls.Certificate) *x509.Certificate { return c.Leaf }
	for name, row := range map[string]struct {
		by     func(server *reprise.Session) reprise.Revocation
		spares bool // a session of another client certificate
	}{
		"lineage":      {reprise.ByLineage, true},
		"certificate":  {func(*reprise.Session) reprise.Revocation { return reprise.ByCertificate(leaf(mine)) }, true},
		"server name":  {func(*reprise.Session) reprise.Revocation { return reprise.ByServerName("a.test") }, false},
		"time":         {func(*reprise.Session) reprise.Revocation { return reprise.AuthenticatedBefore(time.Now()) }, false},
		"another name": {func(*reprise.Session) reprise.Revocation { return reprise.ByServerName("b.test") }, true},
		"an earlier time": {func(*reprise.Session) reprise.Revocation {
			return reprise.AuthenticatedBefore(time.Now().Add(-time.Hour))
		}, true},
		"another's":        {func(*reprise.Session) reprise.Revocation { return reprise.ByCertificate(leaf(others)) }, false},
		"removed, renewed": {nil, true},
	} {
		for _, version := range later {
			for _, noTickets := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/%v", name, tls.VersionName(version), noTickets), func(t *testing.T) {
					sm := manager(t, reprise.Config{NoTickets: noTickets})
					cm := manager(t, reprise.Config{})
					sc, cc := r.mutual(version, mine)
					_, cc2 := r.mutual(version, others)
					c, _ := r.connect(sm, cm, sc, cc, nil)
					first := wait(t, c)
					defer first.Free()
					c2, _ := r.connect(sm, cm, sc, cc2, nil)
					spared := wait(t, c2)
					defer spared.Free()
					c, s := r.connect(sm, cm, sc, cc, first) // renewed
					second := wait(t, c)
					defer second.Free()

					gone := name != "another name" && name != "an earlier time" && name != "another's"
					if row.by == nil {
						sm.Remove(s.Session())
					} else {
						mustRevoke(t, sm, row.by(s.Session()))
					}
					if _, s := r.connect(sm, cm, sc, cc, second); reused(s) == gone {
						_, why := s.SessionReused()
						t.Errorf("its session: resumed %v, %v", reused(s), why)
					}
					if _, s := r.connect(sm, cm, sc, cc2, spared); reused(s) != row.spares {
						_, why := s.SessionReused()
						t.Errorf("another's session: resumed %v, %v", reused(s), why)
					}
					c, _ = r.connect(sm, cm, sc, cc, nil)
					fresh := wait(t, c)
					defer fresh.Free()
					if _, s := r.connect(sm, cm, sc, cc, fresh); !reused(s) {
						_, why := s.SessionReused()
						t.Errorf("a session of a new handshake: %v", why)
					}
				})
			}
		}
	}
}

// TestRevokeBounded: with too many revocations more is revoked, never less,
// and it is told; those that can match nothing any more go.
func TestRevokeBounded(t *testing.T) {
	r := newRig(t)
	now := time.Now()
	sm := manager(t, reprise.Config{Time: func() time.Time { return now }, MaxAge: time.Hour})
	cm := manager(t, reprise.Config{})
	c, _ := r.at(sm, cm, tls.VersionTLS13, nil)
	session := wait(t, c)
	defer session.Free()
	for i := range 4096 {
		mustRevoke(t, sm, reprise.ByServerName(fmt.Sprint(i, ".test")))
	}
	if st := sm.Stats(); st.Revocations != 4096 || st.RevocationsCoarsened != 0 {
		t.Fatalf("%d kept, %d coarsened", st.Revocations, st.RevocationsCoarsened)
	}
	if _, s := r.at(sm, cm, tls.VersionTLS13, session); !reused(s) {
		t.Error("others' names revoked this one")
	}
	mustRevoke(t, sm, reprise.ByServerName("one too many"))
	if st := sm.Stats(); st.Revocations != 0 || st.RevocationsCoarsened != 1 {
		t.Errorf("%d kept, %d coarsened", st.Revocations, st.RevocationsCoarsened)
	}
	if _, s := r.at(sm, cm, tls.VersionTLS13, session); reused(s) {
		t.Error("a revocation was forgotten: all names up to now should be revoked")
	}
}

// TestRevocationsForgotten: revocations that can match nothing any more go, once
// both clocks say so: one of them alone may have been set.
func TestRevocationsForgotten(t *testing.T) {
	for _, row := range []struct {
		name     string
		up, wall time.Duration
		coarsens uint64
	}{
		{"both clocks", time.Hour + time.Minute + time.Second, time.Hour + time.Minute + time.Second, 0},
		{"without the skew of others", time.Hour, time.Hour, 1},
		{"the wall clock was set forward", 0, 24 * time.Hour, 1},
		{"the wall clock was set back", 24 * time.Hour, -time.Hour, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wall := time.Now()
				sm := manager(t, reprise.Config{Time: func() time.Time { return wall }, MaxAge: time.Hour, ClockSkew: time.Minute})
				for i := range 4096 {
					mustRevoke(t, sm, reprise.ByServerName(fmt.Sprint(i, ".test")))
				}
				time.Sleep(row.up)
				wall = wall.Add(row.wall)
				mustRevoke(t, sm, reprise.ByServerName("once more"))
				st := sm.Stats()
				if st.RevocationsCoarsened != row.coarsens || st.Revocations != int(1-row.coarsens) {
					t.Errorf("%d kept, %d coarsened", st.Revocations, st.RevocationsCoarsened)
				}
			})
		})
	}
}

func mustRevoke(t testing.TB, m *reprise.Manager, r reprise.Revocation) {
	t.Helper()
	if err := m.Revoke(r); err != nil {
		t.Fatal(err)
	}
}

// revocable is a Manager with one peer, and a place where the peer's session is.
type revocable struct {
	m            *reprise.Manager
	cert         *x509.Certificate  // that the peer authenticated with
	lineage      reprise.Revocation // of what authenticate made
	authenticate func()             // by a full handshake
	resumes      func() (bool, reprise.Reason)
}

// revocablePlaces are where a session can be when it is revoked. A row is made for
// a version, with a Manager of that Config.
var revocablePlaces = []struct {
	name     string
	versions []uint16
	make     func(r *rig, version uint16, config reprise.Config) *revocable
}{
	{"ticket", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		return revocableAtServer(r, version, config, false)
	}},
	{"ticket of the application's", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		keys := new(tls.Config)
		keys.SetSessionTicketKeys([][32]byte{{7, 7, 1}})
		r.server.WrapSession = keys.EncryptTicket
		r.server.UnwrapSession = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			return keys.DecryptTicket(id, cs)
		}
		return revocableAtServer(r, version, config, false)
	}},
	{"handle", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		config.NoTickets = true
		return revocableAtServer(r, version, config, false)
	}},
	{"handle on probation", []uint16{tls.VersionTLS13}, func(r *rig, version uint16, config reprise.Config) *revocable {
		config.NoTickets = true
		return revocableAtServer(r, version, config, true)
	}},
	{"client, Dial", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		return revocableAtClient(r, version, config, ways[2])
	}},
	{"client, ClientConfig", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		return revocableAtClient(r, version, config, ways[0])
	}},
	{"client store, Dial", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		config.ClientStore = new(shelf)
		return revocableAtClient(r, version, config, ways[2])
	}},
	{"client store, ClientConfig", later, func(r *rig, version uint16, config reprise.Config) *revocable {
		config.ClientStore = new(shelf)
		return revocableAtClient(r, version, config, ways[0])
	}},
}

// revocableAtServer is a server's Manager whose client holds what it was given.
func revocableAtServer(r *rig, version uint16, config reprise.Config, probation bool) *revocable {
	cert := r.ca.Leaf(r.t, "client")
	sc, cc := r.mutual(version, cert)
	x := &revocable{m: manager(r.t, config), cert: cert.Leaf}
	cm := manager(r.t, reprise.Config{Time: config.Time})
	var held *reprise.Session
	r.t.Cleanup(func() { held.Free() })
	keep := func(c *reprise.Conn) {
		held.Free()
		held = wait(r.t, c)
	}
	x.authenticate = func() {
		c, s := r.connect(x.m, cm, sc, cc, nil)
		x.lineage = reprise.ByLineage(s.Session())
		keep(c)
		if !probation {
			return
		}
		nc, ns := pipe(r.t) // the session that a resumption gives is on probation where nobody sees the end
		c = cm.Client(nc, cc)
		if err := c.SetSession(held); err != nil {
			r.t.Fatal(err)
		}
		talk(r.t, c, tls.Server(ns, x.m.ServerConfig(sc)))
		keep(c)
	}
	x.resumes = func() (bool, reprise.Reason) {
		c, s := r.connect(x.m, cm, sc, cc, held)
		keep(c)
		return s.SessionReused()
	}
	return x
}

// revocableAtClient is a client's Manager that keeps what its server gives.
func revocableAtClient(r *rig, version uint16, config reprise.Config, w way) *revocable {
	s := &shop{rig: r, m: manager(r.t, reprise.Config{}), shown: make(chan reprise.Reason, 1000)}
	s.addr = s.open(r.server)
	x := &revocable{cert: r.server.Certificates[0].Leaf}
	if config.CacheMode.OpenSSL()&1 != 0 { // the lineage is wanted
		config.OnNew = func(s *reprise.Session) { x.lineage = reprise.ByLineage(s) }
	}
	x.m = manager(r.t, config)
	cc := at(version, r.client)
	x.resumes = func() (bool, reprise.Reason) {
		why := s.visit(w, x.m.Partition(""), s.addr, cc)
		return why == reprise.Resumed, why
	}
	x.authenticate = func() { x.resumes() }
	return x
}

// revoking are the ways to revoke what was authenticated at a time, and whether
// they name what is authenticated at a later one.
var revoking = []struct {
	name string
	do   func(x *revocable, authenticated time.Time) error
}{
	{"nothing", func(*revocable, time.Time) error { return nil }},
	{"lineage", func(x *revocable, _ time.Time) error { return x.m.Revoke(x.lineage) }},
	{"certificate", func(x *revocable, _ time.Time) error { return x.m.Revoke(reprise.ByCertificate(x.cert)) }},
	{"name", func(x *revocable, _ time.Time) error { return x.m.Revoke(reprise.ByServerName("a.test")) }},
	{"time", func(x *revocable, at time.Time) error {
		return x.m.Revoke(reprise.AuthenticatedBefore(at.Add(time.Second)))
	}},
	{"all", func(x *revocable, _ time.Time) error { x.m.FlushAll(); return nil }},
}

// revokingClocks are what the wall clock does between an authentication and a
// revocation, and between that and the next.
var revokingClocks = map[string]time.Duration{
	"steady": 2 * time.Second, "same tick": 0, "back by a second": -time.Second, "back by an hour": -time.Hour,
}

// TestRevokeEverywhere: a revocation holds wherever the session is and whatever
// the clock does, and what is authenticated after it resumes. The exception is a
// time of the application's choosing, which is compared with times only: what the
// clock says to be before it is revoked.
//
// Not in the table: what arrives on handshakes under way, which TestRevokeInFlight
// has for clients.
func TestRevokeEverywhere(t *testing.T) {
	for _, place := range revocablePlaces {
		for _, version := range place.versions {
			for _, revoke := range revoking {
				for clockName, moves := range revokingClocks {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", place.name, tls.VersionName(version), revoke.name, clockName), func(t *testing.T) {
						clock := &clock{now: time.Now().Add(2 * time.Hour).Truncate(time.Second)}
						config := reprise.Config{Time: clock.time, ClockSkew: 4 * time.Hour}
						if revoke.name == "lineage" {
							config.CacheMode = reprise.CacheBoth
						}
						x := place.make(newRig(t), version, config)
						checkRevoked(t, x, clock, moves, revoke.name, revoke.do)
					})
				}
			}
		}
	}
}

func checkRevoked(t *testing.T, x *revocable, clock *clock, moves time.Duration, kind string, revoke func(*revocable, time.Time) error) {
	t.Helper()
	authenticated := clock.time()
	x.authenticate()
	clock.pass(moves)
	if err := revoke(x, authenticated); err != nil {
		t.Fatal(err)
	}
	resumed, why := x.resumes()
	if resumed != (kind == "nothing") {
		t.Errorf("after the revocation: resumed %v, %v", resumed, why)
	}
	if kind == "nothing" {
		return
	}
	x.authenticate()
	clock.pass(moves)
	named := kind == "time" && clock.time().Add(-moves).Before(authenticated.Add(time.Second))
	if resumed, why := x.resumes(); resumed == named {
		t.Errorf("what was authenticated after it: resumed %v, %v", resumed, why)
	}
}

// TestRevokeStored: a revoked session that a client finds in the store is forgotten
// there, one of another name is not.
func TestRevokeStored(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, version := range later {
		for _, w := range ways {
			shelf := new(shelf)
			m := manager(t, reprise.Config{ClientStore: shelf})
			s.visit(w, m.Partition(""), s.addr, at(version, s.client))
			mustRevoke(t, m, reprise.ByServerName("b.test"))
			if shown := s.visit(w, m.Partition(""), s.addr, at(version, s.client)); shown != reprise.Resumed {
				t.Errorf("%s, %s: another name was revoked: %v", tls.VersionName(version), w.name, shown)
			}
			mustRevoke(t, m, reprise.ByServerName("a.test"))
			first := shelf.kept()
			if shown := s.visit(w, m.Partition(""), s.addr, at(version, s.client)); shown != reprise.NothingOffered {
				t.Errorf("%s, %s: offered: %v", tls.VersionName(version), w.name, shown)
			}
			kept := shelf.kept()
			for _, old := range first {
				if len(kept) != 1 || string(kept[0].session) == string(old.session) {
					t.Errorf("%s, %s: %d sessions in the store", tls.VersionName(version), w.name, len(kept))
				}
			}
		}
	}
}

// TestRevokeInFlight: what arrives at a client after a revocation, on a connection
// whose handshake began before, is of before. ClientConfig cannot tell, and says
// so: there a session counts from its arrival.
func TestRevokeInFlight(t *testing.T) {
	for _, version := range later {
		for _, w := range ways {
			for name, revoke := range map[string]func(m *reprise.Manager) error{
				"certificate": nil,
				"name":        func(m *reprise.Manager) error { return m.Revoke(reprise.ByServerName("a.test")) },
				"all":         func(m *reprise.Manager) error { m.FlushAll(); return nil },
			} {
				t.Run(fmt.Sprintf("%s/%s/%s", tls.VersionName(version), w.name, name), func(t *testing.T) {
					s := newShop(t, reprise.Config{})
					if revoke == nil {
						revoke = func(m *reprise.Manager) error { return m.Revoke(reprise.ByCertificate(s.server.Certificates[0].Leaf)) }
					}
					clock := newClock() // stands still
					m := manager(t, reprise.Config{Time: clock.time})
					cc := at(version, s.client)
					once := sync.OnceValue(func() error { return revoke(m) })
					cc.VerifyConnection = func(tls.ConnectionState) error { return once() }
					s.visit(w, m.Partition(""), s.addr, cc)
					if why := s.visit(w, m.Partition(""), s.addr, cc); why == reprise.Resumed != (w.name == "ClientConfig") {
						t.Errorf("the session of the handshake under way: %v", why)
					}
					if why := s.visit(w, m.Partition(""), s.addr, cc); why != reprise.Resumed {
						t.Errorf("a session of after the revocation: %v", why)
					}
				})
			}
		}
	}
}

// TestRevokesNothing: a revocation that can match nothing is an error, and does
// nothing.
func TestRevokesNothing(t *testing.T) {
	m := manager(t, reprise.Config{})
	bare := reprise.NewSession()
	defer bare.Free()
	for name, r := range map[string]reprise.Revocation{
		"the zero Revocation":     {},
		"no session":              reprise.ByLineage(nil),
		"has no lineage":          reprise.ByLineage(bare),
		"no certificate":          reprise.ByCertificate(nil),
		"server name is empty":    reprise.ByServerName(""),
		"server name is empty ":   reprise.ByServerName("."),
		"at most 255 bytes":       reprise.ByServerName(strings.Repeat("a", 256)),
		"the time is zero":        reprise.AuthenticatedBefore(time.Time{}),
		"no certificate in there": reprise.ByCertificate(new(x509.Certificate)),
	} {
		err := m.Revoke(r)
		if !errors.Is(err, reprise.ErrRevokesNothing) || !strings.Contains(err.Error(), strings.TrimSuffix(strings.TrimSpace(name), " in there")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := m.Stats().Revocations; n != 0 {
		t.Errorf("%d revocations are kept", n)
	}
	for _, r := range []reprise.Revocation{
		reprise.ByServerName(strings.Repeat("a", 255)), reprise.AuthenticatedBefore(time.Unix(1, 0)),
	} {
		if err := m.Revoke(r); err != nil {
			t.Error(err)
		}
	}
}

// TestRevokeElsewhere: a session that was authenticated at another Manager has its
// time only. It is revoked if that is up to Config.ClockSkew after the revocation.
func TestRevokeElsewhere(t *testing.T) {
	for _, row := range []struct {
		after time.Duration
		gone  bool
	}{{-time.Hour, true}, {0, true}, {time.Minute, true}, {time.Minute + time.Second, false}} {
		for name, revoke := range map[string]func(m *reprise.Manager) error{
			"name": func(m *reprise.Manager) error { return m.Revoke(reprise.ByServerName("a.test")) },
			"all":  func(m *reprise.Manager) error { m.FlushAll(); return nil },
		} {
			t.Run(fmt.Sprintf("%s/%v", name, row.after), func(t *testing.T) {
				r, clock, key := newRig(t), newClock(), ticket.NewAEAD()
				config := reprise.Config{Time: clock.time, Tickets: key, ClockSkew: time.Minute}
				other, sm, cm := manager(t, config), manager(t, config), manager(t, reprise.Config{Time: clock.time})
				if err := revoke(sm); err != nil {
					t.Fatal(err)
				}
				revoked := clock.time()
				clock.pass(row.after)
				c, _ := r.at(other, cm, tls.VersionTLS13, nil)
				session := wait(t, c)
				defer session.Free()
				clock.pass(max(revoked.Sub(clock.time()), 0))
				_, s := r.at(sm, cm, tls.VersionTLS13, session)
				if resumed, why := s.SessionReused(); resumed == row.gone || row.gone && why != reprise.Revoked {
					t.Errorf("resumed %v, %v", resumed, why)
				}
			})
		}
	}
}

// TestTicketCallbacks: what OnSeal puts into a ticket OnOpen finds there, and
// its decision holds.
func TestTicketCallbacks(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			sealed, decision := 0, reprise.TicketUse
			var seen []string
			sm := manager(t, reprise.Config{
				OnSeal: func(s *reprise.Session) { sealed++; s.SetTicketAppData(fmt.Appendf(nil, "ticket %d", sealed)) },
				OnOpen: func(s *reprise.Session) reprise.TicketDecision {
					data, err := s.TicketAppData()
					if err != nil {
						t.Error(err)
					}
					seen = append(seen, string(data))
					return decision
				},
			})
			cm := manager(t, reprise.Config{})
			c, _ := r.at(sm, cm, version, nil)
			session := wait(t, c)
			defer session.Free()
			for _, row := range []struct {
				decision reprise.TicketDecision
				resumes  bool
				seals    map[uint16]int
			}{
				{reprise.TicketUse, true, map[uint16]int{tls.VersionTLS12: 0, tls.VersionTLS13: 1}},
				{reprise.TicketUseRenew, true, map[uint16]int{tls.VersionTLS12: 1, tls.VersionTLS13: 1}},
				{reprise.TicketIgnore, false, map[uint16]int{tls.VersionTLS12: 1, tls.VersionTLS13: 1}},
				{reprise.TicketIgnoreRenew, false, map[uint16]int{tls.VersionTLS12: 1, tls.VersionTLS13: 1}},
			} {
				before := sealed
				decision = row.decision
				if _, s := r.at(sm, cm, version, session); reused(s) != row.resumes {
					t.Errorf("decision %d: resumed %v", row.decision, reused(s))
				}
				if n := sealed - before; n != row.seals[version] {
					t.Errorf("decision %d: %d tickets made, want %d", row.decision, n, row.seals[version])
				}
			}
			for _, data := range seen {
				if data != "ticket 1" {
					t.Errorf("OnOpen saw %q", data)
				}
			}
			if len(seen) != 4 {
				t.Errorf("OnOpen was asked %d times", len(seen))
			}
		})
	}
}

// TestAcceptContextIDs: a server takes sessions of other contexts that it was
// told of, and gives out its own.
func TestAcceptContextIDs(t *testing.T) {
	r := newRig(t)
	key := ticket.NewAEAD()
	for _, version := range later {
		other := manager(t, reprise.Config{Tickets: key, ContextID: []byte("haproxy")})
		sm := manager(t, reprise.Config{Tickets: key, ContextID: []byte("go"), AcceptContextIDs: [][]byte{[]byte("nginx"), []byte("haproxy")}})
		strict := manager(t, reprise.Config{Tickets: key, ContextID: []byte("go")})
		cm := manager(t, reprise.Config{})
		c, _ := r.at(other, cm, version, nil)
		session := wait(t, c)
		defer session.Free()
		if _, s := r.at(strict, cm, version, session); reused(s) {
			t.Errorf("%s: resumed under another context", tls.VersionName(version))
		}
		c, s := r.at(sm, cm, version, session)
		if !reused(s) {
			t.Errorf("%s: an accepted context does not resume", tls.VersionName(version))
		}
		if version == tls.VersionTLS13 {
			if got := string(s.Session().IDContext()); got != "go" {
				t.Errorf("the next session is of context %q", got)
			}
			next := wait(t, c)
			if _, s := r.at(strict, cm, version, next); !reused(s) {
				t.Error("the next session does not resume under the server's own context")
			}
			next.Free()
		}
	}
}

// TestRevokeUnderWay: a revocation reaches a handshake that resumes and is not
// complete: the connection ends, and neither its session nor the one that the
// client got in its course resumes.
func TestRevokeUnderWay(t *testing.T) {
	r := newRig(t)
	mine := r.ca.Leaf(t, "mine")
	revocations := map[string]func(*reprise.Manager, *reprise.Session){
		"lineage":     func(m *reprise.Manager, s *reprise.Session) { m.Revoke(reprise.ByLineage(s)) },
		"certificate": func(m *reprise.Manager, _ *reprise.Session) { m.Revoke(reprise.ByCertificate(mine.Leaf)) },
		"server name": func(m *reprise.Manager, _ *reprise.Session) { m.Revoke(reprise.ByServerName("a.test")) },
		"time":        func(m *reprise.Manager, _ *reprise.Session) { m.Revoke(reprise.AuthenticatedBefore(time.Now())) },
		"all":         func(m *reprise.Manager, _ *reprise.Session) { m.FlushAll() },
		"another":     func(m *reprise.Manager, _ *reprise.Session) { m.Revoke(reprise.ByServerName("b.test")) },
	}
	forms := map[string]reprise.Config{"tickets": {}, "handles": {NoTickets: true}, "single use": {NoTickets: true, SingleUse: true}}
	for name, revoke := range revocations {
		for form, config := range forms {
			for _, level := range []string{"listener", "connection"} {
				for _, version := range later {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", name, form, level, tls.VersionName(version)), func(t *testing.T) {
						revokeUnderWay(t, r, mine, config, level, version, revoke, name != "another")
					})
				}
			}
		}
	}
}

func revokeUnderWay(t *testing.T, r *rig, mine tls.Certificate, config reprise.Config, level string, version uint16,
	revoke func(*reprise.Manager, *reprise.Session), gone bool) {
	seen := new(events)
	m := manager(t, seen.watch(config))
	sc, cc := r.mutual(version, mine)
	connect := func(o *offering) (c *tls.Conn, j *joined, ended <-chan error) {
		nc, ns := pipe(t)
		done := make(chan error, 1)
		go func() { done <- endOrRevoked(t, m, ns, sc, level) }()
		j, cc := &joined{Conn: nc}, cc.Clone()
		cc.ClientSessionCache = o
		c = tls.Client(j, cc)
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		return c, j, done
	}
	complete := func(c *tls.Conn, j *joined) {
		j.mu.Lock()
		j.flush()
		j.mu.Unlock()
		io.Copy(io.Discard, c) // the session comes with TLS 1.3
		c.Close()
	}
	first, kept := offers(nil), cc.Clone()
	kept.ClientSessionCache = first
	nc, ns := pipe(t)
	server := m.Server(ns, sc)
	defer server.Free()
	talk(t, tls.Client(nc, kept), server)

	next := offers(first.next)
	c, j, ended := connect(next)
	if !c.ConnectionState().DidResume {
		t.Fatal("not resumed: the test would prove nothing")
	}
	news, before := seen.news.Load(), m.Stats()
	revoke(m, server.Session())
	complete(c, j)
	if err := <-ended; errors.Is(err, reprise.ErrRevoked) != gone || !gone && err != nil {
		t.Errorf("the handshake ended with %v", err)
	}
	st := m.Stats()
	if gone && (st.NotResumed[reprise.Revoked] != before.NotResumed[reprise.Revoked]+1 || st.Hits != before.Hits || seen.news.Load() != news) {
		t.Errorf("%d announced, counted %+v", seen.news.Load()-news, st)
	}
	if reprise.Claims(m) != 0 {
		t.Error("its claim is left")
	}
	for what, offer := range map[string]*tls.ClientSessionState{"its session": first.next, "its next session": next.next} {
		if offer == nil {
			if version == tls.VersionTLS13 {
				t.Errorf("no %s", what)
			}
			continue
		}
		if what == "its session" && !gone {
			continue
		}
		c, j, ended := connect(offers(offer))
		if c.ConnectionState().DidResume == gone {
			t.Errorf("%s: resumed %v", what, !gone)
		}
		complete(c, j)
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// endOrRevoked completes a handshake and ends the connection, or sees that the
// connection knows that its session was revoked.
func endOrRevoked(t *testing.T, m *reprise.Manager, nc net.Conn, config *tls.Config, level string) error {
	if level == "listener" {
		return levels[level](m, nc, config)
	}
	c := m.Server(nc, config)
	defer c.Free()
	defer c.Close()
	err := c.Handshake()
	if reused, why := c.SessionReused(); err != nil && (reused || why != reprise.Revoked || c.Session() != nil) {
		t.Errorf("it says: resumed %v, %v, and has session %v", reused, why, c.Session())
	}
	return err
}
