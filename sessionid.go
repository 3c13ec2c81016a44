package reprise

import (
	"bytes"
	"crypto/fips140"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/reprise-tls/reprise/internal/hello"
)

// ErrSessionIDs: crypto/tls did not put the session id where it was expected
// (Config.SessionIDs). Nothing was sent, the transport is closed. Dialling again
// works: nothing is offered by id any more in this process.
var ErrSessionIDs = errors.New("reprise: session ids: crypto/tls made another ClientHello than expected; switched off; dial again")

// sessionIDsOff is set by the first surprise in this process.
var sessionIDsOff atomic.Bool

// sessionIDLen is the length of the session_id that crypto/tls's client sends:
// ids of another length cannot be put in its place.
const sessionIDLen = 32

// sessionIDs is what one connection of a client's has for resumption by session
// id (RFC 5246, section 7.3), of which crypto/tls does no more than recognize
// its session_id in the ServerHello.
//
// To offer an id it is given to crypto/tls as the random bytes that it asks for
// to make its session_id, with a session whose ticket is empty. The session of a
// full handshake is put together from the ServerHello, read as it passes, and
// the master secret, which crypto/tls tells its KeyLogWriter.
//
// It is used by the goroutine that runs the handshake; others come after that
// and find nothing more to do.
type sessionIDs struct {
	config *tls.Config // of this connection only
	off    *atomic.Bool
	log    *slog.Logger

	id      []byte    // offered, nil if none
	lowered bool      // TLS 1.3 is not offered for its sake
	rand    io.Reader // what config had before
	reads   int       // of config.Rand
	held    []byte    // of the ClientHello, until it may leave
	client  hello.ClientReader
	left    bool // the ClientHello was as expected, and what follows it leaves

	server hello.ServerReader
	read   bool // nothing more is to be read

	user   io.Writer // the application's KeyLogWriter
	master []byte    // secret; until the handshake is over
	over   bool
}

// watch prepares config, which belongs to one connection, to show what a
// session by id is made of.
func (x *sessionIDs) watch(m *Manager, config *tls.Config) {
	x.config, x.off, x.log = config, m.idsOff, m.config.Logger
	x.user, config.KeyLogWriter = config.KeyLogWriter, (*sessionIDsKeyLog)(x)
}

// offer has the connection offer id, of sessionIDLen bytes. It is called before
// the handshake.
func (x *sessionIDs) offer(id []byte) {
	x.id, x.rand = slices.Clone(id), x.config.Rand
	x.config.Rand = (*sessionIDsRand)(x)
	// With TLS 1.3 on offer a key share might be made of the id.
	_, high := versionRange(x.config)
	x.lowered = high > tls.VersionTLS12
	x.config.MaxVersion = tls.VersionTLS12
}

// sessionIDsRand is config.Rand from the start of a handshake until its
// ClientHello was checked.
type sessionIDsRand sessionIDs

// Read answers the second read with the id, if it has its length: the first is
// for the ClientHello's random, the second for its session_id.
func (r *sessionIDsRand) Read(p []byte) (int, error) {
	if r.reads++; r.reads == 2 && len(p) == sessionIDLen {
		return copy(p, r.id), nil
	}
	source := r.rand
	if source == nil {
		source = rand.Reader
	}
	return io.ReadFull(source, p)
}

// send returns what may leave of what crypto/tls sends: nothing before all of
// the ClientHello was seen to carry the id where it belongs and nowhere else.
func (x *sessionIDs) send(p []byte) ([]byte, error) {
	if x.left || x.id == nil {
		return p, nil
	}
	x.held = append(x.held, p...)
	if !x.client.Feed(p) {
		return nil, nil
	}
	out := x.held
	x.held = nil
	x.config.Rand = x.rand // from here on nothing can be made of the id
	if x.left = x.expected(x.client.Hello()); x.left {
		return out, nil
	}
	if x.off.CompareAndSwap(false, true) {
		x.log.Error("resumption by session id switched off in this process: crypto/tls made another ClientHello than expected")
	}
	return nil, ErrSessionIDs
}

// expected reports whether the ClientHello has the id as its session_id, and
// nothing else that was drawn.
func (x *sessionIDs) expected(h *hello.ClientHello) bool {
	return h != nil && bytes.Equal(h.SessionID, x.id) && !bytes.Equal(h.Random[:], x.id) &&
		!h.KeyShare && slices.Max(h.Versions) == tls.VersionTLS12
}

// receive reads what the server sends as it passes.
func (x *sessionIDs) receive(p []byte) {
	if !x.read {
		x.read = x.server.Feed(p)
	}
}

// lifetimeHint returns how many seconds the server means to take the TLS 1.2
// ticket that it sent, 0 if it did not say.
func (x *sessionIDs) lifetimeHint() uint64 {
	seconds, _ := x.server.LifetimeHint()
	return uint64(seconds)
}

// sessionIDsKeyLog is the KeyLogWriter of one connection.
type sessionIDsKeyLog sessionIDs

