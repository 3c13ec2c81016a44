package keyfile

import (
	"strings"
	"testing"
)

func TestParseFormat(t *testing.T) {
	for _, name := range []string{"nginx48", "nginx80", "haproxy48", "haproxy80", "apache48"} {
		if f, err := ParseFormat(name); err != nil || f.String() != name {
			t.Errorf("ParseFormat(%q) = %v, %v", name, f, err)
		}
	}
	for _, name := range []string{"", "nginx", "Nginx48", "apache80", "Format(0)"} {
		if f, err := ParseFormat(name); err == nil || f != 0 || !strings.Contains(err.Error(), "haproxy80") {
			t.Errorf("ParseFormat(%q) = %v, %v", name, f, err)
		}
	}
}

func TestFormatInvalid(t *testing.T) {
	for _, f := range []Format{0, FormatApache48 + 1, 255} {
		_, parsed := Parse(f, File{"keys", make([]byte, 48)})
		_, made := New(f)
		_, key := NewKey(f)
		for _, err := range []error{parsed, made, key} {
			if err == nil || !strings.Contains(err.Error(), f.String()) {
				t.Errorf("%v: %v", f, err)
			}
		}
		if f.MultipleFiles() {
			t.Errorf("%v has several files", f)
		}
	}
}
