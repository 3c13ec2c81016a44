package reprise

import (
	"bytes"
	"errors"
	"testing"
)

// seeds are sessions of several kinds, encoded.
func seeds(f *testing.F) (list [][]byte) {
	ours := numbered(1, 10)
	ours.change()
	ours.rec.FirstAuth, ours.rec.Chain, ours.rec.Verified = 5, [][]byte{{1}}, [][][]byte{{{1}, {2}}}
	foreign := numbered(2, 20)
	foreign.SetTicketAppData([]byte("\x01reprise\x0a\x00\x00\x01u"))
	full := numbered(3, 30)
	full.SetHostname("a.test")
	full.SetALPN("h2")
	full.SetIDContext([]byte("context"))
	full.f.Ticket, full.f.Peer = []byte("ticket"), []byte{0x30, 0}
	for _, s := range []*Session{ours, foreign, full} {
		der, err := s.MarshalBinary()
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, der, append(bytes.Clone(der), "behind"...))
	}
	return list
}

// sameAgain checks that what was decoded comes back when it is encoded and
// decoded once more, and is encoded to the same bytes.
func sameAgain(t *testing.T, s *Session) {
	t.Helper()
	first, err := s.MarshalBinary()
	if errors.Is(err, ErrLayout) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	again, rest, err := ParseSession(first)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%x: %v, %d bytes behind", first, err, len(rest))
	}
	s.f.IDContext, again.f.IDContext = append([]byte{}, s.f.IDContext...), append([]byte{}, again.f.IDContext...)
	if got, want := contentOf(again), contentOf(s); got != want {
		t.Fatalf("came back as\n%s\nwant\n%s", got, want)
	}
	if second, err := again.MarshalBinary(); err != nil || !bytes.Equal(second, first) {
		t.Fatalf("%x became %x, %v", first, second, err)
	}
	packed, err := s.pack(nil)
	if err != nil {
		t.Fatal(err)
	}
	if again, err = unpack(packed, callerRef); err != nil || contentOf(again) != contentOf(s) {
		t.Fatalf("packed %x: %v", packed, err)
	}
}

// FuzzParseSession: what parses comes back.
func FuzzParseSession(f *testing.F) {
	for _, der := range seeds(f) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		given := bytes.Clone(der)
		s, rest, err := ParseSession(der)
		if !bytes.Equal(der, given) {
			t.Fatal("ParseSession changed its input")
		}
		if err != nil {
			return
		}
		if !bytes.HasSuffix(der, rest) {
			t.Fatalf("rest %x is not the end of the input", rest)
		}
		s.PeerCertificates()
		s.ExpiresAt()
		sameAgain(t, s)
	})
}

// FuzzParseSessionPEM: so does what parses as PEM, by way of PEM.
func FuzzParseSessionPEM(f *testing.F) {
	for _, der := range seeds(f) {
		s, _, err := ParseSession(der)
		if err != nil {
			f.Fatal(err)
		}
		text, err := s.MarshalPEM()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add(append([]byte("text before\n"), text...))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s, rest, err := ParseSessionPEM(text)
		if err != nil {
			return
		}
		if !bytes.HasSuffix(text, rest) {
			t.Fatalf("rest %q is not the end of the input", rest)
		}
		out, err := s.MarshalPEM()
		if errors.Is(err, ErrLayout) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		again, rest, err := ParseSessionPEM(out)
		if err != nil || len(rest) != 0 {
			t.Fatalf("%s: %v, %q behind", out, err, rest)
		}
		sameAgain(t, again)
	})
}
