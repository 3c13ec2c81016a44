package reprise

import (
	"bytes"
	"crypto/tls"
)

// Where the application's configuration brings a WrapSession and an
// UnwrapSession of its own, these seal and open, and the Manager binds, checks
// and counts. What the Manager must know again travels as an entry of
// SessionState.Extra, behind this prefix: the session's DER without its secret
// and certificates, which crypto/tls carries itself.
var extraPrefix = []byte("reprise\x01")

// sealUser stamps the state and has the application seal it.
func (st *serverHandshake) sealUser(s *Session, cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	s.mu.RLock()
	f, rec := s.whole()
	s.mu.RUnlock()
	f.MasterKey, f.Peer = nil, nil
	rec.Chain, rec.Verified, rec.OCSP, rec.SCTs, rec.Extra, rec.State = nil, nil, nil, nil, nil, nil
	var err error
	if f.TicketAppData, err = rec.Append(nil); err != nil {
		return nil, err
	}
	stamp, err := f.Append(bytes.Clone(extraPrefix))
	if err != nil {
		return nil, err
	}
	state.Extra = append(withoutStamp(state.Extra), stamp)
	return st.hooks.wrap(*cs, state)
}

// openUser has the application open an identity and reads the stamp. A state
// without one was not made by a Manager: nothing says what it is bound to.
func (st *serverHandshake) openUser(identity []byte, cs *tls.ConnectionState) (opened, Reason) {
	state, err := st.hooks.unwrap(identity, *cs)
	if err != nil {
		st.m.warn("the application's UnwrapSession failed", "err", err)
		return opened{}, Undecodable
	}
	if state == nil {
		return opened{}, UnknownKey
	}
	stamp := stampOf(state.Extra)
	if stamp == nil {
		return opened{}, Undecodable
	}
	meta, rest, err := decode(stamp, st.m.now().Unix())
	if err != nil || len(rest) != 0 {
		return opened{}, Undecodable
	}
	s, err := st.m.fromTLS(state, cs, &origin{
		hostname: string(meta.f.Hostname), alpn: string(meta.f.ALPN), contextID: meta.f.IDContext,
		policy: meta.rec.Policy, user: meta.rec.User,
		line: line{firstAuth: meta.rec.FirstAuth, lineage: meta.rec.Lineage, sequence: meta.rec.Sequence},
	})
	if err != nil {
		return opened{}, Undecodable
	}
	s.f.ID, s.f.Timeout, s.timed = meta.f.ID, meta.f.Timeout, 0
	s.rec.Extra = withoutStamp(s.rec.Extra)
	return opened{session: s.start(libraryRef), renew: true}, Resumed
}

func stampOf(extra [][]byte) []byte {
	for _, e := range extra {
		if der, ok := bytes.CutPrefix(e, extraPrefix); ok {
			return der
		}
	}
	return nil
}

func withoutStamp(extra [][]byte) (kept [][]byte) {
	for _, e := range extra {
		if !bytes.HasPrefix(e, extraPrefix) {
			kept = append(kept, e)
		}
	}
	return kept
}
