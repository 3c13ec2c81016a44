package reprise

import (
	"crypto/tls"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/gotls"
)

// PEMType is the label of a session in PEM.
const PEMType = asn1sess.PEMType

// Errors of encoding and decoding.
var (
	// ErrNoCipherSuite: libssl encodes no session that has no cipher suite.
	ErrNoCipherSuite = errors.New("reprise: session has no cipher suite: it cannot be encoded")
	// ErrLayout: this Go release keeps sessions in a layout that reprise does
	// not know. They are still cached and resumed, but cannot be exported.
	ErrLayout = gotls.ErrLayout
	// ErrUnknownSuite: libssl does not know the cipher suite and refuses the session.
	ErrUnknownSuite = errors.New("reprise: unknown cipher suite")
	// ErrNoPEM: there is no block labelled SSL SESSION PARAMETERS. The error
	// that wraps it names the labels that were found, such as CERTIFICATE.
	ErrNoPEM = errors.New("reprise: no PEM block of type " + PEMType)
	// ErrDamagedPEM: a block that comes before any whole session is not well
	// formed. libssl reads nothing behind such a block.
	ErrDamagedPEM = errors.New("reprise: damaged PEM block")
	// ErrEncryptedPEM: the session is encrypted under a password.
	ErrEncryptedPEM = errors.New("reprise: encrypted PEM block")
)

// ParseSession decodes the session at the front of der and returns what
// follows it. The caller owns one reference. It accepts what libssl 3.0
// accepts: an absent or zero time is now, an absent or zero timeout is three
// seconds, a cipher suite that libssl does not know is ErrUnknownSuite. der is
// not kept.
//
// A decoded session is trusted for what it says, not for whom it names: its
// peer's certificates are verified again before it is offered or accepted.
//
// It takes time linear in len(der) and at most 26*len(der) bytes and 1 MiB more
// of memory, whatever der holds.
//
// It is d2i_SSL_SESSION.
func ParseSession(der []byte) (s *Session, rest []byte, err error) {
	s, rest, err = decode(der, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("reprise: session not decoded: %w", err)
	}
	if s.f.Time == 0 { // asking for the time is a tenth of decoding
		s.f.Time = time.Now().Unix()
	}
	if !asn1sess.KnownSuite(s.f.Cipher) {
		clear(s.f.MasterKey)
		return nil, nil, fmt.Errorf("%w %#04x", ErrUnknownSuite, s.f.Cipher)
	}
	s.imported = true
	s.start(callerRef)
	s.acquired()
	return s, rest, nil
}

// decode makes a session of DER, of which it keeps nothing. It still wants start.
func decode(der []byte, now int64) (s *Session, rest []byte, err error) {
	x := new(struct { // in one piece
		s Session
		c content
	})
	s, x.c.rec = &x.s, noRecord
	s.content = &x.c
	if rest, err = s.f.DecodeCopy(der, now); err != nil {
		return nil, nil, err
	}
	if data := s.f.TicketAppData; data != nil {
		s.f.TicketAppData = nil
		rec, err := appdata.Parse(data) // whose slices it shares
		if err != nil {
			rec = appdata.Record{User: data} // kept as it is
		}
		s.rec = &rec
	}
	return s, rest, nil
}

// MarshalBinary encodes the session as OpenSSL's DER. The result holds the
// session's secret: keep it as you would a private key. Errors: ErrFreed,
// ErrNoCipherSuite, ErrLayout.
//
// It is i2d_SSL_SESSION.
func (s *Session) MarshalBinary() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.secrets.state) > 0 {
		return nil, fmt.Errorf("reprise: session %s not encoded: %w", s.fingerprint(), ErrLayout)
	}
	return s.appendDER(nil)
}

// MarshalPEM encodes the session as PEM. The result holds the session's
// secret. Errors are those of MarshalBinary.
//
// It is PEM_write_bio_SSL_SESSION.
func (s *Session) MarshalPEM() ([]byte, error) {
	der, err := s.MarshalBinary()
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return pem.EncodeToMemory(&pem.Block{Type: PEMType, Bytes: der}), nil
}

