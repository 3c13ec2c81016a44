package gotls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/crypto/cryptobyte"
)

var (
	// ErrLayout says that bytes are not in the layout of this package. For
	// bytes from [tls.SessionState.Bytes] it means that this Go release writes
	// sessions in a layout that this package does not know.
	ErrLayout = errors.New("gotls: unknown session state layout")

	// ErrInvalid says that a State has no encoding that crypto/tls would read.
	ErrInvalid = errors.New("gotls: invalid session state")
)

// The extensions of the leaf in a certificate list (RFC 6066, Section 8, and
// RFC 6962, Section 3.3) and the only certificate status type.
const (
	extensionStatusRequest = 5
	extensionSCT           = 18
	statusTypeOCSP         = 1
)

// State holds the fields of a [tls.SessionState] in its serialized layout.
// In the language of RFC 8446, Section 3:
//
//	enum { server(1), client(2) } SessionStateType;
//	opaque Certificate<1..2^24-1>;
//	opaque Extra<0..2^24-1>;
//	Certificate CertificateChain<0..2^24-1>;
//
//	struct {
//	    uint16 version;                        /* TLS 1.0 to TLS 1.3 */
//	    SessionStateType type;
//	    uint16 cipher_suite;
//	    uint64 created_at;
//	    opaque secret<1..2^8-1>;
//	    Extra extra<0..2^24-1>;
//	    uint8 ext_master_secret;               /* 0 or 1 */
//	    uint8 early_data;                      /* 0 or 1 */
//	    CertificateEntry certificate_list<0..2^24-1>;
//	    CertificateChain verified_chains<0..2^24-1>;  /* without the leaf */
//	    select (early_data) {
//	        case 1: opaque alpn<0..2^8-1>;
//	    };
//	    select (version) {
//	        case 0x0301..0x0303: uint16 curve_id;
//	        case 0x0304: select (type) {
//	            case client: uint64 use_by; uint32 age_add;
//	        };
//	    };
//	} SessionState;
//
// CertificateEntry is that of RFC 8446, Section 4.4.2. Only the leaf has
// extensions: status_request, then signed_certificate_timestamp, each absent
// when empty. crypto/tls reads some encodings that it never writes (unknown
// extensions, trailing bytes); they are not part of this layout.
//
// The zero value is not a valid session. A State is not safe for concurrent
// use while one of its users changes it. It formats without its secret.
type State struct {
	Version   uint16      // tls.VersionTLS10 to tls.VersionTLS13
	Client    bool        // the session is a client's
	Suite     uint16      // cipher suite
	CreatedAt uint64      // seconds since 1970; a client: when the ticket arrived
	Secret    []byte      // master secret, or the PSK for TLS 1.3; 1 to 255 bytes
	Extra     [][]byte    // entries of other layers, recognized by their own prefixes
	EMS       bool        // extended master secret (RFC 7627); crypto/tls leaves it false in TLS 1.3
	EarlyData bool        // usable for 0-RTT (QUIC)
	Peer      [][]byte    // the peer's certificates, leaf first, DER; a client's session has at least one
	OCSP      []byte      // the leaf's stapled OCSP response; not written without Peer
	SCTs      [][]byte    // the leaf's certificate timestamps, none empty; not written without Peer
	Chains    [][][]byte  // verified chains, each without the leaf, DER; none without Peer
	ALPN      string      // at most 255 bytes; written only with EarlyData
	UseBy     uint64      // seconds since 1970; written only for a TLS 1.3 client
	AgeAdd    uint32      // milliseconds, obfuscates the ticket age; written only for a TLS 1.3 client
	Curve     tls.CurveID // key exchange group; written only up to TLS 1.2
}

// Decode reads b, which must hold one session and nothing else. Every error
// wraps [ErrLayout]. Decode does not parse certificates.
//
// The State aliases b: b must not be changed while the State is in use, and
// [State.Wipe] zeroes the secret inside b.
func Decode(b []byte) (*State, error) {
	s := new(State)
	if reason := s.decode(b); reason != "" {
		return nil, fmt.Errorf("%w: %s", ErrLayout, reason)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLayout, err)
	}
	return s, nil
}

