package reprise

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/reprise-tls/reprise/internal/asn1sess"
)

// WriteText writes the session in the words of openssl sess_id -noout -text.
// With secrets the master key, or resumption PSK, is in it, as libssl has it;
// without, "(hidden)" stands in its place. A session that was freed has no
// secret to show: with secrets the error is ErrFreed.
//
// It is SSL_SESSION_print.
func (s *Session) WriteText(w io.Writer, secrets bool) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if secrets && s.secrets.wiped {
		return ErrFreed
	}
	f, _ := s.whole()
	return asn1sess.WriteText(w, &f, !secrets)
}

// ErrNoKeyLog: a session without id or without secret has no key log line.
var ErrNoKeyLog = errors.New("reprise: session has no id or no secret: there is no key log line")

// KeyLog returns the session's line for a key log file, newline included:
// whoever has it decrypts the session's connections. Errors: ErrNoKeyLog, ErrFreed.
//
// It is SSL_SESSION_print_keylog.
func (s *Session) KeyLog() (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.secrets.wiped {
		return "", ErrFreed
	}
	f, _ := s.whole()
	line, ok := asn1sess.KeyLogLine(&f)
	if !ok {
		return "", ErrNoKeyLog
	}
	return line, nil
}

// Description is what may be told of a session: no secret is in it. The names
// of its JSON form are stable.
type Description struct {
	Fingerprint          string      `json:"fingerprint"`
	Version              string      `json:"version"`            // as tls.VersionName
	CipherSuite          string      `json:"cipher_suite"`       // as tls.CipherSuiteName
	OpenSSLCipher        string      `json:"openssl_cipher"`     // as openssl ciphers, "" if libssl has none
	ID                   string      `json:"id"`                 // hex
	IDContext            string      `json:"id_context"`         // hex
	Hostname             string      `json:"hostname,omitempty"` // server name
	ALPN                 string      `json:"alpn,omitempty"`
	KeyExchange          string      `json:"key_exchange,omitempty"` // group
	Time                 *time.Time  `json:"time"`                   // null outside the years that RFC 3339 can say
	TimeSeconds          int64       `json:"time_seconds"`           // since the epoch
	TimeoutSeconds       int64       `json:"timeout_seconds"`
	ExpiresAt            *time.Time  `json:"expires_at"` // null likewise, and for never
	NeverExpires         bool        `json:"never_expires"`
	FirstAuthentication  *time.Time  `json:"first_authentication,omitempty"`
	Resumable            bool        `json:"resumable"`
	ExtendedMasterSecret bool        `json:"extended_master_secret"`
	TicketBytes          int         `json:"ticket_bytes"` // 0: no ticket
	LifetimeHintSeconds  uint64      `json:"lifetime_hint_seconds"`
	MaxEarlyData         uint32      `json:"max_early_data"`
	AppDataBytes         int         `json:"app_data_bytes"`
	VerifyResult         int         `json:"verify_result"`
	VerifyText           string      `json:"verify_text"`
	Peer                 []PeerFacts `json:"peer"` // leaf first
	Imported             bool        `json:"imported"`
}

// PeerFacts is what a Description tells of a certificate.
type PeerFacts struct {
	Subject  string    `json:"subject"`
	Issuer   string    `json:"issuer"`
	NotAfter time.Time `json:"not_after"`
	SHA256   string    `json:"sha256"` // of the certificate, hex
}

// Describe returns the session's description.
func (s *Session) Describe() Description {
	peer, err := s.PeerCertificates()
	resumable, fingerprint := s.Resumable(), s.Fingerprint()
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := &s.f
	d := Description{
		Fingerprint: fingerprint, Resumable: resumable, Imported: s.imported,
		Version: versionName(f.Version), CipherSuite: suiteName(f.Cipher), OpenSSLCipher: asn1sess.SuiteName(f.Cipher),
		ID: hex.EncodeToString(f.ID), IDContext: hex.EncodeToString(f.IDContext),
		Hostname: string(f.Hostname), ALPN: string(f.ALPN),
		Time: utc(f.Time), TimeSeconds: f.Time, TimeoutSeconds: f.Timeout,
		ExtendedMasterSecret: f.Flags&flagEMS != 0,
		TicketBytes:          len(f.Ticket), LifetimeHintSeconds: f.TicketLifetimeHint,
		MaxEarlyData: f.MaxEarlyData, AppDataBytes: len(s.secrets.user),
		VerifyResult: int(f.VerifyResult), VerifyText: asn1sess.VerifyText(f.VerifyResult),
		Peer: []PeerFacts{},
	}
	if f.KexGroup != 0 {
		d.KeyExchange = tls.CurveID(f.KexGroup).String()
	}
	if e := addSeconds(f.Time, f.Timeout); e == neverExpires {
		d.NeverExpires = true
	} else {
		d.ExpiresAt = utc(e)
	}
	if s.rec.FirstAuth != 0 {
		d.FirstAuthentication = utc(s.rec.FirstAuth / int64(time.Second))
	}
	if err != nil {
		sum := sha256.Sum256(f.Peer)
		d.Peer = append(d.Peer, PeerFacts{Subject: "(not readable)", SHA256: hex.EncodeToString(sum[:])})
	}
	for _, c := range peer {
		sum := sha256.Sum256(c.Raw)
		d.Peer = append(d.Peer, PeerFacts{c.Subject.String(), c.Issuer.String(), c.NotAfter.UTC(), hex.EncodeToString(sum[:])})
	}
	return d
}

// utc returns a time that JSON can hold, or nil.
func utc(seconds int64) *time.Time {
	t := time.Unix(seconds, 0).UTC()
	if y := t.Year(); y < 0 || y > 9999 || t.Unix() != seconds {
		return nil
	}
	return &t
}
