package reprise_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
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
						sm.Revoke(row.by(s.Session()))
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
		sm.Revoke(reprise.ByServerName(fmt.Sprint(i, ".test")))
	}
	if st := sm.Stats(); st.Revocations != 4096 || st.RevocationsCoarsened != 0 {
		t.Fatalf("%d kept, %d coarsened", st.Revocations, st.RevocationsCoarsened)
	}
	if _, s := r.at(sm, cm, tls.VersionTLS13, session); !reused(s) {
		t.Error("others' names revoked this one")
	}
	sm.Revoke(reprise.ByServerName("one too many"))
	if st := sm.Stats(); st.Revocations != 0 || st.RevocationsCoarsened != 1 {
		t.Errorf("%d kept, %d coarsened", st.Revocations, st.RevocationsCoarsened)
	}
	if _, s := r.at(sm, cm, tls.VersionTLS13, session); reused(s) {
		t.Error("a revocation was forgotten: all names up to now should be revoked")
	}
	for i := range 4096 {
		sm.Revoke(reprise.ByServerName(fmt.Sprint(i, ".test")))
	}
	now = now.Add(time.Hour + time.Second) // no session that they name can be alive
	sm.Revoke(reprise.ByServerName("once more"))
	if st := sm.Stats(); st.Revocations != 1 || st.RevocationsCoarsened != 1 {
		t.Errorf("%d kept, %d coarsened", st.Revocations, st.RevocationsCoarsened)
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
