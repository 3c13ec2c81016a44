package reprise_test

import (
	"crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
)

const year = 365 * 24 * time.Hour

// virtually runs f in virtual time, with a rig whose clients do not mind what the
// time is.
func virtually(t *testing.T, name string, f func(t *testing.T, r *rig)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			r.client.InsecureSkipVerify = true
			f(t, r)
		})
	})
}

// meet connects with session over a pipe that virtual time goes on beside, and
// returns the client's session and how the server says that it ended.
func (r *rig) meet(t *testing.T, sm, cm *reprise.Manager, version uint16, session *reprise.Session, watched bool) (*reprise.Session, reprise.Reason) {
	t.Helper()
	nc, ns := net.Pipe()
	defer nc.Close()
	defer ns.Close()
	client := cm.Client(nc, at(version, r.client))
	if err := client.SetSession(session); err != nil {
		t.Fatal(err)
	}
	if !watched {
		talk(t, client, tls.Server(ns, sm.ServerConfig(r.server)))
		return wait(t, client), reprise.NothingOffered
	}
	server := sm.Server(ns, r.server)
	talk(t, client, server)
	_, why := server.SessionReused()
	return wait(t, client), why
}

// setBack is a clock that goes on with virtual time and can be set back.
type setBack struct{ by atomic.Int64 }

func (c *setBack) time() time.Time { return time.Now().Add(-time.Duration(c.by.Load())) }

// TestAttackClockSetBackServer: what a server keeps ends with its timeout and its
// line with MaxAge, though the wall clock was set back, and not a second before.
func TestAttackClockSetBackServer(t *testing.T) {
	for name, row := range map[string]struct {
		config reprise.Config
		why    reprise.Reason
	}{
		"timeout": {reprise.Config{Timeout: time.Hour}, reprise.Expired},
		"age":     {reprise.Config{MaxAge: time.Hour}, reprise.TooOld},
	} {
		for place, watched := range map[string]bool{"cache": true, "probation": false} {
			for _, back := range []time.Duration{time.Second, time.Hour, year} {
				virtually(t, name+"/"+place+"/"+back.String(), func(t *testing.T, r *rig) {
					clock := new(setBack)
					config := row.config
					config.NoTickets, config.Time = true, clock.time
					sm, cm := manager(t, config), manager(t, reprise.Config{Timeout: 24 * time.Hour})
					session, _ := r.meet(t, sm, cm, tls.VersionTLS13, nil, watched)
					defer session.Free()
					clock.by.Store(int64(back))
					for _, step := range []struct {
						wait time.Duration
						why  reprise.Reason
					}{{time.Hour, reprise.Resumed}, {time.Second, row.why}} {
						time.Sleep(step.wait)
						next, why := r.meet(t, sm, cm, tls.VersionTLS13, session, true)
						next.Free()
						if why != step.why {
							t.Errorf("%v later: %v, want %v", step.wait, why, step.why)
						}
					}
				})
			}
		}
	}
}

// TestClockSetBackSetTime: to set a session's time begins its time anew, by the
// monotonic clock as well.
func TestClockSetBackSetTime(t *testing.T) {
	virtually(t, "cached", func(t *testing.T, r *rig) {
		clock := new(setBack)
		sm := manager(t, reprise.Config{NoTickets: true, Timeout: time.Hour, Time: clock.time})
		cm := manager(t, reprise.Config{Timeout: 24 * time.Hour})
		session, _ := r.meet(t, sm, cm, tls.VersionTLS12, nil, true)
		defer session.Free()
		clock.by.Store(int64(year))
		time.Sleep(50 * time.Minute)
		for s := range sm.All() {
			s.SetTime(clock.time())
		}
		time.Sleep(50 * time.Minute)
		next, why := r.meet(t, sm, cm, tls.VersionTLS12, session, true)
		next.Free()
		if why != reprise.Resumed {
			t.Errorf("50 minutes after SetTime: %v", why)
		}
		time.Sleep(11 * time.Minute)
		next, why = r.meet(t, sm, cm, tls.VersionTLS12, session, true)
		next.Free()
		if why != reprise.Expired {
			t.Errorf("61 minutes after SetTime: %v", why)
		}
	})
}

// TestAttackClockSetBackRenewals: renewals do not outlive MaxAge under a clock
// that was set back by a year.
func TestAttackClockSetBackRenewals(t *testing.T) {
	virtually(t, "renewals", func(t *testing.T, r *rig) {
		clock := new(setBack)
		sm := manager(t, reprise.Config{NoTickets: true, MaxAge: time.Hour, Time: clock.time})
		cm := manager(t, reprise.Config{Timeout: 24 * time.Hour})
		session, _ := r.meet(t, sm, cm, tls.VersionTLS13, nil, true)
		clock.by.Store(int64(year))
		why := reprise.Resumed
		for begin := time.Now(); why == reprise.Resumed; {
			time.Sleep(10 * time.Minute)
			if time.Since(begin) > 2*time.Hour {
				t.Fatal("still resumed after two hours")
			}
			var next *reprise.Session
			next, why = r.meet(t, sm, cm, tls.VersionTLS13, session, true)
			session.Free()
			session = next
		}
		session.Free()
		if why != reprise.TooOld {
			t.Errorf("ended with %v", why)
		}
	})
}

