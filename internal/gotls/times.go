package gotls

import (
	"crypto/tls"
	"fmt"
	"reflect"
	"sync"
)

// Times are the version of a session and when it is good, in seconds since 1970.
type Times struct {
	Version   uint16
	CreatedAt uint64 // when a client got it
	UseBy     uint64 // a TLS 1.3 client's, 0 for others
}

// TimeReader reads the times of sessions. [tls.SessionState.Bytes] has them, at
// the price of encoding everything; a client that asks for each ticket it gets
// reads the fields instead, where a sample of every version proves that there
// are such fields.
type TimeReader struct {
	fields *timeIndexes // nil where there are none
}

// NewTimeReader returns a reader of sessions of the process's crypto/tls.
func NewTimeReader() TimeReader { return TimeReader{timeFields()} }

// Times returns the version and the times of ss.
func (r TimeReader) Times(ss *tls.SessionState) (Times, error) {
	if r.fields == nil {
		return encodedTimes(ss)
	}
	v := reflect.ValueOf(ss).Elem()
	t := Times{tls.VersionTLS13, v.Field(r.fields.createdAt).Uint(), v.Field(r.fields.useBy).Uint()}
	if t.UseBy == 0 { // else the version is known
		t.Version = uint16(v.Field(r.fields.version).Uint())
	}
	return t, nil
}

func encodedTimes(ss *tls.SessionState) (Times, error) {
	b, err := ss.Bytes()
	if err != nil {
		return Times{}, fmt.Errorf("gotls: %w", err)
	}
	defer clear(b)
	s, err := Decode(b)
	if err != nil {
		return Times{}, err
	}
	return Times{s.Version, s.CreatedAt, s.UseBy}, nil
}

// timeIndexes are the indexes of the fields of tls.SessionState that hold Times.
type timeIndexes struct{ version, createdAt, useBy int }

// timeFields is nil where crypto/tls has no fields that agree with every sample.
var timeFields = sync.OnceValue(func() *timeIndexes {
	f := &timeIndexes{field("version", reflect.Uint16), field("createdAt", reflect.Uint64), field("useBy", reflect.Uint64)}
	if f.version < 0 || f.createdAt < 0 || f.useBy < 0 {
		return nil
	}
	for _, s := range samples() {
		ss, err := s.TLS()
		if err != nil {
			return nil
		}
		if t, err := (TimeReader{f}).Times(ss); t != (Times{s.Version, s.CreatedAt, s.UseBy}) || err != nil {
			return nil
		}
	}
	return f
})

// field returns the index of a field of tls.SessionState, -1 if there is none.
func field(name string, kind reflect.Kind) int {
	f, ok := reflect.TypeFor[tls.SessionState]().FieldByName(name)
	if !ok || f.Type.Kind() != kind || len(f.Index) != 1 {
		return -1
	}
	return f.Index[0]
}
