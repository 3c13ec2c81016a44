package asn1sess

import (
	"bytes"
	"reflect"
	"runtime"
	"strings"
	"testing"
)

// FuzzParse: what parses is encoded, the encoding parses to the same session, and its encoding
// is itself again. Nothing grows beyond the input.
func FuzzParse(f *testing.F) {
	for _, c := range parseCases {
		f.Add(c.der(f))
	}
	for _, der := range handshakeSessions(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		given := bytes.Clone(der)
		s, rest, err := Parse(der, 7)
		if !bytes.Equal(der, given) {
			t.Fatal("Parse changed its input")
		}
		if err != nil {
			return
		}
		if !bytes.HasSuffix(der, rest) {
			t.Fatalf("rest %x is not the end of the input", rest)
		}
		first, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		// The fixed fields are at most 100 bytes, and headers may grow from those of pieces.
		if len(first) > len(der)+200 {
			t.Fatalf("%d bytes became %d", len(der), len(first))
		}
		again, rest, err := Parse(first, 8)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%v, %d bytes behind", err, len(rest))
		}
		if s.IDContext == nil {
			s.IDContext = []byte{}
		}
		if !reflect.DeepEqual(again, s) {
			t.Fatalf("got  %+v\nwant %+v", again, s)
		}
		second, err := again.Append(nil)
		if err != nil || !bytes.Equal(second, first) {
			t.Fatalf("%x became %x, %v", first, second, err)
		}
		var text strings.Builder
		if err := WriteText(&text, &s, true); err != nil {
			t.Fatal(err)
		}
	})
}

// TestParseBounded: pieces of octet strings are the only thing that Parse copies, and what it
// copies is bounded by the input, however deep they nest.
func TestParseBounded(t *testing.T) {
	pieces := wrap(4, make([]byte, 1<<20))
	for range maxStringNest + 1 {
		pieces = wrap(0x24, pieces)
	}
	der := wrap(0x30, append(unhex(t, mandatory), wrap(0xb0, pieces)...))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	s, _, err := Parse(der, 7)
	runtime.ReadMemStats(&after)
	if err != nil || len(s.ALPN) != 1<<20 {
		t.Fatalf("%d bytes, %v", len(s.ALPN), err)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes of input took %d bytes", len(der), grown)
	}
}
