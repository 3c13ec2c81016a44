package ticket

import (
	"errors"
	"fmt"

	"github.com/reprise-tls/reprise/internal/keycheck"
)

// ErrWeakKey says that a key is visibly not from a random generator.
var ErrWeakKey = errors.New("ticket: key is a pattern, not random bytes")

func weak(part string) error { return fmt.Errorf("%w (%s)", ErrWeakKey, part) }

// checkName returns [ErrWeakKey] if the name of a key is a pattern. A name is no
// secret, but an unfilled one comes with an unfilled secret or makes one name
// of many keys.
func checkName(name []byte) error {
	if keycheck.Patterned(name) {
		return weak("name")
	}
	return nil
}

// checkSecret returns [ErrWeakKey] if b, a secret of 16 bytes or more, is
// visibly not random: a pattern, or a buffer that was filled in part. Anyone can
// guess such keys. part says in the error which secret it is.
func checkSecret(part string, b []byte) error {
	if keycheck.Weak(b) {
		return weak(part)
	}
	return nil
}
