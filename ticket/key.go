package ticket

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync/atomic"

	"github.com/reprise-tls/reprise/internal/keycheck"
)

var (
	// ErrDuplicateKey says that two keys have one name or one secret.
	ErrDuplicateKey = errors.New("ticket: duplicate key")

	// ErrWiped says that a key was wiped: the last ring that had it let go.
	ErrWiped = errors.New("ticket: key was wiped")
)

const keyNameSize = 16

// Form is the layout and the ciphers of the tickets under a [Key].
type Form uint8

const (
	FormAEAD       Form = iota + 1 // that of [AEAD]: AES-256-GCM
	FormOpenSSL128                 // that of [OpenSSL] with AES-128-CBC
	FormOpenSSL256                 // that of [OpenSSL] with AES-256-CBC
)

// String returns the form's name: "aead", "openssl-128" or "openssl-256".
func (f Form) String() string {
	switch f {
	case FormAEAD:
		return "aead"
	case FormOpenSSL128:
		return "openssl-128"
	case FormOpenSSL256:
		return "openssl-256"
	}
	return fmt.Sprintf("Form(%d)", uint8(f))
}

// Key is a session ticket encryption key: a name, which every ticket shows, and
// secrets. It is made to be put into a [KeyRing], which wipes it when it has
// let go of it and nothing uses it any more; one that never came into a ring is
// wiped by [Key.Wipe].
//
// A Key prints a fingerprint of its name under every formatting verb and in
// slog. Safe for concurrent use.
type Key struct {
	name   [keyNameSize]byte
	form   Form
	limit  uint64         // tickets that it may seal
	sealed *atomic.Uint64 // tickets; a ring keeps it when the key leaves
	owned  atomic.Bool    // a ring or a sealer has taken the key over

	// users are the rings and the calls that hold the key, wipedKey and less
	// once it was wiped. What follows is only for those who hold it.
	users  atomic.Int64
	secret [sha256.Size]byte // digest of the secrets, to tell twins
	box    box
}

const wipedKey = math.MinInt64 / 2

// box is what the secrets of a key are for.
type box interface {
	// seal returns a new ticket.
	seal(session []byte) []byte
	// open returns what seal was given, or ErrForged. The ticket names the key.
	open(ticket []byte) ([]byte, error)
	wipe()
}

// NewGCMKey returns a key of [FormAEAD] from [AEADKeySize] bytes: 16 for its
// name and 32 for AES-256. All must come from a random generator; what is visibly
// a pattern is refused with [ErrWeakKey]. The bytes are copied.
func NewGCMKey(key []byte) (*Key, error) {
	if len(key) != AEADKeySize {
		return nil, fmt.Errorf("ticket: key of %d bytes, want %d", len(key), AEADKeySize)
	}
	if err := checkName(key[:keyNameSize]); err != nil {
		return nil, err
	}
	if err := checkSecret("AES key", key[keyNameSize:]); err != nil {
		return nil, err
	}
	if keycheck.Patterned(key) {
		return nil, weak("name and secret together")
	}
	return newGCMKey([keyNameSize]byte(key), key[keyNameSize:]), nil
}

// NewOpenSSLKey returns a key of OpenSSL's form. aesKey has 16 bytes
// ([FormOpenSSL128]) or 32 ([FormOpenSSL256]), hmacKey 16 or 32; nginx, HAProxy
// and OpenSSL use as many for the one as for the other. In which order a file
// holds the three differs between servers and is up to who reads it.
//
// All must come from a random generator; what is visibly a pattern is refused
// with [ErrWeakKey]. The bytes are copied.
func NewOpenSSLKey(name [16]byte, aesKey, hmacKey []byte) (*Key, error) {
	if len(aesKey) != 16 && len(aesKey) != 32 {
		return nil, fmt.Errorf("ticket: AES key of %d bytes, want 16 or 32", len(aesKey))
	}
	if len(hmacKey) != 16 && len(hmacKey) != 32 {
		return nil, fmt.Errorf("ticket: HMAC key of %d bytes, want 16 or 32", len(hmacKey))
	}
	if err := checkName(name[:]); err != nil {
		return nil, err
	}
	if err := checkSecret("AES key", aesKey); err != nil {
		return nil, err
	}
	if err := checkSecret("HMAC key", hmacKey); err != nil {
		return nil, err
	}
	if bytes.Equal(aesKey, hmacKey) {
		return nil, weak("AES and HMAC key are the same")
	}
	// A phrase that was repeated to fill a file is longer than one part of it.
	for _, whole := range [][]byte{
		bytes.Join([][]byte{name[:], aesKey, hmacKey}, nil),
		bytes.Join([][]byte{name[:], hmacKey, aesKey}, nil),
	} {
		repeats := keycheck.Patterned(whole)
		clear(whole)
		if repeats {
			return nil, weak("name and secrets together")
		}
	}
	return newOpenSSLKey(name, aesKey, hmacKey), nil
}

