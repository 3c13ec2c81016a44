package reprise

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// dialer is a server whose sessions resume and a client configuration with a
// store, under one clock.
type dialer struct {
	t      testing.TB
	addr   string
	config *tls.Config
	store  *configCache
	client *Manager
	mu     sync.Mutex
	now    time.Time
}

func (d *dialer) time() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.now
}

func (d *dialer) pass(seconds int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.now = d.now.Add(time.Duration(seconds) * time.Second)
}

func newDialer(t testing.TB, version uint16, client Config) *dialer {
	t.Helper()
	d := &dialer{t: t, now: time.Now()}
	client.Time = d.time
	server, err := New(Config{Time: d.time})
	if err != nil {
		t.Fatal(err)
	}
	if d.client, err = New(client); err != nil {
		t.Fatal(err)
	}
	ca := testpki.New(t, "root")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	d.addr = l.Addr().String()
	tl := server.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MinVersion: version, MaxVersion: version,
	})
	go func() {
		for {
			c, err := tl.Accept()
			if err != nil {
				return
			}
			go func() { // an echo
				io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	d.config = d.client.ClientConfig(&tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"})
	d.store = d.config.ClientSessionCache.(*configCache)
	return d
}

// open makes a connection and reports whether it resumed a session.
func (d *dialer) open() (c *tls.Conn, resumed bool) {
	d.t.Helper()
	c, err := tls.Dial("tcp", d.addr, d.config)
	if err != nil {
		d.t.Error(err)
		return nil, false
	}
	c.Write([]byte{'x'})
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		d.t.Error(err)
	}
	return c, c.ConnectionState().DidResume
}

func (d *dialer) dial() (resumed bool) {
	d.t.Helper()
	c, resumed := d.open()
	c.Close()
	return resumed
}

// of returns what is kept of a peer, oldest first.
func (d *dialer) of(peer string) []clientSession {
	return append(d.ofVersion(peer, false), d.ofVersion(peer, true)...)
}

func (d *dialer) ofVersion(peer string, once bool) []clientSession {
	p := d.store.peer(peer)
	key := p.key(once)
	shard, hash := d.client.clients.shard(key)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if p := shard.find(hash, key); p != nil {
		return slices.Clone(p.sessions)
	}
	return nil
}

func (d *dialer) kept() int { return len(d.of("a.test")) }

// peers counts the peers, in the shards.
func (d *dialer) peers() (n int) {
	for i := range d.client.clients.shards {
		s := &d.client.clients.shards[i]
		s.mu.Lock()
		if n += len(s.peers); len(s.peers) != len(s.ring) {
			d.t.Errorf("shard %d: %d peers, %d in the ring", i, len(s.peers), len(s.ring))
		}
		s.mu.Unlock()
	}
	return n
}

// TestClientCacheSpends: a TLS 1.3 session is offered once, each of several.
func TestClientCacheSpends(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	for range 3 {
		c, _ := d.open()
		defer c.Close()
	}
	first := d.kept()
	for range 2 * DefaultSessionsPerPeer {
		if !d.dial() {
			t.Error("not resumed: each connection brings the session for the next")
		}
	}
	if d.kept() != first {
		t.Errorf("%d sessions kept after as many as before were spent and given, want %d", d.kept(), first)
	}
	for range first {
		if _, ok := d.store.Get("a.test"); !ok {
			t.Error("a session is missing")
		}
	}
	if _, ok := d.store.Get("a.test"); ok || d.dial() {
		t.Error("a TLS 1.3 session was given twice")
	}
}

// TestClientCacheReuses: a TLS 1.2 session is offered until it expires.
func TestClientCacheReuses(t *testing.T) {
	d := newDialer(t, tls.VersionTLS12, Config{Timeout: time.Hour})
	d.dial()
	for range 3 {
		if !d.dial() {
			t.Error("not resumed")
		}
	}
	before := d.kept()
	if _, ok := d.store.Get("a.test"); !ok || d.kept() != before {
		t.Errorf("giving a session changed what is kept: %d, now %d", before, d.kept())
	}
}

func TestClientCacheExpires(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		d := newDialer(t, version, Config{Timeout: time.Hour})
		d.dial()
		d.pass(3600)
		if !d.dial() {
			t.Errorf("%s: not resumed in the last second", tls.VersionName(version))
		}
		d.pass(3601)
		if d.dial() {
			t.Errorf("%s: resumed after the timeout", tls.VersionName(version))
		}
		d.pass(3601)
		if _, ok := d.store.Get("a.test"); ok || d.kept() != 0 {
			t.Errorf("%s: %d expired sessions kept after they were found", tls.VersionName(version), d.kept())
		}
	}
}

// TestClientCacheBounds: what is kept is bounded, and what goes is given back.
func TestClientCacheBounds(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	c, _ := d.open()
	c.Close()
	ticket, err := d.store.Get("a.test")
	if !err {
		t.Fatal("no session")
	}
	for range 3 * DefaultSessionsPerPeer {
		d.store.Put("a.test", ticket)
	}
	if d.kept() != DefaultSessionsPerPeer {
		t.Errorf("%d sessions of a peer, want %d", d.kept(), DefaultSessionsPerPeer)
	}
	for i := range DefaultPeers {
		d.store.Put(fmt.Sprintf("peer%d:1", i), ticket)
		d.store.Get("a.test") // used all the time
		d.store.Put("a.test", ticket)
	}
	for i := range 100 {
		d.store.Put(fmt.Sprintf("more%d", i), ticket)
		d.store.Get("a.test")
		d.store.Put("a.test", ticket)
	}
	if n := d.peers(); n != DefaultPeers || d.client.clients.count.Load() != int64(n) {
		t.Errorf("%d peers, counted %d, want %d", n, d.client.clients.count.Load(), DefaultPeers)
	}
	if d.kept() == 0 {
		t.Error("the peer that was used all the time had to go")
	}
	if len(d.of("more99")) == 0 {
		t.Error("the peer that came last had to go")
	}
}

// TestClientCacheReleases: a session that goes is given back, whichever way.
func TestClientCacheReleases(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{CacheMode: CacheClient | NoInternalStore, SessionsPerPeer: 2, Peers: 1})
	collect := func() (s *Session) {
		d.open()
		kept := d.of("a.test")
		return kept[len(kept)-1].session
	}
	free := func(s *Session, why string) {
		t.Helper()
		if caller, library := s.refs.held(); caller != 0 || library != 0 {
			t.Errorf("%s: held %d and %d times", why, caller, library)
		}
	}
	spent := collect()
	ticket, ok := d.store.Get("a.test")
	if !ok {
		t.Fatal("no session")
	}
	free(spent, "spent")
	var all []*Session
	for range 3 {
		d.store.Put("a.test", ticket)
		kept := d.of("a.test")
		all = append(all, kept[len(kept)-1].session)
	}
	free(all[0], "the oldest of too many")
	d.store.Put("b.test", ticket)
	free(all[1], "of a peer too many")
	last := d.of("b.test")[0].session
	d.client.Close()
	free(last, "of a Manager that was closed")
}

