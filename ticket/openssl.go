package ticket

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync"
)

const (
	cbcHeaderSize = keyNameSize + aes.BlockSize // name, IV
	// cbcMinSize is the least that libssl takes: one block of ciphertext.
	cbcMinSize = cbcHeaderSize + aes.BlockSize + sha256.Size
)

// maxCBCTickets is the most messages under one key. With random IVs and some
// hundred blocks in each, two equal blocks of ciphertext are still improbable
// (below 2^-30), and all that they would give away is the difference of two
// blocks of plaintext.
const maxCBCTickets = 1 << 40

// OpenSSLKeySize is the length in bytes of the keys of [NewOpenSSL].
const OpenSSLKeySize = 80

// OpenSSL is a [Sealer] with one key, whose tickets are those of libssl, and so
// of nginx, HAProxy, Apache and all others who use it:
//
//	struct {
//	    opaque key_name[16];
//	    opaque iv[16];
//	    opaque encrypted[];  /* AES-CBC, padded as in PKCS #7 */
//	    opaque mac[32];      /* HMAC-SHA256 of all before it */
//	} OpenSSLTicket;         /* RFC 5077, Section 4, without the lengths */
//
// The IV is random. A ticket is 65 to 80 bytes longer than its session. There is
// no revision: that the name is known is all that tells the form.
//
// Use it, or a [KeyRing] of such keys, to share tickets with servers that know
// no other form; [AEAD] is the better one between programs that use this
// package. Safe for concurrent use.
type OpenSSL struct{ sole *sole }

var _ Sealer = (*OpenSSL)(nil)

// NewOpenSSL returns an OpenSSL with the keys that
// SSL_CTX_set_tlsext_ticket_keys takes: [OpenSSLKeySize] bytes, of which 16 are
// the name, 32 the HMAC key and 32 the AES-256 key, in this order. nginx has it
// in its files of 80 bytes too, HAProxy has another: package keyfile reads
// files, and [NewOpenSSLKey] takes the parts one by one.
//
// All must come from a random generator; what is visibly a pattern is refused
// with [ErrWeakKey]. The keys are copied.
func NewOpenSSL(keys []byte) (*OpenSSL, error) {
	if len(keys) != OpenSSLKeySize {
		return nil, fmt.Errorf("ticket: keys of %d bytes, want %d", len(keys), OpenSSLKeySize)
	}
	k, err := NewOpenSSLKey([keyNameSize]byte(keys), keys[48:80], keys[16:48])
	if err != nil {
		return nil, err
	}
	return &OpenSSL{newSole(k)}, nil
}

// Seal implements [Sealer]. The error is [ErrExhausted] once the key has sealed
// 2^40 tickets, or [ErrClosed].
func (o *OpenSSL) Seal(session []byte) ([]byte, error) { return o.sole.seal(session) }

// Open implements [Sealer], with libssl's order of checks: the name, the length,
// the MAC, and only then is anything decrypted. A ticket that does not begin
// with the name of this key, or that is too short to, gives [ErrUnknownKey]; one
// that does, and is not exactly what a holder of the key sealed, gives
// [ErrForged]. After Close every ticket gives ErrUnknownKey. renew is always
// false: there is no newer key.
func (o *OpenSSL) Open(ticket []byte) (session []byte, renew bool, err error) {
	session, err = o.sole.open(ticket)
	return session, false, err
}

// Close lets go of the key: from then on Seal gives [ErrClosed] and Open
// [ErrUnknownKey]. Calls under way finish, and the last one wipes the key. The
// error is nil.
func (o *OpenSSL) Close() error {
	o.sole.close()
	return nil
}

// String returns a fingerprint of the key's name.
func (o *OpenSSL) String() string {
	if o == nil {
		return "ticket.OpenSSL(nil)"
	}
	return "ticket.OpenSSL(" + o.sole.key.Fingerprint() + ")"
}

// Format prints [OpenSSL.String] under every verb.
func (o *OpenSSL) Format(f fmt.State, _ rune) { io.WriteString(f, o.String()) }

