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
	puts  uint64 // so far
	known map[peerName]known
	began uint64 // number of Puts when known began
}

// known is what a Store knows of a peer.
type known struct {
	n    int    // at most so many files are there, but for what others did; negative: unknown
	last uint64 // the number of the last Put
}

// maxKnown bounds the peers that a Store knows something of.
const maxKnown = 1024

// exceeded notes that a session was put and reports whether the peer has to be
// looked at.
func (p *perPeer) exceeded(peer peerName) bool {
	if p.limit < 0 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.puts++
	k, ok := p.known[peer]
	if !ok {
		k.n = -1
	}
	if k.last = p.puts; k.n >= 0 {
		k.n++
	}
	p.set(peer, k)
	return k.n < 0 || k.n > p.limit
}

// add corrects how many files are there, if that is known.
func (p *perPeer) add(peer peerName, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k, ok := p.known[peer]; ok && k.n >= 0 {
		k.n = max(k.n+n, 0)
		p.known[peer] = k
	}
}

// listing is the number of Puts when a listing begins.
func (p *perPeer) listing() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.puts
}

// listed notes how many sessions of a peer are there by a listing. If there was a
// Put since it began, nobody knows whether that was seen.
func (p *perPeer) listed(peer peerName, n int, began uint64) {
	if p.limit < 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if max(p.known[peer].last, p.began) > began {
		n = -1
	}
	p.set(peer, known{n, p.known[peer].last})
}

// set has something known of a peer. The caller holds p.mu.
func (p *perPeer) set(peer peerName, k known) {
	if _, ok := p.known[peer]; p.known == nil || !ok && len(p.known) == maxKnown {
		p.known, p.began = make(map[peerName]known), p.puts
	}
	p.known[peer] = k
}

// trimmed lists a peer's files, oldest first, after it has removed those that have
// expired and the oldest of too many. The caller asked perPeer for began before it
// looked for the shard.
func (s *Store) trimmed(shard *shard, peer peerName, began uint64) ([]name, error) {
	names, err := namesOf(shard, peer)
	if err != nil {
		return nil, err
	}
	now := s.now()
	names = slices.DeleteFunc(names, func(n name) bool {
		if n.expires <= now {
			s.prune(shard, n.String())
			return true
		}
		return false
	})
	if s.perPeer.limit >= 0 {
		excess := max(len(names)-s.perPeer.limit, 0)
		for _, n := range names[:excess] {
			s.prune(shard, n.String())
		}
		names = names[excess:]
	}
	s.perPeer.listed(peer, len(names), began)
	return names, nil
}
