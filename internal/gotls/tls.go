package gotls

import (
	"crypto/tls"
	"fmt"
)

// FromTLS returns the fields of ss, which it does not change or keep. The
// error wraps [ErrLayout] if this Go release's layout is not known.
//
// The State owns the only encoding that can be reached, so [State.Wipe] is all
// the wiping there is to do. ss itself, and the smaller arrays that Bytes
// outgrew on its way, keep the secret until the collector takes them.
func FromTLS(ss *tls.SessionState) (*State, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	b, err := ss.Bytes()
	if err != nil {
		return nil, fmt.Errorf("gotls: %w", err)
	}
	s, err := Decode(b)
	if err != nil {
		clear(b)
		return nil, err
	}
	return s, nil
}

// TLS returns s as crypto/tls holds it. The result shares no memory with s.
// The error wraps [ErrLayout] if this Go release's layout is not known, and
// [ErrInvalid] if s cannot be encoded; otherwise it is that of
// [tls.ParseSessionState], about a certificate that does not parse.
//
// The encoding is not wiped: ParseSessionState aliases it, so it is the memory
// of the session that is returned. A certificate that crypto/tls first met in
// it aliases it too, and keeps it, secret included, for as long as any
// connection shares that certificate.
func (s *State) TLS() (*tls.SessionState, error) {
	if err := Check(); err != nil {
		return nil, err
	}
	b, err := s.Append(nil)
	if err != nil {
		return nil, err
	}
	ss, err := tls.ParseSessionState(b)
	if err != nil {
		// Only the secret: certificates that did parse alias b too, and
		// crypto/tls may already hand them to other connections.
		clear(b[secretOffset:][:len(s.Secret)])
		return nil, fmt.Errorf("gotls: %w", err)
	}
	return ss, nil
}
