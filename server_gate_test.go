package reprise

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise/internal/testpki"
	"pgregory.net/rapid"
)

// host is an address in one of 65536 networks.
func host(network, number int) net.Addr {
	return &net.TCPAddr{IP: net.IPv4(10, byte(network>>8), byte(network), byte(number)), Port: 1024 + number}
}

// guest is a connection with an address that notes that it was closed.
type guest struct {
	net.Conn
	addr net.Addr
	once sync.Once
	gone chan struct{} // closed by Close
}

func newGuest(addr net.Addr) *guest { return &guest{addr: addr, gone: make(chan struct{})} }

// closed reports whether c was closed. If it must have been, closed waits for that:
// connections that make room are closed by goroutines of their own.
func (c *guest) closed(must bool) bool {
	if must {
		<-c.gone
	}
	select {
	case <-c.gone:
		return true
	default:
		return false
	}
}

func (c *guest) RemoteAddr() net.Addr { return c.addr }
func (c *guest) Close() error         { c.once.Do(func() { close(c.gone) }); return nil }

// TestGateModel: whatever enters, finishes and leaves in whatever order, the
// counts are right, the limit holds, the one that makes room is the right one,
// and a closed gate is empty exactly when all have left.
func TestGateModel(t *testing.T) {
	m := newManager(t, Config{})
	rapid.Check(t, func(t *rapid.T) {
		x := gateModel{m: m, gate: newGate(rapid.IntRange(1, 6).Draw(t, "limit"))}
		t.Repeat(map[string]func(*rapid.T){
			"enter":  x.enter,
			"finish": x.finish,
			"leave":  x.leave,
			"close":  x.close,
			"abort":  x.abort,
			"":       x.check,
		})
	})
}

// admit is enter for a connection whose network is known at once.
func admit(g *gate, nc net.Conn, m *Manager) *slot {
	s := g.enter(context.Background(), nc, m)
	if s != nil {
		s.file(m)
	}
	return s
}

