package ticket

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"
)

func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestCheckSecret(t *testing.T) {
	for name, b := range map[string][]byte{
		"zeros":           make([]byte, 32),
		"half filled":     append(bytes.Clone(testKey[:16]), make([]byte, 16)...),
		"filled late":     append(make([]byte, 16), testKey[:16]...),
		"one byte filled": append([]byte{1}, make([]byte, 31)...),
		"padded word":     append([]byte("correct horse battery "), "**********"...),
	} {
		if err := checkSecret("key", b); !errors.Is(err, ErrWeakKey) {
			t.Errorf("%s: checkSecret(%x) = %v, want ErrWeakKey", name, b, err)
		}
	}
	for range 1000 {
		b := make([]byte, 32)
		rand.Read(b)
		if err := checkSecret("key", b); err != nil {
			t.Errorf("checkSecret(%x) = %v", b, err)
		}
		if err := checkSecret("key", b[:16]); err != nil {
			t.Errorf("checkSecret(%x) = %v", b[:16], err)
		}
	}
}
