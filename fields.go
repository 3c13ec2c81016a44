package reprise

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// neverExpires is the expiry of a session whose time plus timeout overflows.
const neverExpires = math.MaxInt64

// ID returns a copy of the session id, at most 32 bytes, nil if it has none.
// Servers give an id to sessions that they keep (it is the handle that the
// client holds); clients use SHA-256 of the ticket, as libssl does.
//
// It is SSL_SESSION_get_id.
func (s *Session) ID() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.f.ID)
}

// SetID sets the session id. It returns ErrTooLong over 32 bytes and ErrCached
// while a cache finds the session by its id.
//
// It is SSL_SESSION_set1_id.
func (s *Session) SetID(id []byte) error {
	if len(id) > MaxSessionIDLength {
		return tooLong("session id", len(id), MaxSessionIDLength)
	}
	return s.rekey(func() { s.f.ID = slices.Clone(id) })
}

// IDContext returns a copy of the session id context, at most 32 bytes.
//
// It is SSL_SESSION_get0_id_context.
func (s *Session) IDContext() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.f.IDContext)
}

// SetIDContext sets the session id context: a session resumes only where
// Config.ContextID is the same. It returns ErrTooLong over 32 bytes.
//
// It is SSL_SESSION_set1_id_context.
func (s *Session) SetIDContext(context []byte) error {
	if len(context) > MaxSessionIDContextLength {
		return tooLong("session id context", len(context), MaxSessionIDContextLength)
	}
	s.set(func() { s.f.IDContext = slices.Clone(context) })
	return nil
}

// Time returns when the session was established, in whole seconds.
//
// It is SSL_SESSION_get_time_ex.
func (s *Session) Time() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return time.Unix(s.f.Time, 0)
}

// SetTime sets when the session was established, to the second below t; a
// cached session moves to its new place in the order of expiry.
//
// It is SSL_SESSION_set_time_ex.
func (s *Session) SetTime(t time.Time) { s.set(func() { s.f.Time, s.timed = t.Unix(), s.clocked() }) }

// Timeout returns how long after Time the session may be resumed. Sessions
// decoded with a timeout that a Duration cannot hold (292 years) give the
// longest or shortest one; ExpiresAt counts with all of it.
//
// It is SSL_SESSION_get_timeout.
func (s *Session) Timeout() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return saturate(s.f.Timeout)
}

// SetTimeout sets how long after Time the session may be resumed, in whole
// seconds; the rest is cut off. A cached session moves to its new place in the
// order of expiry. Zero means that it expires in the second after Time. A
// negative timeout is an error and changes nothing.
//
// It is SSL_SESSION_set_timeout.
func (s *Session) SetTimeout(d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("reprise: session timeout %v is negative", d)
	}
	s.set(func() { s.f.Timeout = int64(d / time.Second) })
	return nil
}

// ExpiresAt returns Time plus Timeout: the last second in which the session
// resumes. ok is false if the sum overflows, which means that it never expires.
func (s *Session) ExpiresAt() (t time.Time, ok bool) {
	e := s.expiry()
	if e == neverExpires {
		return time.Time{}, false
	}
	return time.Unix(e, 0), true
}

// expiry is ExpiresAt in seconds, neverExpires on overflow.
func (s *Session) expiry() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return addSeconds(s.f.Time, s.f.Timeout)
}

// addSeconds saturates: towards never above, towards the smallest below.
func addSeconds(a, b int64) int64 {
	sum := a + b
	switch {
	case a > 0 && b > 0 && sum < 0:
		return neverExpires
	case a < 0 && b < 0 && sum >= 0:
		return math.MinInt64
	}
	return sum
}

func saturate(seconds int64) time.Duration {
	const limit = math.MaxInt64 / int64(time.Second)
	switch {
	case seconds > limit:
		return math.MaxInt64
	case seconds < -limit:
		return math.MinInt64
	}
	return time.Duration(seconds) * time.Second
}

// ProtocolVersion returns the TLS version, as crypto/tls numbers them
// (tls.VersionTLS13), 0 for a new session.
//
// It is SSL_SESSION_get_protocol_version.
func (s *Session) ProtocolVersion() uint16 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.Version
}

// SetProtocolVersion sets the TLS version; any value is taken. It returns
// ErrCached while a cache finds the session by its version.
//
// It is SSL_SESSION_set_protocol_version.
func (s *Session) SetProtocolVersion(version uint16) error {
	return s.rekey(func() { s.f.Version = version })
}

// CipherSuite returns the cipher suite, as crypto/tls numbers them, 0 if none.
//
// It is SSL_SESSION_get0_cipher.
func (s *Session) CipherSuite() uint16 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.Cipher
}

