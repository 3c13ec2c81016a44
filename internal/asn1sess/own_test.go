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
