package reprise

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

func TestHandles(t *testing.T) {
	h, err := newHandles(&Config{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	handle, err := h.make(purposeHandle)
	if err != nil || len(handle) != handleLen || handle[0] != h.first || ownHandle != h.kind(handle) {
		t.Fatalf("made %x, %v", handle, err)
	}
	if second, err := h.make(purposeHandle); err != nil || bytes.Equal(second, handle) {
		t.Errorf("the next is %x, %v", second, err)
	}
	for i := range handle {
		changed := slices.Clone(handle)
		changed[i] ^= 1
		if ownHandle == h.kind(changed) {
			t.Errorf("a handle with byte %d changed passes", i)
		}
	}
	for _, other := range [][]byte{nil, handle[:handleLen-1], append(slices.Clone(handle), 0), make([]byte, handleLen)} {
		if ownHandle == h.kind(other) {
			t.Errorf("%x passes", other)
		}
	}
	if other, err := newHandles(&Config{Rand: rand.Reader}); err != nil || ownHandle == other.kind(handle) {
		t.Errorf("another key's handle passes (%v)", err)
	}
}

func TestHandlesWithoutRandomness(t *testing.T) {
	broken := iotest.ErrReader(errors.New("broken"))
	if _, err := newHandles(&Config{Rand: broken}); err == nil {
		t.Error("a key out of nothing")
	}
	h, err := newHandles(&Config{Rand: io.MultiReader(io.LimitReader(rand.Reader, 32), broken)})
	if err != nil {
		t.Fatal(err)
	}
	if handle, err := h.make(purposeHandle); err == nil {
		t.Errorf("handle %x out of nothing", handle)
	}
	if _, err := New(Config{Rand: broken}); err == nil {
		t.Error("a Manager out of nothing")
	}
}

// TestHandlesOfEarlierProcess: a handle under another key counts as such, and
// one in 256, which looks as if it were of this key, as forged.
func TestHandlesOfEarlierProcess(t *testing.T) {
	newKey := func() (key []byte, first byte) {
		key = make([]byte, handleKeyLen)
		rand.Read(key)
		h, err := newHandles(&Config{HandleKey: key, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		return key, h.first
	}
	const tries = 20_000
	mine, first := newKey()
	keys, alike := make(map[Reason][]byte), 0
	for range tries {
		key, other := newKey()
		if other == first {
			keys[Forged] = key
			alike++
		} else {
			keys[UnknownKey] = key
		}
	}
	if alike < tries/256/2 || alike > tries/256*2 { // eight standard deviations, about
		t.Errorf("%d of %d keys look alike", alike, tries)
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for want, key := range keys {
			b := newBridge(t, version, Config{NoTickets: true, HandleKey: key})
			session, _, why := b.connect(nil)
			if why != NothingOffered {
				t.Fatal(why)
			}
			b.sm = b.manager(Config{NoTickets: true, HandleKey: mine})
			next, _, why := b.connect(session)
			if why != want {
				t.Errorf("%s: %v, want %v", tls.VersionName(version), why, want)
			}
			session.Free()
			next.Free()
		}
	}
}
