package main

import (
	"bytes"
	"testing"

	"github.com/reprise-tls/reprise"
)

func testSamples(t *testing.T) samples {
	t.Helper()
	s, err := newSamples()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSamples: the sessions are of the size that the documentation says and in
// the form that both sides write.
func TestSamples(t *testing.T) {
	sessions := testSamples(t)
	for _, tc := range []struct {
		name        string
		sample      sample
		least, most int
		peer        bool
	}{
		{"server", serverSession, 120, 135, false},
		{"certificate", certificateSession, 950, 1150, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			der := sessions[tc.sample]
			if len(der) < tc.least || len(der) > tc.most {
				t.Errorf("%d bytes, want %d to %d", len(der), tc.least, tc.most)
			}
			s, rest, err := reprise.ParseSession(der)
			if err != nil || len(rest) != 0 {
				t.Fatal(err, rest)
			}
			defer s.Free()
			again, err := s.MarshalBinary()
			if err != nil || !bytes.Equal(again, der) {
				t.Errorf("encoded again it is\n%x, %v, not\n%x", again, err, der)
			}
			if cert, err := s.PeerCertificate(); (cert != nil) != tc.peer || err != nil {
				t.Errorf("its peer is %v, %v", cert, err)
			}
		})
	}
}
