package reprise

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/reprise-tls/reprise/internal/gotls"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// fill gives n values a label, with keys from first.
func fill(l *labels[int, *int], first, n int) {
	for i := first; i < first+n; i++ {
		l.of(i, func() *int { return &i })
	}
}

// TestLabelsBounded: the values that were used last keep their labels; one that
// was forgotten gets another, and the table does not grow. Values that are used
// once displace none that was used again, however many they are.
func TestLabelsBounded(t *testing.T) {
	l := &labels[int, *int]{rand: rand.Reader}
	keep := func() *int { return new(int) }
	kept, label := l.of(-1, keep)
	same := func(after string, want bool) {
		t.Helper()
		if k, again := l.of(-1, keep); (k == kept) != want || bytes.Equal(again, label) != want {
			t.Errorf("after %s: %x, was %x", after, again, label)
		}
	}
	fill(l, 0, maxNewLabels-1)
	same("as many others as there is room for", true)
	fill(l, maxLabels, 3*maxLabels) // once each
	same("any number of values that are used once", true)
	for range 2 {
		fill(l, 0, maxNewLabels)
	}
	same("others in use", true)
	for first := 0; first < maxLabels; first += maxNewLabels {
		fill(l, first, maxNewLabels)
		fill(l, first, maxNewLabels) // again
	}
	same("as many others in use as there is room for", false)
	if len(l.seen) > maxLabels+maxNewLabels || l.used.Len() != maxLabels || l.once.Len() > maxNewLabels || len(l.seen) != l.used.Len()+l.once.Len() {
		t.Errorf("%d values, %d used again, %d once", len(l.seen), l.used.Len(), l.once.Len())
	}
}

// TestLabelsDiffer: no two values have one label.
func TestLabelsDiffer(t *testing.T) {
	l := &labels[int, *int]{rand: rand.Reader}
	seen := make(map[string]int)
	for i := range maxLabels {
		_, label := l.of(i, func() *int { return nil })
		if other, ok := seen[string(label)]; ok || len(label) != 16 {
			t.Fatalf("%d has the label of %d: %x", i, other, label)
		}
		seen[string(label)] = i
	}
}

// TestLabelsWithoutRandom: a value without a label has none the next time
// either, unless one can be drawn by then.
func TestLabelsWithoutRandom(t *testing.T) {
	l := &labels[int, *int]{rand: iotest.ErrReader(errors.New("dry"))}
	keep := func() *int { return new(int) }
	for range 2 {
		if _, label := l.of(1, keep); label != nil {
			t.Errorf("a label of no random bytes: %x", label)
		}
	}
	l.rand = rand.Reader
	if _, label := l.of(1, keep); label == nil {
		t.Error("no label")
	}
}

// TestPolicyUnnamed: a policy that needs a label, and gets none for want of
// random bytes, matches no session, not even one of its own. Others do.
func TestPolicyUnnamed(t *testing.T) {
	p := newPolicies(&Config{Rand: iotest.ErrReader(errors.New("dry"))})
	config := &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	if name := p.of(config); !p.of(config).is(name) {
		t.Error("a policy without labels is not itself")
	}
	limited := x509.NewCertPool()
	limited.AddCertWithConstraint(testpki.New(t, "one").Cert, func([]*x509.Certificate) error { return nil })
	for what, change := range map[string]func(*tls.Config){
		"a function": func(c *tls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		},
		"a pool with constraint": func(c *tls.Config) { c.ClientCAs = limited },
	} {
		c := config.Clone()
		change(c)
		if name := p.of(c); p.of(c).is(name) {
			t.Errorf("%s: matches itself", what)
		}
	}
}

