package reprise

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"
)

// maxKeptTicket is the longest ticket that clients keep, in bytes, which is the
// longest that our servers make: a server decides what it has in there, and whose
// memory it takes.
const maxKeptTicket = maxTicket

var errLargeTicket = fmt.Errorf("reprise: ticket of more than %d bytes", maxKeptTicket)

func (s *Session) ticketLen() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.f.Ticket)
}

// clientPeer is a server as a client knows it, with the sessions that are kept
// for it: in memory, or in Config.ClientStore where its scope has a name there.
type clientPeer struct {
	m     *Manager
	scope *scope
	name  string
}

// keepsClients reports whether clients keep sessions of their own accord.
func (m *Manager) keepsClients() bool {
	return m.config.SessionsPerPeer > 0 && m.config.CacheMode&cacheSides != CacheOff
}

// key is where the peer's sessions are in memory, those of TLS 1.3, which serve
// once, apart from older ones: a connection may speak the one or the other. The
// generation is that of now.
func (p *clientPeer) key(once bool, generation uint32) *peerKey {
	return &peerKey{scope: p.scope.id, generation: generation, once: once, peer: p.name}
}

// store returns the store and the same place in it, nil if the peer's sessions
// are not there.
func (p *clientPeer) store(once bool) (ClientStore, string) {
	if p.m.config.ClientStore == nil || p.scope.name == "" {
		return nil, ""
	}
	return p.m.config.ClientStore, p.scope.name + string(flag(1, once)) + p.name
}

// take returns the session to offer to a peer with which one speaks versions
// low to high. A TLS 1.3 session is spent by it. If the session comes as a
// Session it is held.
func (p *clientPeer) take(low, high uint16) (c clientSession, ok bool) {
	ok = p.takeTo(&c, low, high)
	return c, ok
}

// takeTo is take without the copy.
func (p *clientPeer) takeTo(c *clientSession, low, high uint16) bool {
	if p.m.closed.Load() {
		return false
	}
	now := p.m.clientNow()
	return high >= tls.VersionTLS13 && p.takeOf(true, now, c) ||
		low < tls.VersionTLS13 && p.takeOf(false, now, c)
}

func (p *clientPeer) takeOf(once bool, now clientTime, c *clientSession) (ok bool) {
	if store, name := p.store(once); store != nil {
		*c, ok = p.takeStored(store, name, once, now)
		return ok
	}
	return p.m.clients.take(p.key(once, p.scope.generation()), now, c)
}

func (p *clientPeer) takeStored(store ClientStore, name string, once bool, now clientTime) (c clientSession, ok bool) {
	err := p.m.askStore(func(ctx context.Context) error {
		for range p.m.config.SessionsPerPeer { // it may give again what it was to forget
			der, err := store.Take(ctx, name)
			if err != nil || der == nil {
				return err
			}
			if c, ok = p.usable(der, once, now); ok {
				return nil
			}
			err = store.Forget(ctx, name, der)
			if clear(der); err != nil {
				return err
			}
		}
		return nil
	})
	p.m.storeFailed("session not taken", err)
	return c, ok
}

// usable makes a session of what a store gave, if it is good.
func (p *clientPeer) usable(der []byte, once bool, now clientTime) (c clientSession, ok bool) {
	c, err := p.stored(der)
	if err != nil || c.once != once || !c.good(now) {
		c.session.release()
		return clientSession{}, false
	}
	clear(der)
	p.m.clients.offer(p.key(once, p.scope.generation()), &c)
	return c, true
}

// stored makes a session of what a store kept. What is in the store is as good
// as memory: whoever writes there could as well have made up the secrets.
func (p *clientPeer) stored(der []byte) (c clientSession, err error) {
	s, rest, err := decode(der, p.m.now().Unix())
	if err != nil {
		return c, errUndecodable
	}
	s.start(libraryRef)
	if len(rest) > 0 {
		s.release()
		return c, errUndecodable
	}
	s.owner.Store(p.m)
	// The store held it no longer than its certificate is good, and crypto/tls looks again.
	return p.m.clientSession(s, neverExpires), nil
}

// clientSession describes s, with a reference that it comes with.
func (m *Manager) clientSession(s *Session, notAfter int64) clientSession {
	s.mu.RLock()
	defer s.mu.RUnlock()
	c := clientSession{session: s, once: s.f.Version == tls.VersionTLS13, timed: s.timed}
	c.line = clientLine{s.born() / int64(time.Second), m.sequence.number(s.rec.Sequence)}
	life := min(clientLifetime(&s.f), m.clients.timeout)
	c.expires = min(addSeconds(s.f.Time, life), addSeconds(c.line.born, m.clients.maxAge), notAfter)
	c.life = c.expires - s.f.Time
	return c
}

