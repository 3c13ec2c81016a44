package gotls

import (
	"reflect"
	"testing"
)

// TestTimes: the fields and the encoding tell the same.
func TestTimes(t *testing.T) {
	if timeFields() == nil {
		t.Error("tls.SessionState has other fields than expected: TimesOf encodes every session")
	}
	for _, s := range samples() {
		ss, err := s.TLS()
		if err != nil {
			t.Fatal(err)
		}
		want := Times{s.Version, s.CreatedAt, s.UseBy}
		if got, err := TimesOf(ss); got != want || err != nil {
			t.Errorf("TimesOf %v: %v, %v", s, got, err)
		}
		if got, err := encodedTimes(ss); got != want || err != nil {
			t.Errorf("encoded times of %v: %v, %v", s, got, err)
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
