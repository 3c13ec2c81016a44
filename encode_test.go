package reprise

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"pgregory.net/rapid"
)

// contentOf is all of a session that is kept when it is encoded, as text.
func contentOf(s *Session) string {
	f, rec := s.whole()
	return fmt.Sprintf("%x %d %d %d %d %x %x %+v %+v", f.ID, f.Version, f.Cipher, f.Time, f.Timeout, f.MasterKey, f.Ticket, f, rec)
}

func TestRoundTrip(t *testing.T) {
	s := numbered(1, 10)
	s.SetIDContext([]byte("context"))
	s.SetHostname("a.test")
	s.SetTicketAppData([]byte("mine"))
	s.change()
	s.rec.FirstAuth, s.rec.Lineage, s.rec.Sequence = 77, bytes.Repeat([]byte{3}, 16), bytes.Repeat([]byte{4}, 16)
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got, rest, err := ParseSession(append(bytes.Clone(der), "behind"...))
	if err != nil || string(rest) != "behind" || contentOf(got) != contentOf(s) {
		t.Errorf("came back as\n%s\nwant\n%s\n%q, %v", contentOf(got), contentOf(s), rest, err)
	}
	if !got.imported || got.owner.Load() != nil {
		t.Error("a decoded session passes for one of ours")
	}
	clear(der)
	if key, err := got.MasterKey(); err != nil || !bytes.Equal(key, bytes.Repeat([]byte{1}, 48)) {
		t.Errorf("the session keeps the caller's bytes: %x, %v", key, err)
	}

	text, err := s.MarshalPEM()
	if err != nil || !bytes.HasPrefix(text, []byte("-----BEGIN SSL SESSION PARAMETERS-----\n")) {
		t.Fatalf("PEM: %v\n%s", err, text)
	}
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("cert")})
	second := numbered(2, 20)
	secondText, err := second.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	file := bytes.Join([][]byte{[]byte("Certificate chain\n 0 s:CN = a.test\n"), other, text, []byte("---\n"), secondText, []byte("end\n")}, nil)
	for _, want := range []*Session{s, second} {
		if got, file, err = ParseSessionPEM(file); err != nil || contentOf(got) != contentOf(want) {
			t.Fatalf("out of a file: %v, %v", got, err)
		}
	}
	if _, _, err := ParseSessionPEM(file); !errors.Is(err, ErrNoPEM) || string(file) != "end\n" {
		t.Errorf("behind the last: %q, %v", file, err)
	}
}

