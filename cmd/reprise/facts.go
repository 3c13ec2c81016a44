package main

import (
	"crypto/tls"
	"encoding/hex"
	"time"

	"github.com/reprise-tls/reprise"
)

// sessionFacts is what is said of a session: never a secret.
type sessionFacts struct {
	Fingerprint         string    `json:"fingerprint"`
	Version             string    `json:"version"`
	Suite               string    `json:"suite"`
	ID                  string    `json:"id"` // hex, "" if it has none
	ContextID           string    `json:"context_id"`
	ServerName          string    `json:"server_name"`
	Established         time.Time `json:"established"`
	FirstAuthentication time.Time `json:"first_authentication,omitzero"`
	TimeoutSeconds      int64     `json:"timeout_seconds"`
	Expires             time.Time `json:"expires,omitzero"` // left out if it never does
}

// factsOf describes s, nil for nil.
func factsOf(s *reprise.Session) *sessionFacts {
	if s == nil {
		return nil
	}
	f := &sessionFacts{
		Fingerprint: s.Fingerprint(),
		Version:     tls.VersionName(s.ProtocolVersion()),
		Suite:       tls.CipherSuiteName(s.CipherSuite()),
		ID:          hex.EncodeToString(s.ID()),
		ContextID:   hex.EncodeToString(s.IDContext()),
		ServerName:  s.Hostname(),
		Established: s.Time().UTC(), TimeoutSeconds: int64(s.Timeout() / time.Second),
	}
	if first := s.FirstAuthentication(); !first.IsZero() {
		f.FirstAuthentication = first.UTC()
	}
	if expires, ok := s.ExpiresAt(); ok {
		f.Expires = expires.UTC()
	}
	return f
}
