package reprise

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
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
	store  *clientStore
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
	d.store = d.config.ClientSessionCache.(*clientStore)
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

func (d *dialer) kept() int {
	d.store.mu.Lock()
	defer d.store.mu.Unlock()
	if e := d.store.peers["a.test"]; e != nil {
		return len(e.Value.(*peerSessions).sessions)
	}
	return 0
}

// TestClientStoreSpends: a TLS 1.3 session is offered once, each of several.
func TestClientStoreSpends(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	var wg sync.WaitGroup
	for range 3 { // at once, so that none has a session of another
		c, _ := d.open()
		defer c.Close()
	}
	wg.Wait()
	first := d.kept()
	for range 2 * maxSessionsPerPeer {
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

// TestClientStoreReuses: a TLS 1.2 session is offered until it expires.
func TestClientStoreReuses(t *testing.T) {
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

func TestClientStoreExpires(t *testing.T) {
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

// TestClientStoreBounds: what is kept is bounded, and what goes is given back.
func TestClientStoreBounds(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	c, _ := d.open()
	c.Close()
	ticket, err := d.store.Get("a.test")
	if !err {
		t.Fatal("no session")
	}
	for range 3 * maxSessionsPerPeer {
		d.store.Put("a.test", ticket)
	}
	if d.kept() != maxSessionsPerPeer {
		t.Errorf("%d sessions of a peer, want %d", d.kept(), maxSessionsPerPeer)
	}
	oldest := d.store.peers["a.test"].Value.(*peerSessions).sessions[maxSessionsPerPeer-1]
	d.store.Put("a.test", ticket)
	if caller, library := oldest.refs.held(); caller != 0 || library != 0 {
		t.Errorf("the session that had to go is held %d and %d times", caller, library)
	}
	for i := range maxPeers - 1 {
		d.store.Put(fmt.Sprintf("peer%d:1", i), ticket)
	}
	d.store.Get("a.test") // the peer of longest ago is used again
	for i := range 10 {
		d.store.Put(fmt.Sprintf("more%d", i), ticket)
	}
	if n := len(d.store.peers); n != maxPeers || d.store.order.Len() != n {
		t.Errorf("%d peers in the map and %d in the order, want %d", n, d.store.order.Len(), maxPeers)
	}
	if d.kept() == 0 {
		t.Error("the peer that was just used had to go")
	}
	if _, ok := d.store.peers["peer0:1"]; ok {
		t.Error("the peer of longest ago is kept")
	}
}

// TestClientStoreNewestFirst: the session that came last is offered first.
func TestClientStoreNewestFirst(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	var open []*tls.Conn
	for range 3 {
		c, _ := d.open()
		open = append(open, c)
		d.pass(1)
	}
	for _, c := range open {
		c.Close()
	}
	sessions := d.store.peers["a.test"].Value.(*peerSessions).sessions
	for i, s := range sessions[1:] {
		if s.Time().After(sessions[i].Time()) {
			t.Errorf("session %d is newer than the one before it", i+1)
		}
	}
	newest := sessions[0].Ticket()
	got, _ := d.store.Get("a.test")
	if ticket, _, err := got.ResumptionState(); err != nil || !bytes.Equal(ticket, newest) {
		t.Errorf("the session given is not the newest: %v", err)
	}
}

// TestClientStoreForgets: crypto/tls withdraws what it cannot offer.
func TestClientStoreForgets(t *testing.T) {
	d := newDialer(t, tls.VersionTLS12, Config{})
	d.dial()
	d.store.Put("a.test", nil)
	d.store.Put("never.seen", nil)
	if _, ok := d.store.Get("a.test"); ok || len(d.store.peers) != 0 || d.store.order.Len() != 0 {
		t.Error("something is left of a peer that was withdrawn")
	}
	d.store.Put("a.test", new(tls.ClientSessionState)) // a zero state is no session
	if len(d.store.peers) != 0 {
		t.Error("a zero ClientSessionState is kept: it would crash the client")
	}
}

// TestClientStoreCached: with a client's cache mode the sessions are in the
// Manager's cache too, and leave it when they are spent or removed.
func TestClientStoreCached(t *testing.T) {
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

func TestClientStoreConcurrent(t *testing.T) {
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
		if !d.dial() || d.kept() > maxSessionsPerPeer {
			t.Errorf("%s: after all that %d sessions are kept", tls.VersionName(version), d.kept())
		}
	}
}

// TestClientConfigApart: what one configuration was given another never
// offers, and its clones do.
func TestClientConfigApart(t *testing.T) {
	d := newDialer(t, tls.VersionTLS13, Config{})
	d.dial()
	mine := d.config
	d.config = d.client.ClientConfig(mine)
	if d.dial() {
		t.Error("another configuration offered the session")
	}
	d.config = mine.Clone()
	if !d.dial() {
		t.Error("a clone did not offer the session")
	}
}
