package asn1sess

import (
	"reflect"
	"testing"
)

// TestClone fills every byte slice of a Session by reflection, so that a field
// that Clone forgets is found.
func TestClone(t *testing.T) {
	var s Session
	v := reflect.ValueOf(&s).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.Kind() == reflect.Slice {
			f.SetBytes([]byte{byte(i), 1, 2})
		}
	}
	c := s.Clone()
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
	if c := empty.Clone(); c.ID == nil || c.Peer != nil {
		t.Errorf("absent and empty are confused: %+v", c)
	}
	if n := testing.AllocsPerRun(100, func() { c = s.Clone() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}
