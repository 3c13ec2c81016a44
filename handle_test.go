package reprise

import (
	"bytes"
	"crypto/rand"
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
