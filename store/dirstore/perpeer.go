package dirstore

import (
	"slices"
	"sync"
)

// perPeer holds peers to a limit. Sessions are listed to be taken, and then the
// limit costs nothing more. A Put lists only those of a peer that has too many,
// for all that this Store knows: what others put since is found by the next Take.
type perPeer struct {
	limit int // negative: none

	mu    sync.Mutex
	known map[peerName]int // at least so many of a peer were there, but for what others did
}

// maxKnown bounds the peers that a Store knows something of.
const maxKnown = 1024

// exceeded notes that a session is put and reports whether the peer has to be
// looked at.
func (p *perPeer) exceeded(peer peerName) bool {
	if p.limit < 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	n, ok := p.known[peer]
	if ok {
		p.known[peer] = n + 1
	}
	return !ok || n >= p.limit
}

// listed notes how many sessions of a peer there are.
func (p *perPeer) listed(peer peerName, n int) {
	if p.limit < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil || len(p.known) == maxKnown {
		p.known = make(map[peerName]int)
	}
	p.known[peer] = n
}

// trimmed lists a peer's files, oldest first, after it has removed those that have
// expired and the oldest of too many.
func (s *Store) trimmed(shard *shard, peer peerName) ([]name, error) {
	names, err := namesOf(shard, peer)
	if err != nil {
		return nil, err
	}
	now := s.now()
	names = slices.DeleteFunc(names, func(n name) bool {
		if n.expires <= now {
			s.prune(shard.Root, n.String())
			return true
		}
		return false
	})
	if s.perPeer.limit >= 0 {
		excess := max(len(names)-s.perPeer.limit, 0)
		for _, n := range names[:excess] {
			s.prune(shard.Root, n.String())
		}
		names = names[excess:]
	}
	s.perPeer.listed(peer, len(names))
	return names, nil
}
