package reprise

import (
	"crypto/x509"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// lastSeconds are those of certificates: the form in which they are written
// changes with the year 2050.
var lastSeconds = []time.Time{
	time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC),
	time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC),
	time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), // "no expiry" (RFC 5280, section 4.1.2.5)
}

func TestGoodUntil(t *testing.T) {
	ca := testpki.New(t, "root")
	for _, want := range lastSeconds {
		cert := ca.LeafUntil(t, want, "a.test").Certificate[0]
		if got, ok := goodUntil(cert); !ok || !got.Equal(want) {
			t.Errorf("good until %v, %t, want %v", got, ok, want)
		}
		for n := range cert {
			if _, err := x509.ParseCertificate(cert[:n]); err == nil {
				t.Fatal("a cut certificate parses")
			}
			goodUntil(cert[:n]) // does not panic
		}
	}
	for _, bad := range [][]byte{nil, {}, {0x30, 0}, []byte("certificate")} {
		if got, ok := goodUntil(bad); ok {
			t.Errorf("%x is good until %v", bad, got)
		}
	}
}

// FuzzGoodUntil: of whatever crypto/x509 reads the last second is the same.
func FuzzGoodUntil(f *testing.F) {
	ca := testpki.New(f, "root")
	for _, last := range lastSeconds {
		f.Add(ca.LeafUntil(f, last, "a.test").Certificate[0])
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		got, ok := goodUntil(der)
		cert, err := x509.ParseCertificate(der)
		if err == nil && (!ok || !got.Equal(cert.NotAfter)) {
			t.Errorf("good until %v, %t, want %v", got, ok, cert.NotAfter)
		}
	})
}
