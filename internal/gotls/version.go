package gotls

import (
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"
)

// Version returns the TLS version of ss. [tls.SessionState.Bytes] has it, at
// the price of encoding everything; a client that asks for each ticket it gets
// reads the field instead, where a sample of every version proves that there is
// such a field.
func Version(ss *tls.SessionState) (uint16, error) {
	if i := versionField(); i >= 0 {
		return uint16(reflect.ValueOf(ss).Elem().Field(i).Uint()), nil
	}
	return encodedVersion(ss)
}

// encodedVersion reads the version where every known layout begins with it.
func encodedVersion(ss *tls.SessionState) (uint16, error) {
	b, err := ss.Bytes()
	if err != nil {
		return 0, fmt.Errorf("gotls: %w", err)
	}
	defer clear(b)
	if len(b) < 2 {
		return 0, ErrLayout
	}
	return binary.BigEndian.Uint16(b), nil
}

// versionField is the index of the field that holds the version, -1 if none
// was found that holds it in every sample.
var versionField = sync.OnceValue(func() int {
	f, ok := reflect.TypeFor[tls.SessionState]().FieldByName("version")
	if !ok || f.Type.Kind() != reflect.Uint16 || len(f.Index) != 1 {
		return -1
	}
	for _, s := range samples() {
		ss, err := s.TLS()
		if err != nil || reflect.ValueOf(ss).Elem().Field(f.Index[0]).Uint() != uint64(s.Version) {
			return -1
		}
	}
	return f.Index[0]
})
