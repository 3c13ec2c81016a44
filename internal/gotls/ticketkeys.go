package gotls

import (
	"bytes"
	"crypto/tls"
	"reflect"
	"sync"
)

// HasTicketKeys reports whether the application gave c session ticket keys,
// with [tls.Config.SetSessionTicketKeys] or in SessionTicketKey. Keys that
// crypto/tls made by itself do not count. c must be a private clone: crypto/tls
// guards the keys with a lock that nobody else can take, and nobody writes to a
// clone that nobody else has.
//
// On a Go release that keeps the keys elsewhere, keys of SetSessionTicketKeys
// are not seen. That is safe, because a configuration with session hooks does
// not use keys: tickets made under them cost a full handshake. To answer yes
// instead would be to suspect every configuration of having keys.
func HasTicketKeys(c *tls.Config) bool {
	return hasTicketKeys(c, ticketKeysField())
}

// ticketKeysField is the index of the field that SetSessionTicketKeys sets, -1
// if there is none.
var ticketKeysField = sync.OnceValue(func() int {
	i := sliceField(reflect.TypeFor[tls.Config](), "sessionTicketKeys")
	if i < 0 {
		return -1
	}
	c := new(tls.Config)
	before := reflect.ValueOf(c).Elem().Field(i).Len()
	c.SetSessionTicketKeys(make([][32]byte, 2))
	if after := reflect.ValueOf(c).Elem().Field(i).Len(); before != 0 || after != 2 {
		return -1
	}
	return i
})

// sliceField returns the index of a field of a struct type that is a slice, -1
// if there is none.
func sliceField(in reflect.Type, name string) int {
	f, ok := in.FieldByName(name)
	if !ok || f.Type.Kind() != reflect.Slice {
		return -1
	}
	return fieldOf(in, name, f.Type)
}

func hasTicketKeys(c *tls.Config, field int) bool {
	if field >= 0 && reflect.ValueOf(c).Elem().Field(field).Len() > 0 {
		return true
	}
	// crypto/tls fills a zero key with random bytes that it does not use, and
	// marks them.
	//lint:ignore SA1019 an application may still set it
	key := c.SessionTicketKey
	return key != [32]byte{} && !bytes.HasPrefix(key[:], []byte("DEPRECATED"))
}
