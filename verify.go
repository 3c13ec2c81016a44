package reprise

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

var errNoPeer = errors.New("reprise: session has no peer certificate")

// verifyPeer verifies the peer's certificate anew and keeps the chains that were
// found: all of them or none.
func (s *Session) verifyPeer(opts x509.VerifyOptions) error {
	chains, err := s.peerChains(opts)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change().rec.Verified = chains
	return err
}

// peerChains verifies the peer's certificate, with the intermediates that the
// session has, and returns the chains that were found, as a record keeps them.
func (s *Session) peerChains(opts x509.VerifyOptions) ([][][]byte, error) {
	certs, err := s.PeerCertificates()
	if err == nil && len(certs) == 0 {
		err = errNoPeer
	}
	var chains [][]*x509.Certificate
	if err == nil {
		opts.Intermediates = x509.NewCertPool()
		for _, c := range certs[1:] {
			opts.Intermediates.AddCert(c)
		}
		chains, err = certs[0].Verify(opts)
	}
	if err != nil {
		return nil, fmt.Errorf("reprise: peer of session %s: %w", s.Fingerprint(), err)
	}
	return withoutLeaf(chains), nil
}

// verified returns the chains that the session has.
func (s *Session) verified() [][][]byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rec.Verified
}

// withoutLeaf returns verified chains as a record keeps them, in memory of their own.
func withoutLeaf(chains [][]*x509.Certificate) (verified [][][]byte) {
	for _, chain := range chains {
		var raw [][]byte
		for _, c := range chain[1:] {
			raw = append(raw, slices.Clone(c.Raw))
		}
		verified = append(verified, raw)
	}
	return verified
}

// forgetVerified drops the chains that a file claims, where nobody verifies
// them: crypto/tls would show them as verified.
func (s *Session) forgetVerified() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.change().rec.Verified = nil
}

func (s *Session) isImported() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.imported
}

func (s *Session) hasPeer() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.f.Peer != nil
}
