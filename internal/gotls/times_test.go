package gotls

import (
	"crypto/tls"
	"reflect"
	"testing"
)

// TestTimes: the fields and the encoding tell the same, and only a client's
// session of TLS 1.3 has a second by which it has to be used.
func TestTimes(t *testing.T) {
	byField, byEncoding := NewTimeReader(), TimeReader{}
	if byField == byEncoding {
		t.Error("tls.SessionState has other fields than expected: every session is encoded")
	}
	for _, s := range samples() {
		ss, err := s.TLS()
		if err != nil {
			t.Fatal(err)
		}
		want := Times{s.Version, s.CreatedAt, s.UseBy}
		for _, r := range []TimeReader{byField, byEncoding} {
			if got, err := r.Times(ss); got != want || err != nil {
				t.Errorf("times of %v: %v, %v", s, got, err)
			}
		}
		if s.UseBy != 0 && s.Version != tls.VersionTLS13 {
			t.Errorf("%v is to be used by %d", s, s.UseBy)
		}
	}
}

// TestTimesOfOtherFields: a field that is not there, or of another kind, is not read.
func TestTimesOfOtherFields(t *testing.T) {
	if i := field("no such field", reflect.Uint16); i >= 0 {
		t.Errorf("found at %d", i)
	}
	if i := field("version", reflect.Uint64); i >= 0 {
		t.Errorf("a field of another kind found at %d", i)
	}
}
