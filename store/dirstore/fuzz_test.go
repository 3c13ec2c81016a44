package dirstore

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzName: what parses is written as it was.
func FuzzName(f *testing.F) {
	good := newName(peerName{1, 2, 3}, 4, 5, true).String()
	f.Add(good)
	f.Add(newName(peerName{}, 0, 1<<62, false).String())
	f.Add(good[:len(good)-1] + "A")
	f.Fuzz(func(t *testing.T, s string) {
		n, ok := parseName(s)
		if ok && (n.String() != s || n.put < 0 || n.expires < 0) {
			t.Errorf("%q parses to %+v", s, n)
		}
		if made, stale := parseTemporary(s); stale && (ok || made < 0) {
			t.Errorf("%q is a session's file, or was made at %d", s, made)
		}
	})
}

// FuzzFile: what opens without a key is what was sealed under that name; under a
// key nothing opens but what the key sealed; all else has an error of ours.
func FuzzFile(f *testing.F) {
	key := []byte("\x9e\x11\x42\xd7\x3c\x08\xf5\xa6\x7b\x60\x1d\xca\x94\x2f\xe3\x58\x0b\xd1\x86\x4e\xf9\x35\x72\xac\xc7\x13\x5d\xe8\x29\xb4\x6f\x90")
	salt := bytes.Repeat([]byte{1, 7, 3}, 10)
	plain, err := newCodec(nil, salt)
	if err != nil {
		f.Fatal(err)
	}
	sealing, err := newCodec(key, salt)
	if err != nil {
		f.Fatal(err)
	}
	const name = "name"
	sealed := sealing.seal(name, []byte("session"))
	f.Add(name, plain.seal(name, []byte("session")))
	f.Add(name, sealed)
	f.Add("other", sealed)
	f.Add(name, sealed[:len(sealed)-1])
	f.Add(name, []byte{revision, formPlain})
	f.Add(name, []byte{})
	f.Fuzz(func(t *testing.T, as string, content []byte) {
		session, isSealed, err := plain.open(as, bytes.Clone(content))
		switch {
		case err == nil && (isSealed || !bytes.Equal(plain.seal(as, session), content)):
			t.Errorf("%x opens to %x, which is not sealed so", content, session)
		case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrSealed):
			t.Error(err)
		}
		session, _, err = sealing.open(as, bytes.Clone(content))
		switch {
		case err == nil && (as != name || len(content) != len(sealed) || string(session) != "session"): // each process has a nonce of its own
			t.Errorf("%x under %q opens to %q", content, as, session)
		case err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrSealed) && !errors.Is(err, ErrNotSealed):
			t.Error(err)
		}
	})
}
