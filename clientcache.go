package reprise

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-tls/reprise/internal/gotls"
)

// Defaults of what clients keep.
const (
	DefaultPeers           = 1024      // Config.Peers
	DefaultSessionsPerPeer = 8         // Config.SessionsPerPeer
	DefaultClientTimeout   = time.Hour // how long clients offer a session by themselves, where Config.Timeout says nothing
)

// clientCache is the memory of a Manager's clients: a few sessions for each
// peer, the newest last. A TLS 1.3 session leaves it to be offered, once (RFC
// 8446, appendix C.4); an older one stays until it expires.
type clientCache struct {
	perPeer int
	peers   int64
	timeout int64 // seconds, of a session
	maxAge  int64 // seconds, of a line of sessions
	seed    maphash.Seed
	times   gotls.TimeReader
	_       [cacheLine]byte
	count   atomic.Int64 // peers in all shards
	_       [cacheLine]byte
	shards  [clientShards]clientShard
}

// clientShards is how many locks there are: dials run in parallel.
const clientShards = 16

// cacheLine keeps apart what different processors write: bytes.
const cacheLine = 64

type clientShard struct {
	mu    sync.Mutex
	peers peerTable
	_     [cacheLine]byte
}

// peerKey is whom a session is for.
type peerKey struct {
	scope      [16]byte
	generation uint32 // of the scope's identity
	once       bool   // sessions that serve once, of TLS 1.3
	peer       string
}

// scoped reports whether k is of the same scope as other, whatever their peers.
func (k *peerKey) scoped(other *peerKey) bool {
	return k.scope == other.scope && k.generation == other.generation && k.once == other.once
}

// peerSessions are the sessions of one peer. It stays when all are taken: more will come.
type peerSessions struct {
	key      peerKey
	sessions []clientSession
	first    [1]clientSession // where sessions begins
	line     clientLine       // the oldest that new sessions may be of
	offered  offeredSession
}

// offeredSession is the last that was offered of those that stay.
type offeredSession struct {
	state   *tls.ClientSessionState
	session *Session // held
}

// clientSession is a session that is kept, in one of its two forms or both.
type clientSession struct {
	state   *tls.ClientSessionState
	session *Session // held; nil until somebody wants it
	line    clientLine
	expires int64         // the last second in which it may be offered
	timed   time.Duration // when its Time was set, by the Manager's uptime; 0 if that is unknown
	life    int64         // for how many seconds after that it may be offered
	once    bool
	// unwatched: nobody saw its connection's handshake, which may have resumed
	// a session of another line; line says when it came.
	unwatched bool
}

// clientLine is where a line of a client's sessions began.
type clientLine struct {
	born   int64  // seconds since the epoch
	number uint64 // in the Manager's order, 0 if it began elsewhere
}

// clientTime is the time by which a client's sessions age.
type clientTime struct {
	unix int64
	up   time.Duration // of the Manager
}

func (m *Manager) clientNow() clientTime { return clientTime{m.clock.unix(), m.uptime()} }

func newClientCache(c *Config, timeout time.Duration) *clientCache {
	return &clientCache{
		perPeer: c.SessionsPerPeer, peers: int64(c.Peers), seed: maphash.MakeSeed(), times: gotls.NewTimeReader(),
		timeout: int64(timeout / time.Second), maxAge: int64(c.MaxAge / time.Second),
	}
}

// hash is the whole hash of a key: its lower half chooses the shard, its upper
// half the slot there.
func (cc *clientCache) hash(key *peerKey) uint64 {
	return maphash.String(cc.seed, key.peer) ^ binary.LittleEndian.Uint64(key.scope[:]) ^ uint64(key.generation)
}

func (cc *clientCache) shard(hash uint64) *clientShard { return &cc.shards[hash%clientShards] }

// find returns what is kept of a peer, nil if nothing is. The caller holds s.mu.
func (s *clientShard) find(hash uint64, key *peerKey) *peerSessions {
	return s.peers.find(uint32(hash>>32), key)
}

// peer returns what is kept of a peer, new if need be. The caller holds s.mu,
// and calls evict without it if there is now a peer too many.
func (cc *clientCache) peer(s *clientShard, hash uint64, key *peerKey) (p *peerSessions, tooMany bool) {
	if p = s.find(hash, key); p != nil {
		return p, false
	}
	p = &peerSessions{key: *key}
	p.sessions = p.first[:0]
	s.peers.insert(uint32(hash>>32), p)
	return p, cc.count.Add(1) > cc.peers
}

// evict lets one peer go, but not the one that is kept for.
func (cc *clientCache) evict(hash uint64, but *peerKey) {
	for n := hash; cc.count.Load() > cc.peers; n++ {
		s := cc.shard(n)
		s.mu.Lock()
		p := s.peers.evict(but)
		if p != nil {
			cc.count.Add(-1)
		}
		s.mu.Unlock()
		if p != nil {
			p.release()
			return
		}
	}
}

func (p *peerSessions) release() {
	p.offered.session.release()
	for i := range p.sessions {
		p.sessions[i].session.release()
	}
}

// clear lets go of everything.
func (cc *clientCache) clear() {
	for i := range cc.shards {
		s := &cc.shards[i]
		s.mu.Lock()
		all := s.peers
		s.peers = peerTable{}
		cc.count.Add(-int64(all.taken))
		s.mu.Unlock()
		for _, slot := range all.slots {
			if slot.peer != nil {
				slot.peer.release()
			}
		}
	}
}

// take returns the newest session of a peer that is good at now and, if it
// serves once, keeps it no longer. Its session, if it has one, is held.
func (cc *clientCache) take(key *peerKey, now clientTime, c *clientSession) bool {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	p := s.find(hash, key)
	ok := p != nil && p.take(now, c)
	s.mu.Unlock()
	return ok
}

