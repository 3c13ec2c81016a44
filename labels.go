package reprise

import (
	"container/list"
	"crypto/x509"
	"encoding/binary"
	"io"
	"sync"

	"github.com/reprise-tls/reprise/internal/gotls"
)

// A table has this many labels at most. When it is full, a new value displaces
// the one used longest ago, and sessions bound to the label of that one no longer
// resume. Values that were used once are counted apart: a peer that has proven
// nothing can have the application make new ones, which must not displace those
// that are in use.
const (
	maxLabels    = 4096
	maxNewLabels = 1024 // of values used once
)

// labels assigns a random, process-local label to values that have no canonical
// encoding. A key tells the values apart. It must not be used again for another
// value: either the kept value keeps it in use, or it is a weak pointer.
type labels[K comparable, V any] struct {
	rand io.Reader
	// current reports whether the value of key is still as it was kept; if not,
	// it gets another label. nil stands for yes.
	current func(key K, kept V) bool

	mu   sync.Mutex
	once list.List // of *labelled[K, V], the latest first
	used list.List // likewise, of values that were used again: the last used first
	seen map[K]*list.Element
}

type labelled[K comparable, V any] struct {
	key   K
	kept  V
	label []byte
	used  bool // again, after it got its label
}

// of returns the label of the value of key and what was kept when it got that
// label; the label is nil if none could be drawn. keep returns what to keep of
// a value that gets a label now.
func (l *labels[K, V]) of(key K, keep func() V) (kept V, label []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.seen[key]; e != nil {
		if v := e.Value.(*labelled[K, V]); l.current == nil || l.current(key, v.kept) {
			l.use(e, v)
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
	l.seen[key] = l.once.PushFront(&labelled[K, V]{key: key, kept: kept, label: label})
	if l.once.Len() > maxNewLabels {
		l.forget(l.once.Back())
	}
	return kept, label
}

// use notes that a value is used again.
func (l *labels[K, V]) use(e *list.Element, v *labelled[K, V]) {
	if v.used {
		l.used.MoveToFront(e)
		return
	}
	l.once.Remove(e)
	v.used = true
	l.seen[v.key] = l.used.PushFront(v)
	if l.used.Len() > maxLabels {
		l.forget(l.used.Back())
	}
}

func (l *labels[K, V]) forget(e *list.Element) {
	v := e.Value.(*labelled[K, V])
	delete(l.seen, v.key)
	if v.used {
		l.used.Remove(e)
	} else {
		l.once.Remove(e)
	}
}

// len returns how many values have a label.
func (l *labels[K, V]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.seen)
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
