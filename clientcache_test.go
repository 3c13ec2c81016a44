package reprise

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reprise-tls/reprise/internal/gotls"
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
	tl, err := server.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MinVersion: version, MaxVersion: version,
	})
	if err != nil {
		t.Fatal(err)
	}
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
	key := p.key(once, p.scope.generation())
	hash := d.client.clients.hash(key)
	shard := d.client.clients.shard(hash)
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
		n += s.peers.taken
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

// TestClientCacheAllocates nothing to offer a session of a known server and to
// keep the next.
func TestClientCacheAllocates(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		d := newDialer(t, version, Config{})
		d.dial()
		if n := testing.AllocsPerRun(100, func() {
			session, ok := d.store.Get("a.test")
			if !ok {
				t.Fatal("no session is kept")
			}
			d.store.Put("a.test", session)
		}); n != 0 {
			t.Errorf("%s: %v allocations", tls.VersionName(version), n)
		}
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

// TestAttackTicketFlood: a server that sends 10 000 tickets, and 100 000
// servers that send one each, do not grow a client's memory.
func TestAttackTicketFlood(t *testing.T) {
	const bound = 8 << 20 // bytes
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		d := newDialer(t, version, Config{})
		d.dial()
		session, ok := d.store.Get("a.test")
		if !ok {
			t.Fatal("no session")
		}
		_, state, err := session.ResumptionState()
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := state.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		before := heap()
		for i := range 10_000 {
			d.store.Put("a.test", withTicket(t, encoded, binary.BigEndian.AppendUint32(make([]byte, 4096), uint32(i))))
		}
		if d.kept() != DefaultSessionsPerPeer {
			t.Errorf("%s: %d sessions are kept of one peer", tls.VersionName(version), d.kept())
		}
		for i := range 100_000 {
			d.store.Put(fmt.Sprintf("peer%d.test", i), session)
		}
		if n := d.peers(); n != DefaultPeers {
			t.Errorf("%s: %d peers are kept", tls.VersionName(version), n)
		}
		if grown := heap() - before; grown > bound {
			t.Errorf("%s: all that grew the heap by %d bytes, at most %d would do", tls.VersionName(version), grown, bound)
		}
		runtime.KeepAlive(d)
	}
}

// withTicket returns a session of its own.
func withTicket(t *testing.T, encoded, ticket []byte) *tls.ClientSessionState {
	t.Helper()
	state, err := tls.ParseSessionState(encoded)
	if err != nil {
		t.Fatal(err)
	}
	session, err := tls.NewResumptionState(ticket, state)
	if err != nil {
		t.Fatal(err)
	}
	return session
}

// heap returns the bytes of the objects that are in use.
func heap() int64 {
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// TestClientCacheCloses: what is kept while the Manager is closed is let go of.
func TestClientCacheCloses(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	d.dial()
	ticket, _ := d.store.Get("a.test")
	d.client.Close()
	d.store.Put("a.test", ticket)
	if n := d.peers(); n != 0 {
		t.Errorf("a closed Manager keeps sessions of %d peers", n)
	}
}

// TestClientCacheFlushed: FlushAll drops what clients keep in memory.
func TestClientCacheFlushed(t *testing.T) {
	d := newDialer(t, tls.VersionTLS12, Config{})
	d.dial()
	if n := d.peers(); n != 1 {
		t.Fatalf("sessions of %d peers are kept", n)
	}
	d.client.FlushAll()
	if n := d.peers(); n != 0 {
		t.Errorf("sessions of %d peers are kept", n)
	}
}

// TestClientCacheCountsOffered: peers whose sessions are elsewhere are bounded too.
func TestClientCacheCountsOffered(t *testing.T) {
	cc := newClientCache(&Config{Peers: 10, SessionsPerPeer: 1}, time.Hour)
	for i := range 100 {
		cc.offer(&peerKey{peer: fmt.Sprint("offered", i)}, &clientSession{once: true, line: clientLine{born: 1}})
		cc.began(&peerKey{peer: fmt.Sprint("began", i)}, clientLine{born: 1})
	}
	if n := cc.count.Load(); n != 10 {
		t.Errorf("%d peers, want 10", n)
	}
}

// TestClientCacheModel compares the memory of clients with lists in a map: what
// is given, what is kept, who holds the sessions. Which peer has to go is the
// cache's choice, as long as it is one, and not the one that is kept for.
func TestClientCacheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newClientModel(t)
		t.Repeat(map[string]func(*rapid.T){
			"put":     m.put,
			"take":    m.take,
			"drop":    m.drop,
			"offer":   m.offerElsewhere,
			"fail":    m.fail,
			"begin":   m.begin,
			"restart": m.restart,
			"spoil":   m.spoil,
			"advance": m.advance,
			"":        m.check,
		})
		m.cache.clear()
		clear(m.peers)
		m.check(t)
	})
}