// Write takes the master secret where it is wanted, and passes all on. The line
// is crypto/tls's: it is not for us to wipe.
func (k *sessionIDsKeyLog) Write(line []byte) (int, error) {
	if h := k.server.Hello(); !k.over && h != nil && h.Version == tls.VersionTLS12 && len(h.SessionID) > 0 {
		clear(k.master)
		k.master = masterSecret(line)
	}
	if k.user == nil {
		return len(line), nil
	}
	return k.user.Write(line)
}

// masterSecret returns the secret of a line "CLIENT_RANDOM random secret", in
// the format of SSLKEYLOGFILE; nil if it is another.
func masterSecret(line []byte) []byte {
	fields := bytes.Fields(line)
	if len(fields) != 3 || string(fields[0]) != "CLIENT_RANDOM" {
		return nil
	}
	secret := make([]byte, hex.DecodedLen(len(fields[2])))
	if _, err := hex.Decode(secret, fields[2]); err != nil {
		clear(secret)
		return nil
	}
	return secret
}

// session puts the session of a handshake together that has ended without a
// ticket, nil if it has no id or was resumed. It has no reference yet.
func (x *sessionIDs) session(m *Manager, cs *tls.ConnectionState, o *origin) *Session {
	h := x.server.Hello()
	if len(x.master) == 0 || h == nil || cs.DidResume || len(cs.PeerCertificates) == 0 ||
		h.Version != cs.Version || h.CipherSuite != cs.CipherSuite {
		return nil
	}
	s := m.fromConnection(cs, o)
	s.f.ID, s.f.MasterKey = h.SessionID, x.master
	x.master = nil // the session's now, which wipes it
	if h.ExtendedMasterSecret {
		s.f.Flags |= flagEMS
	}
	s.rec.Verified = withoutLeaf(cs.VerifiedChains)
	s.rec.OCSP, s.rec.SCTs = slices.Clone(cs.OCSPResponse), cloneList(cs.SignedCertificateTimestamps)
	s.byHandle = true
	return s
}

// downgradeTLS12 ends the random of a server that speaks TLS 1.3 and was not
// offered it (RFC 8446, section 4.1.3).
const downgradeTLS12 = "DOWNGRD\x01"

// outgrown reports whether the server speaks TLS 1.3 by now, and would have done
// so, had no id been offered.
func (x *sessionIDs) outgrown() bool {
	h := x.server.Hello()
	return x.lowered && h != nil && string(h.Random[len(h.Random)-len(downgradeTLS12):]) == downgradeTLS12
}

// end wipes what was kept of the handshake: it is over, one way or the other.
func (x *sessionIDs) end() {
	clear(x.master)
	x.master, x.held, x.over, x.read = nil, nil, true, true
}

// idsInUse reports whether connections of config may offer ids. Where tickets
// are disabled crypto/tls's client resumes nothing.
func (m *Manager) idsInUse(config *tls.Config) bool {
	return m.config.SessionIDs && !m.idsOff.Load() &&
		!config.SessionTicketsDisabled && len(config.EncryptedClientHelloConfigList) == 0
}

// offersByID reports whether s is offered by its id: it has one that fits, and
// no ticket.
func (m *Manager) offersByID(s *Session, config *tls.Config) bool {
	if !m.idsInUse(config) {
		return false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	f := &s.f
	return f.Version == tls.VersionTLS12 && len(f.ID) == sessionIDLen && len(f.Ticket) == 0 &&
		len(s.secrets.secret) > 0 && f.Peer != nil
}

// mayOfferID foresees crypto/tls where its client would keep a session to
// itself while the ClientHello has its id: a server that takes it would be
// taken for a liar. mayOffer has seen to the rest.
func (m *Manager) mayOfferID(s *Session, config *tls.Config) Reason {
	switch {
	case !offersSuite(config, s.CipherSuite()):
		return OtherSuite
	case fips140.Enabled() && !s.ExtendedMasterSecret():
		return EMSMismatch
	}
	now := m.now()
	if config.Time != nil {
		now = config.Time()
	}
	leaf, err := s.PeerCertificate()
	if err != nil || leaf == nil || now.After(leaf.NotAfter) {
		return ChainIncomplete
	}
	if !config.InsecureSkipVerify && !s.rooted(leaf, x509.VerifyOptions{Roots: config.RootCAs, CurrentTime: now}) {
		return ChainIncomplete
	}
	return Resumed
}

// offersSuite reports whether the ClientHello of config has a TLS 1.2 suite.
func offersSuite(config *tls.Config, suite uint16) bool {
	known := tls.CipherSuites()
	if config.CipherSuites != nil {
		if !slices.Contains(config.CipherSuites, suite) {
			return false
		}
		known = append(known, tls.InsecureCipherSuites()...)
	}
	return slices.ContainsFunc(known, func(c *tls.CipherSuite) bool { return c.ID == suite })
}

// rooted reports whether a chain that was verified still leads to a root.
func (s *Session) rooted(leaf *x509.Certificate, opts x509.VerifyOptions) bool {
	s.mu.RLock()
	chains := s.rec.Verified
	s.mu.RUnlock()
	for _, chain := range chains {
		opts.Intermediates = x509.NewCertPool()
		for _, der := range chain {
			if c, err := x509.ParseCertificate(der); err == nil {
				opts.Intermediates.AddCert(c)
			}
		}
		if _, err := leaf.Verify(opts); err == nil {
			return true
		}
	}
	return false
}
