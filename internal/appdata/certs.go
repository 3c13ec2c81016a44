package appdata

import "fmt"

// certTable is the certificates of a record as they are numbered. Chains share
// certificates, so a table looks at the bytes of each slice once, however often
// the slice comes.
type certTable struct {
	certs  [][]byte
	first  []int             // by number: that of the first of the same bytes
	places map[string]int    // by bytes
	slices map[certSlice]int // by where the bytes lie
	used   int               // the numbers below this one have been read

	looked int // bytes of certificates that were looked at
}

// certSlice says where the bytes of a certificate lie.
type certSlice struct {
	first  *byte
	length int
}

func sliceOf(cert []byte) certSlice {
	if len(cert) == 0 {
		return certSlice{}
	}
	return certSlice{&cert[0], len(cert)}
}

func errCerts(n int) error {
	return fmt.Errorf("appdata: %d certificates: at most %d are kept", n, maxCerts)
}

// fill numbers certs, which may hold one twice, from zero.
func (t *certTable) fill(certs [][]byte) error {
	if len(certs) > maxCerts {
		return errCerts(len(certs))
	}
	if len(certs) > 0 {
		t.places, t.slices = make(map[string]int, len(certs)), make(map[certSlice]int, len(certs))
		t.certs, t.first = make([][]byte, 0, len(certs)), make([]int, 0, len(certs))
	}
	for _, cert := range certs {
		t.add(cert)
	}
	return nil
}

// add gives a certificate the next number.
func (t *certTable) add(cert []byte) {
	if t.places == nil {
		t.places, t.slices = make(map[string]int), make(map[certSlice]int)
	}
	i, ok := t.lookup(cert)
	if !ok {
		i = len(t.certs)
		t.places[string(cert)] = i
	}
	t.slices[sliceOf(cert)] = i
	t.certs, t.first = append(t.certs, cert), append(t.first, i)
}

// lookup returns the first number of a certificate.
func (t *certTable) lookup(cert []byte) (int, bool) {
	if i, ok := t.slices[sliceOf(cert)]; ok {
		return i, true
	}
	t.looked += len(cert)
	i, ok := t.places[string(cert)]
	return i, ok
}

// place returns the first number of a certificate, which gets one if it has none.
func (t *certTable) place(cert []byte) int {
	i, ok := t.lookup(cert)
	if !ok {
		i = len(t.certs)
		t.add(cert)
	} else {
		t.slices[sliceOf(cert)] = i
	}
	return i
}

// next returns the certificate of a number that a chain names, or nil if no
// record names it there: numbers are given in the order in which chains need
// them, and of certificates that are the same only the first is named.
func (t *certTable) next(i int) []byte {
	if i > t.used || i >= len(t.certs) || t.first[i] != i {
		return nil
	}
	if i == t.used {
		t.used++
	}
	return t.certs[i]
}