const (
	modelPeers   = 7
	modelMaxAge  = 30
	modelPerPeer = 3
)

type clientModel struct {
	cache    *clientCache
	keys     []peerKey
	now      int64
	up       time.Duration
	number   uint64
	most     int
	sessions []*Session
	states   []*tls.ClientSessionState
	peers    map[peerKey]*modelPeer
}

type modelPeer struct {
	sessions []clientSession
	line     clientLine
	offered  offeredSession
}

// advance moves both clocks on, and sets the wall clock back at times.
func (m *clientModel) advance(t *rapid.T) {
	seconds := rapid.Int64Range(0, 8).Draw(t, "seconds")
	m.up += time.Duration(seconds) * time.Second
	m.now += seconds - rapid.SampledFrom([]int64{0, 0, 0, 5, 20}).Draw(t, "back")
}

// line draws a line that began so long ago at most; some of its numbers are unknown.
func (m *clientModel) line(t *rapid.T, seconds int64) clientLine {
	m.number++
	number := rapid.SampledFrom([]uint64{m.number, m.number, max(m.number, 5) - 5, 0}).Draw(t, "number")
	return clientLine{m.now - rapid.Int64Range(0, seconds).Draw(t, "age"), number}
}

func newClientModel(t *rapid.T) *clientModel {
	m := &clientModel{now: 1000, up: time.Hour, most: rapid.IntRange(1, modelPeers+1).Draw(t, "most peers"), peers: map[peerKey]*modelPeer{}}
	m.cache = newClientCache(&Config{Peers: m.most, SessionsPerPeer: modelPerPeer, MaxAge: modelMaxAge * time.Second}, time.Hour)
	collide := rapid.Bool().Draw(t, "all of one hash")
	for i := range modelPeers {
		key := peerKey{peer: fmt.Sprint("peer", i/2), generation: uint32(i % 2)}
		if collide {
			hash := maphash.String(m.cache.seed, key.peer) ^ uint64(key.generation)
			binary.LittleEndian.PutUint64(key.scope[:], hash)
		}
		m.keys = append(m.keys, key)
	}
	for i := range 8 {
		s := NewSession()
		if err := s.SetID([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		m.sessions = append(m.sessions, s)
		state, err := tls.NewResumptionState([]byte{byte(i / 2)}, new(tls.SessionState)) // two with each ticket
		if err != nil {
			t.Fatal(err)
		}
		m.states = append(m.states, state)
	}
	return m
}

func (m *clientModel) key(t *rapid.T) peerKey { return rapid.SampledFrom(m.keys).Draw(t, "peer") }

// session draws a session that comes with a reference.
func (m *clientModel) session(t *rapid.T) (c clientSession) {
	c = clientSession{
		line: m.line(t, 10), expires: m.now + rapid.Int64Range(-1, 20).Draw(t, "wall clock"),
		timed: m.up - time.Duration(rapid.IntRange(0, 3).Draw(t, "kept"))*time.Second, life: rapid.Int64Range(0, 20).Draw(t, "life"),
		once: rapid.Bool().Draw(t, "once"), unwatched: rapid.Bool().Draw(t, "unwatched"),
	}
	if rapid.Bool().Draw(t, "timed elsewhere") {
		c.timed = 0
	}
	form := rapid.IntRange(1, 3).Draw(t, "form")
	if form&1 != 0 {
		c.state = rapid.SampledFrom(m.states).Draw(t, "state")
	}
	if form&2 != 0 {
		c.session = rapid.SampledFrom(m.sessions).Draw(t, "session")
		c.session.hold()
	}
	return c
}

// peer returns a peer that is kept from now on, and has the cache's choice go
// if that is one too many. The cache has done the same before.
func (m *clientModel) peer(t *rapid.T, key peerKey) *modelPeer {
	if m.peers[key] == nil {
		m.peers[key] = new(modelPeer)
	}
	if len(m.peers) > m.most {
		var gone []peerKey
		for k := range m.peers {
			if m.kept(k) == nil {
				gone = append(gone, k)
			}
		}
		if len(gone) != 1 || gone[0] == key {
			t.Fatalf("%v went for %v, want one other", gone, key)
		}
		delete(m.peers, gone[0])
	}
	return m.peers[key]
}

// kept returns what the cache keeps of a peer, and does not count as use.
func (m *clientModel) kept(key peerKey) *peerSessions {
	for _, slot := range m.cache.shard(m.cache.hash(&key)).peers.slots {
		if slot.peer != nil && slot.peer.key == key {
			return slot.peer
		}
	}
	return nil
}

func (p *modelPeer) follow(l clientLine) {
	if p.line.born == 0 {
		p.line = l
	}
	if l.born < p.line.born {
		p.line.born = l.born
	}
	if l.number < p.line.number {
		p.line.number = l.number
	}
}

func (p *modelPeer) begin(now clientLine) clientLine {
	if p.line.born == 0 || now.born > p.line.born+modelMaxAge {
		p.line = now
	}
	return p.line
}

func sameAs(c clientSession) func(clientSession) bool {
	return func(d clientSession) bool {
		if c.once || d.once || c.state == nil || d.state == nil {
			return c.session != nil && c.session == d.session
		}
		a, _, _ := c.state.ResumptionState()
		b, _, _ := d.state.ResumptionState()
		return string(a) == string(b)
	}
}

func (m *clientModel) put(t *rapid.T) {
	key, c := m.key(t), m.session(t)
	given := c
	m.cache.put(&key, &given)
	p := m.peer(t, key)
	if slices.ContainsFunc(p.sessions, sameAs(c)) {
		return
	}
	if c.unwatched {
		c.line = p.begin(c.line)
		late := max(c.expires-(c.line.born+modelMaxAge), 0)
		c.expires -= late
		c.life -= late
	}
	p.sessions = append(p.sessions, c)
	p.sessions = p.sessions[max(len(p.sessions)-modelPerPeer, 0):]
}

func (m *clientModel) take(t *rapid.T) {
	key := m.key(t)
	var got, want clientSession
	ok := m.cache.take(&key, clientTime{m.now, m.up}, &got)
	defer func() { got.session.release() }()
	if p := m.peers[key]; p != nil {
		want = p.take(m.now, m.up)
	}
	if got != want || ok != (want != clientSession{}) {
		t.Fatalf("took %v, %t, want %v", got, ok, want)
	}
}

func (p *modelPeer) take(now int64, up time.Duration) clientSession {
	for i, c := range slices.Backward(p.sessions) {
		young := c.timed == 0 || int64((up-c.timed)/time.Second) <= c.life
		good := young && now <= c.expires && (c.session == nil || c.session.Resumable())
		if good {
			p.follow(c.line)
		}
		if good && !c.once {
			p.offered = offeredSession{c.state, c.session}
			return c
		}
		p.sessions = p.sessions[:i]
		if good {
			return c
		}
	}
	return clientSession{}
}

func (m *clientModel) drop(t *rapid.T) {
	key, c := m.key(t), m.session(t)
	defer c.session.release()
	m.cache.drop(&key, c.state, c.session)
	if p := m.peers[key]; p != nil {
		i := slices.IndexFunc(p.sessions, func(d clientSession) bool {
			return c.state != nil && d.state == c.state || c.session != nil && d.session == c.session
		})
		if i >= 0 {
			p.sessions = slices.Delete(p.sessions, i, i+1)
		}
	}
}

func (m *clientModel) offerElsewhere(t *rapid.T) {
	key, c := m.key(t), m.session(t)
	defer c.session.release()
	m.cache.offer(&key, &c)
	p := m.peer(t, key)
	p.follow(c.line)
	if !c.once {
		p.offered = offeredSession{c.state, c.session}
	}
}

func (m *clientModel) fail(t *rapid.T) {
	key := m.key(t)
	state, session := m.cache.takeOffered(&key)
	defer session.release()
	var want offeredSession
	if p := m.peers[key]; p != nil {
		want, p.offered = p.offered, offeredSession{}
	}
	if (offeredSession{state, session}) != want {
		t.Fatalf("offered last: %v and %v, want %v", state, session, want)
	}
}

func (m *clientModel) begin(t *rapid.T) {
	key := m.key(t)
	now := m.line(t, 0)
	got := m.cache.began(&key, now)
	if want := m.peer(t, key).begin(now); got != want {
		t.Fatalf("the line began at %d, want %d", got, want)
	}
}

func (m *clientModel) restart(t *rapid.T) {
	key, l := m.key(t), m.line(t, 0)
	before := rapid.Int64Range(-20, 0).Draw(t, "revoked before") + m.now
	m.cache.restart(&key, l.number, before*int64(time.Second))
	if p := m.peers[key]; p != nil && p.line.born != 0 {
		p.line.number = l.number
		if p.line.born < before {
			p.line = clientLine{}
		}
	}
}

// spoil makes a session one that may not be offered, or the other way round.
func (m *clientModel) spoil(t *rapid.T) {
	s := rapid.SampledFrom(m.sessions).Draw(t, "session")
	s.notResumable.Store(!s.notResumable.Load())
}

func (m *clientModel) check(t *rapid.T) {
	if n := m.cache.count.Load(); n != int64(len(m.peers)) {
		t.Fatalf("%d peers are counted, want %d", n, len(m.peers))
	}
	held := map[*Session]int{}
	for _, key := range m.keys {
		p, want := m.kept(key), m.peers[key]
		if (p == nil) != (want == nil) {
			t.Fatalf("of %v %v is kept, want %v", key, p, want)
		}
		if p == nil {
			continue
		}
		if !slices.Equal(p.sessions, want.sessions) || p.line != want.line || p.offered != want.offered {
			t.Fatalf("of %v there is %v, line %d, offered %v; want %v", key, p.sessions, p.line, p.offered, want)
		}
		held[p.offered.session]++
		for _, c := range p.sessions {
			held[c.session]++
		}
	}
	for i, s := range m.sessions {
		if _, library := s.refs.held(); library != held[s] {
			t.Fatalf("session %d is held %d times, want %d", i, library, held[s])
		}
	}
}

// TestClientCacheZeroLifetime: a ticket that the server wants discarded at once
// is, where nobody watches too, whether it is made a Session of or not, and
// whatever clock crypto/tls has.
func TestClientCacheZeroLifetime(t *testing.T) {
	for _, config := range []Config{{}, {CacheMode: CacheClient}} {
		for _, ahead := range []int64{-10, -1, 0, 1, 2, 10, 3600} {
			for _, lifetime := range []int64{0, 20} {
				d := newDialer(t, tls.VersionTLS13, config)
				d.dial()
				at := d.now.Unix() + ahead
				d.store.Put("a.test", d.received(at, at+lifetime))
				if _, ok := d.store.Get("a.test"); ok != (lifetime > 0) {
					t.Errorf("%v, clock ahead by %d s, lifetime %d s: offered %v", config.CacheMode, ahead, lifetime, ok)
				}
			}
		}
	}
}

// received takes a session of TLS 1.3 and returns it with a ticket and times of
// its own.
func (d *dialer) received(at, useBy int64) *tls.ClientSessionState {
	d.t.Helper()
	kept, _ := d.store.Get("a.test")
	_, ss, err := kept.ResumptionState()
	if err != nil {
		d.t.Fatal(err)
	}
	st, err := gotls.FromTLS(ss)
	if err != nil {
		d.t.Fatal(err)
	}
	st.CreatedAt, st.UseBy = uint64(at), uint64(useBy)
	if ss, err = st.TLS(); err != nil {
		d.t.Fatal(err)
	}
	cs, err := tls.NewResumptionState([]byte("ticket"), ss)
	if err != nil {
		d.t.Fatal(err)
	}
	return cs
}
