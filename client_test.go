package reprise_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/gotls"
)

// removals records what OnRemove was told.
type removals struct {
	mu     sync.Mutex
	causes []reprise.Cause
}

func (r *removals) note(_ *reprise.Session, c reprise.Cause) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.causes = append(r.causes, c)
}

// take returns what was told since the last take.
func (r *removals) take() []reprise.Cause {
	r.mu.Lock()
	defer r.mu.Unlock()
	causes := r.causes
	r.causes = nil
	return causes
}

// pair is a connected client and server whose sessions are cached on both sides.
type pair struct {
	*rig
	sm, cm         *reprise.Manager
	gone, goneC    removals // of the server's cache and the client's
	sc, cc         *tls.Config
	client, server *reprise.Conn
	session        *reprise.Session // of the client, as it arrived
}

func newPair(t testing.TB, version uint16, config reprise.Config) *pair {
	t.Helper()
	p := &pair{rig: newRig(t)}
	sc, cc := config, config
	sc.NoTickets, sc.OnRemove = true, p.gone.note
	cc.CacheMode, cc.OnRemove = reprise.CacheClient, p.goneC.note
	p.sm, p.cm = manager(t, sc), manager(t, cc)
	p.sc, p.cc = at(version, p.rig.server), at(version, p.rig.client)
	p.client, p.server = p.connect(p.sm, p.cm, p.sc, p.cc, nil)
	p.session = wait(t, p.client)
	t.Cleanup(p.session.Free)
	if p.sm.Len() != 1 || p.cm.Len() != 1 {
		t.Fatalf("%d and %d sessions cached on the server and the client, want one each", p.sm.Len(), p.cm.Len())
	}
	return p
}

// wantGone checks what left the two caches since they held one session each.
func (p *pair) wantGone(server, client []reprise.Cause) {
	p.t.Helper()
	if got := p.gone.take(); !slices.Equal(got, server) || p.sm.Len() != 1-len(server) {
		p.t.Errorf("the server's cache let go %v and holds %d, want %v gone", got, p.sm.Len(), server)
	}
	if got := p.goneC.take(); !slices.Equal(got, client) || p.cm.Len() != 1-len(client) {
		p.t.Errorf("the client's cache let go %v and holds %d, want %v gone", got, p.cm.Len(), client)
	}
}

// resumes reports whether a new connection that offers the pair's session resumes it.
func (p *pair) resumes() bool {
	p.t.Helper()
	c, _ := p.connect(p.sm, p.cm, p.sc, p.cc, p.session)
	reused, _ := c.SessionReused()
	return reused
}

func TestCloseKeepsSession(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newPair(t, version, reprise.Config{})
			lent := p.client.Session()
			p.client.Close()
			if _, err := p.server.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("server read %v, want EOF", err)
			}
			p.server.Close()
			if key, err := lent.MasterKey(); err != nil || len(key) == 0 {
				t.Errorf("Close took the lent session away: %v", err)
			}
			p.client.Free()
			p.server.Free()
			p.wantGone(nil, nil)
			if !p.resumes() {
				t.Error("a session closed in good order does not resume")
			}
		})
	}
}

func TestFreeWithoutClose(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newPair(t, version, reprise.Config{})
			bad := []reprise.Cause{reprise.CauseBadConnection}
			p.server.Free()
			p.wantGone(bad, nil)
			p.client.Free()
			if got := p.goneC.take(); !slices.Equal(got, bad) {
				t.Errorf("the client's cache let go %v, want %v", got, bad)
			}
			if p.session.Resumable() {
				t.Error("the session is still resumable")
			}
			p.server.Free()
			p.client.Free() // again: harmless
			if got := append(p.gone.take(), p.goneC.take()...); got != nil {
				t.Errorf("a second Free removed %v", got)
			}
			if p.client.Session() != nil || p.client.AcquireSession() != nil {
				t.Error("a freed connection has a session")
			}
			if err := p.client.SetSession(nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("SetSession after Free: %v", err)
			}
			if err := p.client.Clear(p.client.NetConn()); !errors.Is(err, net.ErrClosed) {
				t.Errorf("Clear after Free: %v", err)
			}
			(*reprise.Conn)(nil).Free()
		})
	}
}

