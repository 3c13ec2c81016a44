package cache

import (
	"encoding/binary"
	"math/rand/v2"
)

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

// testKey returns the key of a 32-byte id that looks random and is different for every n.
func testKey(n uint64) Key {
	k := Key{Version: 0x0304, Len: 32}
	for i := range 4 {
		n = (n + 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
		binary.LittleEndian.PutUint64(k.ID[8*i:], n)
	}
	return k
}
