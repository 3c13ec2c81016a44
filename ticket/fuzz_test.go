package ticket

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzAEADOpen: nothing opens but what was sealed.
func FuzzAEADOpen(f *testing.F) {
	a := testAEAD(f)
	known := mustHex(knownTicket)
	f.Add(known)
	f.Add(known[:aeadHeaderSize])
	f.Add([]byte{aeadRevision})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, ticket []byte) {
		session, renew, err := a.Open(ticket)
		switch {
		case bytes.Equal(ticket, known):
			if err != nil {
				t.Fatal(err)
			}
		case session != nil || renew:
			t.Fatalf("opened: %q, renew %v", session, renew)
		case bytes.HasPrefix(ticket, known[:aeadHeaderSize]):
			if !errors.Is(err, ErrForged) {
				t.Fatalf("Open = %v, want ErrForged", err)
			}
		case !errors.Is(err, ErrUnknownKey):
			t.Fatalf("Open = %v, want ErrUnknownKey", err)
		}
	})
}

// FuzzOpenSSLOpen: likewise for OpenSSL's form, in a ring with the other.
func FuzzOpenSSLOpen(f *testing.F) {
	gcm, err := NewGCMKey(testKey)
	if err != nil {
		f.Fatal(err)
	}
	b := counting(OpenSSLKeySize)
	cbc := newOpenSSLKey([keyNameSize]byte(b), b[48:], b[16:48])
	r := mustRing(f, gcm, cbc)
	known := map[string]bool{string(opensslTicket): true, string(mustHex(knownTicket)): true}
	for ticket := range known {
		f.Add([]byte(ticket))
		f.Add([]byte(ticket)[:64])
		f.Add([]byte(ticket)[:33])
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, ticket []byte) {
		session, renew, err := r.Open(ticket)
		switch {
		case known[string(ticket)]:
			if err != nil || renew != cbc.named(ticket) {
				t.Fatalf("Open = renew %v, %v", renew, err)
			}
		case session != nil || renew:
			t.Fatalf("opened: %q, renew %v", session, renew)
		case cbc.named(ticket) || gcm.named(ticket):
			if !errors.Is(err, ErrForged) {
				t.Fatalf("Open = %v, want ErrForged", err)
			}
		case !errors.Is(err, ErrUnknownKey):
			t.Fatalf("Open = %v, want ErrUnknownKey", err)
		}
	})
}
