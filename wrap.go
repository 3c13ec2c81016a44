package reprise

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"slices"
)

// wrap is the WrapSession hook: it never ends a handshake.
func (st *serverHandshake) wrap(cs tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	label, err := st.make(&cs, state)
	if err != nil {
		label = st.instead(&cs)
		if !st.m.closed.Load() {
			st.m.stats.wrapBad.Add(1)
			st.m.warn("no ticket could be made", "err", err)
		}
	}
	if !st.watched {
		st.settleUnwatched(&cs)
	}
	return label, nil
}

// instead returns what a client gets where no ticket could be made. In TLS 1.2 a
// resumption leaves it what it has, and after a full handshake a ticket of length
// zero says that there is none (RFC 5077, section 3.3). In TLS 1.3 an empty
// ticket makes clients abort: it is a label, which stands for nothing.
func (st *serverHandshake) instead(cs *tls.ConnectionState) []byte {
	if cs.Version < tls.VersionTLS13 {
		st.mu.Lock()
		defer st.mu.Unlock()
		if cs.DidResume && st.offered != nil {
			return st.offered
		}
		return []byte{}
	}
	label, err := st.m.handles.make(purposeLabel)
	if err != nil {
		return []byte{1}
	}
	return label
}

// make gives the client's next session its form on the wire. In TLS 1.2 a
// resumption goes on with the same session: its ticket stays unless it is to
// be renewed.
func (st *serverHandshake) make(cs *tls.ConnectionState, state *tls.SessionState) ([]byte, error) {
	if st.m.closed.Load() {
		return nil, ErrClosed
	}
	if cs.Version < tls.VersionTLS13 && !st.m.config.SingleUse {
		if s, offered := st.goOn(cs); s != nil {
			defer s.release()
			st.attach(s, false)
			if st.renew {
				return st.seal(s, cs, state)
			}
			return offered, nil
		}
	}
	s, err := st.m.fromTLS(state, cs, st.next(cs))
	if err != nil {
		return nil, err
	}
	s.start(libraryRef)
	defer s.release()
	if st.byHandle() {
		return st.hand(s)
	}
	if cs.Version == tls.VersionTLS13 {
		id := make([]byte, MaxSessionIDLength)
		if _, err := io.ReadFull(st.m.config.Rand, id); err != nil {
			return nil, err
		}
		s.f.ID = id
	}
	label, err := st.seal(s, cs, state)
	switch {
	case err == nil:
		st.attach(s, true)
		return label, nil
	case errors.Is(err, errTicketTooLong) && st.m.config.CacheMode.server():
		return st.hand(s)
	}
	return nil, err
}

// goOn returns the session that was resumed, held, and what the client offered
// for it: where nobody sees the handshake complete its end may come meanwhile.
func (st *serverHandshake) goOn(cs *tls.ConnectionState) (s *Session, offered []byte) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !cs.DidResume || st.candidate == nil || !st.candidate.hold() {
		return nil, nil
	}
	return st.candidate, st.offered
}

// maxTicket bounds a ticket: crypto/tls ends handshakes with messages over
// 65536 bytes, and the client sends the ticket in a ClientHello with much else.
const maxTicket = 60000

var (
	errTicketTooLong = fmt.Errorf("reprise: ticket is longer than %d bytes", maxTicket)
	errTicketEmpty   = errors.New("reprise: ticket is empty") // TLS 1.3 clients abort on it
)

func (st *serverHandshake) byHandle() bool { return st.m.config.NoTickets && !st.hooks.set() }

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
	if err := st.m.probation.add(key, s, st.network()); err != nil {
		return nil, err
	}
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
	if st.hooks.set() {
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

// next is what the next session carries besides tls.SessionState: what must
// survive a resumption is taken over from the session that was resumed.
func (st *serverHandshake) next(cs *tls.ConnectionState) *origin {
	o := origin{line: st.line}
	if cs.DidResume && st.found.ok {
		o = st.found.passed
		if cs.Version < tls.VersionTLS13 { // crypto/tls keeps the time, too
			o.timed = st.found.timed
		}
	}
	o.hostname, o.alpn, o.curve = st.hello.name, cs.NegotiatedProtocol, cs.CurveID
	o.contextID, o.verified = st.m.config.ContextID, len(cs.VerifiedChains) > 0
	if st.begun {
		o.policy = st.policyName()
	}
	return &o
}

// passOn gives o what survives a resumption of s.
func (m *Manager) passOn(s *Session, o *origin) {
	o.line = m.lineOf(s)
	s.mu.RLock()
	defer s.mu.RUnlock()
	o.user = slices.Clone(s.secrets.user)
}
