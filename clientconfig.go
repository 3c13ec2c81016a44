package reprise

import (
	"crypto/tls"
	"net"
)

// configCache is the ClientSessionCache of a configuration and its clones.
type configCache struct {
	m         *Manager
	scope     *scope
	low, high uint16 // the versions that it speaks
}

func (cc *configCache) peer(key string) clientPeer {
	return clientPeer{m: cc.m, scope: cc.scope, name: key}
}

// Get takes the newest session that is still good; in TLS 1.3 it is spent.
func (cc *configCache) Get(key string) (*tls.ClientSessionState, bool) {
	p := cc.peer(key)
	for range cc.m.config.SessionsPerPeer { // a store may give again what it was to forget
		var c clientSession
		if !p.takeTo(&c, cc.low, cc.high) {
			p.beginFull()
			return nil, false
		}
		if c.session == nil && !cc.m.revocations.active.Load() {
			return c.state, true
		}
		if c.session != nil && !c.session.HasTicket() { // a Conn may offer its id
			c.session.release()
			return nil, false
		}
		cs, err := p.offerable(&c)
		if err != nil {
			cc.m.config.Logger.Warn("session not offered", "session", c.session, "err", err)
			p.drop(c)
		} else if reason := cc.m.standing(c.session); reason != Resumed {
			p.refuse(c, reason)
			c.session.release()
			continue
		} else if c.once && c.session.inCache.Load() {
			cc.m.cache.remove(c.session, CauseTaken)
		}
		c.session.release()
		if err == nil {
			return cs, true
		}
	}
	return nil, false
}

// Put keeps a session that the server sent, or drops the one that was offered
// and was no good. As with crypto/tls's own cache any handshake that failed costs
// the session, for nobody tells a configuration whether the server had a part in it.
func (cc *configCache) Put(key string, cs *tls.ClientSessionState) {
	p := cc.peer(key)
	if cs == nil {
		p.failed()
		return
	}
	if ticketless(cs) {
		return
	}
	if cc.scope.generation() != 0 {
		return // of this certificate or one before: nobody tells which its connection showed
	}
	var c clientSession
	if err := p.received(cs, &c); err != nil {
		cc.m.warn("received session not kept", "err", err)
		return
	}
	if c.expires <= c.line.born {
		return // with a lifetime of zero (RFC 8446, section 4.6.1)
	}
	if store, _ := p.store(c.once); store == nil && !cc.m.config.CacheMode.client() {
		p.remember(&c) // a Session of it is made when somebody wants one
		return
	}
	c.line = cc.m.clients.began(p.key(c.once, cc.scope.generation()), c.line)
	s, notAfter, err := p.unwatched(&c)
	if err != nil {
		cc.m.config.Logger.Warn("received session not kept", "err", err)
		return
	}
	c = cc.m.clientSession(s, notAfter)
	c.state = cs
	callbacks := cc.m.settle(s, cc.m.config.CacheMode.client())
	p.keep(c)
	callbacks()
}

// standing reports why s is not offered, whatever the connection, or Resumed.
func (m *Manager) standing(s *Session) Reason {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return m.mayOfferNow(s)
}

// hostOfKey is the server name in crypto/tls's key, "" if that is an address.
func hostOfKey(key string) string {
	if _, _, err := net.SplitHostPort(key); err == nil {
		return ""
	}
	return clientName(key)
}
