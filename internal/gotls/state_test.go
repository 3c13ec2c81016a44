package gotls

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustAppend(tb testing.TB, s *State) []byte {
	tb.Helper()
	b, err := s.Append(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// stateGen draws states that have an encoding, with the sample certificates or
// bytes that are none.
func stateGen(realCertificates bool) *rapid.Generator[*State] {
	some := rapid.SliceOfN(rapid.Byte(), 1, 40)
	cert := some
	if realCertificates {
		leaf, issuer := sampleCertificates()
		cert = rapid.SampledFrom([][]byte{leaf, issuer})
	}
	// Decode gives nil for an empty list.
	list := func(t *rapid.T, g *rapid.Generator[[]byte], minLen int, name string) [][]byte {
		l := rapid.SliceOfN(g, minLen, 4).Draw(t, name)
		if len(l) == 0 {
			return nil
		}
		return l
	}
	return rapid.Custom(func(t *rapid.T) *State {
		s := &State{
			Version:   rapid.Uint16Range(tls.VersionTLS10, tls.VersionTLS13).Draw(t, "version"),
			Client:    rapid.Bool().Draw(t, "client"),
			Suite:     rapid.Uint16().Draw(t, "suite"),
			CreatedAt: rapid.Uint64().Draw(t, "created"),
			Secret:    rapid.SliceOfN(rapid.Byte(), 1, 255).Draw(t, "secret"),
			Extra:     list(t, rapid.SliceOfN(rapid.Byte(), 0, 40), 0, "extra"),
			EMS:       rapid.Bool().Draw(t, "ems"),
			EarlyData: rapid.Bool().Draw(t, "early"),
		}
		minPeer := 0
		if s.Client {
			minPeer = 1
		}
		if s.Peer = list(t, cert, minPeer, "peer"); len(s.Peer) > 0 {
			if rapid.Bool().Draw(t, "stapled") {
				s.OCSP = some.Draw(t, "ocsp")
			}
			s.SCTs = list(t, some, 0, "scts")
			for range rapid.IntRange(0, 3).Draw(t, "chains") {
				s.Chains = append(s.Chains, list(t, cert, 0, "chain"))
			}
		}
		if s.EarlyData {
			s.ALPN = rapid.StringN(0, 50, 255).Draw(t, "alpn")
		}
		switch {
		case s.Version <= tls.VersionTLS12:
			s.Curve = tls.CurveID(rapid.Uint16().Draw(t, "curve"))
		case s.Client:
			s.UseBy = rapid.Uint64().Draw(t, "useby")
			s.AgeAdd = rapid.Uint32().Draw(t, "ageadd")
		}
		return s
	})
}

func TestDecodeAppend(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stateGen(false).Draw(t, "state")
		b, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("decoded %+v\nwant %+v", fields(got), fields(s))
		}
	})
}

// fields shows what Format hides.
func fields(s *State) any {
	type shown State
	return (*shown)(s)
}

