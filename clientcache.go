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
	count   atomic.Int64 // peers in all shards
	shards  [clientShards]clientShard
}

// clientShards is how many locks there are: dials run in parallel.
const clientShards = 16

type clientShard struct {
	mu    sync.Mutex
	peers map[uint64]*peerSessions // by the hash of their key, chained
	ring  []*peerSessions          // all of peers, in the order in which the hand passes them
	hand  int
	_     [64]byte // the next lock is on a cache line of its own
}

// peerKey is whom a session is for.
type peerKey struct {
	scope      [16]byte
	generation uint32 // of the scope's identity
	peer       string
}

// peerSessions are the sessions of one peer. It stays when all are taken: more
// will come.
type peerSessions struct {
	key      peerKey
	hash     uint64
	next     *peerSessions // with the same hash
	place    int           // in the ring
	line     int64         // when the oldest line began that new sessions may be of; seconds
	used     bool          // since the hand passed
	sessions []clientSession
	first    [2]clientSession // where sessions begins: most peers have no more
	offered  clientSession    // the last of those that stay; its session is held
}

// clientSession is a session that is kept, in one of its two forms or both.
type clientSession struct {
	state   *tls.ClientSessionState
	session *Session // held; nil until somebody wants it
	born    int64    // when its line began, in seconds
	expires int64    // the last second in which it may be offered
	once    bool
	// unwatched: nobody saw its connection's handshake, which may have resumed
	// a session of another line; born is when it came.
	unwatched bool
}

func newClientCache(c *Config, timeout time.Duration) *clientCache {
	cc := &clientCache{
		perPeer: c.SessionsPerPeer, peers: int64(c.Peers), seed: maphash.MakeSeed(),
		timeout: int64(timeout / time.Second), maxAge: int64(c.MaxAge / time.Second),
	}
	for i := range cc.shards {
		cc.shards[i].peers = make(map[uint64]*peerSessions)
	}
	return cc
}

// shard returns where a peer's sessions are, and the hash of its key.
func (cc *clientCache) shard(key *peerKey) (*clientShard, uint64) {
	h := maphash.String(cc.seed, key.peer) ^ binary.LittleEndian.Uint64(key.scope[:]) ^ uint64(key.generation)
	return &cc.shards[h%clientShards], h
}

func (s *clientShard) find(hash uint64, key *peerKey) *peerSessions {
	p := s.peers[hash]
	for p != nil && p.key != *key {
		p = p.next
	}
	return p
}

// take returns the newest session of a peer that is good at now and, if it
// serves once, keeps it no longer. Its session, if it has one, is held.
func (cc *clientCache) take(key *peerKey, now int64) (found clientSession, ok bool) {
	s, hash := cc.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.find(hash, key)
	if p == nil {
		return found, false
	}
	p.used = true
	for n := len(p.sessions) - 1; n >= 0; n-- {
		c := &p.sessions[n]
		good := c.good(now)
		if found = *c; good && !found.once && found.session.holdAny() {
			p.offer(found)
			return found, true
		}
		*c = clientSession{}
		p.sessions = p.sessions[:n]
		if good && found.once {
			p.follow(found.born)
			return found, true // with the reference that the list had
		}
		found.session.release()
	}
	return clientSession{}, false
}

// good reports whether c may be offered.
func (c *clientSession) good(now int64) bool {
	return now <= c.expires && (c.session == nil || c.session.Resumable())
}

// holdAny is hold for what may be nil.
func (s *Session) holdAny() bool { return s == nil || s.hold() }

// put keeps c, whose session comes with a reference; the peer's oldest goes
// where there is no room. A ticket that is kept already stays as it is.
func (cc *clientCache) put(key *peerKey, c clientSession) {
	s, hash := cc.shard(key)
	s.mu.Lock()
	p := cc.peer(s, hash, key)
	if c.unwatched {
		c.born = p.began(c.born, cc.maxAge)
		c.expires = min(c.expires, addSeconds(c.born, cc.maxAge))
	}
	dropped := p.add(c, cc.perPeer)
	s.mu.Unlock()
	dropped.session.release()
	for n := hash; cc.count.Load() > cc.peers; n++ {
		cc.shards[n%clientShards].evict(cc, key)
	}
}

