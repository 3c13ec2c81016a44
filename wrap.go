package reprise

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
)

// wrap is the WrapSession hook: it never ends a handshake. Without a session
// that it can hand out the client gets a label that nobody opens.
func (st *serverHandshake) wrap(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	label, err := st.make(&cs, state)
	if err != nil {
		st.m.stats.wrapBad.Add(1)
		st.m.config.Logger.Warn("no ticket could be made", "err", err)
		label = make([]byte, handleLen)
		if _, err := io.ReadFull(st.m.config.Rand, label); err != nil {
			label[0] = 1 // not empty: an empty ticket makes TLS 1.3 clients abort
		}
	}
	if !st.watched {
		st.settleUnwatched(&cs)
	}
	return label, nil
}

// make gives the client's next session its form on the wire. In TLS 1.2 a
// resumption goes on with the same session: its ticket stays unless it is to
// be renewed.
func (st *serverHandshake) make(cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	if cs.DidResume && cs.Version < tls.VersionTLS13 && st.candidate != nil && !st.m.config.SingleUse {
		st.attach(st.candidate, false)
		if st.renew {
			return st.seal(st.candidate, cs, state)
		}
		return st.offered, nil
	}
	s, err := st.m.fromTLS(state, cs, st.origin(cs))
	if err != nil {
		return nil, err
	}
	if cs.Version == tls.VersionTLS13 && !st.byHandle() {
		s.f.ID = make([]byte, MaxSessionIDLength)
		if _, err := io.ReadFull(st.m.config.Rand, s.f.ID); err != nil {
			return nil, err
		}
	}
	if !st.byHandle() {
		s.start(libraryRef)
		defer s.release()
		label, err := st.seal(s, cs, state)
		if err == nil {
			st.attach(s, true)
			return label, nil
		}
		if !errors.Is(err, errTicketTooLong) || !st.m.config.CacheMode.server() {
			return nil, err
		}
		return st.hand(s)
	}
	s.start(libraryRef)
	defer s.release()
	return st.hand(s)
}

// maxTicket bounds a ticket: crypto/tls ends handshakes with messages over
// 65536 bytes, and the client sends the ticket in a ClientHello with much else.
const maxTicket = 60000

var (
	errTicketTooLong = fmt.Errorf("reprise: ticket is longer than %d bytes", maxTicket)
	errTicketEmpty   = errors.New("reprise: ticket is empty") // TLS 1.3 clients abort on it
)

func (st *serverHandshake) byHandle() bool { return st.m.config.NoTickets && !st.userHooks() }

// hand keeps s and returns the handle that the client gets.
func (st *serverHandshake) hand(s *Session) ([]byte, error) {
	handle, err := st.m.newID(s.ProtocolVersion())
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.change().f.ID = slices.Clone(handle)
	s.byHandle = true
	s.mu.Unlock()
	key, _ := s.cacheKey()
	st.m.probation.add(key, s)
	st.attach(s, true)
	return handle, nil
}

// seal makes a ticket of s that clients can take.
func (st *serverHandshake) seal(s *Session, cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	label, err := st.sealAny(s, cs, state)
	switch {
	case err != nil:
		return nil, err
	case len(label) == 0:
		return nil, errTicketEmpty
	case len(label) > maxTicket:
		return nil, errTicketTooLong
	}
	return label, nil
}

func (st *serverHandshake) sealAny(s *Session, cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	if f := st.m.config.OnSeal; f != nil {
		f(s)
	}
	if st.userHooks() {
		return st.sealUser(s, cs, state)
	}
	s.mu.RLock()
	der, err := s.appendDER(nil)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return st.m.config.Tickets.Seal(der)
}

// origin is what the next session carries besides tls.SessionState: what must
// survive a resumption is taken over from the session that was resumed.
func (st *serverHandshake) origin(cs *tls.ConnectionState) *origin {
	o := &origin{
		hostname: st.hello.name, alpn: cs.NegotiatedProtocol, curve: cs.CurveID,
		contextID: st.m.config.ContextID, policy: st.policy,
		verified: len(cs.VerifiedChains) > 0,
	}
	if cs.DidResume && st.candidate != nil {
		st.m.passOn(st.candidate, o)
		if cs.Version < tls.VersionTLS13 { // crypto/tls keeps the time, too
			o.timed = st.candidate.whenTimed()
		}
	} else {
		o.line = st.m.newLine()
	}
	return o
}

// passOn gives o what survives a resumption of s.
func (m *Manager) passOn(s *Session, o *origin) {
	o.line = m.lineOf(s)
	s.mu.RLock()
	defer s.mu.RUnlock()
	o.user = slices.Clone(s.secrets.user)
}
