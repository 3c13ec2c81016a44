package cache

import (
	"bytes"
	"testing"
)

// FuzzOps reads operations from bytes, four each: what, which key, which expiry, how long a value. Cache and model must agree
// after each.
func FuzzOps(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 10, 5, 0, 2, 9, 200, 3, 0, 0, 0, 1, 2, 9, 0, 2, 1, 0, 0})
	f.Add(bytes.Repeat([]byte{0, 1, 2, 3, 0, 200, 2, 250, 2, 1, 2, 4, 3, 7, 1, 1}, 20))
	many := make([]byte, 0, 1600)
	for i := range 400 {
		many = append(many, byte(i/200*3), byte(i*7), byte(i), byte(i*3))
	}
	f.Add(many)
	f.Fuzz(func(t *testing.T, ops []byte) {
		w := newTwin(t)
		for ops = ops[:min(len(ops), 4000)]; len(ops) >= 4; ops = ops[4:] {
			k, expiry := testKey(uint64(ops[1])), int64(int8(ops[2]))
			k.Version += uint16(ops[0] >> 7)
			switch ops[0] & 3 {
			case 0:
				w.put(k, expiry, bytes.Repeat([]byte{ops[1] | 1}, 4*int(ops[3])))
			case 1:
				w.setExpiry(k, expiry)
			case 2:
				w.delete(k)
			case 3:
				w.deleteFirst()
			}
			w.get(k)
			w.checkFirst()
		}
		w.check()
	})
}
