package asn1sess

import (
	"bytes"
	"fmt"
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

// costs bounds what Parse allocates for an input: pieces of octet strings are
// all that it copies.
func costs(length int) uint64 { return uint64(length) + 4<<10 }

// allocated is how many bytes f allocates. What is above the limit is measured
// again: other goroutines, those of the fuzzer, allocate too.
func allocated(limit uint64, f func()) (grown uint64) {
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if grown = after.TotalAlloc - before.TotalAlloc; grown <= limit {
			break
		}
	}
	return grown
}

// FuzzParseCost: what Parse takes is bounded by the length of the input.
func FuzzParseCost(f *testing.F) {
	for _, generate := range hostileSessions {
		f.Add(generate(f, 1<<10))
	}
	for _, der := range handshakeSessions(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) { checkCost(t, der) })
}

func checkCost(t *testing.T, der []byte) {
	t.Helper()
	limit := costs(len(der))
	if grown := allocated(limit, func() { _, _, _ = Parse(der, 7) }); grown > limit {
		t.Errorf("%d bytes of input took %d bytes", len(der), grown)
	}
}

// TestParseCost: not even sessions made for it take more.
func TestParseCost(t *testing.T) {
	for name, generate := range hostileSessions {
		for _, size := range []int{1 << 20, 4 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) { checkCost(t, generate(t, size)) })
		}
	}
}

// hostileSessions make encodings of about the given size that want much of a reader.
var hostileSessions = map[string]func(t testing.TB, size int) []byte{
	"nested pieces": func(t testing.TB, size int) []byte {
		pieces := wrap(4, make([]byte, size))
		for range maxStringNest + 1 {
			pieces = wrap(0x24, pieces)
		}
		return wrap(0x30, append(unhex(t, mandatory), wrap(0xb0, pieces)...))
	},
	"many pieces": func(t testing.TB, size int) []byte {
		pieces := wrap(0x24, bytes.Repeat([]byte{4, 1, 0}, size/3))
		return wrap(0x30, append(unhex(t, mandatory), wrap(0xb0, pieces)...))
	},
	"empty pieces without end": func(t testing.TB, size int) []byte {
		return wrap(0x30, append(unhex(t, mandatory+"b0 80 24 80"), make([]byte, size)...))
	},
	"pieces before much": func(t testing.TB, size int) []byte { // each with an end that only reading tells
		const piece = "24 80 0401aa 0000 "
		der := unhex(t, "020101 02020303 2480 0402c030 0000 "+piece+piece)
		for _, f := range []field{fieldIDContext, fieldHostname, fieldPSKIdentityHint, fieldPSKIdentity, fieldTicket, fieldSRPUsername, fieldALPN} {
			der = append(der, wrap(0xa0|byte(f), nil)[:1]...)
			der = append(der, unhex(t, "80"+piece+"0000")...)
		}
		return append([]byte{0x30, 0x80}, append(append(der, wrap(0xb2, wrap(4, make([]byte, size)))...), 0, 0)...)
	},
	"a long integer": func(t testing.TB, size int) []byte {
		return wrap(0x30, append(unhex(t, mandatory), wrap(0xa1, wrap(2, make([]byte, size)))...))
	},
}
