package reprise

import (
	"bytes"
	"errors"
	"runtime"
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
	for _, der := range append(seeds(f), hostile(f, 1<<10), hostile(f, 1<<10, []byte{1}, []byte{2})) {
		f.Add(der)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		given := bytes.Clone(der)
		checkCost(t, der)
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

// checkCost checks that ParseSession takes no more than its comment says. What
// is above is measured again: other goroutines, those of the fuzzer, allocate too.
func checkCost(t *testing.T, der []byte) {
	t.Helper()
	limit, grown := 26*uint64(len(der))+1<<20, uint64(0)
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		s, _, _ := ParseSession(der)
		runtime.ReadMemStats(&after)
		s.Free()
		if grown = after.TotalAlloc - before.TotalAlloc; grown <= limit {
			return
		}
	}
	t.Errorf("%d bytes of input took %d bytes", len(der), grown)
}

// hostile is a session whose record has chains that are made to cost: empty ones
// if there are no certificates, else such that name the last certificate.
func hostile(tb testing.TB, size int, certs ...[]byte) []byte {
	tb.Helper()
	s := numbered(1, 10)
	s.change().rec.Chain = certs
	if len(certs) == 0 {
		s.rec.Verified = make([][][]byte, size)
	}
	for len(certs) > 0 && 3*len(s.rec.Verified) < size {
		s.rec.Verified = append(s.rec.Verified, certs[len(certs)-1:])
	}
	der, err := s.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return der
}

// TestParseSessionCost: no session costs more than its length allows, to read
// and to copy.
func TestParseSessionCost(t *testing.T) {
	for _, size := range []int{1 << 20, 4 << 20} {
		long := make([]byte, size/4)
		twin := append(bytes.Clone(long[1:]), 1)
		for name, der := range map[string][]byte{
			"empty chains":                      hostile(t, size),
			"chains of one short certificate":   hostile(t, size, []byte{1}),
			"chains of the last certificate":    hostile(t, size/2, long, twin),
			"chains of the last of three, long": hostile(t, size/4, long, twin, append(bytes.Clone(twin[:len(twin)-1]), 2)),
		} {
			checkCost(t, der)
			s, _, err := ParseSession(der)
			if err != nil || len(s.rec.Verified) == 0 {
				t.Fatalf("%s: %v", name, err)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			s.Dup().Free()
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 40*uint64(len(der)) {
				t.Errorf("%s: a copy of %d bytes took %d bytes", name, len(der), grown)
			}
		}
	}
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
