package asn1sess

import (
	"bytes"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The mandatory fields of most cases below: TLS 1.2, suite c030, id aa, key bb.
const mandatory = "020101 02020303 0402c030 0401aa 0401bb"

// least is a session with nothing else, as Parse gives it at the time 7.
var least = Session{Version: 0x0303, Cipher: 0xc030, ID: []byte{0xaa}, MasterKey: []byte{0xbb}, Time: 7, Timeout: 3}

// with is least with changes.
func with(change func(s *Session)) Session {
	s := least
	change(&s)
	return s
}

type parseCase struct {
	name string
	hex  string // of the input; the part before a bar goes into a SEQUENCE

	// One of these: the session, or the field to blame and what is wrong with it.
	want  Session
	field string
	err   error
}

func (c parseCase) der(t testing.TB) []byte {
	t.Helper()
	content, rest, framed := strings.Cut(c.hex, "|")
	der := unhex(t, content)
	if framed {
		der = append(wrap(0x30, der), unhex(t, rest)...)
	}
	return der
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatalf("%q: %v", s, err)
	}
	return b
}

// wrap puts an identifier and a length before the content.
func wrap(identifier byte, content []byte) []byte {
	var e encoder
	e.header(identifier, len(content))
	e.content(content)
	return e.out
}

var parseCases = []parseCase{
	{name: "least", hex: mandatory + "|", want: least},
	{name: "something behind", hex: mandatory + "| 00 30", want: least},
	{name: "empty id and key", hex: "020101 02020304 04021301 0400 0400 |", want: Session{
		Version: 0x0304, Cipher: 0x1301, ID: []byte{}, MasterKey: []byte{}, Time: 7, Timeout: 3}},
	{name: "every field", hex: mandatory + "800133 a103020164 a203020114 a30430023000 a403040163 a503020112" +
		"a603040168 a703040169 a80304016a a90302010b aa0304016b ab03040101 ac0304016c ad03020101 ae03020102 af03020103" +
		"b00304016d b103020104 b20304016e b303020117 b40404023000 |", want: Session{
		Version: 0x0303, Cipher: 0xc030, ID: []byte{0xaa}, MasterKey: []byte{0xbb}, Time: 100, Timeout: 20,
		Peer: []byte{0x30, 2, 0x30, 0}, IDContext: []byte("c"), VerifyResult: 18, Hostname: []byte("h"), PSKIdentityHint: []byte("i"),
		PSKIdentity: []byte("j"), TicketLifetimeHint: 11, Ticket: []byte("k"), CompressID: 1, SRPUsername: []byte("l"), Flags: 1,
		TicketAgeAdd: 2, MaxEarlyData: 3, ALPN: []byte("m"), MaxFragmentLen: 4, TicketAppData: []byte("n"), KexGroup: 23,
		PeerRPK: []byte{0x30, 0}}},
	{name: "empty is not absent", hex: mandatory + "a4020400 a6020400 a7020400 a8020400 aa020400 ac020400 b0020400 b2020400 |",
		want: with(func(s *Session) {
			s.IDContext, s.Hostname, s.PSKIdentityHint, s.PSKIdentity = []byte{}, []byte{}, []byte{}, []byte{}
			s.Ticket, s.SRPUsername, s.ALPN, s.TicketAppData = []byte{}, []byte{}, []byte{}, []byte{}
		})},
	{name: "DTLS", hex: "020101 020300fefd 0402c030 0401aa 0401bb |", want: with(func(s *Session) { s.Version = 0xfefd })},
	{name: "DTLS before its time", hex: "020101 02020100 0402c030 0401aa 0401bb |", want: with(func(s *Session) { s.Version = 0x0100 })},
	{name: "versions to come", hex: "020101 020203ff 0402c030 0401aa 0401bb |", want: with(func(s *Session) { s.Version = 0x03ff })},
	{name: "suite that nobody knows", hex: "020101 02020303 0402fefe 0401aa 0401bb |", want: with(func(s *Session) { s.Cipher = 0xfefe })},
	{name: "zero times", hex: mandatory + "a103020100 a203020100 |", want: least},
	{name: "negative times", hex: mandatory + "a1030201ff a203020180 |", want: with(func(s *Session) { s.Time, s.Timeout = -1, -128 })},
	{name: "great times", hex: mandatory + "a10a02087fffffffffffffff a20a02088000000000000000 |",
		want: with(func(s *Session) { s.Time, s.Timeout = 1<<63-1, -1<<63 })},
	{name: "time beyond 64 bits that loses its sign", hex: mandatory + "a10b0209ff7fffffffffffffff |", want: with(func(s *Session) { s.Time = 1<<63 - 1 })},
	{name: "integer without bytes", hex: mandatory + "a9020200 |", want: least},
	{name: "negative verify result", hex: mandatory + "a506020480000000 |", want: with(func(s *Session) { s.VerifyResult = -1 << 31 })},
	{name: "great lifetime hint", hex: mandatory + "a90b020900ffffffffffffffff |", want: with(func(s *Session) { s.TicketLifetimeHint = 1<<64 - 1 })},
	{name: "flags above 32 bits", hex: mandatory + "ad0702050100000001 |", want: with(func(s *Session) { s.Flags = 1 })},
	{name: "fragment length above 8 bits", hex: mandatory + "b10402020103 |", want: with(func(s *Session) { s.MaxFragmentLen = 3 })},
	{name: "C strings end at NUL", hex: mandatory + "a6050403610062 a703040100 a8050403620000 ac06040463646500 |", want: with(func(s *Session) {
		s.Hostname, s.PSKIdentityHint, s.PSKIdentity, s.SRPUsername = []byte("a"), []byte{}, []byte("b"), []byte("cde")
	})},
	{name: "other strings do not", hex: mandatory + "b0050403610062 |", want: with(func(s *Session) { s.ALPN = []byte("a\x00b") })},
	{name: "no compression", hex: mandatory + "ab03040100 |", want: least},

	{name: "indefinite length", hex: "3080" + mandatory + "0000 55", want: least},
	{name: "indefinite length of a field", hex: mandatory + "a680 040161 0000 |", want: with(func(s *Session) { s.Hostname = []byte("a") })},
	{name: "indefinite in indefinite", hex: "3080" + mandatory + "a680 2480 040161 0000 0000 0000", want: with(func(s *Session) { s.Hostname = []byte("a") })},
	{name: "string in pieces", hex: mandatory + "b00c 240a 0401 61 2403 0401 62 0400 |", want: with(func(s *Session) { s.ALPN = []byte("ab") })},
	{name: "string in no pieces", hex: mandatory + "b0022400 |", want: with(func(s *Session) { s.ALPN = []byte{} })},
	{name: "pieces with other tags", hex: mandatory + "b009 2407 0c0161 00810162 |", want: with(func(s *Session) { s.ALPN = []byte("ab") })},
	{name: "piece with the greatest tag", hex: mandatory + "b00a 2408 1f87ffffff7f 0161 |", want: with(func(s *Session) { s.ALPN = []byte("a") })},
	{name: "pieces five deep", hex: mandatory + "b00f 240d 240b 2409 2407 2405 2403 040161 |", want: with(func(s *Session) { s.ALPN = []byte("a") })},
	{name: "key_arg in pieces", hex: mandatory + "a003040161 |", want: least},
	{name: "lengths in more bytes than needed", hex: "3083000013 0282000101 02020303 0402c030 0401aa 0401bb", want: least},
	{name: "length of 127 bytes", hex: mandatory + "b08182 04ff" + strings.Repeat("00", 126) + "0161 |", want: with(func(s *Session) { s.ALPN = []byte("a") })},
	{name: "tags in the long form", hex: "3f10 14 1f02 0101 02020303 0402c030 0401aa 1f8004 01bb", want: least},
	{name: "field's tag in the long form", hex: mandatory + "bf06 03 040161 |", want: with(func(s *Session) { s.Hostname = []byte("a") })},

	{name: "nothing", hex: "", field: "session", err: ErrMissing},
	{name: "one byte", hex: "30", field: "session", err: ErrTruncated},
	{name: "empty sequence", hex: "|", field: "version", err: ErrMissing},
	{name: "cut short", hex: "3012" + mandatory, field: "session", err: ErrTruncated},
	{name: "not a sequence", hex: "3111" + mandatory, field: "session", err: ErrTag},
	{name: "primitive sequence", hex: "1011" + mandatory, field: "session", err: ErrNotExplicit},
	{name: "no end of the indefinite length", hex: "3080" + mandatory, field: "session", err: ErrTruncated},
	{name: "end without indefinite length", hex: mandatory + "0000 |", field: "session", err: ErrTag},
	{name: "structure version 2", hex: "020102 02020303 0402c030 0401aa 0401bb |", field: "version", err: ErrStructure},
	{name: "structure version of no bytes", hex: "0200 02020303 0402c030 0401aa 0401bb |", field: "version", err: ErrStructure},
	{name: "structure version as a string", hex: "040101 02020303 0402c030 0401aa 0401bb |", field: "version", err: ErrTag},
	{name: "SSL 2", hex: "020101 020102 0402c030 0401aa 0401bb |", field: "ssl_version", err: ErrProtocol},
	{name: "version below", hex: "020101 020202ff 0402c030 0401aa 0401bb |", field: "ssl_version", err: ErrProtocol},
	{name: "version above", hex: "020101 02020400 0402c030 0401aa 0401bb |", field: "ssl_version", err: ErrProtocol},
	{name: "negative version", hex: "020101 0202fefd 0402c030 0401aa 0401bb |", field: "ssl_version", err: ErrProtocol},
	{name: "version above 32 bits", hex: "020101 02050080000303 0402c030 0401aa 0401bb |", field: "ssl_version", err: ErrRange},
	{name: "cipher of 3 bytes", hex: "020101 02020303 0403c03000 0401aa 0401bb |", field: "cipher", err: ErrLength},
	{name: "cipher zero", hex: "020101 02020303 04020000 0401aa 0401bb |", field: "cipher", err: ErrCipher},
	{name: "id of 33 bytes", hex: "020101 02020303 0402c030 0421" + strings.Repeat("aa", 33) + "0401bb |", field: "session_id", err: ErrTooLong},
	{name: "key of 513 bytes", hex: "020101 02020303 0402c030 0401aa 04820201" + strings.Repeat("bb", 513) + "|", field: "master_key", err: ErrTooLong},
	{name: "no key", hex: "020101 02020303 0402c030 0401aa |", field: "master_key", err: ErrMissing},
	{name: "context of 33 bytes", hex: mandatory + "a4230421" + strings.Repeat("cc", 33) + "|", field: "session_id_context", err: ErrTooLong},
	{name: "compression of 2 bytes", hex: mandatory + "ab0404020101 |", field: "compression", err: ErrLength},
	{name: "compression of no bytes", hex: mandatory + "ab020400 |", field: "compression", err: ErrLength},
	{name: "unknown tag", hex: mandatory + "b5020400 |", field: "session", err: ErrTag},
	{name: "tags in the wrong order", hex: mandatory + "a203020101 a103020101 |", field: "session", err: ErrTag},
	{name: "tag twice", hex: mandatory + "a103020101 a103020101 |", field: "session", err: ErrTag},
	{name: "tag of another class", hex: mandatory + "e103020101 |", field: "session", err: ErrTag},
	{name: "tag not constructed", hex: mandatory + "8103020101 |", field: "time", err: ErrNotExplicit},
	{name: "tag with nothing inside", hex: mandatory + "a100 |", field: "time", err: ErrMissing},
	{name: "tag with more inside", hex: mandatory + "a106020101020101 |", field: "time", err: ErrTrailing},
	{name: "indefinite tag with more inside", hex: mandatory + "a180020101020101 0000 |", field: "time", err: ErrTrailing},
	{name: "indefinite but primitive", hex: mandatory + "8480 |", field: "session", err: ErrHeader},
	{name: "constructed integer", hex: mandatory + "a1052203020101 |", field: "time", err: ErrConstructed},
	{name: "string for a number", hex: mandatory + "a103040101 |", field: "time", err: ErrTag},
	{name: "superfluous zeros", hex: mandatory + "a10402020001 |", field: "time", err: ErrPadding},
	{name: "superfluous ones", hex: mandatory + "a1040202ff80 |", field: "time", err: ErrPadding},
	{name: "time above 63 bits", hex: mandatory + "a10b0209008000000000000000 |", field: "time", err: ErrRange},
	{name: "time above 65 bits", hex: mandatory + "a10b0209010000000000000000 |", field: "time", err: ErrRange},
	{name: "negative hint", hex: mandatory + "a9030201ff |", field: "lifetime_hint", err: ErrNegative},
	{name: "verify result above 31 bits", hex: mandatory + "a50702050080000000 |", field: "verify_result", err: ErrRange},
	{name: "verify result below", hex: mandatory + "a5070205ff7fffffff |", field: "verify_result", err: ErrRange},
	{name: "age above 32 bits", hex: mandatory + "ae0702050100000000 |", field: "ticket_age_add", err: ErrRange},
	{name: "pieces six deep", hex: mandatory + "b011 240f 240d 240b 2409 2407 2405 2403 040161 |", field: "alpn_selected", err: ErrNested},
	{name: "piece with a greater tag", hex: mandatory + "b00a 2408 1f8880808000 0161 |", field: "alpn_selected", err: ErrHeader},
	{name: "end among the pieces", hex: mandatory + "b00724050000040161 |", field: "alpn_selected", err: ErrTag},
	{name: "pieces without end", hex: mandatory + "b0052480040161 |", field: "alpn_selected", err: ErrTruncated},
	{name: "tag of too many bits", hex: mandatory + "bf9080808006 03 040161 |", field: "session", err: ErrHeader},
	{name: "tag without end", hex: "3f8080", field: "session", err: ErrTruncated},
	{name: "length without end", hex: "308800", field: "session", err: ErrTruncated},
	{name: "length that overflows", hex: "3089ffffffffffffffffff 00", field: "session", err: ErrTruncated},
	{name: "peer of indefinite length", hex: mandatory + "a3043080 0000 |", field: "peer", err: ErrShape},
	{name: "peer not a sequence", hex: mandatory + "a3020400 |", field: "peer", err: ErrTag},
	{name: "two peers", hex: mandatory + "a30430003000 |", field: "peer", err: ErrTrailing},
	{name: "raw key not a sequence", hex: mandatory + "b4050403040100 |", field: "peer_rpk", err: ErrShape},
	{name: "raw key with more behind", hex: mandatory + "b4050403300000 |", field: "peer_rpk", err: ErrShape},
}

