package reprise

import (
	"crypto/x509"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte/asn1"

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

// TestInDigits: what is no time, or not written as certificates should have it, is
// left to the library.
func TestInDigits(t *testing.T) {
	for _, c := range []struct {
		tag  asn1.Tag
		in   string
		want string // "" where it is not read
	}{
		{asn1.UTCTime, "491231235959Z", "2049-12-31T23:59:59Z"},
		{asn1.UTCTime, "500101000000Z", "1950-01-01T00:00:00Z"},
		{asn1.GeneralizedTime, "20500101000000Z", "2050-01-01T00:00:00Z"},
		{asn1.GeneralizedTime, "20240229120000Z", "2024-02-29T12:00:00Z"},
		{asn1.GeneralizedTime, "20230229120000Z", ""},
		{asn1.GeneralizedTime, "20231301000000Z", ""},
		{asn1.GeneralizedTime, "20231200000000Z", ""},
		{asn1.GeneralizedTime, "20231231240000Z", ""},
		{asn1.GeneralizedTime, "20231231235960Z", ""},
		{asn1.GeneralizedTime, "2023123123595/Z", ""},
		{asn1.GeneralizedTime, "20231231235959z", ""},
		{asn1.GeneralizedTime, "231231235959Z", ""},
		{asn1.UTCTime, "20231231235959Z", ""},
		{asn1.UTCTime, "2312312359Z", ""},
		{asn1.UTCTime, "231231235959+0100", ""},
		{asn1.UTCTime, "", ""},
	} {
		got, ok := inDigits([]byte(c.in), c.tag)
		if ok != (c.want != "") || ok && got.Format(time.RFC3339) != c.want {
			t.Errorf("%q is %v, %t, want %q", c.in, got, ok, c.want)
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