func newManager(t testing.TB, c Config) *Manager {
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// gateModel is a gate, and what it should be like.
type gateModel struct {
	m      *Manager
	gate   *gate
	guests []*guestModel // that have not left
	closed bool
	empty  <-chan struct{}
}

type guestModel struct {
	guest    *guest
	slot     *slot
	network  int
	closed   bool // is to be
	finished bool
	shed     bool
}

// count returns how many are under way, in a network or in all (-1), and how
// many have finished.
func (x *gateModel) count(network int) (underway, finished int) {
	for _, g := range x.guests {
		switch {
		case g.finished:
			finished++
		case !g.shed && (network < 0 || g.network == network):
			underway++
		}
	}
	return underway, finished
}

func (x *gateModel) enter(t *rapid.T) {
	_, finished := x.count(-1)
	if !x.closed && finished >= x.gate.limit {
		t.Skip("it would wait")
	}
	network := rapid.IntRange(0, 3).Draw(t, "network")
	g := &guestModel{guest: newGuest(host(network, rapid.IntRange(1, 9).Draw(t, "number"))), network: network}
	if g.slot = admit(x.gate, g.guest, x.m); (g.slot == nil) != x.closed {
		t.Fatalf("enter gave %v, closed is %v", g.slot, x.closed)
	}
	if x.closed {
		return
	}
	x.guests = append(x.guests, g)
	if underway, finished := x.count(-1); underway+finished > x.gate.limit {
		x.victim().shed = true
	}
}

// victim is the oldest of the networks with the most, by age of their oldest.
func (x *gateModel) victim() (v *guestModel) {
	most := 0
	for _, g := range x.guests {
		if n, _ := x.count(g.network); !g.finished && !g.shed && n > most {
			v, most = g, n
		}
	}
	v.closed = true
	return v
}

func (x *gateModel) pick(t *rapid.T, which func(*guestModel) bool) *guestModel {
	var all []*guestModel
	for _, g := range x.guests {
		if which(g) {
			all = append(all, g)
		}
	}
	if len(all) == 0 {
		t.Skip("there is none")
	}
	return rapid.SampledFrom(all).Draw(t, "guest")
}

func (x *gateModel) finish(t *rapid.T) {
	g := x.pick(t, func(g *guestModel) bool { return !g.finished })
	if good := g.slot.finish(); good == g.shed {
		t.Fatalf("finish: %v, shed is %v", good, g.shed)
	}
	g.finished = !g.shed
}

func (x *gateModel) leave(t *rapid.T) {
	g := x.pick(t, func(*guestModel) bool { return true })
	g.slot.leave()
	g.slot.leave() // does nothing
	x.guests = slices.DeleteFunc(x.guests, func(other *guestModel) bool { return other == g })
	x.checkGuest(t, g)
}

func (x *gateModel) close(t *rapid.T) {
	if x.closed {
		t.Skip("it is")
	}
	x.closed, x.empty = true, x.gate.close()
}

func (x *gateModel) abort(*rapid.T) {
	x.gate.abort()
	for _, g := range x.guests {
		g.closed = g.closed || !g.finished
	}
}

func (x *gateModel) check(t *rapid.T) {
	underway, finished := x.count(-1)
	if x.gate.underway.Len() != underway || x.gate.finished != finished {
		t.Fatalf("%d under way, %d finished, want %d, %d", x.gate.underway.Len(), x.gate.finished, underway, finished)
	}
	if underway+finished > x.gate.limit {
		t.Fatalf("%d are in, the limit is %d", underway+finished, x.gate.limit)
	}
	for _, g := range x.guests {
		x.checkGuest(t, g)
	}
	if !x.closed {
		return
	}
	select {
	case <-x.empty:
		if underway+finished > 0 {
			t.Fatalf("empty with %d in", underway+finished)
		}
	default:
		if underway+finished == 0 {
			t.Fatal("not empty, and nobody is in")
		}
	}
}

func (x *gateModel) checkGuest(t *rapid.T, g *guestModel) {
	if g.guest.closed(g.closed) != g.closed {
		t.Fatalf("a guest of network %d: closed %v, want %v", g.network, !g.closed, g.closed)
	}
}

// TestGateFairness: of two networks the one that has more makes room, be it the newcomer's.
func TestGateFairness(t *testing.T) {
	m := newManager(t, Config{})
	g := newGate(2)
	all := []*guest{newGuest(host(1, 1)), newGuest(host(2, 1)), newGuest(host(2, 2)), newGuest(host(2, 3))}
	for _, nc := range all {
		admit(g, nc, m)
	}
	for i, want := range []bool{false, true, true, false} {
		if all[i].closed(want) != want {
			t.Errorf("connection %d from %v: closed %v", i, all[i].addr, !want)
		}
	}
	if n := m.Stats().HandshakesShed; n != 2 {
		t.Errorf("%d handshakes shed, want 2", n)
	}
}

// TestGateFull: finished connections are never closed; while they have all
// slots nobody enters.
func TestGateFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, Config{})
		g := newGate(2)
		first, second := admit(g, newGuest(host(1, 1)), m), admit(g, newGuest(host(1, 2)), m)
		if !first.finish() || !g.wait() || !second.finish() {
			t.Fatal("no room")
		}
		entered, waited := make(chan *slot, 1), make(chan bool, 1)
		go func() { entered <- admit(g, newGuest(host(1, 3)), m) }()
		go func() { waited <- g.wait() }()
		if synctest.Wait(); len(entered) != 0 || len(waited) != 0 {
			t.Error("there is room beside two finished connections")
		}
		first.leave()
		third := <-entered
		if third == nil || !<-waited {
			t.Fatal("no room where one has left")
		}
		third.finish()
		go func() { entered <- admit(g, newGuest(host(1, 3)), m) }()
		go func() { waited <- g.wait() }()
		synctest.Wait()
		empty := g.close()
		if <-entered != nil || <-waited {
			t.Error("the closed gate lets somebody in")
		}
		second.leave()
		third.leave()
		<-empty
		if second.nc.(*guest).closed(false) || third.nc.(*guest).closed(false) || m.Stats().HandshakesShed != 0 {
			t.Error("a finished connection was closed")
		}
	})
}

