package reprise_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/reprise-tls/reprise"
)

// memory is one end of a connection in memory, with buffers that have no end.
type memory struct {
	net.Conn // for addresses and deadlines
	in, out  *half
}

// half leads one way.
type half struct {
	mu     sync.Mutex
	change *sync.Cond
	data   []byte
	err    error // of reading, once data is empty
	broken error // of writing
	held   bool  // a Write does not return until this is over, but its bytes go
	stuck  bool  // a Write does not even send
}

func newHalf() *half {
	h := new(half)
	h.change = sync.NewCond(&h.mu)
	return h
}

func inMemory() (a, b *memory) {
	x, y := net.Pipe()
	there, back := newHalf(), newHalf()
	return &memory{untimed{x}, back, there}, &memory{untimed{y}, there, back}
}

func (h *half) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	h.change.Broadcast()
}

func (m *memory) Read(b []byte) (int, error) {
	h := m.in
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.data) == 0 && h.err == nil {
		h.change.Wait()
	}
	if len(h.data) == 0 {
		return 0, h.err
	}
	n := copy(b, h.data)
	h.data = h.data[n:]
	return n, nil
}

func (m *memory) Write(b []byte) (int, error) {
	h := m.out
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.stuck && h.broken == nil {
		h.change.Wait()
	}
	if h.broken != nil {
		return 0, h.broken
	}
	h.data = append(h.data, b...)
	h.change.Broadcast()
	for h.held && h.broken == nil {
		h.change.Wait()
	}
	return len(b), nil
}

// Close ends both ways; the other end reads what was sent before.
func (m *memory) Close() error {
	m.out.set(func() { m.out.broken, m.out.err = net.ErrClosed, cmp.Or(m.out.err, io.EOF) })
	m.in.set(func() { m.in.err, m.in.data = net.ErrClosed, nil })
	return m.Conn.Close()
}

// end ends a way after what was written to it.
func (h *half) end(err error) {
	h.set(func() { h.err, h.broken = cmp.Or(h.err, err), cmp.Or(h.broken, error(syscall.EPIPE)) })
}

// role is whose connection it is.
type role int

const (
	alone  role = iota // a client that keeps sessions by itself
	inHand             // a client whose caller called SetSession
	onServer
)

func (r role) String() string {
	return [...]string{"client that keeps sessions", "client with SetSession", "server"}[r]
}

// drama is a connection to which something happens, and its session.
type drama struct {
	t       *testing.T
	conn    *reprise.Conn
	near    *memory // the connection's transport
	far     *memory
	peer    *tls.Conn
	session *reprise.Session
	acts    sync.WaitGroup
	manager *reprise.Manager
}