func TestParseErrors(t *testing.T) {
	good, err := numbered(1, 10).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	unknown := asn1sess.Session{Version: tls.VersionTLS12, Cipher: 0xfeed}
	strange, err := unknown.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	var field *asn1sess.FieldError
	if _, _, err := ParseSession(good[:len(good)-1]); !errors.As(err, &field) {
		t.Errorf("a session cut short: %v", err)
	}
	if _, _, err := ParseSession(nil); !errors.As(err, &field) {
		t.Errorf("nothing: %v", err)
	}
	if _, _, err := ParseSession(strange); !errors.Is(err, ErrUnknownSuite) {
		t.Errorf("an unknown suite: %v", err)
	}
	block := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	if _, _, err := ParseSessionPEM(block(PEMType, good[1:])); !errors.As(err, &field) {
		t.Errorf("PEM of no session: %v", err)
	}
	for name, c := range map[string]struct {
		text []byte
		want error
	}{
		"nothing":       {nil, ErrNoPEM},
		"another label": {block("CERTIFICATE", good), ErrNoPEM},
		"bad base64":    {bytes.Replace(block(PEMType, good), []byte("\nM"), []byte("\n!"), 1), ErrDamagedPEM},
		"no end":        {block(PEMType, good)[:60], ErrDamagedPEM},
	} {
		if s, _, err := ParseSessionPEM(c.text); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

func TestMarshalErrors(t *testing.T) {
	if _, err := NewSession().MarshalBinary(); !errors.Is(err, ErrNoCipherSuite) {
		t.Errorf("without a cipher suite: %v", err)
	}
	s := numbered(1, 10)
	s.secrets.state = []byte("a layout of another release")
	if _, err := s.MarshalBinary(); !errors.Is(err, ErrLayout) {
		t.Errorf("with a state that cannot be read: %v", err)
	}
	if _, err := s.MarshalPEM(); !errors.Is(err, ErrLayout) {
		t.Errorf("with a state that cannot be read, PEM: %v", err)
	}
}

// TestOthersAppData: what others keep in that field is the application's, and
// goes out as it came in.
func TestOthersAppData(t *testing.T) {
	for _, data := range []string{"another application's", "\x01repris", "\x01reprise\xff", "\x02reprise"} {
		f := asn1sess.Session{Version: tls.VersionTLS12, Cipher: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, Time: 1, Timeout: 1, IDContext: []byte{}, TicketAppData: []byte(data)}
		der, err := f.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		s, _, err := ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.TicketAppData(); err != nil || string(got) != data {
			t.Errorf("%q is given as %q, %v", data, got, err)
		}
		again, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if !appdata.Ours([]byte(data)) && !bytes.Equal(again, der) {
			t.Errorf("%q: written as %x, was %x", data, again, der)
		}
		if s, _, err = ParseSession(again); err != nil || string(s.secrets.user) != data {
			t.Errorf("%q came back as %q, %v", data, s.secrets.user, err)
		}
	}
}

// TestPack: the form at rest keeps what DER has no form for.
func TestPack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := numbered(1, 10)
		s.f.Version = rapid.SampledFrom([]uint16{0, 0x0300, tls.VersionTLS12, tls.VersionTLS13, 0xfefd, 0xffff}).Draw(t, "version")
		s.f.Cipher = rapid.SampledFrom([]uint16{0, 1, tls.TLS_AES_128_GCM_SHA256, 0xffff}).Draw(t, "suite")
		s.f.Time = rapid.SampledFrom([]int64{0, 1, -1, 1 << 40}).Draw(t, "time")
		s.f.Timeout = rapid.SampledFrom([]int64{0, 3, -1, 1 << 40}).Draw(t, "timeout")
		s.secrets.state = rapid.SampledFrom([][]byte{nil, {1, 2}}).Draw(t, "state")
		s.secrets.user = rapid.SampledFrom([][]byte{nil, {1, 2}}).Draw(t, "user")
		s.imported = rapid.Bool().Draw(t, "imported")
		s.notResumable.Store(rapid.Bool().Draw(t, "not resumable"))
		s.timed = rapid.SampledFrom([]time.Duration{0, 1, math.MaxInt64}).Draw(t, "timed")
		s.f.IDContext = []byte{}
		packed, err := s.pack([]byte("before"))
		if err != nil {
			t.Fatal(err)
		}
		got, err := unpack(packed[len("before"):], callerRef)
		if err != nil {
			t.Fatal(err)
		}
		if contentOf(got) != contentOf(s) || got.imported != s.imported || got.notResumable.Load() != s.notResumable.Load() || got.timed != s.timed {
			t.Fatalf("came back as\n%s\nwant\n%s", contentOf(got), contentOf(s))
		}
		if caller, library := got.refs.held(); caller != 1 || library != 0 {
			t.Fatalf("unpacked with %d and %d references", caller, library)
		}
	})
}

func TestUnpackRefuses(t *testing.T) {
	packed, err := numbered(1, 10).pack(nil)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := NewSession().pack(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"an unknown flag":  append([]byte{0x80}, packed[1:]...),
		"cut short":        packed[:len(packed)-1],
		"something behind": append(bytes.Clone(packed), 0),
		"no DER":           {0},
		"half a version":   bare[:packedHeaderLen+3],
		"half a header":    packed[:packedHeaderLen-1],
	} {
		if s, err := unpack(b, callerRef); !errors.Is(err, errUndecodable) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
}

// TestParseTime: an absent time is now, an absent timeout three seconds.
func TestParseTime(t *testing.T) {
	f := asn1sess.Session{Version: tls.VersionTLS12, Cipher: tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
	der, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	before := time.Now().Unix()
	s, _, err := ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	if at := s.Time().Unix(); at < before || at > time.Now().Unix() || s.Timeout() != 3*time.Second {
		t.Errorf("time %v, timeout %v", s.Time(), s.Timeout())
	}
}
