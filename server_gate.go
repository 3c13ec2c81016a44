package reprise

import (
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
	for !g.closed && g.finished >= g.limit {
		g.changed.Wait()
	}
	return !g.closed
}

// enter gives a handshake a slot; nil once the gate is closed.
func (g *gate) enter(nc net.Conn, m *Manager) *slot {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return nil
	}
	var shed *slot
	if g.underway.Len()+g.finished >= g.limit {
		if v := g.underway.Victim(); v != nil {
			shed = v.Value
			shed.shed = true
			g.underway.Remove(v)
		}
	}
	s := &slot{gate: g, nc: nc}
	s.item = g.underway.Add(fair.Network(nc.RemoteAddr()), 1, s)
	g.mu.Unlock()
	if shed != nil {
		m.stats.shed.Add(1)
		m.warn("handshake closed: too many are under way (Config.MaxHandshakes)", "peer", addressString(shed.nc.RemoteAddr()))
		shed.nc.Close()
	}
	return s
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

// close lets nobody in any more. Handshakes under way have grace left, or are
// closed if that is 0. It returns what is closed when all have left.
func (g *gate) close(grace time.Duration) (empty <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	empty, g.closed = g.empty, true
	for s := range g.underway.All() {
		if grace == 0 {
			s.Value.nc.Close()
		} else {
			s.Value.nc.SetDeadline(time.Now().Add(grace))
		}
	}
	g.changed.Broadcast()
	g.settle()
	return empty
}