// TestFreeBeforeHandshake: without a complete handshake there is nothing to distrust.
func TestFreeBeforeHandshake(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	p.client.Close()
	nc, _ := pipe(t)
	c := p.cm.Client(nc, p.cc)
	if err := c.SetSession(p.session); err != nil {
		t.Fatal(err)
	}
	if c.Session() != nil {
		t.Error("a session before the handshake")
	}
	c.Free()
	if !p.session.Resumable() || p.cm.Len() != 1 {
		t.Error("Free before the handshake removed the session that was set")
	}
}

func TestClear(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newPair(t, version, reprise.Config{})
			if err := p.client.Clear(nil); err == nil {
				t.Error("Clear took no connection to go on with")
			}
			p.client.Close()
			p.server.Close()
			nc, ns := pipe(t)
			if err := errors.Join(p.client.Clear(nc), p.server.Clear(ns)); err != nil {
				t.Fatal(err)
			}
			talk(t, p.client, p.server)
			for side, c := range map[string]*reprise.Conn{"client": p.client, "server": p.server} {
				if reused, why := c.SessionReused(); !reused {
					t.Errorf("%s: not resumed after Clear: %v", side, why)
				}
			}
		})
	}
}

func TestClearBad(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newPair(t, version, reprise.Config{})
			nc, ns := pipe(t)
			if err := errors.Join(p.client.Clear(nc), p.server.Clear(ns)); err != nil {
				t.Fatal(err)
			}
			bad := []reprise.Cause{reprise.CauseBadConnection}
			p.wantGone(bad, bad)
			talk(t, p.client, p.server)
			if reused, why := p.client.SessionReused(); reused || why != reprise.NothingOffered {
				t.Errorf("after Clear without Close: resumed %v, %v", reused, why)
			}
		})
	}
}

// TestClearSetNil: nothing is offered after SetSession(nil), which takes back
// what the connection would offer of itself.
func TestClearSetNil(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	p.client.Close()
	p.server.Close()
	nc, ns := pipe(t)
	if err := errors.Join(p.client.SetSession(nil), p.client.Clear(nc), p.server.Clear(ns)); err != nil {
		t.Fatal(err)
	}
	talk(t, p.client, p.server)
	if reused, why := p.client.SessionReused(); reused || why != reprise.NothingOffered {
		t.Errorf("resumed %v, %v", reused, why)
	}
}

// TestClearSpends: a connection that offers sessions of its own accord offers
// none of TLS 1.3 after Clear that another may have offered, or it itself.
func TestClearSpends(t *testing.T) {
	s := newShop(t, reprise.Config{})
	m := manager(t, reprise.Config{})
	config := at(tls.VersionTLS13, s.client)
	first, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Free()
	wait(t, first).Free()
	first.Close()
	<-s.shown
	second, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Free()
	if err := second.Handshake(); err != nil { // and reads no session
		t.Fatal(err)
	}
	second.Close()
	if shown := <-s.shown; shown != reprise.Resumed {
		t.Fatalf("the second: %v", shown)
	}
	for name, c := range map[string]*reprise.Conn{"the first": first, "the second": second} {
		nc, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(c.Clear(nc), c.Handshake()); err != nil {
			t.Fatal(err)
		}
		if shown := <-s.shown; shown != reprise.NothingOffered {
			t.Errorf("%s, after Clear: %v", name, shown)
		}
	}
}

// TestSetSessionMidConnection: setting another session gives up the one in use,
// as libssl does.
func TestSetSessionMidConnection(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	if err := p.client.SetSession(nil); err != nil {
		t.Fatal(err)
	}
	p.wantGone(nil, []reprise.Cause{reprise.CauseBadConnection})
	if p.session.Resumable() {
		t.Error("the session in use is still resumable")
	}
	if err := p.client.SetSession(p.session); !errors.Is(err, reprise.ErrNotResumable) {
		t.Errorf("SetSession of it: %v", err)
	}

	p = newPair(t, tls.VersionTLS12, reprise.Config{})
	p.client.Close()
	if err := p.client.SetSession(nil); err != nil {
		t.Fatal(err)
	}
	p.wantGone(nil, nil)
}

// TestSetSessionWhileReading: a session may be set for the next handshake while
// a read finds that the connection in use ended badly.
func TestSetSessionWhileReading(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	m := manager(t, reprise.Config{})
	nc, ns := pipe(t)
	server, client := p.sm.Server(ns, p.sc), m.Client(nc, p.cc)
	talk(t, client, server)
	ended := make(chan error)
	go func() {
		_, err := client.Read(make([]byte, 1))
		ended <- err
	}()
	ns.Close() // without close_notify
	if err := client.SetSession(nil); err != nil {
		t.Error(err)
	}
	if err := <-ended; err == nil {
		t.Error("a read of a connection that ended badly succeeded")
	}
	client.Free()
}

