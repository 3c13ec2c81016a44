package reprise

import (
	"container/list"
	"crypto/x509"
	"encoding/binary"
	"io"
	"sync"

	"github.com/reprise-tls/reprise/internal/gotls"
)

// maxLabels is how many values of a kind have a label at most. One more takes
// the label of the value that was used longest ago: sessions that are bound to
// that label do not resume any more.
const maxLabels = 4096

// labels assigns a random, process-local label to values that have no canonical
// encoding. A key tells the values apart, and the table keeps the value alive
// for as long as it has a label: an address is not used again, so a label never
// passes to another value.
type labels[K comparable, V any] struct {
	rand io.Reader
	// current reports whether the value of key is still as it was kept; if not,
	// it gets another label. nil stands for yes.
	current func(key K, kept V) bool

	mu   sync.Mutex
	used list.List // of *labelled[K, V], the last used first
	seen map[K]*list.Element
}

type labelled[K comparable, V any] struct {
	key   K
	kept  V
	label []byte
}

// of returns the label of the value of key and what was kept when it got that
// label; the label is nil if none could be drawn. keep returns what to keep of
// a value that gets a label now.
func (l *labels[K, V]) of(key K, keep func() V) (kept V, label []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.seen[key]; e != nil {
		if v := e.Value.(*labelled[K, V]); l.current == nil || l.current(key, v.kept) {
			l.used.MoveToFront(e)
			return v.kept, v.label
		}
		l.forget(e)
	}
	kept, label = keep(), make([]byte, 16)
	if _, err := io.ReadFull(l.rand, label); err != nil {
		return kept, nil
	}
	if l.seen == nil {
		l.seen = make(map[K]*list.Element)
	}
	if l.used.Len() == maxLabels {
		l.forget(l.used.Back())
	}
	l.seen[key] = l.used.PushFront(&labelled[K, V]{key, kept, label})
	return kept, label
}

func (l *labels[K, V]) forget(e *list.Element) {
	delete(l.seen, e.Value.(*labelled[K, V]).key)
	l.used.Remove(e)
}

// poolNames names certificate pools. The name of a pool is its content, in any
// process. A pool that has constraints, which nothing can tell apart, or whose
// content cannot be read on this Go release, is only itself, and only as long
// as its certificates stay the same.
type poolNames struct {
	reader gotls.PoolReader
	own    labels[*x509.CertPool, *x509.CertPool] // and a copy of each
}

func newPoolNames(rand io.Reader) poolNames {
	return poolNames{
		reader: gotls.NewPoolReader(),
		own:    labels[*x509.CertPool, *x509.CertPool]{rand: rand, current: (*x509.CertPool).Equal},
	}
}

// binding is the canonical encoding of what a session is bound to, in the
// making: a list of fields.
type binding struct {
	encoded  []byte
	local    bool // good for this process
	nameless bool // a label could not be drawn
}

func (b *binding) add(field []byte) {
	b.encoded = binary.BigEndian.AppendUint32(b.encoded, uint32(len(field)))
	b.encoded = append(b.encoded, field...)
}

func (b *binding) addLabel(label []byte) {
	b.add(label)
	b.local = true
	b.nameless = b.nameless || label == nil
}

// addPool adds two fields: the content of a pool, and the label of one that is
// only itself.
func (b *binding) addPool(names *poolNames, pool *x509.CertPool) {
	if pool == nil {
		b.add([]byte("system")) // what nil stands for in crypto/tls
		b.add(nil)
		return
	}
	sum, constrained, ok := names.reader.Content(pool)
	if ok {
		b.add(sum[:])
	} else {
		b.add(nil)
	}
	if ok && !constrained {
		b.add(nil)
		return
	}
	_, label := names.own.of(pool, pool.Clone)
	b.addLabel(label)
}
