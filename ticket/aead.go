package ticket

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
)

const (
	// AEADKeySize is the length in bytes of the key of [NewAEADKey].
	AEADKeySize = keyNameSize + aeadSecretSize

	keyNameSize    = 16
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
type AEAD struct {
	name   [keyNameSize]byte
	gcm    atomic.Pointer[cipher.AEAD] // nil once closed
	sealed atomic.Uint64               // calls of Seal
	limit  uint64
}

var _ Sealer = (*AEAD)(nil)

// NewAEAD returns an AEAD with a new key that exists only in this process. It
// cannot fail: crypto/rand ends the program rather than give out bytes that
// are not random.
func NewAEAD() *AEAD {
	var key [AEADKeySize]byte
	defer clear(key[:])
	rand.Read(key[:])
	return newAEAD(&key)
}

// NewAEADKey returns an AEAD with the given key of [AEADKeySize] bytes: 16 for
// its name, which every ticket shows, and 32 for AES-256. All must come from a
// random generator; a key that is visibly a pattern is refused with
// [ErrWeakKey].
//
// The key is copied. Clearing the caller's copy is up to the caller.
func NewAEADKey(key []byte) (*AEAD, error) {
	if len(key) != AEADKeySize {
		return nil, fmt.Errorf("ticket: key of %d bytes, want %d", len(key), AEADKeySize)
	}
	// The name is no secret, but an unfilled one comes with an unfilled secret
	// or makes one name of many keys.
	if patterned(key[:keyNameSize]) {
		return nil, ErrWeakKey
	}
	if err := checkSecret(key[keyNameSize:]); err != nil {
		return nil, err
	}
	return newAEAD((*[AEADKeySize]byte)(key)), nil
}

func newAEAD(key *[AEADKeySize]byte) *AEAD {
	block, err := aes.NewCipher(key[keyNameSize:])
	if err != nil {
		panic("ticket: " + err.Error()) // AES-256 has 32-byte keys
	}
	// The only form of GCM that FIPS 140 allows for this; it puts the 12 bytes
	// of the nonce before the ciphertext.
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("ticket: " + err.Error()) // the block is crypto/aes's
	}
	a := &AEAD{name: [keyNameSize]byte(key[:]), limit: maxAEADTickets}
	a.gcm.Store(&gcm)
	return a
}

// Seal implements [Sealer]. The error is [ErrExhausted] once the key has sealed
// 2^32 tickets, or [ErrClosed].
func (a *AEAD) Seal(session []byte) ([]byte, error) {
	gcm := a.gcm.Load()
	if gcm == nil {
		return nil, ErrClosed
	}
	if a.sealed.Add(1) > a.limit {
		return nil, ErrExhausted
	}
	ticket := make([]byte, aeadHeaderSize, aeadHeaderSize+len(session)+(*gcm).Overhead())
	ticket[0] = aeadRevision
	copy(ticket[1:], a.name[:])
	return (*gcm).Seal(ticket, nil, session, ticket), nil
}

// Open implements [Sealer]. A ticket that does not begin with this revision and
// the name of this key, or that is too short to, gives [ErrUnknownKey]; one
// that does, and is not exactly what Seal returned, gives [ErrForged]. After
// Close every ticket gives ErrUnknownKey. renew is always false: there is no
// newer key.
func (a *AEAD) Open(ticket []byte) (session []byte, renew bool, err error) {
	gcm := a.gcm.Load()
	if gcm == nil || len(ticket) < aeadHeaderSize {
		return nil, false, ErrUnknownKey
	}
	header, sealed := ticket[:aeadHeaderSize], ticket[aeadHeaderSize:]
	if header[0] != aeadRevision || [keyNameSize]byte(header[1:]) != a.name {
		return nil, false, ErrUnknownKey
	}
	session, err = (*gcm).Open(nil, nil, sealed, header)
	if err != nil {
		return nil, false, ErrForged
	}
	return session, false, nil
}

// Close lets go of the key: from then on Seal gives [ErrClosed] and Open
// [ErrUnknownKey]. Calls under way finish. The error is nil.
func (a *AEAD) Close() error {
	a.gcm.Store(nil)
	return nil
}

// String returns a fingerprint of the key's name: enough to tell keys apart,
// and nothing of the key itself.
func (a *AEAD) String() string {
	if a == nil {
		return "ticket.AEAD(nil)"
	}
	sum := sha256.Sum256(a.name[:])
	return fmt.Sprintf("ticket.AEAD(%x)", sum[:8])
}

// Format prints [AEAD.String] under every verb.
func (a *AEAD) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// LogValue implements [slog.LogValuer] with [AEAD.String].
func (a *AEAD) LogValue() slog.Value { return slog.StringValue(a.String()) }
