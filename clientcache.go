package reprise

import (
	"container/list"
	"crypto/tls"
	"net"
	"slices"
	"sync"
)

// Bounds of what ClientConfig keeps.
const (
	maxPeers           = 1024 // peers, the least recently used goes
	maxSessionsPerPeer = 8    // sessions of a peer, the oldest goes
)

// ClientConfig returns a configuration for any code that makes TLS clients of
// a *tls.Config: it keeps several sessions for each peer, newest first, offers
// a TLS 1.3 session once and a TLS 1.2 session until it expires. Every call
// starts with no sessions: what one configuration was given, another never
// offers. base is copied; its ClientSessionCache is not used.
//
// Clones of the configuration share its sessions, as http.Transport's do;
// crypto/tls checks the peer's name and chain against each clone before a
// session is offered. A clone with other Certificates needs a ClientConfig of
// its own.
func (m *Manager) ClientConfig(base *tls.Config) *tls.Config {
	c := cloneConfig(base)
	c.ClientSessionCache = &clientStore{m: m, peers: make(map[string]*list.Element)}
	if c.Time == nil {
		c.Time = m.config.Time
	}
	return c
}

// clientStore is the ClientSessionCache of one configuration and its clones.
type clientStore struct {
	m *Manager

	mu    sync.Mutex
	peers map[string]*list.Element // of *peerSessions
	order list.List                // least recently used at the back
}

// peerSessions are the sessions of one peer, newest first, each held.
type peerSessions struct {
	key      string
	sessions []*Session
}

// Get takes the newest session that is still good; in TLS 1.3 it is spent.
func (cs *clientStore) Get(key string) (*tls.ClientSessionState, bool) {
	for {
		s := cs.take(key)
		if s == nil {
			return nil, false
		}
		state, err := cs.m.clientState(s)
		if s.ProtocolVersion() == tls.VersionTLS13 && s.inCache.Load() {
			cs.m.cache.remove(s, CauseTaken)
		}
		s.release()
		if err == nil {
			return state, true
		}
		cs.m.config.Logger.Warn("session not offered", "session", s, "err", err)
		cs.drop(key, s)
	}
}

// take returns the session to offer, held.
func (cs *clientStore) take(key string) *Session {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e, ok := cs.peers[key]
	if !ok {
		return nil
	}
	cs.order.MoveToFront(e)
	p := e.Value.(*peerSessions)
	for len(p.sessions) > 0 {
		s := p.sessions[0]
		good := cs.m.fresh(s)
		if good && s.ProtocolVersion() < tls.VersionTLS13 && s.hold() {
			return s
		}
		p.sessions = p.sessions[1:]
		if good {
			return s // with the reference that the list had
		}
		s.release()
	}
	return nil
}

// fresh reports whether a client may still offer s.
func (m *Manager) fresh(s *Session) bool {
	if !s.Resumable() {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return m.now().Unix() <= addSeconds(s.f.Time, clientLifetime(&s.f))
}

// Put keeps a session that the server sent, or drops what is kept of a peer
// whose chain does not hold any more.
func (cs *clientStore) Put(key string, state *tls.ClientSessionState) {
	if state == nil {
		cs.forget(key)
		return
	}
	ticket, ss, err := state.ResumptionState()
	if err != nil || ss == nil {
		return
	}
	o := &origin{contextID: cs.m.config.ContextID, ticket: ticket}
	if _, _, err := net.SplitHostPort(key); err != nil {
		o.hostname = normalName(key)
	}
	cs.m.newLine(o)
	s, err := cs.m.fromTLS(ss, &tls.ConnectionState{}, o)
	if err != nil {
		cs.m.config.Logger.Warn("received session not kept", "err", err)
		return
	}
	s.start(libraryRef)
	cs.keep(key, s)
	cs.m.settle(s, cs.m.config.CacheMode.client())()
}

func (cs *clientStore) keep(key string, s *Session) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e, ok := cs.peers[key]
	if !ok {
		e = cs.order.PushFront(&peerSessions{key: key})
		cs.peers[key] = e
		if cs.order.Len() > maxPeers {
			cs.forgetLocked(cs.order.Back())
		}
	}
	p := e.Value.(*peerSessions)
	p.sessions = slices.Insert(p.sessions, 0, s)
	if n := len(p.sessions); n > maxSessionsPerPeer {
		p.sessions[n-1].release()
		p.sessions = p.sessions[:n-1]
	}
}

// drop forgets one session of a peer.
func (cs *clientStore) drop(key string, s *Session) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	e, ok := cs.peers[key]
	if !ok {
		return
	}
	p := e.Value.(*peerSessions)
	if i := slices.Index(p.sessions, s); i >= 0 {
		p.sessions = slices.Delete(p.sessions, i, i+1)
		s.release()
	}
}

func (cs *clientStore) forget(key string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if e, ok := cs.peers[key]; ok {
		cs.forgetLocked(e)
	}
}

func (cs *clientStore) forgetLocked(e *list.Element) {
	p := e.Value.(*peerSessions)
	for _, s := range p.sessions {
		s.release()
	}
	delete(cs.peers, p.key)
	cs.order.Remove(e)
}
