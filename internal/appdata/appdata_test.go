package appdata

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// full is a record with every section.
func full() Record {
	root, other := []byte("root"), []byte("another root")
	middle := []byte("intermediate")
	return Record{
		FirstAuth: 1700000000,
		Lineage:   []byte("0123456789abcdef"),
		Policy:    []byte("policy"),
		Chain:     [][]byte{middle, root},
		Verified:  [][][]byte{{middle, root}, {middle, other}, {}},
		OCSP:      []byte("ocsp"),
		SCTs:      [][]byte{[]byte("sct"), {}},
		Extra:     [][]byte{{}, []byte("extra")},
		State:     []byte("state"),
		User:      []byte("user"),
		Sequence:  []byte("a managernumber!"),
	}
}

func encode(t testing.TB, r Record) []byte {
	t.Helper()
	b, err := r.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestLayout holds the encoding to the bytes that the comment describes.
func TestLayout(t *testing.T) {
	want := "\x01reprise" +
		"\x01\x00\x00\x08\x00\x00\x00\x00\x65\x53\xf1\x00" +
		"\x02\x00\x00\x100123456789abcdef" +
		"\x03\x00\x00\x06policy" +
		"\x04\x00\x00\x27\x00\x02" + "\x00\x00\x0cintermediate" + "\x00\x00\x04root" + "\x00\x00\x0canother root" +
		"\x05\x00\x00\x0b" + "\x02\x00\x00\x00\x01" + "\x02\x00\x00\x00\x02" + "\x00" +
		"\x06\x00\x00\x04ocsp" +
		"\x07\x00\x00\x09\x00\x00\x03sct\x00\x00\x00" +
		"\x08\x00\x00\x0b\x00\x00\x00\x00\x00\x05extra" +
		"\x09\x00\x00\x05state" +
		"\x0a\x00\x00\x04user" +
		"\x0b\x00\x00\x10a managernumber!"
	if got := encode(t, full()); string(got) != want {
		t.Errorf("encoded as\n%q\nwant\n%q", got, want)
	}
	r := full()
	if got, err := r.Append([]byte("before")); err != nil || string(got) != "before"+want {
		t.Errorf("Append after something: %q, %v", got, err)
	}
}

// TestForeign: data that is not ours stays as it is, both ways.
func TestForeign(t *testing.T) {
	for _, data := range []string{"", "x", "\x01repris", "\x02reprise", "\x00reprise", "\x01Reprise and more", "\x30\x03\x02\x01\x00"} {
		r, err := Parse([]byte(data))
		if err != nil || string(r.User) != data || !r.onlyUser() {
			t.Errorf("Parse(%q): %+v, %v", data, r, err)
		}
		if got := encode(t, r); string(got) != data {
			t.Errorf("%q came back as %q", data, got)
		}
	}
}

// TestUserThatLooksOurs: data of the application that begins as a record of ours does not pass for one.
func TestUserThatLooksOurs(t *testing.T) {
	user := encode(t, full())
	b := encode(t, Record{User: user})
	r, err := Parse(b)
	if err != nil || !bytes.Equal(r.User, user) || !r.onlyUser() {
		t.Errorf("came back as %+v, %v", r, err)
	}
}

func TestParseRefuses(t *testing.T) {
	const header = "\x01reprise"
	for name, body := range map[string]string{
		"nothing in it":                    "",
		"only user data":                   "\x0a\x00\x00\x01u",
		"an unknown section":               "\x0c\x00\x00\x01u",
		"a short sequence":                 "\x0b\x00\x00\x0fa managernumber",
		"section 0":                        "\x00\x00\x00\x01u",
		"an empty section":                 "\x06\x00\x00\x00",
		"half a section header":            "\x06\x00\x00",
		"less than it says":                "\x06\x00\x00\x02x",
		"something after it":               "\x06\x00\x00\x01xx",
		"a section twice":                  "\x06\x00\x00\x01x\x06\x00\x00\x01x",
		"sections out of order":            "\x06\x00\x00\x01x\x03\x00\x00\x01x",
		"a short first authentication":     "\x01\x00\x00\x07\x00\x00\x00\x00\x00\x00\x01",
		"a zero first authentication":      "\x01\x00\x00\x08\x00\x00\x00\x00\x00\x00\x00\x00",
		"a short lineage":                  "\x02\x00\x00\x0f0123456789abcde",
		"a long policy":                    "\x03\x00\x00\x41" + strings.Repeat("p", 65),
		"certificates without a count":     "\x04\x00\x00\x01\x00",
		"no certificates":                  "\x04\x00\x00\x02\x00\x00",
		"fewer certificates than counted":  "\x04\x00\x00\x06\x00\x02\x00\x00\x01c",
		"an empty certificate":             "\x04\x00\x00\x05\x00\x01\x00\x00\x00",
		"a broken certificate":             "\x04\x00\x00\x06\x00\x01\x00\x00\x02c",
		"a certificate that nobody uses":   "\x04\x00\x00\x06\x00\x00\x00\x00\x01c",
		"a chain of unknown certificates":  "\x05\x00\x00\x03\x01\x00\x00",
		"half a chain":                     "\x04\x00\x00\x06\x00\x01\x00\x00\x01c\x05\x00\x00\x02\x01\x00",
		"an index past the certificates":   "\x04\x00\x00\x06\x00\x01\x00\x00\x01c\x05\x00\x00\x03\x01\x00\x01",
		"a certificate twice":              "\x04\x00\x00\x0a\x00\x01\x00\x00\x01c\x00\x00\x01c\x05\x00\x00\x03\x01\x00\x01",
		"certificates in the wrong order":  "\x04\x00\x00\x0a\x00\x00\x00\x00\x01a\x00\x00\x01b\x05\x00\x00\x05\x02\x00\x01\x00\x00",
		"an index of the second of a kind": "\x04\x00\x00\x0a\x00\x02\x00\x00\x01c\x00\x00\x01c\x05\x00\x00\x03\x01\x00\x01",
		"a broken sct":                     "\x07\x00\x00\x03\x00\x00\x01",
		"half an extra":                    "\x08\x00\x00\x02\x00\x00",
	} {
		r, err := Parse([]byte(header + body))
		if !errors.Is(err, ErrMalformed) || !reflect.DeepEqual(r, Record{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	cert := [][]byte{[]byte("c")}
	long := make([][]byte, maxChain+1)
	for i := range long {
		long[i] = cert[0]
	}
	many := make([][]byte, maxCerts+1)
	for i := range many {
		many[i] = cert[0]
	}
	for name, r := range map[string]Record{"a chain too long": {Verified: [][][]byte{long}}, "too many certificates": {Chain: many}} {
		if b, err := r.Append(nil); err == nil {
			t.Errorf("%s: %d bytes", name, len(b))
		}
	}
	r := Record{Chain: many[:maxCerts], Verified: [][][]byte{long[:maxChain]}}
	if got, err := Parse(encode(t, r)); err != nil || !same(got, r) {
		t.Errorf("as much as is kept: %v", err)
	}
}

// same compares records as their readers see them: no bytes and nil are one.
func same(a, b Record) bool {
	for _, r := range []*Record{&a, &b} {
		for _, l := range append([]*[][]byte{&r.Chain, &r.SCTs, &r.Extra}, chains(r)...) {
			*l = append([][]byte{}, *l...)
			for i := range *l {
				(*l)[i] = append([]byte{}, (*l)[i]...)
			}
		}
		for _, f := range []*[]byte{&r.Lineage, &r.Policy, &r.OCSP, &r.State, &r.User, &r.Sequence} {
			*f = append([]byte{}, *f...)
		}
	}
	return reflect.DeepEqual(a, b)
}

func chains(r *Record) (lists []*[][]byte) {
	r.Verified = append([][][]byte{}, r.Verified...)
	for i := range r.Verified {
		lists = append(lists, &r.Verified[i])
	}
	return lists
}

// TestProperty: what Append writes Parse reads back.
func TestProperty(t *testing.T) {
	bytesOf := func(low, high int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), low, high) }
	list := rapid.SliceOfN(bytesOf(0, 6), 0, 4)
	// Few values, so that certificates meet.
	certs := rapid.SliceOfN(rapid.SliceOfN(rapid.ByteRange(0, 3), 1, 2), 0, 4)
	user := rapid.OneOf(bytesOf(0, 20), rapid.Map(bytesOf(0, 12), func(b []byte) []byte { return append([]byte("\x01reprise"), b...) }))
	rapid.Check(t, func(t *rapid.T) {
		r := Record{
			FirstAuth: rapid.Int64().Draw(t, "first authentication"),
			Lineage:   rapid.OneOf(bytesOf(16, 16), bytesOf(0, 0)).Draw(t, "lineage"),
			Policy:    bytesOf(0, 64).Draw(t, "policy"),
			Chain:     certs.Draw(t, "chain"),
			Verified:  rapid.SliceOfN(certs, 0, 3).Draw(t, "verified"),
			OCSP:      bytesOf(0, 4).Draw(t, "ocsp"),
			SCTs:      list.Draw(t, "scts"),
			Extra:     list.Draw(t, "extra"),
			State:     bytesOf(0, 4).Draw(t, "state"),
			User:      user.Draw(t, "user"),
			Sequence:  rapid.OneOf(bytesOf(16, 16), bytesOf(0, 0)).Draw(t, "sequence"),
		}
		b, err := r.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(b)
		if err != nil || !same(got, r) {
			t.Fatalf("%+v\ncame back as\n%+v, %v", r, got, err)
		}
	})
}
