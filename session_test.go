package reprise_test

import (
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/asn1sess"
)

// TestResumable: an id or a ticket makes a session resumable, whatever the
// time; removal and the end of its last owner end that for good.
func TestResumable(t *testing.T) {
	now := time.Unix(1000, 0)
	if s := parsed(t, asn1sess.Session{Ticket: []byte("ticket")}); !s.Resumable() {
		t.Error("a session with a ticket is not resumable")
	}
	if s := parsed(t, asn1sess.Session{}); s.Resumable() {
		t.Error("a session without id and ticket is resumable")
	}
	s := named("s", now)
	if !s.Resumable() {
		t.Error("a session with an id is not resumable")
	}
	if err := s.SetID(nil); err != nil || s.Resumable() {
		t.Errorf("without its id: resumable %v, %v", s.Resumable(), err)
	}
	s.SetID([]byte("s"))
	m := manager(t, reprise.Config{})
	m.Remove(s)
	dup := s.Dup()
	if s.SetID([]byte("again")); s.Resumable() || dup.Resumable() {
		t.Error("a removed session, or its copy, is resumable")
	}

	freed := named("freed", now)
	freed.Free()
	if freed.Resumable() || freed.Dup().Resumable() {
		t.Error("a freed session, or its copy, is resumable")
	}
}
