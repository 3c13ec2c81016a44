package ticket

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"io"
	"log/slog"
)

const (
	// AEADKeySize is the length in bytes of the key of [NewAEADKey] and [NewGCMKey].
	AEADKeySize = keyNameSize + aeadSecretSize

	aeadSecretSize = 32 // AES-256

	aeadRevision   = 1
	aeadHeaderSize = 1 + keyNameSize
)

// maxAEADTickets is the most messages that one AES-GCM key may encrypt under
// random 96-bit nonces (NIST SP 800-38D, Section 8.3): beyond it, two tickets
// with one nonce, which would give away the authentication key, are no longer
// improbable enough.
const maxAEADTickets = 1 << 32

// AEAD is a [Sealer] with one key, for AES-256-GCM. Its tickets, in the language
// of RFC 8446, Section 3:
//
//	struct {
//	    uint8 revision = 1;
//	    opaque key_name[16];
//	    opaque nonce[12];
//	    opaque sealed[length of session + 16];  /* ciphertext, then tag */
//	} AEADTicket;
//
// The nonce is random, and revision and key_name are the associated data. A
// ticket is 45 bytes longer than its session. Another layout gets another
// revision; a ticket of a revision that is not known is one of a key that is
// not known.
//
// One key seals at most 2^32 tickets in this process. A key that other
// processes use too, or that outlives a restart, has that many in all: no AEAD
// can count the tickets of another, so replace such a key long before.
//
// Safe for concurrent use. AEAD works under GODEBUG=fips140=only.
type AEAD struct{ sole *sole }

var _ Sealer = (*AEAD)(nil)

// NewAEAD returns an AEAD with a new key that exists only in this process. It
// cannot fail: crypto/rand ends the program rather than give out bytes that
// are not random.
func NewAEAD() *AEAD { return &AEAD{newSole(GenerateKey(FormAEAD))} }

// NewAEADKey returns an AEAD with the given key of [AEADKeySize] bytes: 16 for
// its name, which every ticket shows, and 32 for AES-256. All must come from a
// random generator; a key that is visibly a pattern is refused with
// [ErrWeakKey].
//
// The key is copied. Clearing the caller's copy is up to the caller.
func NewAEADKey(key []byte) (*AEAD, error) {
	k, err := NewGCMKey(key)
	if err != nil {
		return nil, err
	}
	return &AEAD{newSole(k)}, nil
}

// Seal implements [Sealer]. The error is [ErrExhausted] once the key has sealed
// 2^32 tickets, or [ErrClosed].
func (a *AEAD) Seal(session []byte) ([]byte, error) { return a.sole.seal(session) }

// Open implements [Sealer]. A ticket that does not begin with this revision and
// the name of this key, or that is too short to, gives [ErrUnknownKey]; one
// that does, and is not exactly what Seal returned, gives [ErrForged]. After
// Close every ticket gives ErrUnknownKey. renew is always false: there is no
// newer key.
func (a *AEAD) Open(ticket []byte) (session []byte, renew bool, err error) {
	session, err = a.sole.open(ticket)
	return session, false, err
}

// Close lets go of the key: from then on Seal gives [ErrClosed] and Open
// [ErrUnknownKey]. Calls under way finish, and the last one wipes the key. The
// error is nil.
func (a *AEAD) Close() error {
	a.sole.close()
	return nil
}

// String returns a fingerprint of the key's name: enough to tell keys apart,
// and nothing of the key itself.
func (a *AEAD) String() string {
	if a == nil {
		return "ticket.AEAD(nil)"
	}
	return "ticket.AEAD(" + a.sole.key.Fingerprint() + ")"
}

// Format prints [AEAD.String] under every verb.
func (a *AEAD) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// LogValue implements [slog.LogValuer] with [AEAD.String].
func (a *AEAD) LogValue() slog.Value { return slog.StringValue(a.String()) }

// gcmBox seals in the form of AEAD.
type gcmBox struct {
	name [keyNameSize]byte
	gcm  cipher.AEAD
}

func newGCM(name [keyNameSize]byte, secret []byte) *gcmBox {
	block, err := aes.NewCipher(secret)
	if err != nil {
		panic("ticket: " + err.Error()) // AES-256 has 32-byte keys
	}
	// The only form of GCM that FIPS 140 allows for this; it puts the 12 bytes
	// of the nonce before the ciphertext.
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("ticket: " + err.Error()) // the block is crypto/aes's
	}
	return &gcmBox{name: name, gcm: gcm}
}

func (b *gcmBox) seal(session []byte) []byte {
	ticket := make([]byte, aeadHeaderSize, aeadHeaderSize+len(session)+b.gcm.Overhead())
	ticket[0] = aeadRevision
	copy(ticket[1:], b.name[:])
	return b.gcm.Seal(ticket, nil, session, ticket)
}

func (b *gcmBox) open(ticket []byte) ([]byte, error) {
	session, err := b.gcm.Open(nil, nil, ticket[aeadHeaderSize:], ticket[:aeadHeaderSize])
	if err != nil {
		return nil, ErrForged
	}
	return session, nil
}

// wipe has nothing to do: the expanded key is crypto/aes's.
func (b *gcmBox) wipe() {}
