package keycheck

import (
	"bytes"
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
		"half":             bytes.Repeat([]byte("\x13\xa4\x07\xee\x5c\x91\x3b\xd2\x68\xf0\x2d\xb7\x44\x8a\xc9\x16"), 2),
		"counting":         counting(32),
		"counting down":    descending,
		"counting in runs": {0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7},
	} {
		if !Patterned(b) {
			t.Errorf("%s: %x was taken for random", name, b)
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
