package cache

import (
	"bytes"
	"testing"
)

func TestMakeKey(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32} {
		id := bytes.Repeat([]byte{7}, n)
		k, ok := MakeKey(0x0304, id)
		if !ok || k.Version != 0x0304 || !bytes.Equal(k.SessionID(), id) {
			t.Errorf("id of %d bytes: %v, %v", n, k, ok)
		}
		packed := k.pack()
		if unpackKey(packed[:]) != k {
			t.Errorf("id of %d bytes does not survive packing", n)
		}
	}
	if _, ok := MakeKey(0x0304, make([]byte, 33)); ok {
		t.Error("an id of 33 bytes made a key")
	}
}

// TestKeysDiffer: version and length are part of a key, as in libssl's cache.
func TestKeysDiffer(t *testing.T) {
	c := New()
	var keys []Key
	for _, version := range []uint16{0x0303, 0x0304} {
		for n := range 33 {
			k, _ := MakeKey(version, make([]byte, n))
			keys = append(keys, k)
			if c.put(k, 1, []byte{byte(n), byte(version)}) {
				t.Fatalf("version %x, %d zero bytes: replaced another entry", version, n)
			}
		}
	}
	for _, k := range keys {
		if v, _, ok := c.get(nil, k); !ok || v[0] != k.Len || v[1] != byte(k.Version) {
			t.Errorf("%v: got %x, %v", k, v, ok)
		}
	}
}
