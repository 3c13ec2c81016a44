package appdata

import (
	"bytes"
	"testing"
)

// FuzzParse: foreign data stays as it is, and what is accepted as ours is
// exactly what Append writes.
func FuzzParse(f *testing.F) {
	f.Add(encode(f, full()))
	f.Add(encode(f, Record{User: encode(f, Record{FirstAuth: 1})}))
	f.Add(encode(f, Record{Chain: [][]byte{{1}, {1}, {2}}, Verified: [][][]byte{{{2}, {3}}, {}, {{3}, {1}}}}))
	f.Add(encode(f, Record{FirstAuth: -1, Extra: [][]byte{{}}}))
	f.Add([]byte("foreign"))
	f.Add([]byte("\x01reprise\x0a\x00\x00\x01u"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if !Ours(data) && (err != nil || !r.onlyUser() || !bytes.Equal(r.User, data)) {
			t.Fatalf("foreign data came back as %+v, %v", r, err)
		}
		if err != nil {
			return
		}
		again, err := r.Append(nil)
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("accepted % x\nwritten  % x, %v", data, again, err)
		}
	})
}
