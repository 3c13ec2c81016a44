// Package keycheck tells keys that are visibly not from a random generator.
package keycheck

// Weak reports whether a secret of 16 bytes or more is visibly not random: a
// pattern, or a buffer that was filled in part. Anyone can guess such keys.
func Weak(secret []byte) bool { return Patterned(secret) || longestRun(secret) >= 8 }

// Patterned reports whether b follows a pattern: one repeated byte, a repeated
// word, counting up or down. Unfilled buffers and keys from examples do.
//
// In each of these the steps from byte to byte repeat, and at least 7 of them can
// be compared. In random bytes all of those agree with probability below 2^-50.
func Patterned(b []byte) bool {
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
