package dirstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/reprise-tls/reprise/ticket"
)

// What can be wrong with a session's file.
var (
	// ErrDamaged: the file is not what a Put made.
	ErrDamaged = errors.New("dirstore: damaged")
	// ErrSealed: the file is sealed, and under another key if the Store has one.
	ErrSealed = errors.New("dirstore: sealed under a key that was not given")
	// ErrNotSealed: the Store has a key and the file is not sealed.
	ErrNotSealed = errors.New("dirstore: not sealed, and a key was given")
)

// A session's file is, in the language of RFC 8446, Section 3:
//
//	struct {
//	    uint8 revision = 1;
//	    enum { plain(0), sealed(1), (255) } form;
//	    select (form) {
//	        case plain:
//	            opaque checksum[32];     /* SHA-256 of revision, form, name and session */
//	            opaque session[..];      /* DER, to the end */
//	        case sealed:
//	            opaque key_id[16];       /* tells the key from others */
//	            opaque nonce[12];        /* random */
//	            opaque ciphertext[..];   /* AES-256-GCM, with its tag */
//	    };
//	} SessionFile;
//
// The associated data of the ciphertext are revision, form, key_id and the name
// of the file, which binds the session to its peer, its times and its uses.
const (
	revision = 1

	formPlain  = 0
	formSealed = 1

	maxFile = 128 << 10

	formSize       = 2
	keyIDSize      = 16
	gcmOverhead    = 12 + 16 // nonce, tag
	plainOverhead  = formSize + sha256.Size
	sealedOverhead = formSize + keyIDSize + gcmOverhead
)

// codec turns sessions into the contents of files and back.
type codec struct {
	aead   cipher.AEAD // nil: not sealed
	header []byte      // revision, form, key id
}

// KeySize is the length of Options.Key, in bytes.
const KeySize = 32

const sealingPurpose = "reprise dirstore session "

// newCodec derives the key of a directory by HKDF (RFC 5869), with its salt as
// part of the info.
func newCodec(key, salt []byte) (codec, error) {
	if key == nil {
		return codec{header: []byte{revision, formPlain}}, nil
	}
	if len(key) != KeySize {
		return codec{}, fmt.Errorf("dirstore: key of %d bytes: %d random bytes are wanted", len(key), KeySize)
	}
	derived, err := hkdf.Key(sha256.New, key, nil, sealingPurpose+string(salt), KeySize+keyIDSize)
	if err != nil {
		return codec{}, fmt.Errorf("dirstore: key: %w", err)
	}
	defer clear(derived)
	id := derived[KeySize:]
	if err := checkKey(id, key); err != nil {
		return codec{}, fmt.Errorf("dirstore: key: %w", err)
	}
	block, err := aes.NewCipher(derived[:KeySize])
	if err != nil {
		return codec{}, fmt.Errorf("dirstore: key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return codec{}, fmt.Errorf("dirstore: key: %w", err)
	}
	return codec{aead, append([]byte{revision, formSealed}, id...)}, nil
}

// checkKey refuses what package ticket refuses as a key.
func checkKey(id, key []byte) error {
	named := slices.Concat(id, key)
	defer clear(named)
	k, err := ticket.NewGCMKey(named)
	if err == nil {
		k.Wipe()
	}
	return err
}

func (c *codec) seal(name string, session []byte) []byte {
	if c.aead == nil {
		b := make([]byte, 0, plainOverhead+len(session))
		b = append(b, c.header...)
		b = append(b, checksum(c.header, name, session)...)
		return append(b, session...)
	}
	b := make([]byte, 0, sealedOverhead+len(session))
	b = append(b, c.header...)
	return c.aead.Seal(b, nil, session, append(slices.Clone(c.header), name...))
}

// open returns the session in the content of a file, which it may share, and
// whether it is sealed. Errors: ErrDamaged, ErrSealed, ErrNotSealed.
func (c *codec) open(name string, content []byte) (session []byte, sealed bool, err error) {
	switch {
	case len(content) > plainOverhead && content[0] == revision && content[1] == formPlain:
		session, err = c.openPlain(name, content)
		return session, false, err
	case len(content) > sealedOverhead && content[0] == revision && content[1] == formSealed:
		session, err = c.openSealed(name, content)
		return session, true, err
	}
	return nil, false, fmt.Errorf("%w: not a session's file", ErrDamaged)
}

func (c *codec) openPlain(name string, content []byte) ([]byte, error) {
	header, sum, session := content[:formSize], content[formSize:plainOverhead], content[plainOverhead:]
	switch {
	case subtle.ConstantTimeCompare(checksum(header, name, session), sum) != 1:
		return nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	case c.aead != nil:
		clear(session)
		return nil, ErrNotSealed
	}
	return session, nil
}

func (c *codec) openSealed(name string, content []byte) ([]byte, error) {
	if c.aead == nil || !bytes.Equal(content[:formSize+keyIDSize], c.header) {
		return nil, ErrSealed
	}
	session, err := c.aead.Open(nil, nil, content[len(c.header):], append(slices.Clone(c.header), name...))
	if err != nil {
		return nil, fmt.Errorf("%w: forged, or under a name that is not its own", ErrDamaged)
	}
	return session, nil
}

func checksum(header []byte, name string, session []byte) []byte {
	h := sha256.New()
	h.Write(header)
	h.Write([]byte(name))
	h.Write(session)
	return h.Sum(nil)
}
