package asn1sess

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

func TestAppend(t *testing.T) {
	for _, c := range parseCases {
		if c.err != nil || c.name == "suite that nobody knows" {
			continue
		}
		der, err := c.want.Append([]byte("before"))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		der, ok := bytes.CutPrefix(der, []byte("before"))
		if !ok {
			t.Errorf("%s: what was there before is gone", c.name)
		}
		var raw asn1.RawValue
		if rest, err := asn1.Unmarshal(der, &raw); err != nil || len(rest) != 0 {
			t.Errorf("%s: not DER: %v, %d bytes behind", c.name, err, len(rest))
		}
		back, rest, err := Parse(der, 7)
		if err != nil || len(rest) != 0 {
			t.Errorf("%s: %v, %d bytes behind", c.name, err, len(rest))
			continue
		}
		want := c.want
		if want.IDContext == nil {
			want.IDContext = []byte{} // written always
		}
		if !reflect.DeepEqual(back, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", c.name, back, want)
		}
	}
}

// TestAppendExact pins what nothing but libssl's habits decides: what is left out, what is not.
func TestAppendExact(t *testing.T) {
	for name, c := range map[string]struct {
		s    Session
		want string
	}{
		"zero times": {Session{Version: 0x0303, Cipher: 0xc030},
			"3018 020101 02020303 0402c030 0400 0400 a4020400 b303020100"},
		"unspecified fragment length": {Session{Version: 0x0304, Cipher: 0x1301, MaxFragmentLen: MaxFragmentLenUnspecified},
			"301e 020101 02020304 04021301 0400 0400 a4020400 b104020200ff b303020100"},
		"signs": {Session{Version: 0xfefd, Cipher: 0xc030, Time: -129, Timeout: math.MinInt64, VerifyResult: -1, TicketLifetimeHint: math.MaxUint64, KexGroup: 1 << 31},
			"3041 020101 020300fefd 0402c030 0400 0400 a1040202ff7f a20a02088000000000000000 a4020400 a5030201ff a90b020900ffffffffffffffff b30702050080000000"},
	} {
		if der, err := c.s.Append(nil); err != nil || !bytes.Equal(der, unhex(t, c.want)) {
			t.Errorf("%s: %x, %v, want %s", name, der, err, c.want)
		}
	}
}

func TestAppendRefuses(t *testing.T) {
	for _, c := range []struct {
		s     Session
		field string
		err   error
	}{
		{with(func(s *Session) { s.Cipher = 0 }), "cipher", ErrCipher},
		{with(func(s *Session) { s.ID = make([]byte, 33) }), "session_id", ErrTooLong},
		{with(func(s *Session) { s.MasterKey = make([]byte, 513) }), "master_key", ErrTooLong},
		{with(func(s *Session) { s.IDContext = make([]byte, 33) }), "session_id_context", ErrTooLong},
		{with(func(s *Session) { s.Flags = 1 << 32 }), "flags", ErrRange},
		{with(func(s *Session) { s.Peer = []byte{} }), "peer", ErrShape},
		{with(func(s *Session) { s.Peer = []byte{0x30, 0, 0} }), "peer", ErrShape},
		{with(func(s *Session) { s.Peer = []byte{0x30, 0x80, 0, 0} }), "peer", ErrShape},
		{with(func(s *Session) { s.PeerRPK = []byte{4, 0} }), "peer_rpk", ErrShape},
		{with(func(s *Session) { s.Hostname = []byte("good.example\x00bad.example") }), "hostname", ErrNUL},
		{with(func(s *Session) { s.PSKIdentityHint = []byte{0} }), "psk_identity_hint", ErrNUL},
		{with(func(s *Session) { s.PSKIdentity = []byte{0} }), "psk_identity", ErrNUL},
		{with(func(s *Session) { s.SRPUsername = []byte{0} }), "srp_username", ErrNUL},
	} {
		before := []byte("before")
		der, err := c.s.Append(before)
		var e *FieldError
		if !errors.As(err, &e) || e.Field != c.field || e.Err != c.err {
			t.Errorf("got %v, want %s: %v", err, c.field, c.err)
		}
		if !bytes.Equal(der, before) {
			t.Errorf("%s: a refused session left %x", c.field, der)
		}
	}
}

func TestAppendAllocates(t *testing.T) {
	for name, der := range handshakeSessions(t) {
		s, _, err := Parse(der, 7)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 0, len(der))
		for _, c := range []struct {
			dst  []byte
			want float64
		}{{nil, 1}, {buf, 0}} {
			allocs := testing.AllocsPerRun(100, func() {
				if _, err := s.Append(c.dst); err != nil {
					t.Error(err)
				}
			})
			if allocs != c.want {
				t.Errorf("%s, %d bytes of room: %v allocations", name, cap(c.dst), allocs)
			}
		}
	}
}

// TestAppendRoundTrip: whatever libssl could hold comes back as it was.
func TestAppendRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSession(t)
		der, err := s.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		back, rest, err := Parse(append(der, 0x30), 7)
		if err != nil || len(rest) != 1 {
			t.Fatalf("%v, %d bytes behind", err, len(rest))
		}
		if !reflect.DeepEqual(back, s) {
			t.Fatalf("got  %+v\nwant %+v", back, s)
		}
	})
}

func drawSession(t *rapid.T) Session {
	octets := func(name string, limit int) []byte { return rapid.SliceOfN(rapid.Byte(), 0, limit).Draw(t, name) }
	optional := func(name string, of *rapid.Generator[[]byte]) []byte {
		return rapid.OneOf(rapid.Just([]byte(nil)), of).Draw(t, name)
	}
	text := rapid.SliceOfN(rapid.ByteRange(1, 255), 0, 200)
	data := rapid.SliceOfN(rapid.Byte(), 0, 400)
	sequence := rapid.Map(data, func(b []byte) []byte { return wrap(0x30, b) })
	nonzero := rapid.Int64().Filter(func(v int64) bool { return v != 0 })
	return Session{
		Version:            rapid.OneOf(rapid.Uint16Range(0x0300, 0x03ff), rapid.Uint16Range(0xfe00, 0xfeff), rapid.Just(uint16(0x0100))).Draw(t, "version"),
		Cipher:             rapid.Uint16Min(1).Draw(t, "cipher"),
		ID:                 octets("id", MaxIDLength),
		MasterKey:          octets("master key", MaxMasterKeyLength),
		Time:               nonzero.Draw(t, "time"),
		Timeout:            nonzero.Draw(t, "timeout"),
		Peer:               optional("peer", sequence),
		IDContext:          octets("id context", MaxIDContextLength),
		VerifyResult:       rapid.Int32().Draw(t, "verify result"),
		Hostname:           optional("hostname", text),
		PSKIdentityHint:    optional("psk identity hint", text),
		PSKIdentity:        optional("psk identity", text),
		TicketLifetimeHint: rapid.Uint64().Draw(t, "lifetime hint"),
		Ticket:             optional("ticket", data),
		CompressID:         rapid.Uint8().Draw(t, "compression"),
		SRPUsername:        optional("srp username", text),
		Flags:              uint64(rapid.Uint32().Draw(t, "flags")),
		TicketAgeAdd:       rapid.Uint32().Draw(t, "ticket age add"),
		MaxEarlyData:       rapid.Uint32().Draw(t, "max early data"),
		ALPN:               optional("alpn", data),
		MaxFragmentLen:     rapid.Uint8().Draw(t, "max fragment len"),
		TicketAppData:      optional("ticket appdata", data),
		KexGroup:           rapid.Uint32().Draw(t, "kex group"),
		PeerRPK:            optional("peer rpk", sequence),
	}
}
