package reprise

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
)

// Fingerprint names the session in logs and errors without giving anything
// away: eight bytes, in hex, of a hash of its id, ticket or secret, whichever
// it has first; "new" if it has none.
func (s *Session) Fingerprint() string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.fingerprint()
}

// fingerprint is Fingerprint for callers that hold s.mu.
func (s *Session) fingerprint() string {
	name := s.f.ID
	if len(name) == 0 {
		name = s.f.Ticket
	}
	if len(name) == 0 && !s.secrets.wiped {
		name = s.secrets.secret
	}
	if len(name) == 0 {
		return "new"
	}
	sum := sha256.Sum256(append([]byte("reprise session fingerprint\x00"), name...))
	return hex.EncodeToString(sum[:8])
}

// String describes the session in a line, by fingerprint; no secret is in it.
func (s *Session) String() string {
	if s == nil {
		return "Session(nil)"
	}
	return fmt.Sprintf("Session(%s, %s, %s)", versionName(s.ProtocolVersion()), suiteName(s.CipherSuite()), s.Fingerprint())
}

// Format prints String under every verb, so that no verb shows a secret.
func (s *Session) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue gives slog the session's description, without secrets.
func (s *Session) LogValue() slog.Value { return slog.StringValue(s.String()) }

// String describes the Manager in a few words; no secret is in it.
func (m *Manager) String() string {
	if m == nil {
		return "Manager(nil)"
	}
	return fmt.Sprintf("Manager(%v, %d sessions)", m.config.CacheMode, m.Len())
}

// Format prints String under every verb: fmt would walk into keys.
func (m *Manager) Format(f fmt.State, _ rune) { io.WriteString(f, m.String()) }

// LogValue gives slog the Manager's description, without secrets.
func (m *Manager) LogValue() slog.Value { return slog.StringValue(m.String()) }

// String describes the connection by its side and addresses; no secret is in it.
func (c *Conn) String() string {
	if c == nil {
		return "Conn(nil)"
	}
	side := "server"
	if c.client {
		side = "client"
	}
	return fmt.Sprintf("Conn(%s, %v to %v)", side, c.LocalAddr(), c.RemoteAddr())
}

// Format prints String under every verb: fmt would walk into sessions.
func (c *Conn) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue gives slog the connection's description, without secrets.
func (c *Conn) LogValue() slog.Value { return slog.StringValue(c.String()) }

func versionName(v uint16) string {
	if v == 0 {
		return "no version"
	}
	return tls.VersionName(v)
}

func suiteName(id uint16) string {
	if id == 0 {
		return "no suite"
	}
	return tls.CipherSuiteName(id)
}

// Format prints the fields under every verb, without HandleKey.
func (c Config) Format(f fmt.State, verb rune) {
	type plain Config
	c.HandleKey = nil
	fmt.Fprintf(f, fmt.FormatString(f, verb), plain(c))
}

// LogValue gives slog what Format prints under %+v.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprintf("%+v", c)) }

// MarshalText gives JSON what Format prints under %+v.
func (c Config) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%+v", c), nil }
