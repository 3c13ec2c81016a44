package gotls

import (
	"bytes"
	"crypto/tls"
	"errors"
	"testing"

	"pgregory.net/rapid"
)

func TestAppendKeepsPrefix(t *testing.T) {
	s := fullSample(tls.VersionTLS12, false, []byte("leaf"), []byte("issuer"))
	want := mustAppend(t, s)
	prefix := []byte("prefix")
	got, err := s.Append(prefix)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, append([]byte("prefix"), want...)) {
		t.Error("Append changed what was there or wrote something else")
	}
}

func TestAppendSize(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stateGen(false).Draw(t, "state")
		b, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		if s.size() != len(b) {
			t.Fatalf("size = %d, encoded %d bytes", s.size(), len(b))
		}
	})
}

// TestAppendLeavesNoCopies: a buffer that is large enough is the only place
// that the secret is written to.
func TestAppendLeavesNoCopies(t *testing.T) {
	for _, s := range samples() {
		dst := make([]byte, 0, s.size())
		b, err := s.Append(dst)
		if err != nil {
			t.Fatal(err)
		}
		if &b[0] != &dst[:1][0] {
			t.Errorf("%v: encoded into another array", s)
		}
	}
}

// TestAppendOmits: fields that the layout does not have do not get in the way.
func TestAppendOmits(t *testing.T) {
	s := fullSample(tls.VersionTLS13, false, nil, nil)
	s.Peer, s.Chains, s.EarlyData = nil, nil, false
	s.UseBy, s.AgeAdd, s.Curve = 1, 2, 3
	b := mustAppend(t, s)
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if got.OCSP != nil || got.SCTs != nil || got.ALPN != "" || got.UseBy != 0 || got.AgeAdd != 0 || got.Curve != 0 {
		t.Errorf("encoded fields that a TLS 1.3 server's session does not have: %+v", fields(got))
	}
	if s.size() != len(b) {
		t.Errorf("size = %d, encoded %d bytes", s.size(), len(b))
	}
}

func TestAppendRefuses(t *testing.T) {
	leaf := [][]byte{[]byte("leaf")}
	for name, edit := range map[string]func(s *State){
		"zero version":                 func(s *State) { s.Version = 0 },
		"SSL 3.0":                      func(s *State) { s.Version = 0x0300 },
		"a later version":              func(s *State) { s.Version = 0x0305 },
		"no secret":                    func(s *State) { s.Secret = nil },
		"long secret":                  func(s *State) { s.Secret = make([]byte, 256) },
		"client without peer":          func(s *State) { s.Client = true },
		"chain without leaf":           func(s *State) { s.Chains = [][][]byte{leaf} },
		"empty certificate":            func(s *State) { s.Peer = [][]byte{{}} },
		"empty certificate in a chain": func(s *State) { s.Peer, s.Chains = leaf, [][][]byte{{nil}} },
		"empty timestamp":              func(s *State) { s.Peer, s.SCTs = leaf, [][]byte{nil} },
		"long timestamp":               func(s *State) { s.Peer, s.SCTs = leaf, [][]byte{make([]byte, 1<<16)} },
		"many timestamps":              func(s *State) { s.Peer, s.SCTs = leaf, [][]byte{make([]byte, 1<<15), make([]byte, 1<<15)} },
		"long OCSP response":           func(s *State) { s.Peer, s.OCSP = leaf, make([]byte, 1<<16) },
		"OCSP and timestamps too long": func(s *State) {
			s.Peer, s.OCSP, s.SCTs = leaf, make([]byte, 1<<15), [][]byte{make([]byte, 1<<15)}
		},
		"long ALPN":        func(s *State) { s.EarlyData, s.ALPN = true, string(make([]byte, 256)) },
		"long extra":       func(s *State) { s.Extra = [][]byte{make([]byte, 1<<23), make([]byte, 1<<23)} },
		"long certificate": func(s *State) { s.Peer = [][]byte{make([]byte, 1<<24)} },
	} {
		s := &State{Version: tls.VersionTLS12, Secret: []byte("secret")}
		edit(s)
		if b, err := s.Append(nil); !errors.Is(err, ErrInvalid) || b != nil {
			t.Errorf("%s: Append = %d bytes, %v, want ErrInvalid", name, len(b), err)
		}
	}
}

// TestAppendRefusedWipes: what was written before the refusal holds the secret.
func TestAppendRefusedWipes(t *testing.T) {
	s := &State{Version: tls.VersionTLS12, Secret: []byte("secret"), EarlyData: true, ALPN: string(make([]byte, 256))}
	dst := make([]byte, 3, 1000)
	copy(dst, "abc")
	if _, err := s.Append(dst); !errors.Is(err, ErrInvalid) {
		t.Fatalf("Append = %v, want ErrInvalid", err)
	}
	if bytes.Contains(dst[:cap(dst)], s.Secret) {
		t.Error("the secret is left behind")
	}
	if string(dst) != "abc" {
		t.Error("the prefix was wiped too")
	}
}