func (g *gate) counts() (underway, finished int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.underway.Len(), g.finished
}

// crowd is a listener in memory that takes connections from addresses.
type crowd struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newCrowd() *crowd { return &crowd{conns: make(chan net.Conn), done: make(chan struct{})} }

func (l *crowd) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *crowd) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *crowd) Addr() net.Addr { return host(0, 1) }

func (l *crowd) dial(addr net.Addr) net.Conn {
	client, server := net.Pipe()
	l.conns <- addressed{server, addr}
	return client
}

type addressed struct {
	net.Conn
	addr net.Addr
}

func (c addressed) RemoteAddr() net.Addr { return c.addr }

// TestGateCrowd: 10 000 clients connect and say nothing, from one network or
// each from its own. Who has something to say gets in at once, all the time.
func TestGateCrowd(t *testing.T) {
	const silent, every = 10_000, 500
	for name, networkOf := range map[string]func(i int) int{
		"one network":   func(int) int { return 1 },
		"many networks": func(i int) int { return i + 2 },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := testpki.New(t, "root")
				m := newManager(t, Config{})
				inner := newCrowd()
				l, err := m.NewListener(inner, &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}})
				if err != nil {
					t.Fatal(err)
				}
				go echoAll(l)
				config := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test"}
				start := time.Now()
				for i := range silent {
					inner.dial(host(networkOf(i), i%250))
					if i%every == every-1 {
						if err := echoed(inner.dial(host(65000, 1)), config); err != nil {
							t.Fatalf("after %d silent connections: %v", i+1, err)
						}
					}
				}
				if time.Since(start) != 0 {
					t.Error("somebody had to wait for a time-out")
				}
				g := l.(*listener).gate
				synctest.Wait()
				inner.dial(host(1, 1)) // in place of the last one who left
				synctest.Wait()
				if n, _ := g.counts(); n != DefaultMaxHandshakes {
					t.Errorf("%d handshakes under way, want %d", n, DefaultMaxHandshakes)
				}
				if n := m.Stats().HandshakesShed; n < silent-DefaultMaxHandshakes || n > silent-DefaultMaxHandshakes+silent/every {
					t.Errorf("%d handshakes shed of %d", n, silent)
				}
				time.Sleep(DefaultHandshakeTimeout)
				synctest.Wait()
				if underway, finished := g.counts(); underway != 0 || finished != 0 {
					t.Errorf("%d under way and %d finished after the time limit", underway, finished)
				}
				l.Close()
			})
		})
	}
}

// echoAll gives every connection of l back the byte that it sends.
func echoAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 1)
			if _, err := io.ReadFull(c, buf); err == nil {
				c.Write(buf)
			}
		}()
	}
}

// echoed exchanges a byte over nc.
func echoed(nc net.Conn, config *tls.Config) error {
	defer nc.Close()
	c := tls.Client(nc, config)
	buf := []byte{'x'}
	if _, err := c.Write(buf); err != nil {
		return err
	}
	if _, err := io.ReadFull(c, buf); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	return nil
}

// TestGateStress: many goroutines use a gate; in the end nobody is in.
func TestGateStress(t *testing.T) {
	m := newManager(t, Config{})
	g := newGate(8)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				s := admit(g, newGuest(host(rand.IntN(4), 1)), m)
				if rand.IntN(2) == 0 {
					s.finish()
				}
				s.leave()
			}
		})
	}
	wg.Wait()
	select {
	case <-g.close():
	default:
		t.Errorf("%d under way, %d finished in the end", g.underway.Len(), g.finished)
	}
}
