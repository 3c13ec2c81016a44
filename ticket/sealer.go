package ticket

import "errors"

// Sealer turns an encoded session into a ticket and back. Implementations are
// safe for concurrent use.
type Sealer interface {
	// Seal returns a self-contained ticket, which is the caller's. It does not
	// keep session, and does not wipe it.
	//
	// The ticket is longer than the session. TLS 1.2 and 1.3 both carry at most
	// 65535 bytes, which is for the caller to check.
	Seal(session []byte) (ticket []byte, err error)

	// Open authenticates and decrypts a ticket. It does not keep ticket. The
	// session is the caller's, to wipe when done. renew says that the ticket
	// should be replaced, because the key that sealed it will soon be gone.
	//
	// The error is ErrUnknownKey or ErrForged. Both stand for a full handshake,
	// never for a failed one.
	Open(ticket []byte) (session []byte, renew bool, err error)
}

var (
	// ErrUnknownKey says that a ticket does not name a key of this sealer: it
	// was sealed elsewhere, in another form, or with a key since retired.
	ErrUnknownKey = errors.New("ticket: unknown key")

	// ErrForged says that a ticket names a key of this sealer but was not
	// sealed with it, or was changed or cut off since.
	ErrForged = errors.New("ticket: not authentic")

	// ErrNoKey says that no key of a ring encrypts now.
	ErrNoKey = errors.New("ticket: no key to encrypt with")

	// ErrExhausted says that a key has sealed as many tickets as it safely can.
	ErrExhausted = errors.New("ticket: key exhausted")

	// ErrClosed says that there is no key to seal with, because the sealer has
	// been closed.
	ErrClosed = errors.New("ticket: sealer closed")
)
