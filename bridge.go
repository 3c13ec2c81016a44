package reprise

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/gotls"
)

// origin is what a connection knows of its session besides tls.SessionState.
type origin struct {
	hostname  string
	alpn      string
	curve     tls.CurveID
	contextID []byte
	policy    []byte
	line
	timed    time.Duration // when the session's Time was set, by the Manager's uptime; 0 means now
	user     []byte        // the application's data, carried over from the session that was resumed; the new one takes it over
	ticket   []byte        // client only
	verified bool          // the peer's chain was verified in this handshake or the one it resumes
}

// fromTLS makes a session of what a handshake gave. It has no reference yet.
// Where this Go release's layout is unknown the state travels as it is: the
// session is cached and resumes, and only its export is refused.
func (m *Manager) fromTLS(ss *tls.SessionState, cs *tls.ConnectionState, o *origin) (*Session, error) {
	s := m.fromConnection(cs, o)
	st, err := m.layout.FromTLS(ss)
	if err != nil {
		state, err := ss.Bytes()
		if err != nil {
			return nil, err
		}
		s.rec.State = state
		return s, nil
	}
	f := &s.f
	f.Version, f.Cipher = st.Version, st.Suite
	f.MasterKey = slices.Clone(st.Secret)
	f.Time = int64(min(st.CreatedAt, math.MaxInt64))
	f.TicketAgeAdd = st.AgeAdd
	f.Flags = 0
	if st.EMS {
		f.Flags = flagEMS
	}
	if st.EarlyData {
		f.MaxEarlyData = math.MaxUint32 // RFC 9001, section 4.6.1
		f.ALPN = bytesOrNil(st.ALPN)
	}
	if st.UseBy > st.CreatedAt {
		f.TicketLifetimeHint = st.UseBy - st.CreatedAt
	}
	if st.Curve != 0 {
		f.KexGroup = uint32(st.Curve)
	}
	f.Peer = nil
	if len(st.Peer) > 0 {
		f.Peer = slices.Clone(st.Peer[0])
		s.rec.Chain = cloneList(st.Peer[1:])
	}
	s.rec.Verified = cloneChains(st.Chains)
	s.rec.OCSP, s.rec.SCTs = slices.Clone(st.OCSP), cloneList(st.SCTs)
	s.rec.Extra = cloneList(st.Extra)
	f.VerifyResult = verifyResult(f.Peer != nil, o.verified || len(st.Chains) > 0)
	st.Wipe()
	return s, nil
}

// verifyResult is honest: 0 beside a certificate that nobody verified would be
// an authentication bypass wherever the session is accepted.
func verifyResult(peer, verified bool) int32 {
	if peer && !verified {
		return verifyUnspecified
	}
	return verifyOK
}

// fromConnection makes a session of what a finished handshake shows: all there
// is where the peer gave or took no ticket. It has no secret, no id, no
// reference yet, and is not resumable.
func (m *Manager) fromConnection(cs *tls.ConnectionState, o *origin) *Session {
	s := &Session{content: &content{
		f: asn1sess.Session{
			Version: cs.Version, Cipher: cs.CipherSuite,
			Time: m.now().Unix(), Timeout: int64(m.config.Timeout / time.Second),
			IDContext: slices.Clone(o.contextID),
			Hostname:  bytesOrNil(o.hostname),
			ALPN:      bytesOrNil(o.alpn),
			KexGroup:  uint32(o.curve),
		},
		rec: &appdata.Record{
			FirstAuth: o.firstAuth, Lineage: slices.Clone(o.lineage), Sequence: slices.Clone(o.sequence),
			Policy: slices.Clone(o.policy), User: o.user,
		},
	}, timed: cmp.Or(o.timed, m.uptime())}
	if len(cs.PeerCertificates) > 0 {
		s.f.Peer = slices.Clone(cs.PeerCertificates[0].Raw)
		for _, c := range cs.PeerCertificates[1:] {
			s.rec.Chain = append(s.rec.Chain, slices.Clone(c.Raw))
		}
	}
	s.f.VerifyResult = verifyResult(s.f.Peer != nil, len(cs.VerifiedChains) > 0)
	if len(o.ticket) > 0 {
		sum := sha256.Sum256(o.ticket)
		s.f.Ticket, s.f.ID = slices.Clone(o.ticket), sum[:]
	}
	s.owner.Store(m)
	return s
}

// toTLS returns the session as crypto/tls takes it, with these verified chains.
func (m *Manager) toTLS(s *Session, verified [][][]byte) (*tls.SessionState, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.secrets.wiped {
		return nil, ErrFreed
	}
	if len(s.secrets.state) > 0 {
		return tls.ParseSessionState(slices.Clone(s.secrets.state))
	}
	f := &s.f
	st := gotls.State{
		Version: f.Version, Client: len(f.Ticket) > 0, Suite: f.Cipher,
		CreatedAt: uint64(max(f.Time, 0)),
		Secret:    s.secrets.secret,
		Extra:     s.rec.Extra,
		EMS:       f.Flags&flagEMS != 0,
		OCSP:      s.rec.OCSP, SCTs: s.rec.SCTs, Chains: verified,
		AgeAdd: f.TicketAgeAdd,
		Curve:  tls.CurveID(f.KexGroup),
	}
	if f.Version == tls.VersionTLS13 {
		st.EMS = false // crypto/tls leaves it so; libssl prints it so
		st.EarlyData = f.MaxEarlyData == math.MaxUint32
		st.ALPN = string(f.ALPN)
	}
	// The whole last second counts: crypto/tls compares with fractions.
	st.UseBy = uint64(max(addSeconds(addSeconds(f.Time, clientLifetime(f)), 1), 0))
	if f.Peer != nil {
		st.Peer = append([][]byte{f.Peer}, s.rec.Chain...)
	}
	return m.layout.ToTLS(&st)
}

// clientLifetime is how many seconds a client may offer the session: no longer
// than the server's hint, its own timeout and seven days.
func clientLifetime(f *asn1sess.Session) int64 {
	life := min(f.Timeout, int64(maxLifetime/time.Second))
	if hint := f.TicketLifetimeHint; hint > 0 {
		life = min(life, int64(min(hint, math.MaxInt64)))
	}
	return life
}

// layout is how sessions cross to crypto/tls: internal/gotls, but for tests of
// a Go release whose layout is not known.
type layout interface {
	FromTLS(*tls.SessionState) (*gotls.State, error)
	ToTLS(*gotls.State) (*tls.SessionState, error)
}

type knownLayout struct{}

func (knownLayout) FromTLS(ss *tls.SessionState) (*gotls.State, error) { return gotls.FromTLS(ss) }
func (knownLayout) ToTLS(st *gotls.State) (*tls.SessionState, error)   { return st.TLS() }

// foldName returns the form in which server names are compared and kept: ASCII
// letters in lower case, every other byte as it is. Unicode has characters whose
// lower case is an ASCII letter, and invalid UTF-8 would become one character;
// to fold them would join names that are not the same.
func foldName(name string) string {
	folded := []byte(name)
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

// clientName is foldName for the name that a client asks for: crypto/tls sends
// it without dots at the end. Servers refuse such a name.
func clientName(name string) string { return foldName(strings.TrimRight(name, ".")) }
