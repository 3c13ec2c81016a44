package reprise

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"slices"
	"sync"
)

// maxLabels bounds the values remembered; with more, the one that was used
// longest ago is forgotten and what goes by its label does not resume.
const maxLabels = 256

// labels gives values that nothing else can name, such as certificate pools,
// whose content crypto/x509 does not show, a label each. It is drawn at random
// the first time that an equal value is seen, and good for this process.
type labels[T any] struct {
	rand io.Reader
	same func(a, b T) bool
	keep func(T) T // what to remember of a value: the application may change it

	mu   sync.Mutex
	seen []labelled[T]
}

type labelled[T any] struct {
	value T
	label []byte
}

// of returns the label of v and what is remembered of v; no label if none could
// be drawn.
func (l *labels[T]) of(v T) (kept T, label []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, s := range l.seen {
		if l.same(s.value, v) { // the last used is the last to be forgotten
			l.seen = append(slices.Delete(l.seen, i, i+1), s)
			return s.value, s.label
		}
	}
	label = make([]byte, 16)
	if _, err := io.ReadFull(l.rand, label); err != nil {
		return v, nil
	}
	if len(l.seen) == maxLabels {
		l.seen = slices.Delete(l.seen, 0, 1)
	}
	kept = l.keep(v)
	l.seen = append(l.seen, labelled[T]{kept, label})
	return kept, label
}

func newPools(rand io.Reader) *labels[*x509.CertPool] {
	return &labels[*x509.CertPool]{rand: rand, same: samePool, keep: clonePool}
}

func clonePool(pool *x509.CertPool) *x509.CertPool {
	if pool == nil {
		return nil
	}
	return pool.Clone()
}

func samePool(a, b *x509.CertPool) bool {
	if a == nil || b == nil {
		return a == b // nil stands for the system's roots
	}
	return a.Equal(b)
}

// namedPool is a pool whose content is known, in any process.
type namedPool struct {
	pool *x509.CertPool // nil for none
	sum  []byte
}

// newNamedPool makes the pool that a field of Config describes.
func newNamedPool(field string, data []byte) (namedPool, error) {
	if len(data) == 0 {
		return namedPool{}, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return namedPool{}, fmt.Errorf("reprise: Config.%s holds no certificate", field)
	}
	return namedPool{pool, sumPEM(data)}, nil
}

func (n *namedPool) is(pool *x509.CertPool) bool { return n.pool != nil && n.pool.Equal(pool) }

// sumPEM names a set of certificates, whatever their order.
func sumPEM(data []byte) []byte {
	var sums [][]byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" && len(block.Headers) == 0 {
			sum := sha256.Sum256(block.Bytes)
			sums = append(sums, sum[:])
		}
	}
	slices.SortFunc(sums, bytes.Compare)
	sums = slices.CompactFunc(sums, bytes.Equal)
	sum := sha256.Sum256(bytes.Join(sums, nil))
	return sum[:]
}
