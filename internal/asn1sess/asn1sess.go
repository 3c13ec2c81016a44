// Package asn1sess reads and writes the ASN.1 form of an SSL_SESSION, as
// libssl's d2i_SSL_SESSION and i2d_SSL_SESSION do: what libssl 3.0 accepts is
// accepted, what it refuses is refused, and what is written is what it would
// write, byte for byte. The tests hold it against the real libssl; the few
// chosen deviations are listed there, each with its reason.
//
// The package knows bytes and limits. It knows nothing of crypto/tls, does not
// look into the peer's certificate, and never puts a session's secrets into an
// error.
package asn1sess

import (
	"fmt"
	"io"
	"log/slog"
)

// PEMType is the label of a session in PEM form (PEM_write_SSL_SESSION).
const PEMType = "SSL SESSION PARAMETERS"

// Limits of libssl 3.0, enforced on reading and on writing.
const (
	MaxIDLength        = 32  // SSL_MAX_SSL_SESSION_ID_LENGTH
	MaxIDContextLength = 32  // SSL_MAX_SID_CTX_LENGTH
	MaxMasterKeyLength = 512 // TLS13_MAX_RESUMPTION_PSK_LENGTH
)

// DefaultTimeout is the timeout in seconds of a decoded session that carries none.
const DefaultTimeout = 3

// FlagExtendedMasterSecret is the bit in [Session.Flags] for RFC 7627
// (SSL_SESS_FLAG_EXTMS).
const FlagExtendedMasterSecret = 1 << 0

// MaxFragmentLenUnspecified is the [Session.MaxFragmentLen] of a new session, before a
// handshake settles it. libssl writes it like any other value.
const MaxFragmentLenUnspecified = 255

// Session holds the fields of the ASN.1 SSL_SESSION:
//
//	SSL_SESSION ::= SEQUENCE {
//	    version                INTEGER (1),
//	    ssl_version            INTEGER,
//	    cipher                 OCTET STRING (SIZE(2)),
//	    session_id             OCTET STRING (SIZE(0..32)),
//	    master_key             OCTET STRING (SIZE(0..512)),
//	    key_arg            [0] IMPLICIT OCTET STRING OPTIONAL, -- SSLv2: skipped, never written
//	    time               [1] EXPLICIT INTEGER OPTIONAL,      -- absent or 0: now
//	    timeout            [2] EXPLICIT INTEGER OPTIONAL,      -- absent or 0: 3
//	    peer               [3] EXPLICIT Certificate OPTIONAL,  -- the leaf only
//	    session_id_context [4] EXPLICIT OCTET STRING (SIZE(0..32)) OPTIONAL, -- always written
//	    verify_result      [5] EXPLICIT INTEGER DEFAULT 0,
//	    hostname           [6] EXPLICIT OCTET STRING OPTIONAL,
//	    psk_identity_hint  [7] EXPLICIT OCTET STRING OPTIONAL,
//	    psk_identity       [8] EXPLICIT OCTET STRING OPTIONAL,
//	    lifetime_hint      [9] EXPLICIT INTEGER DEFAULT 0,
//	    ticket            [10] EXPLICIT OCTET STRING OPTIONAL,
//	    compression       [11] EXPLICIT OCTET STRING (SIZE(1)) OPTIONAL,
//	    srp_username      [12] EXPLICIT OCTET STRING OPTIONAL,
//	    flags             [13] EXPLICIT INTEGER DEFAULT 0,
//	    ticket_age_add    [14] EXPLICIT INTEGER DEFAULT 0,
//	    max_early_data    [15] EXPLICIT INTEGER DEFAULT 0,
//	    alpn_selected     [16] EXPLICIT OCTET STRING OPTIONAL,
//	    max_fragment_len  [17] EXPLICIT INTEGER DEFAULT 0,
//	    ticket_appdata    [18] EXPLICIT OCTET STRING OPTIONAL,
//	    kex_group         [19] EXPLICIT INTEGER DEFAULT 0,     -- always written
//	    peer_rpk          [20] EXPLICIT OCTET STRING OPTIONAL  -- libssl 3.2 and later
//	}
//
// The fields come in this order. There is no room for extension: libssl refuses
// a tag that it does not know.
//
// A nil slice is an absent field. Where libssl tells an absent field from an
// empty one, so does Session: the empty one is not nil.
type Session struct {
	Version   uint16 // ssl_version: 0x0303 is TLS 1.2
	Cipher    uint16
	ID        []byte // at most 32 bytes
	MasterKey []byte // at most 512 bytes; in TLS 1.3 the resumption PSK

	Time    int64 // seconds since 1970
	Timeout int64 // seconds

	Peer         []byte // the leaf certificate's DER; only its outermost tag and length are checked
	IDContext    []byte // at most 32 bytes
	VerifyResult int32

	// These four are C strings in libssl: they end at the first NUL.
	Hostname        []byte
	PSKIdentityHint []byte
	PSKIdentity     []byte
	SRPUsername     []byte

	TicketLifetimeHint uint64 // seconds
	Ticket             []byte
	CompressID         uint8
	Flags              uint64 // libssl keeps the low 32 bits
	TicketAgeAdd       uint32
	MaxEarlyData       uint32
	ALPN               []byte
	MaxFragmentLen     uint8 // the code: 0 off, 1 to 4, 255 unspecified
	TicketAppData      []byte
	KexGroup           uint32
	PeerRPK            []byte // a SubjectPublicKeyInfo's DER, checked as Peer is
}

// String gives the version and the suite.
func (s Session) String() string {
	return fmt.Sprintf("asn1sess.Session(version %#04x, suite %#04x)", s.Version, s.Cipher)
}

// Format prints String under every verb, so that none shows a secret.
func (s Session) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue gives slog what String returns.
func (s Session) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText gives JSON what String returns.
func (s Session) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
