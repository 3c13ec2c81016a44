package reprise

import (
	"errors"
	"sync"

	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/internal/fair"
)

// probation keeps sessions made for peers that have proven nothing yet:
// crypto/tls makes a TLS 1.3 ticket before the client's Finished, so anybody
// who sends a ClientHello can have one made. They are bounded in bytes, evict
// only each other, the oldest of the network that has the most first, fire no
// callback, and move to the cache when their peer is proven.
type probation struct {
	mu      sync.Mutex
	limit   int64 // bytes
	closed  bool
	entries map[cache.Key]*fair.Item[waiting]
	shares  fair.Set[waiting]
}

// waiting is a session on probation.
type waiting struct {
	key    cache.Key
	packed []byte // with its secrets
	proven bool   // its peer is: it is about to leave
}

const (
	// maxProbation bounds what is on probation, in bytes.
	maxProbation = 4 << 20
	// maxUnproven bounds one packed session that a server keeps, in bytes: the
	// client chooses the size of its chain.
	maxUnproven = 16 << 10
	// waitingSize is what an entry takes besides its packed session, about.
	waitingSize = 384
)

var errTooLarge = errors.New("reprise: session is too large to keep: the client's certificates are")

func newProbation() *probation {
	return &probation{limit: maxProbation, entries: make(map[cache.Key]*fair.Item[waiting])}
}

// add puts s on probation, on the account of the client's network.
func (p *probation) add(key cache.Key, s *Session, network fair.Name) error {
	packed, err := s.pack(nil)
	if err != nil {
		return err
	}
	if len(packed) > maxUnproven {
		clear(packed)
		return errTooLarge
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		clear(packed)
		return ErrClosed
	}
	p.drop(key)
	p.entries[key] = p.shares.Add(network, int64(cap(packed)+waitingSize), waiting{key: key, packed: packed})
	for p.shares.Weight() > p.limit {
		p.drop(p.shares.Victim().Value.key)
	}
	return nil
}

// drop removes an entry and wipes it. The caller holds p.mu.
func (p *probation) drop(key cache.Key) bool {
	e, ok := p.entries[key]
	if ok {
		p.shares.Remove(e)
		delete(p.entries, key)
		clear(e.Value.packed)
	}
	return ok
}

func (p *probation) has(key cache.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, ok := p.entries[key]
	return ok
}

// prove notes that the peer of a session is proven. It reports whether the
// session is on probation and its peer was not proven before.
func (p *probation) prove(key cache.Key) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.entries[key]
	if !ok || e.Value.proven {
		return false
	}
	e.Value.proven = true
	return true
}

func (p *probation) remove(key cache.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drop(key)
}

// close wipes everything; nothing is added from then on.
func (p *probation) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.clear()
}

// clear wipes everything. The caller holds p.mu.
func (p *probation) clear() {
	for key := range p.entries {
		p.drop(key)
	}
}

// flush wipes everything.
func (p *probation) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

// lookup returns a session of its own with a library reference, nil if none.
func (p *probation) lookup(key cache.Key, m *Manager) *Session {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, ok := p.entries[key]
	if !ok {
		return nil
	}
	s, err := unpack(e.Value.packed, libraryRef)
	if err != nil {
		return nil
	}
	s.owner.Store(m)
	s.byHandle = true
	return s
}