// LogValue implements [slog.LogValuer] with [OpenSSL.String].
func (o *OpenSSL) LogValue() slog.Value { return slog.StringValue(o.String()) }

// cbcBox seals in OpenSSL's form.
type cbcBox struct {
	name    [keyNameSize]byte
	block   cipher.Block
	hmacKey []byte
	spare   sync.Pool // of *cbcState
}

// cbcState is what one call of seal or open needs, keyed: to make it anew takes
// as long as a short ticket.
type cbcState struct {
	mac      hash.Hash
	sum      [sha256.Size]byte
	enc, dec cbcMode
}

// cbcMode is what CBC modes of crypto/cipher are; crypto/tls relies on it too.
type cbcMode interface {
	cipher.BlockMode
	SetIV([]byte)
}

func newCBC(name [keyNameSize]byte, aesKey, hmacKey []byte) *cbcBox {
	block, err := aes.NewCipher(aesKey)
	if err != nil {
		panic("ticket: " + err.Error()) // the length was checked
	}
	return &cbcBox{name: name, block: block, hmacKey: bytes.Clone(hmacKey)}
}

// state returns a state, to be put back.
func (b *cbcBox) state() *cbcState {
	if s, ok := b.spare.Get().(*cbcState); ok {
		return s
	}
	var iv [aes.BlockSize]byte
	return &cbcState{
		mac: hmac.New(sha256.New, b.hmacKey),
		enc: cipher.NewCBCEncrypter(b.block, iv[:]).(cbcMode),
		dec: cipher.NewCBCDecrypter(b.block, iv[:]).(cbcMode),
	}
}

// sign leaves the HMAC of a ticket in s.sum.
func (s *cbcState) sign(signed []byte) []byte {
	s.mac.Reset()
	s.mac.Write(signed)
	return s.mac.Sum(s.sum[:0])
}

// seal implements box.
func (b *cbcBox) seal(session []byte) []byte {
	pad := aes.BlockSize - len(session)%aes.BlockSize
	end := cbcHeaderSize + len(session) + pad
	ticket := make([]byte, end, end+sha256.Size)
	copy(ticket, b.name[:])
	iv, body := ticket[keyNameSize:cbcHeaderSize], ticket[cbcHeaderSize:]
	rand.Read(iv)
	for i := copy(body, session); i < len(body); i++ {
		body[i] = byte(pad)
	}
	s := b.state()
	defer b.spare.Put(s)
	s.enc.SetIV(iv)
	s.enc.CryptBlocks(body, body)
	return append(ticket, s.sign(ticket)...)
}

// open implements box, in libssl's order: the length, the MAC, and only then
// the cipher. What a holder of the key has made is whole; so padding that is
// wrong gives nothing away.
func (b *cbcBox) open(ticket []byte) ([]byte, error) {
	if len(ticket) < cbcMinSize {
		return nil, ErrForged
	}
	signed, tag := ticket[:len(ticket)-sha256.Size], ticket[len(ticket)-sha256.Size:]
	s := b.state()
	defer b.spare.Put(s)
	if !hmac.Equal(s.sign(signed), tag) {
		return nil, ErrForged
	}
	iv, body := signed[keyNameSize:cbcHeaderSize], signed[cbcHeaderSize:]
	if len(body)%aes.BlockSize != 0 {
		return nil, ErrForged
	}
	session := make([]byte, len(body))
	s.dec.SetIV(iv)
	s.dec.CryptBlocks(session, body)
	session, ok := unpad(session)
	if !ok {
		return nil, ErrForged
	}
	return session, nil
}

// unpad takes the padding of PKCS #7 off b, or wipes b.
func unpad(b []byte) ([]byte, bool) {
	n := int(b[len(b)-1])
	ok := n >= 1 && n <= aes.BlockSize
	for i := len(b) - min(n, aes.BlockSize); ok && i < len(b); i++ {
		ok = b[i] == byte(n)
	}
	if !ok {
		clear(b)
		return nil, false
	}
	return b[:len(b)-n], true
}

func (b *cbcBox) wipe() { clear(b.hmacKey) }