func newDrama(t *testing.T, r *rig, who role, version uint16) *drama {
	d := &drama{t: t}
	m, err := reprise.New(reprise.Config{NoTickets: true, CacheMode: reprise.CacheBoth})
	if err != nil {
		t.Fatal(err)
	}
	d.manager = m
	a, b := inMemory()
	var ours *reprise.Conn
	if d.near, d.far = a, b; who == onServer {
		ours = m.Server(a, at(version, r.server))
		config := at(version, r.client)
		config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		d.peer = tls.Client(b, config)
	} else {
		ours = m.Client(a, at(version, r.client))
		d.peer = tls.Server(b, at(version, r.server))
		if who == inHand {
			if err := ours.SetSession(nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.conn = ours
	shaken := make(chan error, 1)
	go func() { shaken <- d.peer.Handshake() }()
	if err := errors.Join(ours.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	if who != onServer {
		d.session = wait(t, ours)
	} else if d.session = ours.AcquireSession(); d.session == nil {
		t.Fatal("the server has no session")
	}
	d.acts.Go(func() { io.Copy(io.Discard, d.peer) })
	synctest.Wait()
	return d
}

// write writes, unless an earlier Write is stuck: crypto/tls waits for that under
// a mutex, of which synctest would wait to see the end.
func (d *drama) write(stuck bool) {
	if d.near.out.stuck {
		return
	}
	d.near.out.set(func() { d.near.out.stuck = stuck })
	d.acts.Go(func() { d.conn.Write([]byte("x")) })
}

// end lets everything go that still waits.
func (d *drama) end() {
	d.near.out.set(func() { d.near.out.held, d.near.out.stuck = false, false })
	d.conn.Close()
	d.conn.Free()
	d.peer.Close()
	d.acts.Wait()
	d.session.Free()
	d.manager.Close()
}

// happening is something that happens to a connection.
type happening struct {
	name string
	do   func(d *drama)
}

const (
	doClose        = "Close"
	doCloseHanging = "Close that does not return when close_notify is out"
	doFree         = "Free"
	doClear        = "Clear"
	doWrite        = "Write"
	doWriteHanging = "Write that does not return"
	doRead         = "Read"
	doWait         = "WaitSession"
	peerCloses     = "the peer's close_notify"
	peerEnds       = "the peer's end"
	peerAlerts     = "the peer's alert"
	doReset        = "a reset"
)

var happenings = []happening{
	{doClose, func(d *drama) { d.acts.Go(func() { d.conn.Close() }) }},
	{doCloseHanging, func(d *drama) {
		d.near.out.set(func() { d.near.out.held = true })
		d.acts.Go(func() { d.conn.Close() })
	}},
	{doFree, func(d *drama) { d.conn.Free() }},
	{doClear, func(d *drama) {
		next, _ := inMemory()
		if err := d.conn.Clear(next); err != nil {
			next.Close()
		}
	}},
	{doWrite, func(d *drama) { d.write(false) }},
	{doWriteHanging, func(d *drama) { d.write(true) }},
	{doRead, func(d *drama) { d.acts.Go(func() { io.Copy(io.Discard, d.conn) }) }},
	{doWait, func(d *drama) {
		d.acts.Go(func() {
			s, _ := d.conn.WaitSession(context.Background())
			s.Free()
		})
	}},
	{peerCloses, func(d *drama) { d.acts.Go(func() { d.peer.CloseWrite() }) }},
	{peerEnds, func(d *drama) { d.near.in.end(io.EOF) }},
	{peerAlerts, func(d *drama) { // it finds a record that no key made
		d.far.in.set(func() { d.far.in.data = append(d.far.in.data, 23, 3, 3, 0, 1, 0) })
	}},
	{doReset, func(d *drama) {
		d.near.in.end(syscall.ECONNRESET)
		d.near.out.end(syscall.ECONNRESET)
	}},
}

// enact has happen what script says, each until nothing moves any more, and
// reports whether the session is good then.
func enact(t *testing.T, r *rig, who role, version uint16, script []happening) (good bool) {
	d := newDrama(t, r, who, version)
	defer d.end()
	for _, h := range script {
		h.do(d)
		synctest.Wait()
	}
	return d.session.Resumable()
}

// goodByRules says what becomes of the session in the words of the rules. In
// TLS 1.3 the WaitSession that brought a client's session still reads.
func goodByRules(who role, version uint16, script []happening) bool {
	strict, read := who != alone, who != onServer && version == tls.VersionTLS13
	var closed, reset, stuck bool
	var news string // what a reader finds
	for _, h := range script {
		switch h.name {
		case doClose, doCloseHanging:
			closed = closed || stuck || !reset // close_notify cannot leave after a reset
		case doWriteHanging:
			stuck = !closed && !reset
		case doRead:
			read = true
		case peerCloses, peerEnds, peerAlerts, doReset:
			news = cmp.Or(news, h.name)
			if h.name == doReset {
				reset, stuck = true, false
			}
		case doFree, doClear: // what comes after that finds another connection, or none
			return closed || !strict
		}
		if read && !closed && (news == peerAlerts || news == peerEnds && strict) {
			return false
		}
	}
	return true
}

// scripts gives every order of up to most different happenings, and then some
// of five, among them any number of times.
func scripts(most, some int) (all [][]happening) {
	var extend func(script []happening)
	extend = func(script []happening) {
		for _, h := range happenings {
			if !slices.ContainsFunc(script, func(g happening) bool { return g.name == h.name }) {
				longer := append(slices.Clone(script), h)
				if all = append(all, longer); len(longer) < most {
					extend(longer)
				}
			}
		}
	}
	extend(nil)
	random := rand.New(rand.NewPCG(1, 2))
	for range some {
		var script []happening
		for range 5 {
			script = append(script, happenings[random.IntN(len(happenings))])
		}
		all = append(all, script)
	}
	return all
}

// TestFateOfSessions: whatever happens to a connection in whatever order, its
// session fares as the rules say.
func TestFateOfSessions(t *testing.T) {
	most, some := 2, 150
	if os.Getenv("REPRISE_LONG") != "" {
		most, some = 4, 20000
	}
	synctest.Test(t, func(t *testing.T) { playAll(t, scripts(most, some)) })
}

func playAll(t *testing.T, scripts [][]happening) {
	r := newRig(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, who := range []role{alone, inHand, onServer} {
			for _, script := range scripts {
				if good := enact(t, r, who, version, script); good != goodByRules(who, version, script) {
					var names []string
					for _, h := range script {
						names = append(names, h.name)
					}
					t.Errorf("%s, %s: %q: the session is good: %v", tls.VersionName(version), who, names, good)
				}
			}
		}
	}
}

// TestFateModel: every order of up to five events, and what they make of the
// session.
func TestFateModel(t *testing.T) {
	for n := range 4 {
		strict, ignoreEOF := n&1 != 0, n&2 != 0
		for _, script := range fateScripts(nil, 5) {
			on, bad := reprise.Fate(strict, ignoreEOF), false
			for _, e := range script {
				bad = on(e)
			}
			if bad != badByRules(strict, ignoreEOF, script) {
				t.Fatalf("strict %v, ignoring ends %v, %v: bad %v", strict, ignoreEOF, script, bad)
			}
		}
	}
}

// fateScripts gives every order of events that begins with script and has up to
// most, in which no close ends that did not begin.
func fateScripts(script []reprise.FateEvent, most int) (all [][]reprise.FateEvent) {
	all = append(all, script)
	if len(script) == most {
		return all
	}
	for _, e := range []reprise.FateEvent{reprise.SessionSet, reprise.CloseBegins, reprise.CloseSent, reprise.CloseUnsent,
		reprise.PeerEnded, reprise.Alerted, reprise.Left} {
		if ends := e == reprise.CloseSent || e == reprise.CloseUnsent; !ends || closesAt(script) > 0 {
			all = append(all, fateScripts(append(slices.Clone(script), e), most)...)
		}
	}
	return all
}

// closesAt returns how many calls are sending close_notify after script.
func closesAt(script []reprise.FateEvent) (n int) {
	for _, e := range script {
		switch e {
		case reprise.CloseBegins:
			n++
		case reprise.CloseSent, reprise.CloseUnsent:
			n--
		}
	}
	return n
}

// badByRules: a session is bad if something spoke against it, and there was a
// moment from then on in which close_notify was neither sent nor being sent.
func badByRules(strict, ignoreEOF bool, script []reprise.FateEvent) bool {
	for i, e := range script {
		owned := strict || slices.Contains(script[:i], reprise.SessionSet)
		speaks := e == reprise.Alerted || owned && (e == reprise.PeerEnded && !ignoreEOF || e == reprise.Left && closesAt(script[:i]) == 0)
		for j := i + 1; speaks && j <= len(script); j++ {
			if closesAt(script[:j]) == 0 && !slices.Contains(script[:j], reprise.CloseSent) {
				return true
			}
		}
	}
	return false
}
