package keyfile

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"iter"
	"log/slog"

	"github.com/reprise-tls/reprise/ticket"
)

const nameSize = 16

// Key is one key of a file. It does not change, until Wipe.
type Key struct {
	name      [nameSize]byte
	aes, hmac []byte // of one length
}

// NewKey returns a key from crypto/rand, with a name of its own, for files of
// form f.
func NewKey(f Format) (*Key, error) {
	l, err := f.layout()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, l.size())
	defer clear(raw)
	rand.Read(raw)
	return l.decode(raw), nil
}

// decode takes apart a key of exactly l.size() bytes, and copies it.
func (l *layout) decode(raw []byte) *Key {
	first, second := raw[nameSize:nameSize+l.secret], raw[nameSize+l.secret:]
	if l.hmacFirst {
		first, second = second, first
	}
	return &Key{name: [nameSize]byte(raw), aes: bytes.Clone(first), hmac: bytes.Clone(second)}
}

// append puts k together behind b.
func (l *layout) append(b []byte, k *Key) []byte {
	first, second := k.aes, k.hmac
	if l.hmacFirst {
		first, second = second, first
	}
	b = append(b, k.name[:]...)
	b = append(b, first...)
	return append(b, second...)
}

// Name returns the name of the key, which every ticket sealed with it shows.
func (k *Key) Name() [16]byte { return k.name }

// TicketKey returns the key for a [ticket.KeyRing], with a copy of the bytes.
func (k *Key) TicketKey() (*ticket.Key, error) { return ticket.NewOpenSSLKey(k.name, k.aes, k.hmac) }

// check refuses a key that is visibly a pattern.
func (k *Key) check() error {
	t, err := k.TicketKey()
	if err == nil {
		t.Wipe()
	}
	return err
}

// Wipe clears the bytes of the key. It is not to be used any more.
func (k *Key) Wipe() {
	clear(k.aes)
	clear(k.hmac)
}

func (k *Key) clone() *Key {
	return &Key{name: k.name, aes: bytes.Clone(k.aes), hmac: bytes.Clone(k.hmac)}
}

// sums gives a hash of each part of k that nothing else may share, with what
// it is a hash of.
func (k *Key) sums() iter.Seq2[string, [sha256.Size]byte] {
	return func(yield func(string, [sha256.Size]byte) bool) {
		_ = yield("the key", sha256.Sum256(k.aes)) &&
			yield("the key", sha256.Sum256(k.hmac)) &&
			yield("the name", sha256.Sum256(k.name[:]))
	}
}

// String returns a fingerprint of the key's name: enough to tell keys apart, and
// nothing of the key itself.
func (k Key) String() string {
	sum := sha256.Sum256(k.name[:])
	return fmt.Sprintf("keyfile.Key(%x)", sum[:8])
}

// Format prints [Key.String] under every verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue implements [slog.LogValuer] with [Key.String].
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
