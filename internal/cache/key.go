package cache

import "hash/maphash"

const maxID = 32

// Key is what libssl keys its cache by: protocol version and session id. Make one with MakeKey: the bytes of ID past Len
// must be zero, and Len at most 32.
type Key struct {
	Version uint16
	Len     uint8
	ID      [maxID]byte
}

// MakeKey returns the key of a session id under a version, and false if the id is longer than the 32 bytes that TLS allows.
// The id is copied.
func MakeKey(version uint16, id []byte) (Key, bool) {
	if len(id) > maxID {
		return Key{}, false
	}
	k := Key{Version: version, Len: uint8(len(id))}
	copy(k.ID[:], id)
	return k, true
}

// SessionID returns a copy of the session id.
func (k Key) SessionID() []byte {
	return append([]byte(nil), k.ID[:k.Len]...)
}

// packedKey is a key as a record holds it: length (1), version (2, big endian), id (32, zero padded). The length is in
// there because the padding alone would make an id and the same id with a zero byte more the same key.
type packedKey [1 + 2 + maxID]byte

func (k *Key) pack() (p packedKey) {
	p[0] = k.Len
	p[1], p[2] = byte(k.Version>>8), byte(k.Version)
	copy(p[3:], k.ID[:])
	return p
}

func unpackKey(p []byte) (k Key) {
	k.Len = p[0]
	k.Version = uint16(p[1])<<8 | uint16(p[2])
	copy(k.ID[:], p[3:])
	return k
}

// hashKey hashes a packed key under a seed that no peer knows, so that chosen ids spread like random ones. The top bit is
// always clear: the iteration order needs a number above every hash (see index.after).
func hashKey(seed maphash.Seed, packed []byte) uint64 {
	return maphash.Bytes(seed, packed) &^ (1 << 63)
}
