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

func TestPatterned(t *testing.T) {
	descending := counting(32)
	for i := range descending {
		descending[i] = -descending[i]
	}
	for name, b := range map[string][]byte{
		"zeros":            make([]byte, 32),
		"ones":             bytes.Repeat([]byte{0xff}, 32),
		"two bytes":        bytes.Repeat([]byte{0xaa, 0x55}, 16),
		"three bytes":      bytes.Repeat([]byte("key"), 11)[:32],
		"a word":           bytes.Repeat([]byte("deadbeef"), 4),
		"half":             bytes.Repeat(testKey[:16], 2),
		"counting":         counting(32),
		"counting down":    descending,
		"counting in runs": {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7},
	} {
		if !patterned(b) {
			t.Errorf("%s: %x was taken for random", name, b)
		}
	}
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

func TestLongestRun(t *testing.T) {
	for _, c := range []struct {
		b    string
		want int
	}{{"", 0}, {"a", 1}, {"ab", 1}, {"aab", 2}, {"abb", 2}, {"abbba", 3}, {"aaaa", 4}} {
		if got := longestRun([]byte(c.b)); got != c.want {
			t.Errorf("longestRun(%q) = %d, want %d", c.b, got, c.want)
		}
	}
}