func TestSetSessionNil(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	p.client.Close()
	nc, ns := pipe(t)
	server, client := p.sm.Server(ns, p.sc), p.cm.Client(nc, p.cc)
	if err := errors.Join(client.SetSession(p.session), client.SetSession(nil)); err != nil {
		t.Fatal(err)
	}
	talk(t, client, server)
	if reused, why := client.SessionReused(); reused || why != reprise.NothingOffered {
		t.Errorf("what was taken back was offered: %v, %v", reused, why)
	}
	client.Close()
	server.Close()
}

func TestSetSessionErrors(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	for _, s := range []*reprise.Session{nil, p.session} {
		if err := p.server.SetSession(s); !errors.Is(err, reprise.ErrServerSide) {
			t.Errorf("on a server: %v", err)
		}
	}
	nc, _ := pipe(t)
	client := p.cm.Client(nc, p.cc)
	defer client.Free()
	freed := p.session.Dup()
	freed.Free()
	for name, c := range map[string]struct {
		s    *reprise.Session
		want error
	}{
		"new":       {reprise.NewSession(), reprise.ErrNotResumable},
		"freed":     {freed, reprise.ErrFreed},
		"no ticket": {p.server.Session(), reprise.ErrNotResumable},
	} {
		if err := client.SetSession(c.s); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	other := manager(t, reprise.Config{}).Client(nc, p.cc)
	defer other.Free()
	if err := other.SetSession(p.session); !errors.Is(err, reprise.ErrOtherManager) {
		t.Errorf("of another Manager: %v", err)
	}
	dup := p.session.Dup()
	defer dup.Free()
	if err := other.SetSession(dup); err != nil {
		t.Errorf("a copy for another Manager: %v", err)
	}
}

// tampered is a connection that spoils what is read from it once it is armed.
type tampered struct {
	net.Conn
	armed atomic.Bool
}

func (c *tampered) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 5 && c.armed.Load() { // more than a record's header
		b[n-1] ^= 1
	}
	return n, err
}

// provoke has the server end the client's connection with a fatal alert.
func provoke(t testing.TB, c *reprise.Conn) {
	t.Helper()
	c.NetConn().Write([]byte{23, 3, 3, 0, 1, 0}) // a record that no key made
	var op *net.OpError
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &op) || op.Op != "remote error" {
		t.Fatalf("read %v, want the server's alert", err)
	}
}

func TestAlertRemovesSession(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			p := newPair(t, version, reprise.Config{})
			p.client.Close()
			nc, ns := pipe(t)
			bad := &tampered{Conn: nc}
			client, server := p.cm.Client(bad, p.cc), p.sm.Server(ns, p.sc)
			talk(t, client, server)
			arrived := wait(t, client)
			defer arrived.Free()
			bad.armed.Store(true)
			if _, err := server.Write([]byte("spoilt")); err != nil {
				t.Fatal(err)
			}
			var op *net.OpError
			if _, err := io.ReadAll(client); !errors.As(err, &op) || op.Op != "local error" {
				t.Fatalf("client read %v, want an alert of its own", err)
			}
			if _, err := server.Read(make([]byte, 1)); !errors.As(err, &op) || op.Op != "remote error" {
				t.Fatalf("server read %v, want the client's alert", err)
			}
			alert := []reprise.Cause{reprise.CauseAlert}
			if got := p.gone.take(); !slices.Equal(got, alert) {
				t.Errorf("the server's cache let go %v, want %v", got, alert)
			}
			if got := p.goneC.take(); !slices.Equal(got, alert) {
				t.Errorf("the client's cache let go %v, want %v", got, alert)
			}
			if arrived.Resumable() {
				t.Error("the session is still resumable")
			}
			client.Close()
			client.Free()
			server.Free()
			if got := p.goneC.take(); got != nil {
				t.Errorf("it left the client's cache again: %v", got)
			}
		})
	}
}

// TestProtocolErrorRemovesSession: crypto/tls sends an alert and says something else.
func TestProtocolErrorRemovesSession(t *testing.T) {
	for _, version := range versions {
		p := newPair(t, version, reprise.Config{})
		p.server.NetConn().Write([]byte{23, 9, 9, 0, 1, 0})
		var header tls.RecordHeaderError
		if _, err := p.client.Read(make([]byte, 1)); !errors.As(err, &header) {
			t.Fatalf("read %v, want a bad record header", err)
		}
		p.wantGone(nil, []reprise.Cause{reprise.CauseAlert})
	}
}

