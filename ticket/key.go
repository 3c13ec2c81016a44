package ticket

import "errors"

// ErrWeakKey says that a key was not made by a random generator.
var ErrWeakKey = errors.New("ticket: key is a pattern, not random bytes")

// patterned reports whether b, of 16 bytes or more, follows a pattern: zeros,
// one repeated byte, a repeated word, counting up or down. Such keys come from
// unfilled buffers and from examples, and anyone can guess them.
//
// Each of these has steps from byte to byte that repeat with a period of at
// most half the length. A random 32-byte key does with probability below 2^-115.
func patterned(b []byte) bool {
	for period := 1; period <= len(b)/2; period++ {
		if stepsRepeat(b, period) {
			return true
		}
	}
	return false
}

func stepsRepeat(b []byte, period int) bool {
	for i := period + 1; i < len(b); i++ {
		if b[i]-b[i-1] != b[i-period]-b[i-period-1] {
			return false
		}
	}
	return true
}
