package reprise_test

import (
	"crypto/tls"
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// TestStats follows the counters of both sides through a few handshakes.
func TestStats(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			now := time.Now()
			clock := func() time.Time { return now }
			sm := manager(t, reprise.Config{NoTickets: true, CacheSize: 1, Timeout: time.Minute, Time: clock})
			cm := manager(t, reprise.Config{Time: clock})
			sc, cc := at(version, r.server), at(version, r.client)
			dial := func(set *reprise.Session) *reprise.Session {
				c, s := r.connect(sm, cm, sc, cc, set)
				session := wait(t, c)
				t.Cleanup(session.Free)
				c.Close()
				s.Close()
				return session
			}
			first := dial(nil)
			dial(first.Dup()) // a hit
			second := dial(nil)
			if version < tls.VersionTLS13 {
				second = first // evicted by the one just made
			}
			now = now.Add(61 * time.Second)
			dial(second)
			st := sm.Stats()
			want := reprise.Stats{
				Accept: 4, AcceptGood: 4, Hits: 1, Number: 1, CacheFull: st.CacheFull,
				Misses: st.Misses, Timeouts: st.Timeouts, NotResumed: st.NotResumed, Outcomes: st.Outcomes,
			}
			if !reflect.DeepEqual(st, want) || st.CacheFull == 0 {
				t.Errorf("server %+v\nwant   %+v", st, want)
			}
			if n := st.NotResumed[reprise.NothingOffered] + st.NotResumed[reprise.Expired] + st.NotResumed[reprise.UnknownHandle]; n != 3 || st.Timeouts+st.Misses != 1 {
				t.Errorf("%d not resumed for a known reason, %d timeouts, %d misses", n, st.Timeouts, st.Misses)
			}
			sum := make(map[reprise.Reason]uint64)
			for _, o := range st.Outcomes {
				if o.Side != "server" || o.Version != tls.VersionName(version) {
					t.Errorf("counted for %s, %s", o.Side, o.Version)
				}
				if sum[o.Reason] += o.Count; o.Reason == reprise.Resumed && o.Count != 1 {
					t.Errorf("%d resumed", o.Count)
				}
			}
			if delete(sum, reprise.Resumed); !maps.Equal(sum, st.NotResumed) {
				t.Errorf("outcomes %v, in sum %v", st.Outcomes, st.NotResumed)
			}
			if st := cm.Stats(); st.Connect != 4 || st.ConnectGood != 4 || st.Hits != 1 || st.Accept != 0 || st.Misses != 1 {
				t.Errorf("client %+v", st)
			}
		})
	}
}

// TestStatsFailed: a handshake that fails is started and not finished.
func TestStatsFailed(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	nc, ns := pipe(t)
	server, client := sm.Server(ns, r.server), cm.Client(nc, &tls.Config{ServerName: "a.test"})
	failed := make(chan error, 1)
	go func() { failed <- server.Handshake() }()
	if err := client.Handshake(); err == nil {
		t.Fatal("the client trusts an unknown root")
	}
	client.NetConn().Close()
	<-failed
	if st := cm.Stats(); st.Connect != 1 || st.ConnectGood != 0 || len(st.NotResumed) != 0 {
		t.Errorf("client %+v", st)
	}
	if st := sm.Stats(); st.Accept != 1 || st.Number != 0 {
		t.Errorf("server %+v", st)
	}
	if client.Session() != nil {
		t.Error("a failed handshake has a session")
	}
}

func TestStatsJSON(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	r.connect(m, manager(t, reprise.Config{}), r.server, r.client, nil)
	b, err := json.Marshal(m.Stats())
	if err != nil || !strings.Contains(string(b), `"not_resumed":{"nothing offered":1}`) || !strings.Contains(string(b), `"accept_good":1`) {
		t.Errorf("%s, %v", b, err)
	}
}