// TestTransportError: that the transport broke says nothing about the session, nor does a deadline.
func TestTransportError(t *testing.T) {
	for _, version := range versions {
		p := newPair(t, version, reprise.Config{})
		p.client.SetReadDeadline(time.Unix(1, 0))
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read %v, want the deadline's error", err)
		}
		p.wantGone(nil, nil)
		p.client.NetConn().Close()
		p.client.SetReadDeadline(time.Time{})
		if _, err := p.client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("read %v, want that of a closed connection", err)
		}
		p.wantGone(nil, nil)
	}
}

// TestUnexpectedEOF: a peer that ends the transport without close_notify.
func TestUnexpectedEOF(t *testing.T) {
	for _, version := range versions {
		for _, ignore := range []bool{false, true} {
			begun := []byte{23, 3, byte(min(version, tls.VersionTLS12)), 0, 40, 1, 2, 3}
			for name, last := range map[string][]byte{"between records": nil, "within a record": begun} {
				t.Run(tls.VersionName(version)+"/"+name+map[bool]string{false: "", true: "/ignored"}[ignore], func(t *testing.T) {
					p := newPair(t, version, reprise.Config{IgnoreUnexpectedEOF: ignore})
					raw := p.server.NetConn()
					raw.Write(last)
					raw.Close()
					if n, err := p.client.Read(make([]byte, 1)); n != 0 || err == nil {
						t.Fatalf("read %d bytes, %v", n, err)
					}
					var want []reprise.Cause
					if !ignore {
						want = []reprise.Cause{reprise.CauseAlert}
					}
					p.wantGone(nil, want)
					if p.session.Resumable() != ignore {
						t.Errorf("resumable: %v", !ignore)
					}
				})
			}
		}
	}
}

// noTickets is a server of crypto/tls that never sends a ticket, and a client of ours.
func noTickets(t testing.TB, nc, ns net.Conn, version uint16) (client *reprise.Conn, server *tls.Conn) {
	t.Helper()
	r := newRig(t)
	sc := at(version, r.server)
	sc.SessionTicketsDisabled = true
	server = tls.Server(ns, sc)
	client = manager(t, reprise.Config{}).Client(nc, at(version, r.client))
	done := make(chan error, 1)
	go func() { done <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-done); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// TestWaitSessionNever: WaitSession ends with its context, and what it read
// meanwhile is there for Read.
func TestWaitSessionNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, ns := net.Pipe()
		client, server := noTickets(t, untimed{nc}, untimed{ns}, tls.VersionTLS13)
		for _, text := range []string{"read ahead ", "and again"} {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := client.WaitSession(ctx)
				ended <- err
			}()
			server.Write([]byte(text))
			synctest.Wait()
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("WaitSession: %v", err)
			}
		}
		go func() {
			server.Write([]byte(", and more"))
			server.Close()
		}()
		got, err := io.ReadAll(client)
		if want := "read ahead and again, and more"; err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	})
}

// TestWaitSessionLimit: it does not read ahead for ever, and what it read is not lost.
func TestWaitSessionLimit(t *testing.T) {
	nc, ns := pipe(t)
	client, server := noTickets(t, nc, ns, tls.VersionTLS13)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<17)
	go func() {
		server.Write(sent)
		server.Close()
	}()
	if _, err := client.WaitSession(t.Context()); err == nil {
		t.Error("WaitSession found a session")
	}
	if got, err := io.ReadAll(client); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("read %d bytes, %v, want all %d", len(got), err, len(sent))
	}
}

// TestWaitSessionDeadline: a deadline that passes ends a wait, not the connection.
func TestWaitSessionDeadline(t *testing.T) {
	nc, ns := pipe(t)
	client, server := noTickets(t, nc, ns, tls.VersionTLS13)
	client.SetReadDeadline(time.Unix(1, 0))
	for range 2 {
		if _, err := client.WaitSession(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, reprise.ErrNoSession) {
			t.Errorf("WaitSession past the deadline: %v", err)
		}
	}
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Read past the deadline: %v", err)
	}
	client.SetReadDeadline(time.Time{})
	server.Write([]byte{'x'})
	if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
		t.Errorf("Read after the deadline was lifted: %d, %v", n, err)
	}
}