// decode returns what is wrong with b, or "".
func (s *State) decode(b []byte) string {
	in := cryptobyte.String(b)
	var kind uint8
	var extra, certs, chains cryptobyte.String
	if !in.ReadUint16(&s.Version) ||
		!in.ReadUint8(&kind) ||
		!in.ReadUint16(&s.Suite) ||
		!in.ReadUint64(&s.CreatedAt) ||
		!readVector8(&in, &s.Secret) ||
		!in.ReadUint24LengthPrefixed(&extra) ||
		!readBool(&in, &s.EMS) ||
		!readBool(&in, &s.EarlyData) ||
		!in.ReadUint24LengthPrefixed(&certs) ||
		!in.ReadUint24LengthPrefixed(&chains) {
		return "malformed header"
	}
	if kind != kindServer && kind != kindClient {
		return "unknown type"
	}
	s.Client = kind == kindClient
	if !readVectors24(&extra, &s.Extra) {
		return "malformed extra"
	}
	if !s.decodePeer(&certs) {
		return "malformed certificate list"
	}
	for !chains.Empty() {
		var list cryptobyte.String
		var chain [][]byte
		if !chains.ReadUint24LengthPrefixed(&list) || !readVectors24(&list, &chain) {
			return "malformed verified chains"
		}
		s.Chains = append(s.Chains, chain)
	}
	if !s.decodeTail(&in) {
		return "malformed trailer"
	}
	if !in.Empty() {
		return "trailing bytes"
	}
	return ""
}

// decodePeer reads the entries of a certificate list.
func (s *State) decodePeer(in *cryptobyte.String) bool {
	for !in.Empty() {
		var cert []byte
		var extensions cryptobyte.String
		if !readVector24(in, &cert) || !in.ReadUint16LengthPrefixed(&extensions) {
			return false
		}
		s.Peer = append(s.Peer, cert)
		if len(s.Peer) > 1 && !extensions.Empty() {
			return false
		}
		if !s.decodeOCSP(&extensions) || !s.decodeSCTs(&extensions) || !extensions.Empty() {
			return false
		}
	}
	return true
}

// decodeOCSP reads the status_request extension if it comes next.
func (s *State) decodeOCSP(in *cryptobyte.String) bool {
	data, present, ok := readExtension(in, extensionStatusRequest)
	if !present {
		return ok
	}
	var kind uint8
	return data.ReadUint8(&kind) && kind == statusTypeOCSP &&
		readVector24(&data, &s.OCSP) && len(s.OCSP) > 0 && data.Empty()
}

// decodeSCTs reads the signed_certificate_timestamp extension if it comes next.
func (s *State) decodeSCTs(in *cryptobyte.String) bool {
	data, present, ok := readExtension(in, extensionSCT)
	if !present {
		return ok
	}
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || list.Empty() || !data.Empty() {
		return false
	}
	for !list.Empty() {
		var sct []byte
		if !readVector16(&list, &sct) {
			return false
		}
		s.SCTs = append(s.SCTs, sct)
	}
	return true
}

// decodeTail reads the fields that depend on the early data flag, the version
// and the type.
func (s *State) decodeTail(in *cryptobyte.String) bool {
	if s.EarlyData {
		var alpn []byte
		if !readVector8(in, &alpn) {
			return false
		}
		s.ALPN = string(alpn)
	}
	switch {
	case s.Version <= tls.VersionTLS12:
		return in.ReadUint16((*uint16)(&s.Curve))
	case s.Client:
		return in.ReadUint64(&s.UseBy) && in.ReadUint32(&s.AgeAdd)
	}
	return true
}

// validate reports, as an ErrInvalid, what crypto/tls would not read back.
func (s *State) validate() error {
	invalid := func(reason string) error { return fmt.Errorf("%w: %s", ErrInvalid, reason) }
	switch {
	case s.Version < tls.VersionTLS10 || s.Version > tls.VersionTLS13:
		return invalid("unknown protocol version")
	case len(s.Secret) == 0:
		return invalid("no secret")
	case s.Client && len(s.Peer) == 0:
		return invalid("client session without the server's certificate")
	case len(s.Chains) > 0 && len(s.Peer) == 0:
		return invalid("verified chain without a leaf")
	case hasEmpty(s.Peer):
		return invalid("empty certificate")
	case hasEmpty(s.SCTs):
		return invalid("empty certificate timestamp")
	}
	for _, chain := range s.Chains {
		if hasEmpty(chain) {
			return invalid("empty certificate in a verified chain")
		}
	}
	return nil
}

func hasEmpty(items [][]byte) bool {
	for _, item := range items {
		if len(item) == 0 {
			return true
		}
	}
	return false
}

// Wipe zeroes the secret, in the State and in the bytes that [Decode] or
// [FromTLS] took it from, and drops it: a wiped State cannot be encoded. The
// other fields stay. Wipe of a nil State is a no-op.
func (s *State) Wipe() {
	if s == nil {
		return
	}
	clear(s.Secret)
	s.Secret = nil
}

// String names the session without its secret.
func (s State) String() string {
	side := "server"
	if s.Client {
		side = "client"
	}
	return fmt.Sprintf("gotls.State(%s %s %s)",
		tls.VersionName(s.Version), side, tls.CipherSuiteName(s.Suite))
}

// Format prints [State.String] under every verb, so that no verb prints the
// secret.
func (s State) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue keeps the secret out of slog.
func (s State) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText gives JSON what String returns.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
