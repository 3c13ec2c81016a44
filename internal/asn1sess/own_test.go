package asn1sess

import (
	"reflect"
	"testing"
)

// TestOwn fills every byte slice of a Session by reflection, so that a field
// that Own forgets is found.
func TestOwn(t *testing.T) {
	var s Session
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.SetBytes([]byte{byte(i), 1, 2})
		}
	}
	c := s
	c.Own()
	if !reflect.DeepEqual(s, c) {
		t.Fatalf("%+v\nis not %+v", c, s)
	}
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.Bytes()[1] = 99
			if name := v.Type().Field(i).Name; reflect.ValueOf(c).Field(i).Bytes()[1] == 99 {
				t.Errorf("%s is shared", name)
			}
		}
	}
	empty := Session{ID: []byte{}}
	c = empty
	if c.Own(); c.ID == nil || c.Peer != nil {
		t.Errorf("absent and empty are confused: %+v", c)
	}
	if n := testing.AllocsPerRun(100, func() { c = s; c.Own() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

// TestDecodeCopy: what is decoded shares no memory with what it was decoded
// from, in either form of length, and what follows is returned.
func TestDecodeCopy(t *testing.T) {
	s := Session{Version: 0x0303, Cipher: 0xc02f, ID: []byte("id"), MasterKey: []byte("secret"), Time: 1, Timeout: 2, Ticket: []byte("ticket")}
	der, err := s.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	indefinite := append([]byte{der[0], 0x80}, der[2:]...)
	for name, in := range map[string][]byte{"definite": der, "indefinite": append(indefinite, 0, 0)} {
		in = append(in, "rest"...)
		var want, got Session
		if _, err := want.Decode(append([]byte(nil), in...), 0); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		rest, err := got.DecodeCopy(in, 0)
		if err != nil || string(rest) != "rest" {
			t.Errorf("%s: rest %q, %v", name, rest, err)
		}
		clear(in)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v\nis not %+v", name, got, want)
		}
	}
	for _, bad := range [][]byte{nil, der[:1], der[:len(der)-1], append([]byte{0x30, 0x80}, der[2:]...), {0x04, 0}} {
		var direct, copied Session
		_, want := direct.Decode(bad, 0)
		if _, err := copied.DecodeCopy(bad, 0); err == nil || err.Error() != want.Error() {
			t.Errorf("%x: %v, want %v", bad, err, want)
		}
	}
}