// TestWaitSessionLeavesOneRead: who asks again and again leaves one read behind,
// not one for each time.
func TestWaitSessionLeavesOneRead(t *testing.T) {
	nc, ns := pipe(t)
	client, server := noTickets(t, nc, ns, tls.VersionTLS13)
	talk(t, client, server)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	before := runtime.NumGoroutine()
	for range 100 {
		if s, err := client.WaitSession(over); !errors.Is(err, context.Canceled) {
			t.Fatalf("%v, %v", s, err)
		}
	}
	if left := runtime.NumGoroutine() - before; left > 1 {
		t.Errorf("%d goroutines are left", left)
	}
}

func TestWaitSessionNone(t *testing.T) {
	for _, version := range versions[:3] {
		nc, ns := pipe(t)
		client, _ := noTickets(t, nc, ns, version)
		if _, err := client.WaitSession(t.Context()); !errors.Is(err, reprise.ErrNoSession) {
			t.Errorf("%s: %v, want ErrNoSession", tls.VersionName(version), err)
		}
		s := client.Session()
		if s == nil || s.Resumable() || s.ProtocolVersion() != version {
			t.Errorf("%s: the session without a ticket is %v", tls.VersionName(version), s)
		}
	}
	nc, ns := pipe(t)
	client, server := noTickets(t, nc, ns, tls.VersionTLS13)
	server.Close()
	for range 2 {
		if _, err := client.WaitSession(t.Context()); !errors.Is(err, reprise.ErrNoSession) || !errors.Is(err, io.EOF) {
			t.Errorf("at the end of the connection: %v, want ErrNoSession and EOF", err)
		}
	}
	if _, err := client.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("Read: %v, want EOF", err)
	}
}

// TestWaitSessionAndRead: either may be the one that reads.
func TestWaitSessionAndRead(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	for range 20 {
		nc, ns := pipe(t)
		server, client := sm.Server(ns, r.server), cm.Client(nc, r.client)
		go server.Handshake()
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				s, err := client.WaitSession(t.Context())
				if err != nil {
					t.Errorf("WaitSession: %v", err)
					return
				}
				if !s.Resumable() {
					t.Error("WaitSession gave a session that is not resumable")
				}
				s.Free()
			})
		}
		read := make(chan error, 1)
		go func() {
			_, err := io.ReadFull(client, make([]byte, 3))
			read <- err
		}()
		wg.Wait()
		server.Write([]byte("abc"))
		if err := <-read; err != nil {
			t.Errorf("Read: %v", err)
		}
		client.Close()
		server.Close()
	}
}

func TestWaitSessionServer(t *testing.T) {
	p := newPair(t, tls.VersionTLS13, reprise.Config{})
	s := wait(t, p.server)
	defer s.Free()
	if s != p.server.Session() || s.HasTicket() || !s.Resumable() {
		t.Errorf("a server's WaitSession gave %v", s)
	}
}

