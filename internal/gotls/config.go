package gotls

import (
	"crypto/tls"
	"reflect"
	"sync"
)

// ConfigOf is [ConfigReader.Of] of the process's crypto/tls.
func ConfigOf(hello *tls.ClientHelloInfo) (*tls.Config, bool) { return NewConfigReader().Of(hello) }

// ConfigReader reads the configuration that a server's connection uses, which
// crypto/tls keeps in an unexported field of [tls.ClientHelloInfo]. The zero
// value reads nothing, as on a Go release that has no such field.
type ConfigReader struct {
	index int // of the field, plus one
}

// NewConfigReader returns a reader for the process's crypto/tls.
func NewConfigReader() ConfigReader { return helloConfig() }

// Of returns the configuration itself, not a copy; false if hello has none or
// the field is not as expected. The caller must not change the configuration.
func (r ConfigReader) Of(hello *tls.ClientHelloInfo) (*tls.Config, bool) {
	if hello == nil || r.index == 0 {
		return nil, false
	}
	c := readable(reflect.ValueOf(hello).Elem().Field(r.index - 1)).Interface().(*tls.Config)
	return c, c != nil
}

var helloConfig = sync.OnceValue(func() ConfigReader {
	return configReader(reflect.TypeFor[tls.ClientHelloInfo]())
})

// configReader checks that hello, the type of a ClientHelloInfo, has the field.
func configReader(hello reflect.Type) ConfigReader {
	return ConfigReader{fieldOf(hello, "config", reflect.TypeFor[*tls.Config]()) + 1}
}

// fieldOf returns the index of the field of a struct type that has this name
// and exactly this type, -1 if there is none.
func fieldOf(in reflect.Type, name string, want reflect.Type) int {
	f, ok := in.FieldByName(name)
	if !ok || f.Type != want || len(f.Index) != 1 {
		return -1
	}
	return f.Index[0]
}

// readable returns an addressable field as if it were exported, for reading.
func readable(field reflect.Value) reflect.Value {
	return reflect.NewAt(field.Type(), field.Addr().UnsafePointer()).Elem()
}
