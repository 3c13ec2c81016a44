package ticket

import (
	"errors"
	"fmt"
)

// ErrWeakKey says that a key is visibly not from a random generator.
var ErrWeakKey = errors.New("ticket: key is a pattern, not random bytes")

func weak(part string) error { return fmt.Errorf("%w (%s)", ErrWeakKey, part) }

// checkName returns [ErrWeakKey] if the name of a key is a pattern. A name is no
// secret, but an unfilled one comes with an unfilled secret or makes one name
// of many keys.
func checkName(name []byte) error {
	if patterned(name) {
		return weak("name")
	}
	return nil
}

// checkSecret returns [ErrWeakKey] if b, a secret of 16 bytes or more, is
// visibly not random: a pattern, or a buffer that was filled in part. Anyone can
// guess such keys. part says in the error which secret it is.
func checkSecret(part string, b []byte) error {
	if patterned(b) || longestRun(b) >= 8 {
		return weak(part)
	}
	return nil
}

// patterned reports whether b follows a pattern: one repeated byte, a repeated
// word, counting up or down. Unfilled buffers and keys from examples do.
//
// In each of these the steps from byte to byte repeat, and at least 7 of them can
// be compared. In random bytes all of those agree with probability below 2^-50.
func patterned(b []byte) bool {
	for period := 1; period+8 <= len(b); period++ {
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

// longestRun returns how often one byte is repeated in a row. In 32 random
// bytes it is 8 or more with probability below 2^-51.
func longestRun(b []byte) int {
	longest, run := 0, 0
	for i := range b {
		if i == 0 || b[i] != b[i-1] {
			run = 0
		}
		run++
		longest = max(longest, run)
	}
	return longest
}