func TestDial(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	config := r.client.Clone()
	config.ServerName = ""
	var session *reprise.Session
	for i := range 2 {
		client, err := cm.Dial("tcp", l.Addr().String(), config)
		if err != nil {
			t.Fatal(err)
		}
		ns, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := client.SetSession(session); err != nil {
			t.Fatal(err)
		}
		server := sm.Server(ns, r.server)
		talk(t, client, server)
		if reused, why := client.SessionReused(); reused != (i == 1) {
			t.Errorf("dial %d: resumed %v, %v", i, reused, why)
		}
		session = wait(t, client)
		defer session.Free()
		if name := session.Hostname(); name != "127.0.0.1" {
			t.Errorf("the session is for %q, want the host of the address", name)
		}
		client.Close()
		server.Close()
	}
	if config.ServerName != "" {
		t.Error("Dial wrote to the caller's configuration")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := cm.DialContext(ctx, "tcp", l.Addr().String(), config); !errors.Is(err, context.Canceled) {
		t.Errorf("DialContext under a context that has ended: %v", err)
	}
	if st := cm.Stats(); st.Connect != 2 || st.ConnectGood != 2 || st.Hits != 1 || st.NotResumed[reprise.NothingOffered] != 1 {
		t.Errorf("%+v: want two handshakes, one resumed", st)
	}
}

// TestHandshakes: what else a handshake can be like, it resumes.
func TestHandshakes(t *testing.T) {
	r := newRig(t)
	rsa := r.ca.LeafRSA(t, "a.test")
	cases := map[string]func(sc, cc *tls.Config){
		"RSA": func(sc, _ *tls.Config) { sc.Certificates = []tls.Certificate{rsa} },
		"hello retry request": func(sc, cc *tls.Config) {
			sc.CurvePreferences = []tls.CurveID{tls.CurveP384}
			cc.CurvePreferences = []tls.CurveID{tls.X25519, tls.CurveP384}
		},
		"ALPN": func(sc, cc *tls.Config) { sc.NextProtos, cc.NextProtos = []string{"b", "c"}, []string{"a", "b"} },
		"client certificate": func(sc, cc *tls.Config) {
			sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
			cc.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
		},
		"client certificate behind an intermediate": func(sc, cc *tls.Config) {
			sc.ClientAuth, sc.ClientCAs = tls.VerifyClientCertIfGiven, r.ca.Pool()
			cc.Certificates = []tls.Certificate{r.ca.Intermediate(t, "intermediate").Leaf(t, "client")}
		},
		"no name": func(_, cc *tls.Config) { cc.ServerName, cc.InsecureSkipVerify = "", true },
	}
	for name, change := range cases {
		for _, version := range versions {
			for _, noTickets := range []bool{false, true} {
				t.Run(name+"/"+tls.VersionName(version)+map[bool]string{false: "/ticket", true: "/handle"}[noTickets], func(t *testing.T) {
					r := &rig{t: t, ca: r.ca}
					sc, cc := at(version, newServerConfig(r)), at(version, newClientConfig(r))
					change(sc, cc)
					r.resumeAlike(sc, cc, noTickets)
				})
			}
		}
	}
}

func newServerConfig(r *rig) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{r.ca.Leaf(r.t, "a.test")}}
}

func newClientConfig(r *rig) *tls.Config {
	return &tls.Config{RootCAs: r.ca.Pool(), ServerName: "a.test"}
}

// resumeAlike connects twice and checks that the second connection resumed and
// knows of its peers what the first did.
func (r *rig) resumeAlike(sc, cc *tls.Config, noTickets bool) {
	t := r.t
	t.Helper()
	sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
	c1, s1 := r.connect(sm, cm, sc, cc, nil)
	session := wait(t, c1)
	defer session.Free()
	c1.Close()
	c2, s2 := r.connect(sm, cm, sc, cc, session)
	if reused, why := s2.SessionReused(); !reused {
		t.Fatalf("not resumed: %v", why)
	}
	if got, want := session.ALPN(), c1.ConnectionState().NegotiatedProtocol; got != want {
		t.Errorf("the session's ALPN is %q, the connection's %q", got, want)
	}
	if got, want := session.CipherSuite(), c1.ConnectionState().CipherSuite; got != want {
		t.Errorf("the session's suite is %#x, the connection's %#x", got, want)
	}
	full, resumed := s1.ConnectionState().PeerCertificates, s2.ConnectionState().PeerCertificates
	shown := len(full)
	if len(resumed) != shown || peers(t, s1) != shown || peers(t, s2) != shown {
		t.Errorf("the client showed %d certificates; resumed %d, in the sessions %d and %d", shown, len(resumed), peers(t, s1), peers(t, s2))
	}
	shown = len(sc.Certificates[0].Certificate)
	if peers(t, c1) != shown || peers(t, c2) != shown {
		t.Errorf("the server showed %d certificates; in the sessions %d and %d", shown, peers(t, c1), peers(t, c2))
	}
}

// peers returns how many certificates of the peer the connection's session has.
func peers(t testing.TB, c *reprise.Conn) int {
	t.Helper()
	certs, err := c.Session().PeerCertificates()
	if err != nil {
		t.Fatal(err)
	}
	return len(certs)
}

// TestTLS13SessionServesOnce: what the client's cache held of a session that was used goes.
func TestTLS13SessionServesOnce(t *testing.T) {
	p := newPair(t, tls.VersionTLS13, reprise.Config{})
	p.client.Close()
	c, _ := p.connect(p.sm, p.cm, p.sc, p.cc, p.session)
	if reused, why := c.SessionReused(); !reused {
		t.Fatalf("not resumed: %v", why)
	}
	fresh := wait(t, c)
	defer fresh.Free()
	if got, want := p.goneC.take(), []reprise.Cause{reprise.CauseTaken}; !slices.Equal(got, want) {
		t.Errorf("the client's cache let go %v, want %v", got, want)
	}
	if fresh == p.session || !fresh.Resumable() || p.cm.Len() != 1 {
		t.Errorf("the next session is %v, %d cached", fresh, p.cm.Len())
	}
	if p.session.Resumable() {
		t.Error("the session that was used is still resumable")
	}
}