// TestClientCacheNewestFirst: the session that came last is offered first.
func TestClientCacheNewestFirst(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	var came []*tls.ClientSessionState
	for range 3 {
		d.dial()
		ticket, ok := d.store.Get("a.test")
		if !ok {
			t.Fatal("no session came")
		}
		came = append(came, ticket)
	}
	for _, ticket := range came {
		d.store.Put("a.test", ticket)
	}
	for i, want := range slices.Backward(came) {
		if got, _ := d.store.Get("a.test"); got != want {
			t.Errorf("number %d was not the newest of those left", i)
		}
	}
}

// TestClientCacheForgets: crypto/tls withdraws what it offered and was no good,
// and nothing else.
func TestClientCacheForgets(t *testing.T) {
	d := newDialer(t, tls.VersionTLS12, Config{})
	d.dial()
	first := d.of("a.test")[0]
	mine := d.config
	d.config = d.client.Partition("another").ClientConfig(mine)
	d.dial()
	newer, _ := d.config.ClientSessionCache.Get("a.test")
	d.config = mine
	d.store.Put("a.test", newer)
	d.dial() // offers the newer
	d.store.Put("never.seen", nil)
	d.store.Put("a.test", nil)
	if kept := d.of("a.test"); len(kept) != 1 || kept[0].state != first.state {
		t.Errorf("%d sessions kept, the first should be alone", len(kept))
	}
	d.store.Get("a.test")
	d.store.Put("a.test", nil)
	if _, ok := d.store.Get("a.test"); ok {
		t.Error("a session that was withdrawn is kept")
	}
	d.store.Put("a.test", new(tls.ClientSessionState)) // a zero state is no session
	if d.kept() != 0 {
		t.Error("a zero ClientSessionState is kept: it would crash the client")
	}
}

// TestClientCacheSameTicket: a TLS 1.2 session that was resumed without a new
// ticket, which crypto/tls gives again, neither fills the list nor lives longer.
func TestClientCacheSameTicket(t *testing.T) {
	d := newDialer(t, tls.VersionTLS12, Config{})
	d.dial()
	first := d.of("a.test")
	d.pass(1)
	ticket, _ := d.store.Get("a.test")
	_, state, err := ticket.ResumptionState()
	if err != nil {
		t.Fatal(err)
	}
	bytes, _, _ := ticket.ResumptionState()
	again, err := tls.NewResumptionState(slices.Clone(bytes), state)
	if err != nil {
		t.Fatal(err)
	}
	d.store.Put("a.test", again)
	if kept := d.of("a.test"); len(kept) != 1 || kept[0].expires != first[0].expires {
		t.Errorf("after the same ticket: %d sessions, the first until %d, now %d", len(kept), first[0].expires, kept[0].expires)
	}
}

// TestClientCacheCached: with a client's cache mode the sessions are in the
// Manager's cache too, and leave it when they are spent or removed.
func TestClientCacheCached(t *testing.T) {
	var causes []Cause
	d := newDialer(t, tls.VersionTLS13, Config{CacheMode: CacheClient, OnRemove: func(_ *Session, c Cause) { causes = append(causes, c) }})
	d.dial()
	if d.client.Len() != 1 {
		t.Fatalf("%d sessions cached, want 1", d.client.Len())
	}
	if !d.dial() || len(causes) != 1 || causes[0] != CauseTaken || d.client.Len() != 1 {
		t.Errorf("after a resumption the cache let go %v and holds %d", causes, d.client.Len())
	}
	for s := range d.client.All() {
		d.client.Remove(s)
	}
	if d.dial() {
		t.Error("a removed session was offered")
	}
}

func TestClientCacheConcurrent(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		d := newDialer(t, version, Config{CacheMode: CacheClient})
		d.dial()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 25 {
					d.dial()
				}
			})
		}
		wg.Wait()
		if !d.dial() || d.kept() > DefaultSessionsPerPeer {
			t.Errorf("%s: after all that %d sessions are kept", tls.VersionName(version), d.kept())
		}
	}
}