// keep keeps c, whose session comes with a reference.
func (p *clientPeer) keep(c clientSession) {
	if store, name := p.store(c.once); store != nil && c.session != nil {
		if !p.m.closed.Load() {
			p.put(store, name, c)
		}
		c.session.release()
		return
	}
	p.remember(&c)
}

// remember is keep in memory.
func (p *clientPeer) remember(c *clientSession) {
	p.m.clients.put(p.key(c.once, p.scope.generation()), c)
	if p.m.closed.Load() { // nobody else would let go of what came after Close
		p.m.clients.clear()
	}
}

func (p *clientPeer) put(store ClientStore, name string, c clientSession) {
	p.m.storeFailed("session not kept", p.m.askStore(func(ctx context.Context) error {
		der, err := c.session.MarshalBinary()
		if err != nil {
			return err
		}
		defer clear(der)
		return store.Put(ctx, name, der, time.Unix(c.expires, 0), c.once)
	}))
}

// drop keeps a session no longer: it turned out bad, was replaced, or is
// offered already.
func (p *clientPeer) drop(c clientSession) {
	if store, name := p.store(c.once); store != nil && c.session != nil {
		p.forget(store, name, c.session)
		return
	}
	p.m.clients.drop(p.key(c.once, p.scope.generation()), c.state, c.session)
}

func (p *clientPeer) forget(store ClientStore, name string, s *Session) {
	p.m.storeFailed("session not forgotten", p.m.askStore(func(ctx context.Context) error {
		der, err := s.MarshalBinary()
		if err != nil {
			return err
		}
		defer clear(der)
		return store.Forget(ctx, name, der)
	}))
}

// refuse drops a session that a connection is not to offer, for a reason.
func (p *clientPeer) refuse(c clientSession, why Reason) {
	p.drop(c)
	if why == Revoked { // what comes next does not descend from it
		p.restart(c.once)
	}
}

// beginFull notes that a connection that nobody watches begins with nothing to
// offer. What was revoked by now is not what it leads to.
func (p *clientPeer) beginFull() {
	if p.m.revocations.active.Load() {
		p.restart(true)
		p.restart(false)
	}
}

func (p *clientPeer) restart(once bool) {
	p.m.clients.restart(p.key(once, p.scope.generation()), p.m.sequence.next(), p.m.revocations.watermarkTime())
}

// offerable returns c as crypto/tls takes it, and sees to it that c has its
// session too, held.
func (p *clientPeer) offerable(c *clientSession) (cs *tls.ClientSessionState, err error) {
	if c.session == nil {
		c.session, _, err = p.unwatched(c)
	} else if c.state == nil {
		c.state, err = p.m.clientState(c.session)
	}
	return c.state, err
}

// received describes in c what the server sent on a connection that nobody
// watched.
func (p *clientPeer) received(cs *tls.ClientSessionState, c *clientSession) error {
	ticket, ss, err := cs.ResumptionState()
	if err != nil || ss == nil {
		return errUndecodable
	}
	if len(ticket) > maxKeptTicket {
		return errLargeTicket
	}
	c.state, c.unwatched = cs, true
	times, err := p.m.clients.times.Times(ss)
	if err != nil {
		return err
	}
	c.once, c.timed = times.Version == tls.VersionTLS13, p.m.uptime()
	c.line = clientLine{int64(times.CreatedAt), p.m.sequence.next()}
	c.expires = addSeconds(c.line.born, p.m.clients.timeout)
	if times.UseBy != 0 {
		c.expires = min(c.expires, int64(times.UseBy))
	}
	c.life = c.expires - c.line.born
	return nil
}

// failed drops what was offered last, as far as it is kept: it was no good.
func (p *clientPeer) failed() {
	state, session := p.m.clients.takeOffered(p.key(false, p.scope.generation()))
	p.drop(clientSession{state: state, session: session})
	session.release()
}

// unwatched makes a Session of c, which the server sent on a connection that
// nobody watched, and returns until when the server's certificate is good. It
// comes with a reference.
func (p *clientPeer) unwatched(c *clientSession) (s *Session, until int64, err error) {
	ticket, ss, err := c.state.ResumptionState()
	if err != nil {
		return nil, until, err
	}
	o := &origin{contextID: p.m.config.ContextID, ticket: ticket, hostname: hostOfKey(p.name), line: p.m.newLine(), timed: c.timed}
	o.firstAuth, o.sequence = c.line.born*int64(time.Second), p.m.sequence.mark(c.line.number)
	if s, err = p.m.fromTLS(ss, &tls.ConnectionState{}, o); err != nil {
		return nil, until, err
	}
	s.start(libraryRef)
	good, ok := goodUntil(s.f.Peer)
	if !ok {
		s.release()
		return nil, until, errNoPeer
	}
	return s, good.Unix(), nil
}