func TestDecodeRefuses(t *testing.T) {
	full := fullSample(tls.VersionTLS12, true, []byte("leaf"), []byte("issuer"))
	bare := &State{Version: tls.VersionTLS13, Secret: []byte("secret")}
	one := &State{Version: tls.VersionTLS13, Secret: []byte("secret"), Peer: [][]byte{[]byte("leaf")}}
	two := &State{Version: tls.VersionTLS13, Secret: []byte("secret"), Peer: [][]byte{[]byte("leaf"), []byte("next")}}

	// extended returns the encoding of s with extensions at the leaf or at the
	// second certificate; s has neither, nor chains.
	extended := func(s *State, at int, extensions string) []byte {
		b := mustAppend(t, s)
		i := bytes.Index(b, s.Peer[at]) + len(s.Peer[at])
		list := i - 4 - len(s.Peer[at]) // the low byte of the length of the list
		for range at {
			list -= 5 + len(s.Peer[0])
		}
		b[list] += byte(len(extensions))
		b[i+1] = byte(len(extensions))
		return slices.Insert(b, i+2, []byte(extensions)...)
	}
	for _, fixed := range []struct {
		name       string
		extensions string
	}{
		{"OCSP", "\x00\x05\x00\x05\x01\x00\x00\x01o"},
		{"SCTs", "\x00\x12\x00\x05\x00\x03\x00\x01s"},
		{"OCSP and SCTs", "\x00\x05\x00\x05\x01\x00\x00\x01o\x00\x12\x00\x05\x00\x03\x00\x01s"},
	} {
		// The cases below differ from these in the one thing that they name.
		if s, err := Decode(extended(one, 0, fixed.extensions)); err != nil {
			t.Fatalf("%s: %v", fixed.name, err)
		} else if (len(s.OCSP) == 0) == (len(s.SCTs) == 0) && fixed.name != "OCSP and SCTs" {
			t.Fatalf("%s: OCSP %q, SCTs %q", fixed.name, s.OCSP, s.SCTs)
		}
	}
	edited := func(s *State, f func([]byte)) []byte {
		b := mustAppend(t, s)
		f(b)
		return b
	}
	flags := secretOffset + len("secret") + 3
	for name, b := range map[string][]byte{
		"empty":                {},
		"trailing byte":        append(mustAppend(t, full), 0),
		"version 0x0300":       edited(bare, func(b []byte) { b[1] = 0 }),
		"version 0x0305":       edited(bare, func(b []byte) { b[1] = 5 }),
		"type 0":               edited(bare, func(b []byte) { b[2] = 0 }),
		"type 3":               edited(bare, func(b []byte) { b[2] = 3 }),
		"client without peer":  append(edited(bare, func(b []byte) { b[2] = kindClient }), make([]byte, 12)...),
		"EMS 2":                edited(bare, func(b []byte) { b[flags] = 2 }),
		"early data 2":         edited(bare, func(b []byte) { b[flags+1] = 2 }),
		"no secret":            append(append(bytes.Clone(mustAppend(t, bare)[:secretOffset-1]), 0), make([]byte, 3+2+3+3)...),
		"chain without a leaf": append(mustAppend(t, bare)[:flags+2+3], 0, 0, 3, 0, 0, 0),
		"half an extra entry":  slices.Insert(edited(bare, func(b []byte) { b[flags-1] = 2 }), flags, 0, 0),

		"unknown extension":            extended(one, 0, "\x00\x07\x00\x00"),
		"half an extension":            extended(one, 0, "\x00\x05\x00"),
		"SCTs before OCSP":             extended(one, 0, "\x00\x12\x00\x05\x00\x03\x00\x01s\x00\x05\x00\x05\x01\x00\x00\x01o"),
		"OCSP twice":                   extended(one, 0, "\x00\x05\x00\x05\x01\x00\x00\x01o\x00\x05\x00\x05\x01\x00\x00\x01o"),
		"empty OCSP response":          extended(one, 0, "\x00\x05\x00\x04\x01\x00\x00\x00"),
		"other status type":            extended(one, 0, "\x00\x05\x00\x05\x02\x00\x00\x01o"),
		"bytes after the OCSP":         extended(one, 0, "\x00\x05\x00\x06\x01\x00\x00\x01o!"),
		"empty SCT list":               extended(one, 0, "\x00\x12\x00\x02\x00\x00"),
		"empty SCT":                    extended(one, 0, "\x00\x12\x00\x04\x00\x02\x00\x00"),
		"half an SCT":                  extended(one, 0, "\x00\x12\x00\x05\x00\x03\x00\x02s"),
		"bytes after the SCTs":         extended(one, 0, "\x00\x12\x00\x06\x00\x03\x00\x01s!"),
		"OCSP at a second certificate": extended(two, 1, "\x00\x05\x00\x05\x01\x00\x00\x01o"),
	} {
		if s, err := Decode(b); !errors.Is(err, ErrLayout) || s != nil {
			t.Errorf("%s: Decode = %v, %v, want ErrLayout", name, s, err)
		}
	}

	b := mustAppend(t, full)
	for n := range b {
		if s, err := Decode(b[:n]); !errors.Is(err, ErrLayout) || s != nil {
			t.Errorf("first %d of %d bytes: Decode = %v, %v, want ErrLayout", n, len(b), s, err)
		}
	}
}