func TestParse(t *testing.T) {
	for _, c := range parseCases {
		t.Run(c.name, func(t *testing.T) {
			der := c.der(t)
			s, rest, err := Parse(der, 7)
			if c.err != nil {
				var e *FieldError
				if !errors.As(err, &e) || e.Field != c.field || e.Err != c.err {
					t.Fatalf("got %v, want %s: %v", err, c.field, c.err)
				}
				if !reflect.DeepEqual(s, Session{}) || rest != nil {
					t.Error("a refused session left something behind")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(s, c.want) {
				t.Errorf("got  %+v\nwant %+v", s, c.want)
			}
			if _, behind, _ := strings.Cut(c.hex, "|"); strings.Contains(c.hex, "|") && !bytes.Equal(rest, unhex(t, behind)) {
				t.Errorf("rest %x", rest)
			}
		})
	}
}

// TestParseAliases checks that a session from DER costs no copies, and that appending to one
// of its slices cannot reach the next.
func TestParseAliases(t *testing.T) {
	der := unhex(t, "3018"+mandatory+"aa0504 03 616263")
	s, _, err := Parse(der, 7)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"id": s.ID, "key": s.MasterKey, "ticket": s.Ticket} {
		if cap(b) != len(b) {
			t.Errorf("%s has room for %d bytes more", name, cap(b)-len(b))
		}
	}
	der[len(der)-1] = 'z'
	if string(s.Ticket) != "abz" {
		t.Error("the ticket is a copy")
	}
}

func TestParseAllocates(t *testing.T) {
	for name, der := range handshakeSessions(t) {
		allocs := testing.AllocsPerRun(100, func() {
			if _, _, err := Parse(der, 7); err != nil {
				t.Error(err)
			}
		})
		if allocs != 0 {
			t.Errorf("%s: %v allocations", name, allocs)
		}
	}
}

// handshakeSessions are sessions of real handshakes, by their names in the file.
func handshakeSessions(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/handshakes.pem")
	if err != nil {
		t.Fatal(err)
	}
	sessions := make(map[string][]byte)
	for {
		before, _, _ := strings.Cut(string(text), "\n-----BEGIN")
		lines := strings.Split(before, "\n")
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != PEMType {
			t.Fatalf("PEM type %q", block.Type)
		}
		sessions[lines[len(lines)-1]] = block.Bytes
		text = rest
	}
	if len(sessions) == 0 {
		t.Fatal("no sessions")
	}
	return sessions
}

func TestParseHandshakes(t *testing.T) {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for name, der := range handshakeSessions(t) {
		s, rest, err := Parse(der, 7)
		if err != nil || len(rest) != 0 {
			t.Errorf("%s: %v, %d bytes behind", name, err, len(rest))
			continue
		}
		if !KnownSuite(s.Cipher) || s.Time < made || s.Timeout != 7200 || len(s.ID) != 32 {
			t.Errorf("%s: %+v", name, s)
		}
		encoded, err := s.Append(nil)
		if err != nil || !bytes.Equal(encoded, der) {
			t.Errorf("%s: encoded %x, %v, want %x", name, encoded, err, der)
		}
	}
}
