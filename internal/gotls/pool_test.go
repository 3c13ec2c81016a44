package gotls

import (
	"crypto/x509"
	"reflect"
	"testing"
)

func samplePool(t *testing.T, add func(p *x509.CertPool, a, b *x509.Certificate)) *x509.CertPool {
	t.Helper()
	var certs [2]*x509.Certificate
	first, second := sampleCertificates()
	for i, der := range [][]byte{first, second} {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		certs[i] = c
	}
	p := x509.NewCertPool()
	add(p, certs[0], certs[1])
	return p
}

func TestPoolContent(t *testing.T) {
	if NewPoolReader() == (PoolReader{}) {
		t.Fatal("x509.CertPool is not as expected: every pool is only itself")
	}
	allow := func([]*x509.Certificate) error { return nil }
	both := samplePool(t, func(p *x509.CertPool, a, b *x509.Certificate) { p.AddCert(a); p.AddCert(b) })
	want, _, _ := PoolContent(both)
	for name, c := range map[string]struct {
		add               func(p *x509.CertPool, a, b *x509.Certificate)
		same, constrained bool
	}{
		"other order":      {func(p *x509.CertPool, a, b *x509.Certificate) { p.AddCert(b); p.AddCert(a) }, true, false},
		"twice":            {func(p *x509.CertPool, a, b *x509.Certificate) { p.AddCert(b); p.AddCert(a); p.AddCert(b) }, true, false},
		"one":              {func(p *x509.CertPool, a, _ *x509.Certificate) { p.AddCert(a) }, false, false},
		"the other":        {func(p *x509.CertPool, _, b *x509.Certificate) { p.AddCert(b) }, false, false},
		"none":             {func(*x509.CertPool, *x509.Certificate, *x509.Certificate) {}, false, false},
		"with constraint":  {func(p *x509.CertPool, a, b *x509.Certificate) { p.AddCert(a); p.AddCertWithConstraint(b, allow) }, true, true},
		"first constraint": {func(p *x509.CertPool, a, b *x509.Certificate) { p.AddCertWithConstraint(a, allow); p.AddCert(b) }, true, true},
		"nil constraint":   {func(p *x509.CertPool, a, b *x509.Certificate) { p.AddCert(a); p.AddCertWithConstraint(b, nil) }, true, false},
		"added without, then with": {func(p *x509.CertPool, a, b *x509.Certificate) {
			p.AddCert(a)
			p.AddCert(b)
			p.AddCertWithConstraint(b, allow) // crypto/x509 has the certificate and does nothing
		}, true, false},
	} {
		p := samplePool(t, c.add)
		for _, p := range []*x509.CertPool{p, p.Clone()} {
			sum, constrained, ok := PoolContent(p)
			if sum == want != c.same || constrained != c.constrained || !ok {
				t.Errorf("%s: same %t, constrained %t, ok %t", name, sum == want, constrained, ok)
			}
		}
	}
}

// TestPoolContentOfSystem: the system's roots read, and a pool that stands for
// the platform's verifier differs from one that does not.
func TestPoolContentOfSystem(t *testing.T) {
	system := x509.NewCertPool()
	readable(reflect.ValueOf(system).Elem().FieldByName("systemPool")).SetBool(true)
	a, _, _ := PoolContent(system)
	b, _, _ := PoolContent(x509.NewCertPool())
	if a == b {
		t.Error("the system's pool reads as an empty one")
	}
	if _, constrained, ok := PoolContent(new(x509.CertPool)); constrained || !ok {
		t.Errorf("the zero pool: constrained %t, ok %t", constrained, ok)
	}
}

// TestPoolContentOfOtherFields: pools with other fields than expected, and nil,
// are not read.
func TestPoolContentOfOtherFields(t *testing.T) {
	if _, _, ok := PoolContent(nil); ok {
		t.Error("read nil")
	}
	if _, _, ok := (PoolReader{}).Content(x509.NewCertPool()); ok {
		t.Error("the zero PoolReader read a pool")
	}
	if checkPoolType(poolType(nil)) == nil {
		t.Error("refused a type that is as expected")
	}
	type sum [28]byte
	for name, change := range map[string]func(pool, cert layout){
		"no set":                    func(pool, _ layout) { delete(pool, "haveSum") },
		"a set by another name":     func(pool, _ layout) { pool["sums"] = pool["haveSum"]; delete(pool, "haveSum") },
		"another hash":              func(pool, _ layout) { pool["haveSum"] = reflect.TypeFor[map[[32]byte]bool]() },
		"a list of hashes":          func(pool, _ layout) { pool["haveSum"] = reflect.TypeFor[[]sum]() },
		"a number for each hash":    func(pool, _ layout) { pool["haveSum"] = reflect.TypeFor[map[sum]int]() },
		"one more":                  func(pool, _ layout) { pool["distrusted"] = reflect.TypeFor[map[sum]bool]() },
		"a number for the system":   func(pool, _ layout) { pool["systemPool"] = reflect.TypeFor[int]() },
		"certificates by pointer":   func(pool, _ layout) { pool["lazyCerts"] = reflect.TypeFor[[]*x509.Certificate]() },
		"another constraint":        func(_, cert layout) { cert["constraint"] = reflect.TypeFor[func(*x509.Certificate) error]() },
		"one more in a certificate": func(_, cert layout) { cert["purposes"] = reflect.TypeFor[[]int]() },
	} {
		if checkPoolType(poolType(change)) != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// layout has the names and types of a struct's fields.
type layout map[string]reflect.Type

func (f layout) structType() reflect.Type {
	var list []reflect.StructField
	for name, of := range f {
		list = append(list, reflect.StructField{Name: name, PkgPath: "crypto/x509", Type: of})
	}
	return reflect.StructOf(list)
}

// poolType returns a type with the fields of x509.CertPool and those of its
// certificates, as change leaves them.
func poolType(change func(pool, cert layout)) reflect.Type {
	type sum [28]byte
	cert := layout{
		"rawSubject": reflect.TypeFor[[]byte](),
		"constraint": reflect.TypeFor[func([]*x509.Certificate) error](),
		"getCert":    reflect.TypeFor[func() (*x509.Certificate, error)](),
	}
	pool := layout{
		"byName":     reflect.TypeFor[map[string][]int](),
		"haveSum":    reflect.TypeFor[map[sum]bool](),
		"systemPool": reflect.TypeFor[bool](),
		"lazyCerts":  nil,
	}
	if change != nil {
		change(pool, cert)
	}
	if pool["lazyCerts"] == nil {
		pool["lazyCerts"] = reflect.SliceOf(cert.structType())
	}
	return pool.structType()
}

func BenchmarkPoolContent(b *testing.B) {
	for name, n := range map[string]int{"3": 3, "150": 150} {
		b.Run(name, func(b *testing.B) {
			p := x509.NewCertPool()
			leaf, _ := sampleCertificates()
			for i := range n {
				leaf[len(leaf)-1], leaf[len(leaf)-2] = byte(i), byte(i>>8)
				c, err := x509.ParseCertificate(leaf)
				if err != nil {
					b.Fatal(err)
				}
				p.AddCert(c)
			}
			r := NewPoolReader()
			b.ReportAllocs()
			for b.Loop() {
				r.Content(p)
			}
		})
	}
}