func TestDecodeClips(t *testing.T) {
	for _, s := range samples() {
		b := mustAppend(t, s)
		want := bytes.Clone(b)
		got, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range slices.Concat([][]byte{got.Secret, got.OCSP}, got.Extra, got.Peer, got.SCTs) {
			_ = append(v, 0xee)
		}
		if !bytes.Equal(b, want) {
			t.Fatalf("%v: appending to a field wrote over the next one", s)
		}
	}
}

func TestWipe(t *testing.T) {
	s := fullSample(tls.VersionTLS13, true, []byte("leaf"), []byte("issuer"))
	secret := bytes.Clone(s.Secret)
	b := mustAppend(t, s)
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	got.Wipe()
	if bytes.Contains(b, secret[:4]) {
		t.Error("the secret is still in the bytes that were decoded")
	}
	if _, err := got.Append(nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("Append of a wiped State = %v, want ErrInvalid", err)
	}
	if string(got.Peer[0]) != "leaf" || got.ALPN != s.ALPN {
		t.Error("Wipe changed more than the secret")
	}
	got.Wipe()
	(*State)(nil).Wipe()
}

func TestFormatHidesSecret(t *testing.T) {
	s := State{Version: tls.VersionTLS12, Suite: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Secret: []byte("0123456789abcdefghijklmnopqrstuv")}
	const want = "gotls.State(TLS 1.2 server TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)"
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%08b", "%U"} {
		for _, v := range []any{s, &s} {
			if got := fmt.Sprintf(verb, v); got != want {
				t.Errorf("%s of %T prints %q", verb, v, got)
			}
		}
	}
	for _, v := range []any{s, &s, []State{s}, map[string]*State{"s": &s}} {
		var out strings.Builder
		slog.New(slog.NewTextHandler(&out, nil)).Info("session", "state", v)
		fmt.Fprintf(&out, "%+v %#v", v, v)
		for _, form := range []string{string(s.Secret), hex.EncodeToString(s.Secret), fmt.Sprint([]byte(s.Secret[:4]))} {
			if strings.Contains(out.String(), strings.Trim(form, "[]")) {
				t.Errorf("%T shows the secret: %s", v, out.String())
			}
		}
	}
}

// FuzzDecode holds Decode to two promises: what it accepts encodes to the same
// bytes, and on those bytes it agrees with crypto/tls.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(mustAppend(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		s, err := Decode(in)
		ss, tlsErr := tls.ParseSessionState(bytes.Clone(b))
		if tlsErr == nil {
			// What crypto/tls reads and would write just so, we read too, but
			// for versions that it has never negotiated.
			again, againErr := ss.Bytes()
			known := b[0] == 3 && 1 <= b[1] && b[1] <= 4
			if known && againErr == nil && bytes.Equal(again, b) && err != nil {
				t.Fatalf("crypto/tls writes this, Decode says %v", err)
			}
		}
		if err != nil {
			if !errors.Is(err, ErrLayout) || s != nil {
				t.Fatalf("Decode = %v, %v, want ErrLayout", s, err)
			}
			return
		}
		out, err := s.Append(nil)
		if err != nil {
			t.Fatalf("decoded but not encoded: %v", err)
		}
		if !bytes.Equal(out, b) || s.size() != len(b) {
			t.Fatalf("encoded to other bytes (size %d):\n%x\n%x", s.size(), b, out)
		}
		if tlsErr != nil {
			return // a certificate that does not parse
		}
		if again, err := ss.Bytes(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("crypto/tls writes other bytes, %v:\n%x\n%x", err, b, again)
		}
	})
}