func (p *peerSessions) take(now clientTime, c *clientSession) bool {
	for n := len(p.sessions) - 1; n >= 0; n-- {
		last := &p.sessions[n]
		*c = *last
		good := last.good(now)
		if good && !c.once && c.session.holdAny() {
			p.offer(c)
			return true
		}
		*last = clientSession{}
		p.sessions = p.sessions[:n]
		if good && c.once {
			p.follow(c.line)
			return true // with the reference that the list had
		}
		c.session.release()
	}
	*c = clientSession{}
	return false
}

// good reports whether c may be offered.
func (c *clientSession) good(now clientTime) bool {
	kept := c.timed == 0 || now.up-c.timed < saturate(addSeconds(c.life, 1))
	return kept && now.unix <= c.expires && (c.session == nil || c.session.Resumable())
}

// holdAny is hold for what may be nil.
func (s *Session) holdAny() bool { return s == nil || s.hold() }

// put keeps c, whose session comes with a reference; the peer's oldest goes
// where there is no room. A ticket that is kept already stays as it is.
func (cc *clientCache) put(key *peerKey, c *clientSession) {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	p, tooMany := cc.peer(s, hash, key)
	kept, dropped := p.add(c, cc.perPeer)
	if c.unwatched && kept != nil {
		kept.line = p.began(c.line, cc.maxAge)
		kept.expires = min(c.expires, addSeconds(kept.line.born, cc.maxAge))
		kept.life -= c.expires - kept.expires
	}
	s.mu.Unlock()
	dropped.release()
	if tooMany {
		cc.evict(hash, key)
	}
}

// add keeps a copy of c, unless its ticket is kept already, and returns the
// session that is not kept for it.
func (p *peerSessions) add(c *clientSession, most int) (kept *clientSession, dropped *Session) {
	for i := range p.sessions {
		if p.sessions[i].sameTicket(c) {
			return nil, c.session
		}
	}
	if len(p.sessions) == most {
		dropped = p.sessions[0].session
		p.sessions = slices.Delete(p.sessions, 0, 1)
	}
	p.sessions = append(p.sessions, clientSession{})
	kept = &p.sessions[len(p.sessions)-1]
	*kept = *c
	return kept, dropped
}

// sameTicket reports whether c and d are one session: crypto/tls gives a TLS
// 1.2 session again when it was resumed without a new ticket.
func (c *clientSession) sameTicket(d *clientSession) bool {
	if c.once || d.once || c.state == nil || d.state == nil {
		return c.session == d.session && c.session != nil
	}
	a, _, _ := c.state.ResumptionState()
	b, _, _ := d.state.ResumptionState()
	return bytes.Equal(a, b)
}

// drop keeps a session no longer, whichever form it is known in.
func (cc *clientCache) drop(key *peerKey, state *tls.ClientSessionState, session *Session) {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.find(hash, key)
	if p == nil {
		return
	}
	i := slices.IndexFunc(p.sessions, func(c clientSession) bool {
		return state != nil && c.state == state || session != nil && c.session == session
	})
	if i >= 0 {
		p.sessions[i].session.release()
		p.sessions = slices.Delete(p.sessions, i, i+1)
	}
}

// offer notes that c, which stays, is offered.
func (p *peerSessions) offer(c *clientSession) {
	p.follow(c.line)
	if c.session.holdAny() {
		p.offered.session.release()
		p.offered = offeredSession{c.state, c.session}
	}
}

// offer notes that a session is offered that is not kept here.
func (cc *clientCache) offer(key *peerKey, c *clientSession) {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	p, tooMany := cc.peer(s, hash, key)
	if c.once {
		p.follow(c.line)
	} else {
		p.offer(c)
	}
	s.mu.Unlock()
	if tooMany {
		cc.evict(hash, key)
	}
}

// takeOffered returns the session that was offered last, of those that stay;
// its session, if it has one, is held.
func (cc *clientCache) takeOffered(key *peerKey) (state *tls.ClientSessionState, session *Session) {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.find(hash, key); p != nil {
		state, session = p.offered.state, p.offered.session
		p.offered = offeredSession{}
	}
	return state, session
}

// follow notes that a session of a line is offered: what the peer sends from now
// on may be of that line.
func (p *peerSessions) follow(l clientLine) {
	if p.line.born == 0 {
		p.line = l
		return
	}
	// Each of its own: a clock that was set back orders them differently. A
	// line of no number makes the oldest one that is told by its time.
	p.line = clientLine{min(p.line.born, l.born), min(p.line.number, l.number)}
}

// began returns the line of a session that came now. Where nobody can tell
// whether its connection resumed, that is the oldest line which can still be
// offered: else renewals would keep a session alive for ever.
func (p *peerSessions) began(now clientLine, maxAge int64) clientLine {
	if p.line.born == 0 || now.born > addSeconds(p.line.born, maxAge) {
		p.line = now
	}
	return p.line
}

// restart notes that a session of the peer's was revoked, which shows that the
// peer's oldest line may be over: what comes has a number of its own from now on,
// and another time if that of the line was revoked, too.
func (cc *clientCache) restart(key *peerKey, number uint64, before int64) {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.find(hash, key); p != nil && p.line.born != 0 {
		if p.line.number = number; p.line.born*int64(time.Second) < before {
			p.line = clientLine{}
		}
	}
}

func (cc *clientCache) began(key *peerKey, now clientLine) clientLine {
	hash := cc.hash(key)
	s := cc.shard(hash)
	s.mu.Lock()
	p, tooMany := cc.peer(s, hash, key)
	began := p.began(now, cc.maxAge)
	s.mu.Unlock()
	if tooMany {
		cc.evict(hash, key)
	}
	return began
}
