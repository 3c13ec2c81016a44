package dirstore

import (
	"testing"
	"time"
)

// TestPerPeerForgets: what is known of peers is bounded, and what was forgotten
// meanwhile does not make a count too low.
func TestPerPeerForgets(t *testing.T) {
	p := perPeer{limit: 4}
	peer := peerName{1}
	p.exceeded(peer)
	p.listed(peer, 1, p.listing())
	began := p.listing()
	for range 3 {
		if p.exceeded(peer) {
			t.Fatal("less than five are there")
		}
	}
	for i := range maxKnown {
		p.exceeded(peerName{2, byte(i), byte(i >> 8)})
	}
	if len(p.known) > maxKnown {
		t.Errorf("%d peers are known", len(p.known))
	}
	p.listed(peer, 1, began)
	if !p.exceeded(peer) {
		t.Error("a fifth session goes unnoticed")
	}
}

// TestPerPeerTaken: a session that is taken makes room for the next.
func TestPerPeerTaken(t *testing.T) {
	s, _ := opened(t, 0)
	peer := s.peer("a.test")
	full := func() (n int) {
		for !s.perPeer.exceeded(peer) {
			n++
		}
		return n
	}
	putting := func() {
		t.Helper()
		if err := s.Put(t.Context(), "a.test", []byte("session"), s.time().Add(time.Hour), true); err != nil {
			t.Fatal(err)
		}
	}
	for range DefaultPerPeer {
		putting()
	}
	for range 3 {
		if der, err := s.Take(t.Context(), "a.test"); der == nil || err != nil {
			t.Fatal(err)
		}
	}
	if n := full(); n != 3 {
		t.Errorf("there is room for %d, want 3", n)
	}
}

// TestPerPeerMissed: after a Take that found nothing, a Put has nothing to look
// for, even where the peer's subdirectory was never made.
func TestPerPeerMissed(t *testing.T) {
	s, _ := opened(t, 0)
	if der, err := s.Take(t.Context(), "a.test"); der != nil || err != nil {
		t.Fatal(der, err)
	}
	if s.perPeer.exceeded(s.peer("a.test")) {
		t.Error("the first Put looks for what was put before")
	}
}
