package ticket

import (
	"os"
	"testing"
)

// TestLongNonces is TestAEADNoncesDiffer for a million tickets of one key, and
// a million of a ring.
func TestLongNonces(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 to seal two million tickets")
	}
	for _, s := range []Sealer{NewAEAD(), mustGenerate(t, RingConfig{})} {
		const n = 1_000_000
		seen := make(map[[12]byte]struct{}, n)
		for range n {
			seen[[12]byte(mustSeal(t, s, nil)[aeadHeaderSize:])] = struct{}{}
		}
		if len(seen) != n {
			t.Errorf("%v: %d nonces in %d tickets", s, len(seen), n)
		}
	}
}
