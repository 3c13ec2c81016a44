package reprise

import (
	"bytes"
	"runtime"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
)

// Held returns the references to s: the caller's and the library's.
func Held(s *Session) (caller, library int) { return s.refs.held() }

// Fields returns all that a session holds, its secrets where codecs look for
// them, sharing its memory.
func Fields(s *Session) (*asn1sess.Session, *appdata.Record) {
	f, rec := s.whole()
	return &f, &rec
}

// SetFields makes f and rec all that s holds.
func SetFields(s *Session, f *asn1sess.Session, rec *appdata.Record) {
	*s.content = content{*f, rec}
	s.secrets.secret, s.secrets.state, s.secrets.user = f.MasterKey, rec.State, rec.User
	s.f.MasterKey, s.rec.State, s.rec.User = nil, nil, nil
}

// Secrets are the bytes behind a session's secrets: the very bytes, not a copy.
type Secrets [][]byte

// SecretsOf returns the bytes that s must wipe, as they stand now: what a
// setter replaces later is not among them.
func SecretsOf(s *Session) Secrets {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return Secrets{s.secrets.secret, s.secrets.state, s.secrets.user}
}

// Len returns how many bytes of secret there are.
func (b Secrets) Len() int { return len(bytes.Join(b, nil)) }

// Wiped reports whether every byte is zero.
func (b Secrets) Wiped() bool {
	all := bytes.Join(b, nil)
	return bytes.Count(all, []byte{0}) == len(all)
}

// OnCollected has f called with s's secrets after s was collected and its
// cleanup is over: the cleanup is the last that refers to them.
func OnCollected(s *Session, f func(Secrets)) {
	runtime.SetFinalizer(s.secrets.secrets, func(x *secrets) { f(Secrets{x.secret, x.state, x.user}) })
}