// SetCipherSuite sets the cipher suite; any value is taken.
//
// It is SSL_SESSION_set_cipher.
func (s *Session) SetCipherSuite(suite uint16) { s.set(func() { s.f.Cipher = suite }) }

// MasterKey returns a copy of the master secret, or of the resumption PSK in
// TLS 1.3; nil if there is none, ErrFreed once it was wiped. The caller should
// clear the copy after use.
//
// It is SSL_SESSION_get_master_key.
func (s *Session) MasterKey() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.secrets.wiped {
		return nil, ErrFreed
	}
	return slices.Clone(s.secrets.secret), nil
}

// SetMasterKey sets the master secret or resumption PSK and wipes the one it
// replaces. The session keeps a copy. It returns ErrTooLong over 512 bytes and
// ErrFreed once the session was freed.
//
// It is SSL_SESSION_set1_master_key.
func (s *Session) SetMasterKey(key []byte) error {
	if len(key) > MaxMasterKeyLength {
		return tooLong("master key", len(key), MaxMasterKeyLength)
	}
	return s.setSecret(func() {
		clear(s.secrets.secret)
		s.secrets.secret = slices.Clone(key)
	})
}

// Hostname returns the server name (SNI) that the session was made for, "" if none.
//
// It is SSL_SESSION_get0_hostname.
func (s *Session) Hostname() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return string(s.f.Hostname)
}

// SetHostname sets the server name, up to its first NUL byte; "" removes it.
//
// It is SSL_SESSION_set1_hostname.
func (s *Session) SetHostname(name string) {
	name, _, _ = strings.Cut(name, "\x00")
	s.set(func() { s.f.Hostname = bytesOrNil(name) })
}

// ALPN returns the application protocol that was negotiated, "" if none.
//
// It is SSL_SESSION_get0_alpn_selected.
func (s *Session) ALPN() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return string(s.f.ALPN)
}

// SetALPN sets the application protocol; "" removes it.
//
// It is SSL_SESSION_set1_alpn_selected.
func (s *Session) SetALPN(protocol string) {
	s.set(func() { s.f.ALPN = bytesOrNil(protocol) })
}

// MaxEarlyData returns how many bytes of early data the session permits.
// crypto/tls sends and takes none over TCP; the value is kept for others.
//
// It is SSL_SESSION_get_max_early_data.
func (s *Session) MaxEarlyData() uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.MaxEarlyData
}

// SetMaxEarlyData sets how many bytes of early data the session permits.
//
// It is SSL_SESSION_set_max_early_data.
func (s *Session) SetMaxEarlyData(n uint32) { s.set(func() { s.f.MaxEarlyData = n }) }

// MaxFragmentLength returns the code of the negotiated maximum fragment length
// (RFC 6066, section 4): 0 for none, 1 to 4 for 512 to 4096 bytes.
//
// It is SSL_SESSION_get_max_fragment_length.
func (s *Session) MaxFragmentLength() uint8 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.f.MaxFragmentLen > 4 {
		return 0
	}
	return s.f.MaxFragmentLen
}

// HasTicket reports whether the session holds a ticket: a client's does where
// the server gave one.
//
// It is SSL_SESSION_has_ticket.
func (s *Session) HasTicket() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.f.Ticket) > 0
}

// Ticket returns a copy of the ticket, nil if none.
//
// It is SSL_SESSION_get0_ticket.
func (s *Session) Ticket() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.f.Ticket)
}

// TicketLifetimeHint returns the lifetime that the server gave with the
// ticket, 0 if none. crypto/tls shows it for TLS 1.3 only; before that it is
// known where a Conn or DialTLSContext received the ticket.
//
// It is SSL_SESSION_get_ticket_lifetime_hint.
func (s *Session) TicketLifetimeHint() time.Duration {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return saturate(int64(min(s.f.TicketLifetimeHint, math.MaxInt64)))
}

// TicketAppData returns a copy of the application's own data, nil if none;
// ErrFreed once it was wiped. What reprise itself keeps in that field of the
// encoding is not shown.
//
// It is SSL_SESSION_get0_ticket_appdata.
func (s *Session) TicketAppData() ([]byte, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.secrets.wiped {
		return nil, ErrFreed
	}
	return slices.Clone(s.secrets.user), nil
}

// SetTicketAppData sets the application's own data, which travels with the
// session in its encoded form and in tickets; nil removes it. The session keeps
// a copy. It returns ErrTooLong over 64 kB and ErrFreed once the session was freed.
//
// It is SSL_SESSION_set1_ticket_appdata.
func (s *Session) SetTicketAppData(data []byte) error {
	if len(data) > maxTicketAppData {
		return tooLong("ticket application data", len(data), maxTicketAppData)
	}
	return s.setSecret(func() {
		clear(s.secrets.user)
		s.secrets.user = slices.Clone(data)
	})
}

