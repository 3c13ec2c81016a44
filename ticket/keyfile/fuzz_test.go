package keyfile

import (
	"bytes"
	"errors"
	"testing"

	"github.com/reprise-tls/reprise/ticket"
)

// FuzzParse: what parses is written as it was, but for line ends; and every
// form that takes its keys gives them back.
func FuzzParse(f *testing.F) {
	for _, form := range Formats() {
		for _, file := range files(form, 4) {
			f.Add(uint8(form), file.Data)
			f.Add(uint8(form), file.Data[:len(file.Data)-1])
		}
	}
	f.Add(uint8(FormatNginx80), make([]byte, 80))
	f.Add(uint8(FormatNginx80), files(FormatNginx48, 1)[0].Data)
	f.Add(uint8(FormatHAProxy48), bytes.ReplaceAll(files(FormatHAProxy48, 3)[0].Data, []byte("\n"), []byte("\r\n")))
	f.Fuzz(func(t *testing.T, form uint8, data []byte) {
		s, err := Parse(Format(form), File{"keys", bytes.Clone(data)})
		if err != nil {
			return
		}
		want := data
		if !s.Form().MultipleFiles() {
			want = bytes.ReplaceAll(want, []byte("\r\n"), []byte("\n"))
			want = append(bytes.TrimSuffix(bytes.TrimSuffix(want, []byte("\n")), []byte("\r")), '\n')
		}
		if got := s.Files(); len(got) != 1 || !bytes.Equal(got[0], want) {
			t.Fatalf("%q became %q", data, got)
		}
		for _, to := range Formats() {
			c, err := s.Convert(to)
			if err != nil {
				continue
			}
			back, err := c.Convert(s.Form())
			if err != nil && otherLength(s) {
				continue // its files are of both lengths that nginx takes, and a form has one
			}
			if err != nil {
				t.Fatalf("from %v back to %v: %v", to, s.Form(), err)
			}
			for i, k := range back.InUse() {
				if before := s.InUse()[i]; k.name != before.name || !bytes.Equal(k.aes, before.aes) || !bytes.Equal(k.hmac, before.hmac) {
					t.Fatalf("by way of %v: key %d in use is another", to, i)
				}
			}
		}
	})
}

// otherLength reports whether a key of s is not as long as those of its form.
func otherLength(s *Set) bool {
	for _, k := range s.InUse() {
		if len(k.aes) != layouts[s.Form()].secret {
			return true
		}
	}
	return false
}

// haveCommon reports whether two of nginx's files, of 48 or 80 bytes, have a name
// or a secret in common.
func haveCommon(one, other []byte) bool {
	const name = 16
	if bytes.Equal(one[:name], other[:name]) {
		return true
	}
	half := func(file []byte) int { return (len(file) - name) / 2 }
	for _, a := range [][]byte{one[name : name+half(one)], one[name+half(one):]} {
		for _, b := range [][]byte{other[name : name+half(other)], other[name+half(other):]} {
			if bytes.Equal(a, b) {
				return true
			}
		}
	}
	return false
}

// FuzzParseTwo: no two files with anything in common are taken.
func FuzzParseTwo(f *testing.F) {
	two := files(FormatNginx80, 2)
	f.Add(two[0].Data, two[1].Data)
	f.Add(two[0].Data, two[0].Data)
	f.Add(two[0].Data, append(bytes.Clone(two[0].Data[:16]), two[1].Data[16:]...))
	f.Add(two[0].Data, files(FormatNginx48, 1)[0].Data)
	f.Add(two[0].Data, append([]byte("another name, so"), two[0].Data[16:48]...)) // no key of one is a key of the other
	f.Fuzz(func(t *testing.T, one, other []byte) {
		_, errOne := Parse(FormatNginx80, File{"one", one})
		_, errOther := Parse(FormatNginx80, File{"other", other})
		_, err := Parse(FormatNginx80, File{"one", one}, File{"other", other})
		if errOne != nil || errOther != nil {
			if err == nil {
				t.Fatalf("taken together, refused alone: %v, %v", errOne, errOther)
			}
			return
		}
		if twins := haveCommon(one, other); twins != errors.Is(err, ticket.ErrDuplicateKey) {
			t.Fatalf("have something in common: %t; %v", twins, err)
		}
	})
}