// GenerateKey returns a new key that exists only in this process. It cannot
// fail: crypto/rand ends the program rather than give out bytes that are not
// random. It panics if the form is not one of this package's.
func GenerateKey(form Form) *Key {
	var b [keyNameSize + 64]byte
	defer clear(b[:])
	rand.Read(b[:])
	name := [keyNameSize]byte(b[:])
	switch form {
	case FormAEAD:
		return newGCMKey(name, b[16:48])
	case FormOpenSSL128:
		return newOpenSSLKey(name, b[16:32], b[32:48])
	case FormOpenSSL256:
		return newOpenSSLKey(name, b[16:48], b[48:80])
	}
	panic("ticket: GenerateKey of " + form.String())
}

func newGCMKey(name [keyNameSize]byte, secret []byte) *Key {
	return newKey(name, FormAEAD, maxAEADTickets, newGCM(name, secret), secret)
}

func newOpenSSLKey(name [keyNameSize]byte, aesKey, hmacKey []byte) *Key {
	form := FormOpenSSL128
	if len(aesKey) == 32 {
		form = FormOpenSSL256
	}
	return newKey(name, form, maxCBCTickets, newCBC(name, aesKey, hmacKey), aesKey, hmacKey)
}

func newKey(name [keyNameSize]byte, form Form, limit uint64, box box, secrets ...[]byte) *Key {
	k := &Key{name: name, form: form, limit: limit, sealed: new(atomic.Uint64), box: box}
	h := sha256.New()
	for _, s := range secrets {
		h.Write(s)
	}
	h.Sum(k.secret[:0])
	return k
}

// Name returns the 16 bytes that tickets name the key by. Tickets show them to
// everybody; so the name is no secret, but it tells which tickets belong together.
func (k *Key) Name() [16]byte { return k.name }

// Form returns the form of the key's tickets.
func (k *Key) Form() Form { return k.form }

// Fingerprint returns 16 hexadecimal digits that identify the key by its name
// and tell nothing of its secrets.
func (k *Key) Fingerprint() string {
	sum := sha256.Sum256(k.name[:])
	return fmt.Sprintf("%x", sum[:8])
}

// Wipe wipes the secrets of a key that is in no ring and in no use. For one that
// is it does nothing: the ring wipes it.
func (k *Key) Wipe() {
	if !k.users.CompareAndSwap(0, wipedKey) {
		return
	}
	k.box.wipe()
	k.box = nil
	clear(k.secret[:])
}

// hold takes a hold of the key, to be given back with release. It reports false
// if the key was wiped.
func (k *Key) hold() bool {
	if k.users.Add(1) > 0 {
		return true
	}
	k.users.Add(-1)
	return false
}

// release gives back a hold. The last one wipes a key that is not the caller's
// any more.
func (k *Key) release() {
	if k.users.Add(-1) == 0 && k.owned.Load() {
		k.Wipe()
	}
}

// same reports whether both hold one key. The caller holds both.
func (k *Key) same(other *Key) bool {
	return k == other || k.name == other.name && k.form == other.form && k.secret == other.secret
}

// conflicts reports whether k and other cannot be in one ring.
func (k *Key) conflicts(other *Key) bool { return k.name == other.name || k.secret == other.secret }

// named reports whether a ticket has the form of k's and shows its name.
func (k *Key) named(ticket []byte) bool {
	name, ok := nameIn(ticket, k.form)
	return ok && name == k.name
}

// nameIn returns the name of the key of a ticket, if it is of that form.
func nameIn(ticket []byte, form Form) (name [keyNameSize]byte, ok bool) {
	if form == FormAEAD {
		if len(ticket) < aeadHeaderSize || ticket[0] != aeadRevision {
			return name, false
		}
		ticket = ticket[1:]
	}
	if len(ticket) < keyNameSize {
		return name, false
	}
	return [keyNameSize]byte(ticket), true
}

// exhausted reports whether the key can seal no more.
func (k *Key) exhausted() bool { return k.sealed.Load() >= k.limit }

// seal seals with a key that the caller holds.
func (k *Key) seal(session []byte) ([]byte, error) {
	if k.sealed.Add(1) > k.limit {
		k.sealed.Add(^uint64(0))
		return nil, ErrExhausted
	}
	return k.box.seal(session), nil
}

// String returns the key's form and [Key.Fingerprint].
func (k *Key) String() string {
	if k == nil {
		return "ticket.Key(nil)"
	}
	return fmt.Sprintf("ticket.Key(%v %s)", k.form, k.Fingerprint())
}

// Format prints [Key.String] under every verb.
func (k *Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue implements [slog.LogValuer] with [Key.String].
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