// appendDER appends the encoding. The caller holds s.mu.
func (s *Session) appendDER(dst []byte) ([]byte, error) {
	if s.f.Cipher == 0 {
		return nil, ErrNoCipherSuite
	}
	f, rec := s.whole()
	return s.appendFields(dst, &f, &rec)
}

// appendFields encodes f with what is ours, rec, inside its ticket_appdata. The
// caller holds s.mu.
func (s *Session) appendFields(dst []byte, f *asn1sess.Session, rec *appdata.Record) ([]byte, error) {
	if s.secrets.wiped {
		return nil, ErrFreed
	}
	data, err := rec.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("reprise: session %s not encoded: %w", s.fingerprint(), err)
	}
	if len(data) > 0 {
		f.TicketAppData = data
	}
	dst, err = f.Append(dst)
	clear(data)
	if err != nil {
		return nil, fmt.Errorf("reprise: session %s not encoded: %w", s.fingerprint(), err)
	}
	return dst, nil
}

// A session in the cache is its DER behind what DER does not say.
//
//	struct {
//	    uint8 flags;
//	    uint64 timed;    /* nanoseconds of the Manager's uptime: when the time in DER was set; 0 if unknown */
//	    select (flags.bare) {
//	        case 0: Empty;
//	        case 1: uint16 version; uint16 cipher_suite;  /* DER holds stand-ins: it has no form for these values */
//	    };
//	    opaque der[..];  /* to the end */
//	} PackedSession;
const (
	packedNotResumable = 1 << iota
	packedImported
	packedBare
	packedZeroTime    // zero decodes as now
	packedZeroTimeout // zero decodes as three seconds
	packedKnown       = 1<<iota - 1
)

const (
	packedHeaderLen = 1 + 8
	bareLen         = 4
)

// pack appends the form at rest.
func (s *Session) pack(dst []byte) ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.appendPacked(dst)
}

// appendPacked is pack for who holds s.mu.
func (s *Session) appendPacked(dst []byte) ([]byte, error) {
	flags := flag(packedNotResumable, s.notResumable.Load()) | flag(packedImported, s.imported) |
		flag(packedZeroTime, s.f.Time == 0) | flag(packedZeroTimeout, s.f.Timeout == 0)
	f, rec := s.whole()
	header := len(dst)
	dst = binary.BigEndian.AppendUint64(append(dst, flags), uint64(s.timed))
	if f.Cipher == 0 || f.Version>>8 != tls.VersionTLS13>>8 {
		dst[header] |= packedBare
		dst = binary.BigEndian.AppendUint16(dst, f.Version)
		dst = binary.BigEndian.AppendUint16(dst, f.Cipher)
		f.Version, f.Cipher = tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	}
	return s.appendFields(dst, &f, &rec)
}

func flag(bit byte, on bool) byte {
	if on {
		return bit
	}
	return 0
}

// errUndecodable: bytes at rest that are not what pack wrote.
var errUndecodable = errors.New("reprise: stored session is not well formed")

// unpack makes a session of its form at rest, with one reference of the kind.
func unpack(packed []byte, kind uint64) (*Session, error) {
	if len(packed) < packedHeaderLen || packed[0]&^packedKnown != 0 {
		return nil, errUndecodable
	}
	flags, der := packed[0], packed[packedHeaderLen:]
	var version, suite uint16
	if flags&packedBare != 0 {
		if len(der) < bareLen {
			return nil, errUndecodable
		}
		version, suite = binary.BigEndian.Uint16(der), binary.BigEndian.Uint16(der[2:])
		der = der[bareLen:]
	}
	s, rest, err := decode(der, 1)
	if err != nil || len(rest) != 0 {
		return nil, errUndecodable
	}
	if flags&packedBare != 0 {
		s.f.Version, s.f.Cipher = version, suite
	}
	if flags&packedZeroTime != 0 {
		s.f.Time = 0
	}
	if flags&packedZeroTimeout != 0 {
		s.f.Timeout = 0
	}
	s.notResumable.Store(flags&packedNotResumable != 0)
	s.imported = flags&packedImported != 0
	s.timed = time.Duration(binary.BigEndian.Uint64(packed[1:]))
	return s.start(kind), nil
}