// TestAttackClockSetBackClient: what a client keeps in memory ends with its
// timeout, though the wall clock was set back.
func TestAttackClockSetBackClient(t *testing.T) {
	for _, version := range later {
		for _, w := range []string{"Dial", "ClientConfig"} {
			for _, back := range []time.Duration{time.Second, time.Hour, year} {
				for _, late := range []time.Duration{0, time.Second} {
					virtually(t, tls.VersionName(version)+"/"+w+"/"+back.String()+"/"+late.String(), func(t *testing.T, r *rig) {
						clock := new(setBack)
						sm := manager(t, reprise.Config{Timeout: 24 * time.Hour})
						m := manager(t, reprise.Config{Time: clock.time})
						cc := at(version, r.client)
						r.come(t, sm, m, cc, w)
						clock.by.Store(int64(back))
						time.Sleep(time.Hour + late) // reprise.DefaultClientTimeout
						if resumed := r.come(t, sm, m, cc, w); resumed != (late == 0) {
							t.Errorf("resumed %v", resumed)
						}
					})
				}
			}
		}
	}
}

// come connects as m's clients do by themselves, and reports whether it resumed.
func (r *rig) come(t *testing.T, sm, m *reprise.Manager, cc *tls.Config, w string) bool {
	t.Helper()
	nc, ns := net.Pipe()
	defer nc.Close()
	defer ns.Close()
	server := sm.Server(ns, r.server)
	go io.Copy(server, server)
	var client net.Conn = m.Client(nc, cc)
	if w == "ClientConfig" {
		client = tls.Client(nc, m.ClientConfig(cc))
	}
	if _, err := client.Write([]byte{'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(client, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return reused(server)
}

// TestAttackFromFuture: a session made under a clock that is a year ahead does not
// resume until that year is over, wherever it comes from.
func TestAttackFromFuture(t *testing.T) {
	r, key := newRig(t), ticket.NewAEAD()
	now := time.Now()
	ahead := func() time.Time { return now.Add(year) }
	r.client.InsecureSkipVerify = true
	handleKey := randomBytes(32)
	for _, version := range later {
		var der []byte
		store := func(s *reprise.Session) { der, _ = s.MarshalBinary() }
		for name, row := range map[string]struct {
			theirs, ours reprise.Config
			move         func(sm *reprise.Manager) // brings the session
		}{
			"ticket": {reprise.Config{Tickets: key, Time: ahead}, reprise.Config{Tickets: key}, nil},
			"OnLookup": {
				reprise.Config{NoTickets: true, HandleKey: handleKey, OnNew: store, Time: ahead},
				reprise.Config{NoTickets: true, HandleKey: handleKey, OnLookup: func(uint16, []byte) *reprise.Session {
					s, _, err := reprise.ParseSession(der)
					if err != nil {
						t.Error(err)
					}
					return s
				}}, nil,
			},
			"imported": {
				reprise.Config{NoTickets: true, HandleKey: handleKey, OnNew: store, Time: ahead},
				reprise.Config{NoTickets: true, HandleKey: handleKey},
				func(sm *reprise.Manager) {
					s, _, err := reprise.ParseSession(der)
					if err != nil {
						t.Fatal(err)
					}
					defer s.Free()
					if _, err := sm.Add(s); err != nil {
						t.Fatal(err)
					}
				},
			},
		} {
			t.Run(tls.VersionName(version)+"/"+name, func(t *testing.T) {
				other, sm, cm := manager(t, row.theirs), manager(t, row.ours), manager(t, reprise.Config{})
				session := r.session(other, cm, at(version, r.server), at(version, r.client))
				defer session.Free()
				if row.move != nil {
					row.move(sm)
				}
				resumed, why := r.offer(sm, cm, at(version, r.server), at(version, r.client), session)
				if resumed || why != reprise.FromFuture {
					t.Errorf("resumed %v, %v", resumed, why)
				}
			})
		}
	}
}

// TestAttackFromFutureStored: a client does not offer what a process whose clock
// is half a day ahead put into the store, and forgets it.
func TestAttackFromFutureStored(t *testing.T) {
	s := newShop(t, reprise.Config{})
	s.client.InsecureSkipVerify, s.client.RootCAs = true, nil
	for _, version := range later {
		for _, w := range ways {
			shelf := new(shelf)
			theirs := manager(t, reprise.Config{ClientStore: shelf, Time: func() time.Time { return time.Now().Add(12 * time.Hour) }})
			s.visit(w, theirs.Partition(""), s.addr, at(version, s.client))
			before := shelf.kept()
			if len(before) != 1 {
				t.Fatalf("%s, %s: %d sessions are stored", tls.VersionName(version), w.name, len(before))
			}
			ours := manager(t, reprise.Config{ClientStore: shelf})
			if why := s.visit(w, ours.Partition(""), s.addr, at(version, s.client)); why != reprise.NothingOffered {
				t.Errorf("%s, %s: offered: %v", tls.VersionName(version), w.name, why)
			}
			for _, kept := range shelf.kept() {
				if string(kept.session) == string(before[0].session) {
					t.Errorf("%s, %s: still in the store", tls.VersionName(version), w.name)
				}
			}
		}
	}
}
