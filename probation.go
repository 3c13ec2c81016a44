package reprise

import (
	"sync"

	"github.com/reprise-tls/reprise/internal/cache"
)

// probation keeps sessions made for peers that have proven nothing yet:
// crypto/tls makes a TLS 1.3 ticket before the client's Finished, so anybody
// who sends a ClientHello can have one made. They evict only each other, fire
// no callback, and move to the cache when their peer is proven.
type probation struct {
	mu      sync.Mutex
	packed  *cache.Cache
	arrival int64 // stands for the expiry, so that the oldest goes first
}

// maxProbation is how many unproven sessions are kept.
const maxProbation = 1024

func newProbation() *probation { return &probation{packed: cache.New()} }

func (p *probation) add(key cache.Key, s *Session) {
	packed, err := s.pack(nil)
	if err != nil || len(packed) > cache.MaxValue {
		return
	}
	defer clear(packed)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.packed.Len() >= maxProbation {
		oldest, _, _ := p.packed.First()
		p.packed.Remove(oldest)
	}
	p.arrival++
	p.packed.Put(key, p.arrival, packed, 0)
}

func (p *probation) has(key cache.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.packed.Has(key)
}

func (p *probation) remove(key cache.Key) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.packed.Delete(key)
}

// lookup returns a session of its own with a library reference, nil if none.
func (p *probation) lookup(key cache.Key, m *Manager) *Session {
	p.mu.Lock()
	packed, ok := p.packed.Get(nil, key)
	p.mu.Unlock()
	if !ok {
		return nil
	}
	defer clear(packed)
	s, err := unpack(packed, libraryRef)
	if err != nil {
		return nil
	}
	s.owner.Store(m)
	s.byHandle = true
	return s
}
