package reprise_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
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
