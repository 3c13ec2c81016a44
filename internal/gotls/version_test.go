package gotls

import "testing"

// TestVersion: the field and the encoding tell the same version.
func TestVersion(t *testing.T) {
	if versionField() < 0 {
		t.Error("no field of tls.SessionState holds the version: Version encodes every session")
	}
	for _, s := range samples() {
		ss, err := s.TLS()
		if err != nil {
			t.Fatal(err)
		}
		if v, err := Version(ss); v != s.Version || err != nil {
			t.Errorf("Version of %v: %#x, %v", s, v, err)
		}
		if v, err := encodedVersion(ss); v != s.Version || err != nil {
			t.Errorf("encoded version of %v: %#x, %v", s, v, err)
		}
	}
}
