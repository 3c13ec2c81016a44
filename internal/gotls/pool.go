package gotls

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"reflect"
	"slices"
	"sync"
)

// PoolContent is [PoolReader.Content] of the process's crypto/x509.
func PoolContent(pool *x509.CertPool) (sum [32]byte, constrained, ok bool) {
	return NewPoolReader().Content(pool)
}

// PoolReader reads what is in a certificate pool, which crypto/x509 does not
// show. The zero value reads nothing, as on a Go release whose pools differ.
type PoolReader struct {
	fields *poolIndexes // nil where pools are not as expected
}

// NewPoolReader returns a reader for the process's crypto/x509.
func NewPoolReader() PoolReader { return PoolReader{poolFields()} }

// Content returns a hash over the set of certificates in pool, whatever their
// order, and over whether the system's roots belong to it. It is the same in
// every process. constrained reports whether a certificate was added with
// [x509.CertPool.AddCertWithConstraint]: then sum does not tell everything, for
// nothing tells one constraint from another. ok is false if pool is nil or its
// fields are not as expected. The caller must see to it that nobody changes
// pool meanwhile.
func (r PoolReader) Content(pool *x509.CertPool) (sum [32]byte, constrained, ok bool) {
	if r.fields == nil || pool == nil {
		return sum, false, false
	}
	v := reflect.ValueOf(pool).Elem()
	have := readable(v.Field(r.fields.sums))
	sums := make([][sha256.Size224]byte, 0, have.Len())
	key := reflect.New(have.Type().Key()).Elem()
	for i := have.MapRange(); i.Next(); {
		key.SetIterKey(i)
		sums = append(sums, [sha256.Size224]byte(key.Bytes()))
	}
	slices.SortFunc(sums, func(a, b [sha256.Size224]byte) int { return bytes.Compare(a[:], b[:]) })
	list := make([]byte, 1, 1+len(sums)*sha256.Size224)
	if v.Field(r.fields.system).Bool() {
		list[0] = 1
	}
	for i := range sums {
		list = append(list, sums[i][:]...)
	}
	certs := v.Field(r.fields.certs)
	for i := range certs.Len() {
		constrained = constrained || !certs.Index(i).Field(r.fields.constraint).IsNil()
	}
	return sha256.Sum256(list), constrained, true
}

// poolIndexes are the indexes of the fields of x509.CertPool that are read, and
// of the constraint in an element of certs.
type poolIndexes struct{ certs, sums, system, constraint int }

// poolFields is nil where pools are not as expected.
var poolFields = sync.OnceValue(func() *poolIndexes {
	f := checkPoolType(reflect.TypeFor[x509.CertPool]())
	if f == nil || !(PoolReader{f}).works() {
		return nil
	}
	return f
})

// checkPoolType returns where the fields of a pool's type are, nil if one is
// missing or different, or if there are others: they could hold something that
// decides whether a certificate is accepted.
func checkPoolType(pool reflect.Type) *poolIndexes {
	if pool.NumField() != 4 || fieldOf(pool, "byName", reflect.TypeFor[map[string][]int]()) < 0 {
		return nil
	}
	certs, have := sliceField(pool, "lazyCerts"), mapField(pool, "haveSum")
	system := fieldOf(pool, "systemPool", reflect.TypeFor[bool]())
	if certs < 0 || have < 0 || system < 0 {
		return nil
	}
	set := pool.Field(have).Type
	sum := set.Key()
	if sum.Kind() != reflect.Array || sum.Len() != sha256.Size224 || sum.Elem().Kind() != reflect.Uint8 || set.Elem().Kind() != reflect.Bool {
		return nil
	}
	cert := pool.Field(certs).Type.Elem()
	if cert.Kind() != reflect.Struct || cert.NumField() != 3 ||
		fieldOf(cert, "rawSubject", reflect.TypeFor[[]byte]()) < 0 ||
		fieldOf(cert, "getCert", reflect.TypeFor[func() (*x509.Certificate, error)]()) < 0 {
		return nil
	}
	constraint := fieldOf(cert, "constraint", reflect.TypeFor[func([]*x509.Certificate) error]())
	if constraint < 0 {
		return nil
	}
	return &poolIndexes{certs, have, system, constraint}
}

// mapField returns the index of a field of a struct type that is a map, -1 if
// there is none.
func mapField(in reflect.Type, name string) int {
	f, ok := in.FieldByName(name)
	if !ok || f.Type.Kind() != reflect.Map {
		return -1
	}
	return fieldOf(in, name, f.Type)
}

// works reports whether pools of known certificates read as what they are.
func (r PoolReader) works() bool {
	first, second := sampleCertificates()
	a, err := x509.ParseCertificate(first)
	if err != nil {
		return false
	}
	b, err := x509.ParseCertificate(second)
	if err != nil {
		return false
	}
	sums := [][]byte{sum224(first), sum224(second)}
	slices.SortFunc(sums, bytes.Compare)
	want := sha256.Sum256(slices.Concat([]byte{0}, sums[0], sums[1]))
	for _, certs := range [][]*x509.Certificate{{a, b}, {b, a}} {
		plain, limited := x509.NewCertPool(), x509.NewCertPool()
		for _, c := range certs {
			plain.AddCert(c)
		}
		limited.AddCert(certs[0])
		limited.AddCertWithConstraint(certs[1], func([]*x509.Certificate) error { return nil })
		if sum, constrained, _ := r.Content(plain); sum != want || constrained {
			return false
		}
		if sum, constrained, _ := r.Content(limited); sum != want || !constrained {
			return false
		}
	}
	return true
}

func sum224(b []byte) []byte {
	sum := sha256.Sum224(b)
	return sum[:]
}