// maxTicketAppData keeps a session with data below what a ticket can carry.
const maxTicketAppData = 64000

// PeerCertificate returns the peer's leaf certificate, nil if it showed none,
// or the error that parsing it gave.
//
// It is SSL_SESSION_get0_peer.
func (s *Session) PeerCertificate() (*x509.Certificate, error) {
	chain, err := s.PeerCertificates()
	if err != nil || len(chain) == 0 {
		return nil, err
	}
	return chain[0], nil
}

// PeerCertificates returns the peer's certificates, leaf first, as far as the
// session knows them: libssl keeps the leaf only. The slice is the caller's,
// the certificates are shared and must not be written. libssl has no such call.
func (s *Session) PeerCertificates() ([]*x509.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.certs == nil {
		s.certs = parsePeer(s.f.Peer, s.rec.Chain)
	}
	return slices.Clone(s.certs.list), s.certs.err
}

func parsePeer(leaf []byte, chain [][]byte) *peerCerts {
	c := new(peerCerts)
	if leaf == nil {
		return c
	}
	for i, der := range append([][]byte{leaf}, chain...) {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return &peerCerts{err: fmt.Errorf("reprise: certificate %d of the session's peer: %w", i, err)}
		}
		c.list = append(c.list, cert)
	}
	return c
}

// SetIntermediates sets the certificates that lead from the peer's leaf to a
// root. A session file of OpenSSL holds the leaf alone: where the server's
// certificate was issued by an intermediate, the session cannot be verified
// and offered without it. It forgets chains that were verified before.
func (s *Session) SetIntermediates(certs []*x509.Certificate) {
	s.set(func() {
		s.rec.Chain, s.rec.Verified, s.certs = nil, nil, nil
		for _, c := range certs {
			s.rec.Chain = append(s.rec.Chain, slices.Clone(c.Raw))
		}
	})
}

// VerifyResult returns the X509_V_ code of the peer's verification: 0 only if
// its chain was verified or there is no peer certificate at all.
//
// It is SSL_get_verify_result of the connection that made the session.
func (s *Session) VerifyResult() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return int(s.f.VerifyResult)
}

// CompressID returns the compression method, 0 for none: crypto/tls has none.
//
// It is SSL_SESSION_get_compress_id.
func (s *Session) CompressID() uint8 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.CompressID
}

// ExtendedMasterSecret reports whether the session is bound to its handshake
// by RFC 7627. It is false for TLS 1.3 sessions, as in libssl, where it always holds.
func (s *Session) ExtendedMasterSecret() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.Flags&flagEMS != 0
}

// CurveID returns the key exchange group of the handshake, 0 if unknown.
func (s *Session) CurveID() tls.CurveID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return tls.CurveID(s.f.KexGroup)
}

// FirstAuthentication returns when the full handshake happened from which this
// session descends through any number of resumptions; the zero time if unknown.
func (s *Session) FirstAuthentication() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.rec.FirstAuth == 0 {
		return time.Time{}
	}
	return time.Unix(0, s.rec.FirstAuth)
}

// SameLineage reports whether both sessions descend, through any number of
// resumptions and copies, from the same full handshake. It is false where other
// is nil, and where either does not know its line: one that NewSession made, or
// another library did. libssl has no such call.
func (s *Session) SameLineage(other *Session) bool {
	if other == nil {
		return false
	}
	line := s.lineage()
	return len(line) > 0 && bytes.Equal(line, other.lineage())
}

func (s *Session) lineage() []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rec.Lineage // which nobody writes into
}

// set changes a field and keeps a cached copy true.
func (s *Session) set(change func()) {
	s.mu.Lock()
	s.change()
	change()
	s.edits++
	s.mu.Unlock()
	s.changed()
}

// setSecret is set for what is wiped at the end: nothing may come after that.
func (s *Session) setSecret(change func()) error {
	s.mu.Lock()
	if s.secrets.wiped {
		s.mu.Unlock()
		return ErrFreed
	}
	change()
	s.edits++
	s.mu.Unlock()
	s.changed()
	return nil
}

// rekey changes what a cache finds the session by, unless one does.
func (s *Session) rekey(change func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inCache.Load() {
		return ErrCached
	}
	s.change()
	change()
	s.edits++
	return nil
}

func tooLong(what string, n, limit int) error {
	return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrTooLong, what, n, limit)
}

func bytesOrNil(s string) []byte {
	if s == "" {
		return nil
	}
	return []byte(s)
}