// TestAttackLabelOutlivesFunction: a function lives for as long as its label, so
// no later function is at its address under that label; and no longer.
func TestAttackLabelOutlivesFunction(t *testing.T) {
	p := newPolicies(&Config{Rand: rand.Reader})
	gone := make(chan struct{})
	label := func() []byte {
		captured := new([1 << 16]byte)
		runtime.AddCleanup(captured, func(struct{}) { close(gone) }, struct{}{})
		verify := verifyFunc(func([][]byte, [][]*x509.Certificate) error { captured[0]++; return nil })
		_, label := p.funcs.of(gotls.FuncID(verify), func() verifyFunc { return verify })
		return label
	}
	first := label()
	for range 3 {
		runtime.GC()
	}
	select {
	case <-gone:
		t.Fatalf("the function of label %x is gone", first)
	default:
	}
	for i := range maxLabels {
		p.funcs.of(uintptr(i+1), func() verifyFunc { return nil }) // no function is at such an address
	}
	for collected := false; !collected; {
		runtime.GC()
		select {
		case <-gone:
			collected = true
		default:
			runtime.Gosched()
		}
	}
}

// encoded returns the fields that name pool.
func encoded(names *poolNames, pool *x509.CertPool) (string, binding) {
	var b binding
	b.addPool(names, pool)
	return string(b.encoded), b
}

// TestPoolNames: a pool is named by what is in it, without a label, also in
// another process; one with a constraint is only itself.
func TestPoolNames(t *testing.T) {
	ca, other := testpki.New(t, "one"), testpki.New(t, "other")
	allow := func([]*x509.Certificate) error { return nil }
	constrained := x509.NewCertPool()
	constrained.AddCertWithConstraint(ca.Cert, allow)
	twin := x509.NewCertPool()
	twin.AddCertWithConstraint(ca.Cert, allow)
	names, elsewhere := newPoolNames(rand.Reader), newPoolNames(rand.Reader)

	want, b := encoded(&names, ca.Pool())
	if b.local || len(names.own.seen) != 0 {
		t.Error("a pool without constraints has a label")
	}
	for what, c := range map[string]struct {
		names *poolNames
		pool  *x509.CertPool
		same  bool
	}{
		"an equal pool":                    {&names, ca.Pool(), true},
		"an equal pool of another process": {&elsewhere, ca.Pool(), true},
		"another pool":                     {&names, other.Pool(), false},
		"an empty pool":                    {&names, x509.NewCertPool(), false},
		"nil":                              {&names, nil, false},
		"with a constraint":                {&names, constrained, false},
	} {
		if got, _ := encoded(c.names, c.pool); got == want != c.same {
			t.Errorf("%s: same %t", what, got == want)
		}
	}

	own, b := encoded(&names, constrained)
	if !b.local {
		t.Error("a pool with a constraint has a name for every process")
	}
	for what, pool := range map[string]*x509.CertPool{"with an equal constraint": twin, "clone": constrained.Clone()} {
		if got, _ := encoded(&names, pool); got == own {
			t.Errorf("%s: the same", what)
		}
	}
	if got, _ := encoded(&elsewhere, constrained); got == own {
		t.Error("in another process: the same")
	}
	if got, _ := encoded(&names, constrained); got != own {
		t.Error("again: not the same")
	}
}

// TestPoolNamesUnread: on a Go release whose pools cannot be read, a pool is
// only itself, and only as long as nothing is added to it.
func TestPoolNamesUnread(t *testing.T) {
	ca := testpki.New(t, "one")
	names := newPoolNames(rand.Reader)
	names.reader = gotls.PoolReader{}
	pool := ca.Pool()
	first, b := encoded(&names, pool)
	if !b.local {
		t.Error("named for every process")
	}
	if again, _ := encoded(&names, pool); again != first {
		t.Error("again: not the same")
	}
	if equal, _ := encoded(&names, ca.Pool()); equal == first {
		t.Error("another pool with that content: the same")
	}
	pool.AddCert(testpki.New(t, "more").Cert)
	if more, _ := encoded(&names, pool); more == first {
		t.Error("after one was added: the same")
	}
	if system, _ := encoded(&names, nil); system == first {
		t.Error("nil: the same")
	}
}