// clinging is a ClientStore that cannot forget, as one of a directory that is
// not to be written to.
type clinging struct {
	shelf
	takes int
}

func (c *clinging) Forget(context.Context, string, []byte) error {
	return errors.New("read only")
}

func (c *clinging) Take(ctx context.Context, peer string) ([]byte, error) {
	if c.takes++; c.takes > 100 {
		return nil, nil // a handshake that goes on asking would never end
	}
	return c.shelf.Take(ctx, peer)
}

// TestClientStoreClings: a session that may not be offered, of a store that
// does not let go of it, costs a full handshake.
func TestClientStoreClings(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways {
		store := new(clinging)
		m := manager(t, reprise.Config{ClientStore: store})
		config := at(tls.VersionTLS12, s.client)
		config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		s.visit(w, m.Partition(""), s.addr, config)
		config.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
		if shown := s.visit(w, m.Partition(""), s.addr, config); shown == reprise.Resumed {
			t.Errorf("%s: %v", w.name, shown)
		}
		if store.takes > 2*reprise.DefaultSessionsPerPeer {
			t.Errorf("%s: asked %d times", w.name, store.takes)
		}
	}
}

// TestClientStoreLeaves: a session that a connection may not offer is left in
// the store as it is, once.
func TestClientStoreLeaves(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways[1:] {
		shelf := new(shelf)
		m := manager(t, reprise.Config{ClientStore: shelf})
		s.visit(w, m.Partition(""), s.addr, at(tls.VersionTLS10, s.client))
		if shown := s.visit(w, m.Partition(""), s.addr, at(tls.VersionTLS11, s.client)); shown == reprise.Resumed {
			t.Errorf("%s: %v", w.name, shown)
		}
		if kept := shelf.kept(); len(kept) != 2 {
			t.Errorf("%s: %d sessions in the store, of two versions", w.name, len(kept))
		}
	}
}

// TestZeroLifetime: a TLS 1.3 session with a lifetime of zero is discarded at
// once (RFC 8446, section 4.6.1).
func TestZeroLifetime(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, lifetime := range []uint64{0, 60} {
		m := manager(t, reprise.Config{})
		config := at(tls.VersionTLS13, s.client)
		c, err := m.Dial("tcp", s.addr, config)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Handshake(); err != nil {
			t.Fatal(err)
		}
		<-s.shown
		reprise.Receive(c, s.ticket(c, lifetime))
		resumable := c.Session().Resumable()
		c.Close()
		c.Free()
		if next := s.visit(ways[2], m.Partition(""), s.addr, config); resumable != (lifetime > 0) || next == reprise.NothingOffered != (lifetime == 0) {
			t.Errorf("a lifetime of %d seconds: resumable %v, the next connection: %v", lifetime, resumable, next)
		}
	}
}

// ticket returns a session as crypto/tls makes it of a ticket that the server
// of c sends, but that server knows nothing of it.
func (s *shop) ticket(c *reprise.Conn, lifetime uint64) *tls.ClientSessionState {
	s.t.Helper()
	now := uint64(time.Now().Unix())
	st := gotls.State{
		Version: tls.VersionTLS13, Client: true, Suite: c.ConnectionState().CipherSuite,
		CreatedAt: now, UseBy: now + lifetime, Secret: make([]byte, 48),
	}
	for _, chain := range c.ConnectionState().VerifiedChains {
		st.Peer = [][]byte{chain[0].Raw}
		st.Chains = append(st.Chains, [][]byte{chain[1].Raw})
	}
	state, err := st.TLS()
	if err != nil {
		s.t.Fatal(err)
	}
	cs, err := tls.NewResumptionState([]byte("unknown to the server"), state)
	if err != nil {
		s.t.Fatal(err)
	}
	return cs
}

