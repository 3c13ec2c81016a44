package reprise

import (
	"net"
	"sync"

	"github.com/reprise-tls/reprise/internal/fair"
)

// gate bounds the handshakes under way and those that ended and wait for
// Accept. At the limit one under way makes room, fairly among networks, so that
// clients which connect and say nothing keep nobody out.
type gate struct {
	limit int

	mu       sync.Mutex
	changed  sync.Cond // finished or closed
	underway fair.Set[*slot]
	finished int
	closed   bool
	empty    chan struct{} // closed once a closed gate is empty
}

// slot is a connection's place.
type slot struct {
	gate     *gate
	nc       net.Conn
	item     *fair.Item[*slot]
	shed     bool // closed to make room
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

// enter gives a handshake a slot, once there is room; nil if the gate is closed.
func (g *gate) enter(nc net.Conn, m *Manager) *slot {
	s := &slot{gate: g, nc: nc}
	shed, ok := g.add(s, fair.Network(nc.RemoteAddr()))
	if !ok {
		return nil
	}
	if shed != nil {
		m.stats.shed.Add(1)
		m.warn("handshake closed: too many are under way (Config.MaxHandshakes)", "peer", addressString(shed.nc.RemoteAddr()))
		shed.nc.Close()
	}
	return s
}

// add adds s and returns the slot that makes room for it, nil if there was room.
func (g *gate) add(s *slot, network fair.Name) (shed *slot, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.room() {
		return nil, false
	}
	s.item = g.underway.Add(network, 1, s)
	if g.underway.Len()+g.finished > g.limit {
		shed = g.underway.Victim().Value // never s, which is the newest of several
		shed.shed = true
		g.underway.Remove(shed.item)
	}
	return shed, true
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
	}
	s.left = true
	g.changed.Broadcast()
	g.settle()
}

// settle closes empty when it is time. The caller holds g.mu.
func (g *gate) settle() {
	if g.closed && g.underway.Len()+g.finished == 0 && g.empty != nil {
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
	var all []net.Conn
	for item := range g.underway.All() {
		all = append(all, item.Value.nc)
	}
	g.mu.Unlock()
	for _, nc := range all { // a transport may take its time to close
		nc.Close()
	}
}
