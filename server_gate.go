package reprise

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/reprise-tls/reprise/internal/fair"
)

// gate bounds the handshakes under way and those that ended and wait for
// Accept. At the limit one under way makes room, fairly among networks, so that
// clients which connect and say nothing keep nobody out.
type gate struct {
	limit int

	mu       sync.Mutex
	changed  sync.Cond       // finished or closed
	arrivals fair.Set[*slot] // whose network is not known yet, as many as limit besides
	underway fair.Set[*slot]
	finished int
	closed   bool
	empty    chan struct{} // closed once a closed gate is empty
}

// slot is a connection's place.
type slot struct {
	gate     *gate
	nc       net.Conn
	ctx      context.Context // of the handshake
	cancel   context.CancelFunc
	item     *fair.Item[*slot]
	peer     string // for the log; "" until it is filed
	shed     bool   // closed to make room
	finished bool
	left     bool
}

func newGate(limit int) *gate {
	g := &gate{limit: limit, empty: make(chan struct{})}
	g.changed.L = &g.mu
	return g
}

// wait waits until there is room, or can be; false once the gate is closed.
func (g *gate) wait() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.room()
}

// room is wait for a caller that holds g.mu.
func (g *gate) room() bool {
	for !g.closed && g.finished >= g.limit {
		g.changed.Wait()
	}
	return !g.closed
}

// enter gives a connection a slot, once there is room; nil if the gate is closed.
// It does not use nc: some transports read from the peer to know its address. The
// handshake runs under the slot's context, which ends with it.
func (g *gate) enter(ctx context.Context, nc net.Conn, m *Manager) *slot {
	s := &slot{gate: g, nc: nc}
	s.ctx, s.cancel = context.WithCancel(ctx)
	g.mu.Lock()
	if !g.room() {
		g.mu.Unlock()
		s.cancel()
		return nil
	}
	s.item = g.arrivals.Add(fair.Name{}, 1, s)
	var shed *slot
	if g.arrivals.Len() > g.limit {
		shed = g.shed(&g.arrivals)
	}
	g.mu.Unlock()
	shed.makeRoom(m)
	return s
}

// file puts the slot on the account of the peer's network, once there is room.
func (s *slot) file(m *Manager) {
	addr := s.nc.RemoteAddr()
	network, peer := fair.Network(addr), addressString(addr)
	g := s.gate
	g.mu.Lock()
	g.room()
	var shed *slot
	if !s.shed {
		s.peer = peer
		g.arrivals.Remove(s.item)
		s.item = g.underway.Add(network, 1, s)
		if !g.closed && g.underway.Len()+g.finished > g.limit {
			shed = g.shed(&g.underway) // not s, which is the newest of several
		}
	}
	g.mu.Unlock()
	shed.makeRoom(m)
}

// shed takes the slot that makes room out of a set. The caller holds g.mu.
func (g *gate) shed(from *fair.Set[*slot]) *slot {
	s := from.Victim().Value
	s.shed = true
	from.Remove(s.item)
	return s
}

// makeRoom closes a connection that was shed, if s is not nil.
func (s *slot) makeRoom(m *Manager) {
	if s == nil {
		return
	}
	go s.abort() // a transport may take its time to close
	m.stats.shed.Add(1)
	m.warn("handshake closed: too many are under way (Config.MaxHandshakes)", "peer", s.peer)
}

// abortGrace is how long a handshake whose connection was closed has left until
// its context ends: one that waits for the connection fails by that.
const abortGrace = time.Second

// abort ends the handshake. A callback of the application's that heeds neither
// its context nor the connection goes on.
func (s *slot) abort() {
	time.AfterFunc(abortGrace, s.cancel)
	s.nc.Close()
}

// finish notes that the handshake is complete; false if it was closed to make room.
func (s *slot) finish() bool {
	s.gate.mu.Lock()
	defer s.gate.mu.Unlock()
	if s.shed {
		return false
	}
	s.gate.underway.Remove(s.item)
	s.gate.finished++
	s.finished = true
	return true
}

// leave gives the slot up. It may be called on nil.
func (s *slot) leave() {
	if s == nil {
		return
	}
	s.cancel()
	g := s.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case s.left:
		return
	case s.finished:
		g.finished--
	case !s.shed:
		g.underway.Remove(s.item)
		g.arrivals.Remove(s.item)
	}
	s.left = true
	g.changed.Broadcast()
	g.settle()
}

// settle closes empty when it is time. The caller holds g.mu.
func (g *gate) settle() {
	if g.closed && g.arrivals.Len()+g.underway.Len()+g.finished == 0 && g.empty != nil {
		close(g.empty)
		g.empty = nil
	}
}

// close lets nobody in any more. It returns what is closed when all have left.
func (g *gate) close() (empty <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	empty, g.closed = g.empty, true
	g.changed.Broadcast()
	g.settle()
	return empty
}

// abort closes the handshakes under way.
func (g *gate) abort() {
	g.mu.Lock()
	var all []*slot
	for _, set := range []*fair.Set[*slot]{&g.arrivals, &g.underway} {
		for item := range set.All() {
			all = append(all, item.Value)
		}
	}
	g.mu.Unlock()
	for _, s := range all { // a transport may take its time to close
		go s.abort()
	}
}