// add keeps c and returns what is not kept for it.
func (p *peerSessions) add(c clientSession, most int) (dropped clientSession) {
	if slices.ContainsFunc(p.sessions, c.sameTicket) {
		return c
	}
	if len(p.sessions) == most {
		dropped = p.sessions[0]
		copy(p.sessions, p.sessions[1:])
		p.sessions[most-1] = c
		return dropped
	}
	p.sessions = append(p.sessions, c)
	return clientSession{}
}

// sameTicket reports whether c and d are one session: crypto/tls gives a TLS
// 1.2 session again when it was resumed without a new ticket.
func (c clientSession) sameTicket(d clientSession) bool {
	if c.once || d.once || c.state == nil || d.state == nil {
		return c.session == d.session && c.session != nil
	}
	a, _, _ := c.state.ResumptionState()
	b, _, _ := d.state.ResumptionState()
	return bytes.Equal(a, b)
}

// peer returns what is kept of a peer, new if need be. The caller holds s.mu.
func (cc *clientCache) peer(s *clientShard, hash uint64, key *peerKey) *peerSessions {
	p := s.find(hash, key)
	if p == nil {
		p = &peerSessions{key: *key, hash: hash, next: s.peers[hash], place: len(s.ring)}
		p.sessions = p.first[:0]
		s.peers[hash] = p
		s.ring = append(s.ring, p)
		cc.count.Add(1)
	}
	p.used = true
	return p
}

// evict lets the peer go that was not used since the hand passed, or the next,
// but not the one that is kept for.
func (s *clientShard) evict(cc *clientCache, but *peerKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range 2 * len(s.ring) {
		s.hand %= len(s.ring)
		p := s.ring[s.hand]
		if p.used || p.key == *but {
			p.used = false
			s.hand++
			continue
		}
		s.remove(cc, p)
		return
	}
}

func (s *clientShard) remove(cc *clientCache, p *peerSessions) {
	last := s.ring[len(s.ring)-1]
	s.ring[p.place], last.place = last, p.place
	s.ring[len(s.ring)-1] = nil
	s.ring = s.ring[:len(s.ring)-1]
	s.unlink(p)
	cc.count.Add(-1)
	p.offered.session.release()
	for _, c := range p.sessions {
		c.session.release()
	}
}

func (s *clientShard) unlink(p *peerSessions) {
	first := s.peers[p.hash]
	switch {
	case first != p:
		for first.next != p {
			first = first.next
		}
		first.next = p.next
	case p.next != nil:
		s.peers[p.hash] = p.next
	default:
		delete(s.peers, p.hash)
	}
}

// drop keeps a session no longer, whichever form it is known in.
func (cc *clientCache) drop(key *peerKey, state *tls.ClientSessionState, session *Session) {
	s, hash := cc.shard(key)
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
func (p *peerSessions) offer(c clientSession) {
	p.follow(c.born)
	if c.session.holdAny() {
		p.offered.session.release()
		p.offered = c
	}
}

// takeOffered returns the session that was offered last, of those that stay;
// its session, if it has one, is held.
func (cc *clientCache) takeOffered(key *peerKey) (c clientSession) {
	s, hash := cc.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.find(hash, key); p != nil {
		c, p.offered = p.offered, clientSession{}
	}
	return c
}

// close lets go of everything.
func (cc *clientCache) close() {
	for i := range cc.shards {
		s := &cc.shards[i]
		s.mu.Lock()
		for len(s.ring) > 0 {
			s.remove(cc, s.ring[0])
		}
		s.mu.Unlock()
	}
}

// follow notes that a session of a line that began at born is offered: what the
// peer sends from now on may be of that line.
func (p *peerSessions) follow(born int64) {
	if p.line == 0 || born < p.line {
		p.line = born
	}
}

// began returns when the line began that a new session is of. Where nobody can
// tell whether its connection resumed, that is the oldest line which can still
// be offered: else renewals would keep a session alive for ever.
func (p *peerSessions) began(now, maxAge int64) int64 {
	if p.line == 0 || now > addSeconds(p.line, maxAge) {
		p.line = now
	}
	return p.line
}

// offer notes that a session is offered that is not kept here.
func (cc *clientCache) offer(key *peerKey, c clientSession) {
	s, hash := cc.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := cc.peer(s, hash, key); c.once {
		p.follow(c.born)
	} else {
		p.offer(c)
	}
}

func (cc *clientCache) began(key *peerKey, now int64) int64 {
	s, hash := cc.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	return cc.peer(s, hash, key).began(now, cc.maxAge)
}