// TestReceiveAfterFree: a session may arrive while the connection is given up,
// since WaitSession leaves a read behind. It is nobody's then.
func TestReceiveAfterFree(t *testing.T) {
	s := newShop(t, reprise.Config{})
	m := manager(t, reprise.Config{})
	config := at(tls.VersionTLS13, s.client)
	s.visit(ways[2], m.Partition(""), s.addr, config)
	c, err := m.Dial("tcp", s.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if shown := <-s.shown; shown != reprise.Resumed {
		t.Fatal(shown)
	}
	late := s.ticket(c, 60)
	c.Free()
	reprise.Receive(c, late)
	if shown := s.visit(ways[2], m.Partition(""), s.addr, config); shown != reprise.NothingOffered {
		t.Errorf("the next connection: %v", shown)
	}
}

// TestTicketsOfOneConnection: sessions that one connection brings are of one
// line, so they end together.
func TestTicketsOfOneConnection(t *testing.T) {
	s := newShop(t, reprise.Config{})
	c, err := manager(t, reprise.Config{}).Dial("tcp", s.addr, at(tls.VersionTLS13, s.client))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Free()
	first := wait(t, c)
	defer first.Free()
	<-s.shown
	reprise.Receive(c, s.ticket(c, 60))
	if second := c.Session(); second == first || !second.SameLineage(first) {
		t.Errorf("a second session: %v, of one line: %v", second != first, second.SameLineage(first))
	}
}

// TestClientSpendsCached: a TLS 1.3 session that was offered of the client's own
// accord leaves the cache, too, when the server declined it.
func TestClientSpendsCached(t *testing.T) {
	s := newShop(t, reprise.Config{})
	for _, w := range ways {
		var gone removals
		m := manager(t, reprise.Config{CacheMode: reprise.CacheClient, OnRemove: gone.note})
		config := at(tls.VersionTLS13, s.client)
		s.visit(w, m.Partition(""), s.addr, config)
		s.m.FlushAll() // and the server knows its tickets no more
		if shown := s.visit(w, m.Partition(""), s.addr, config); shown == reprise.Resumed || shown == reprise.NothingOffered {
			t.Errorf("%s: %v", w.name, shown)
		}
		if got, want := gone.take(), []reprise.Cause{reprise.CauseTaken}; !slices.Equal(got, want) {
			t.Errorf("%s: the cache let go %v, want %v", w.name, got, want)
		}
	}
}

// TestClearAfterFailure: a session that is kept no longer, for the handshake that
// offered it failed, is not offered after Clear either.
func TestClearAfterFailure(t *testing.T) {
	s := newShop(t, reprise.Config{})
	m := manager(t, reprise.Config{})
	config := at(tls.VersionTLS12, s.client)
	s.visit(ways[1], m.Partition(""), s.addr, config)
	nc, ns := pipe(t)
	ns.Write([]byte{21, 3, 3, 0, 2, 2, 40}) // handshake_failure
	c := m.Client(nc, config)
	defer c.Free()
	if err := c.Handshake(); err == nil {
		t.Fatal("the handshake succeeded")
	}
	next, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.Clear(next), c.Handshake()); err != nil {
		t.Fatal(err)
	}
	if shown := <-s.shown; shown != reprise.NothingOffered {
		t.Error(shown)
	}
}

// TestSetSessionTooOld: what the caller sets ends with its line, too.
func TestSetSessionTooOld(t *testing.T) {
	s := newShop(t, reprise.Config{MaxAge: -1, Timeout: 7 * 24 * time.Hour})
	config, addr := s.lasting()
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		clock := newClock()
		m := manager(t, reprise.Config{Time: clock.time, Timeout: 7 * 24 * time.Hour, MaxAge: time.Hour})
		dial := func() *reprise.Conn {
			c, err := m.Dial("tcp", addr, at(version, config))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Free)
			return c
		}
		first := dial()
		session := wait(t, first)
		defer session.Free()
		first.Close()
		clock.pass(time.Hour + 2*time.Second)
		c := dial()
		if err := errors.Join(c.SetSession(session), c.Handshake()); err != nil {
			t.Fatal(err)
		}
		if resumed, why := c.SessionReused(); resumed || why != reprise.TooOld {
			t.Errorf("%s: resumed %v, %v", tls.VersionName(version), resumed, why)
		}
		c.Close()
	}
}

// TestClearReturnsLent: Clear gives back what the connection lent.
func TestClearReturnsLent(t *testing.T) {
	p := newPair(t, tls.VersionTLS12, reprise.Config{})
	p.cm.Remove(p.session)
	lent := p.client.Session()
	before, _ := reprise.Held(lent)
	p.client.Close()
	nc, _ := pipe(t)
	if err := errors.Join(p.client.SetSession(nil), p.client.Clear(nc)); err != nil {
		t.Fatal(err)
	}
	if caller, library := reprise.Held(lent); caller != before || library != 0 {
		t.Errorf("callers hold %d, held %d; the library holds %d", caller, before, library)
	}
}
