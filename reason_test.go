package reprise_test

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
)

// shiftedClock is the time of day plus what a test adds to it.
type shiftedClock struct{ ahead atomic.Int64 }

func (c *shiftedClock) Now() time.Time          { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *shiftedClock) forward(d time.Duration) { c.ahead.Add(int64(d)) }

// editor is a Sealer that changes what it opens: a peer of the fleet with the
// same key and a mind of its own.
type editor struct {
	ticket.Sealer
	edit func(*asn1sess.Session)
}

func (e editor) Open(t []byte) ([]byte, bool, error) {
	der, renew, err := e.Sealer.Open(t)
	if err != nil {
		return nil, false, err
	}
	f, _, err := asn1sess.Parse(der, 0)
	if err != nil {
		return nil, false, err
	}
	e.edit(&f)
	der, err = f.Append(nil)
	return der, renew, err
}

// opener is a Sealer that opens as it is told to.
type opener struct {
	ticket.Sealer
	open func([]byte) ([]byte, bool, error)
}

func (o opener) Open(t []byte) ([]byte, bool, error) { return o.open(t) }

// rebuilt is s with fields changed behind its back: a file that somebody edited.
func rebuilt(t testing.TB, s *reprise.Session, edit func(*asn1sess.Session)) *reprise.Session {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	f, _, err := asn1sess.Parse(der, 0)
	if err != nil {
		t.Fatal(err)
	}
	edit(&f)
	if der, err = f.Append(nil); err != nil {
		t.Fatal(err)
	}
	r, _, err := reprise.ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// scene is two handshakes: the first makes a session, the second offers it.
// A row of the table changes what differs from one plain resumption.
type scene struct {
	*rig
	version        uint16
	clock          *shiftedClock
	server, client reprise.Config
	sc, cc         *tls.Config                                   // of both handshakes
	sc2, cc2       *tls.Config                                   // of the second, where it differs
	server2        *reprise.Config                               // of a Manager of its own for the second
	between        func(sm *reprise.Manager)                     // after the first handshake
	edit           func(*asn1sess.Session)                       // of the client's session
	offer          func(*reprise.Session) *reprise.Session       // what SetSession gets
	late           func(cm *reprise.Manager, s *reprise.Session) // after SetSession
	secret         []byte                                        // of the session, once played
}

type verdict struct {
	why    reprise.Reason
	reused bool
	stats  reprise.Stats
}

// play runs the scene and returns how the second handshake ended on each side.
func (s *scene) play() (server, client verdict) {
	s.t.Helper()
	sm, cm := manager(s.t, s.server), manager(s.t, s.client)
	c1, s1 := s.connect(sm, cm, s.sc, s.cc, nil)
	session := wait(s.t, c1)
	defer session.Free()
	s.secret, _ = session.MasterKey()
	c1.Close()
	s1.Close()
	if s.between != nil {
		s.between(sm)
	}
	offer := session
	if s.edit != nil {
		offer = rebuilt(s.t, session, s.edit)
	}
	if s.offer != nil {
		offer = s.offer(session)
	}
	sm2, sc2, cc2 := sm, s.sc, s.cc
	if s.server2 != nil {
		sm2 = manager(s.t, *s.server2)
	}
	if s.sc2 != nil {
		sc2 = s.sc2
	}
	if s.cc2 != nil {
		cc2 = s.cc2
	}
	nc, ns := pipe(s.t)
	conn := cm.Client(nc, cc2)
	peer := sm2.Server(ns, sc2)
	if err := conn.SetSession(offer); err != nil {
		s.t.Fatalf("SetSession: %v", err)
	}
	if s.late != nil {
		s.late(cm, offer)
	}
	talk(s.t, conn, peer)
	conn.Close()
	peer.Close()
	server.reused, server.why = peer.SessionReused()
	client.reused, client.why = conn.SessionReused()
	server.stats, client.stats = sm2.Stats(), cm.Stats()
	return server, client
}

// mutual makes the scene one with client certificates.
func (s *scene) mutual(auth tls.ClientAuthType, cert tls.Certificate) {
	s.sc, s.cc = s.sc.Clone(), s.cc.Clone()
	s.sc.ClientAuth, s.sc.ClientCAs = auth, s.ca.Pool()
	s.cc.Certificates = []tls.Certificate{cert}
}

// fleet makes the second handshake one with another server under the same key.
func (s *scene) fleet(key ticket.Sealer, change func(*reprise.Config)) {
	if key == nil {
		key = ticket.NewAEAD()
	}
	s.server.Tickets = key
	other := s.server
	change(&other)
	s.server2 = &other
}

type side uint8

const (
	serverSide side = iota
	clientSide
)

func (s side) String() string { return []string{"server", "client"}[s] }

// reasonRow is a way to one reason.
type reasonRow struct {
	reason   reprise.Reason
	name     string
	side     side
	versions []uint16
	stage    func(*scene)
}

var (
	tls12Down = versions[:3]
	tls12     = versions[2:3]
	tls13     = versions[3:]
)

var reasonRows = []reasonRow{
	{reprise.Resumed, "ticket", serverSide, versions, func(*scene) {}},
	{reprise.Resumed, "ticket", clientSide, versions, func(*scene) {}},
	{reprise.Resumed, "handle", serverSide, versions, func(s *scene) { s.server.NoTickets = true }},
	{reprise.Resumed, "client certificate", serverSide, versions, func(s *scene) {
		s.mutual(tls.RequireAndVerifyClientCert, s.ca.Leaf(s.t, "client"))
	}},

	{reprise.NothingOffered, "no session set", serverSide, versions, offerNothing},
	{reprise.NothingOffered, "no session set", clientSide, versions, offerNothing},

	{reprise.NotResumable, "removed after SetSession", clientSide, versions, func(s *scene) {
		s.late = func(cm *reprise.Manager, session *reprise.Session) { cm.Remove(session) }
	}},

	{reprise.UnknownHandle, "flushed", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		s.between = func(sm *reprise.Manager) { sm.FlushAll() }
	}},
	{reprise.UnknownHandle, "evicted", serverSide, versions, func(s *scene) {
		s.server.NoTickets, s.server.CacheSize = true, 1
		s.between = func(sm *reprise.Manager) {
			c, _ := s.connect(sm, manager(s.t, reprise.Config{}), s.sc, s.cc, nil)
			wait(s.t, c).Free()
		}
	}},

	{reprise.UnknownKey, "another Manager", serverSide, versions, func(s *scene) { s.server2 = &reprise.Config{} }},

	{reprise.Forged, "flipped ticket", serverSide, versions, func(s *scene) {
		s.edit = func(f *asn1sess.Session) { f.Ticket[len(f.Ticket)-1] ^= 1 }
	}},
	{reprise.Forged, "random handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		s.edit = func(f *asn1sess.Session) { rand.Read(f.Ticket[1:]) }
	}},
	{reprise.UnknownKey, "handle of another key", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		s.edit = func(f *asn1sess.Session) { f.Ticket[0] ^= 1 }
	}},
	{reprise.UnknownKey, "ticket in place of a handle", serverSide, versions, func(s *scene) {
		s.server2 = &reprise.Config{NoTickets: true}
	}},

	{reprise.Undecodable, "junk in the ticket", serverSide, versions, func(s *scene) {
		s.server.Tickets = opener{ticket.NewAEAD(), func([]byte) ([]byte, bool, error) { return []byte("junk"), false, nil }}
	}},
	{reprise.Undecodable, "bytes after the session", serverSide, versions, func(s *scene) {
		key := ticket.NewAEAD()
		s.server.Tickets = opener{key, func(t []byte) ([]byte, bool, error) {
			der, renew, err := key.Open(t)
			return append(der, 0), renew, err
		}}
	}},
	{reprise.Undecodable, "the sealer fails", serverSide, versions, func(s *scene) {
		s.server.Tickets = opener{ticket.NewAEAD(), func([]byte) ([]byte, bool, error) { return nil, false, errors.New("no") }}
	}},
	{reprise.Undecodable, "no secret in it", serverSide, versions, func(s *scene) {
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) { f.MasterKey = []byte{} }}
	}},
	{reprise.Undecodable, "a peer that is no certificate", clientSide, versions, func(s *scene) {
		s.cc2 = s.cc.Clone()
		s.cc2.InsecureSkipVerify = true
		s.edit = func(f *asn1sess.Session) { f.Peer, f.TicketAppData = []byte{0x30, 0}, nil }
	}},

	{reprise.OtherVersion, "TLS 1.2 ticket at 1.1", serverSide, tls12, downgrade},
	{reprise.OtherVersion, "TLS 1.2 ticket at 1.1", clientSide, tls12, downgrade},
	{reprise.OtherVersion, "TLS 1.2 handle at 1.1", serverSide, tls12, func(s *scene) {
		s.server.NoTickets = true
		downgrade(s)
	}},
	{reprise.OtherVersion, "TLS 1.3 PSK at 1.2", serverSide, tls13, downgrade},
	{reprise.OtherVersion, "TLS 1.3 PSK at 1.2", clientSide, tls13, downgrade},
	{reprise.OtherVersion, "TLS 1.3 handle at 1.2", serverSide, tls13, func(s *scene) {
		s.server.NoTickets = true
		downgrade(s)
	}},
	{reprise.OtherVersion, "outside the configuration", clientSide, tls12, func(s *scene) {
		s.sc2, s.cc2 = at(tls.VersionTLS13, s.sc), at(tls.VersionTLS13, s.cc)
	}},

	{reprise.OtherContext, "ticket", serverSide, versions, func(s *scene) {
		s.fleet(nil, func(c *reprise.Config) { c.ContextID = []byte("another") })
	}},
	{reprise.OtherContext, "handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		s.between = func(sm *reprise.Manager) {
			for session := range sm.All() {
				if err := session.SetIDContext([]byte("another")); err != nil {
					s.t.Error(err)
				}
			}
		}
	}},

	{reprise.OtherName, "ticket", serverSide, versions, otherName},
	{reprise.OtherName, "handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		otherName(s)
	}},
	{reprise.OtherName, "name that the session is not for", clientSide, versions, func(s *scene) {
		s.cc2 = s.cc.Clone()
		s.cc2.ServerName = "b.test"
	}},
	{reprise.OtherName, "name that the certificate is not for", clientSide, versions, func(s *scene) {
		s.sc = s.sc.Clone()
		s.sc.Certificates = []tls.Certificate{s.ca.Leaf(s.t, "a.test")}
		s.sc2, s.cc2 = s.rig.server, s.cc.Clone()
		s.sc2 = at(s.version, s.sc2)
		s.cc2.ServerName = "b.test"
		s.offer = func(session *reprise.Session) *reprise.Session {
			session.SetHostname("")
			return session
		}
	}},

	{reprise.OtherPolicy, "ClientAuth", serverSide, versions, func(s *scene) {
		s.mutual(tls.VerifyClientCertIfGiven, s.ca.Leaf(s.t, "client"))
		s.sc2 = s.sc.Clone()
		s.sc2.ClientAuth = tls.RequireAndVerifyClientCert
	}},
	{reprise.OtherPolicy, "CAs", serverSide, versions, func(s *scene) {
		s.mutual(tls.RequireAndVerifyClientCert, s.ca.Leaf(s.t, "client"))
		s.sc2 = s.sc.Clone()
		s.sc2.ClientCAs = s.ca.Pool()
		s.sc2.ClientCAs.AddCert(testpki.New(s.t, "another").Cert)
	}},
	{reprise.OtherPolicy, "a function of another process", serverSide, versions, func(s *scene) {
		s.mutual(tls.RequireAndVerifyClientCert, s.ca.Leaf(s.t, "client"))
		s.sc.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		s.fleet(nil, func(*reprise.Config) {})
	}},

	{reprise.FromFuture, "ticket", serverSide, versions, func(s *scene) {
		s.between = func(*reprise.Manager) { s.clock.forward(-6 * time.Minute) }
	}},
	{reprise.FromFuture, "first authentication", serverSide, tls13, func(s *scene) {
		s.between = func(*reprise.Manager) { s.clock.forward(-6 * time.Minute) }
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) { f.Time -= 3600 }}
	}},
	{reprise.FromFuture, "imported", clientSide, versions, func(s *scene) {
		s.between = func(*reprise.Manager) { s.clock.forward(-6 * time.Minute) }
		s.edit = func(*asn1sess.Session) {}
	}},
	{reprise.FromFuture, "Config.ClockSkew", serverSide, versions, func(s *scene) {
		s.server.ClockSkew = time.Minute
		s.between = func(*reprise.Manager) { s.clock.forward(-62 * time.Second) }
	}},
	{reprise.Resumed, "clock set back within Config.ClockSkew", serverSide, versions, func(s *scene) {
		s.between = func(*reprise.Manager) { s.clock.forward(-4 * time.Minute) }
	}},
	{reprise.Resumed, "clock set back, handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		s.between = func(*reprise.Manager) { s.clock.forward(-30 * time.Minute) }
	}},
	{reprise.Expired, "ticket", serverSide, versions, expired},
	{reprise.Expired, "handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		expired(s)
	}},
	{reprise.Expired, "seven days", serverSide, versions, func(s *scene) {
		s.server.MaxAge = -1
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) {
			f.Time -= 7*24*3600 + 1
			f.Timeout = 30 * 24 * 3600
		}}
	}},
	{reprise.Expired, "client's timeout", clientSide, versions, func(s *scene) {
		s.client.Timeout = time.Minute
		s.between = func(*reprise.Manager) { s.clock.forward(62 * time.Second) }
	}},

	{reprise.Revoked, "flush, ticket", serverSide, versions, func(s *scene) {
		s.between = func(sm *reprise.Manager) { sm.FlushAll() }
	}},
	{reprise.Revoked, "server name, handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		s.between = func(sm *reprise.Manager) { mustRevoke(s.t, sm, reprise.ByServerName("A.test.")) }
	}},
	{reprise.Revoked, "by the client's Manager", clientSide, versions, func(s *scene) {
		s.late = func(cm *reprise.Manager, session *reprise.Session) {
			if err := cm.Revoke(reprise.ByLineage(session)); err != nil {
				s.t.Error(err)
			}
		}
	}},
	{reprise.Refused, "ignore", serverSide, versions, func(s *scene) {
		s.server.OnOpen = func(*reprise.Session) reprise.TicketDecision { return reprise.TicketIgnore }
	}},
	{reprise.Refused, "ignore and renew", serverSide, versions, func(s *scene) {
		s.server.OnOpen = func(*reprise.Session) reprise.TicketDecision { return reprise.TicketIgnoreRenew }
	}},
	{reprise.TooOld, "ticket", serverSide, versions, tooOld},
	{reprise.TooOld, "handle", serverSide, versions, func(s *scene) {
		s.server.NoTickets = true
		tooOld(s)
	}},

	{reprise.OtherSuite, "server's suites", serverSide, tls12, otherSuite12},
	{reprise.OtherSuite, "client's suites", clientSide, tls12, func(s *scene) {
		s.cc, s.cc2 = s.cc.Clone(), s.cc.Clone()
		s.cc.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		s.cc2.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
	}},
	{reprise.OtherSuite, "another hash in the ticket", serverSide, tls13, func(s *scene) {
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) { f.Cipher = tls.TLS_AES_256_GCM_SHA384 }}
	}},
	{reprise.OtherSuite, "session of another hash", clientSide, tls13, func(s *scene) {
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) { f.Cipher = tls.TLS_AES_256_GCM_SHA384 }}
		s.edit = func(f *asn1sess.Session) { f.Cipher = tls.TLS_AES_256_GCM_SHA384 }
	}},

	{reprise.ChainIncomplete, "client certificate has expired", serverSide, versions, func(s *scene) {
		s.mutual(tls.RequireAndVerifyClientCert, s.ca.LeafUntil(s.t, time.Now().Add(30*time.Minute), "client"))
		s.cc2 = s.cc.Clone()
		s.cc2.Certificates = []tls.Certificate{s.ca.Leaf(s.t, "client")}
		s.between = func(*reprise.Manager) { s.clock.forward(31 * time.Minute) }
	}},
	{reprise.ChainIncomplete, "chain left out of the ticket", serverSide, versions, func(s *scene) {
		s.mutual(tls.RequireAndVerifyClientCert, s.ca.Leaf(s.t, "client"))
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) { f.VerifyResult = 20 }}
	}},
	{reprise.ChainIncomplete, "roots changed", clientSide, versions, func(s *scene) {
		other := testpki.New(s.t, "root")
		s.sc2, s.cc2 = s.sc.Clone(), s.cc.Clone()
		s.sc2.Certificates = []tls.Certificate{other.Leaf(s.t, "a.test")}
		s.cc2.RootCAs = other.Pool()
	}},
	{reprise.ChainIncomplete, "server certificate has expired", clientSide, versions, func(s *scene) {
		s.sc, s.sc2 = s.sc.Clone(), s.sc
		s.sc.Certificates = []tls.Certificate{s.ca.LeafUntil(s.t, time.Now().Add(30*time.Minute), "a.test")}
		s.between = func(*reprise.Manager) { s.clock.forward(31 * time.Minute) }
	}},
	{reprise.ChainIncomplete, "peer was never verified", clientSide, versions, func(s *scene) {
		s.cc, s.cc2 = s.cc.Clone(), s.cc
		s.cc.InsecureSkipVerify = true
	}},

	{reprise.EMSMismatch, "ticket without", serverSide, tls12Down, func(s *scene) {
		s.server.Tickets = editor{ticket.NewAEAD(), func(f *asn1sess.Session) { f.Flags &^= asn1sess.FlagExtendedMasterSecret }}
	}},
	{reprise.EMSMismatch, "imported without", serverSide, tls12Down, func(s *scene) {
		s.server.NoTickets = true
		s.between = func(sm *reprise.Manager) {
			for session := range sm.All() {
				bare := rebuilt(s.t, session, func(f *asn1sess.Session) { f.Flags &^= asn1sess.FlagExtendedMasterSecret })
				if _, err := sm.Add(bare); err != nil {
					s.t.Error(err)
				}
				bare.Free()
			}
		}
	}},

	{reprise.Declined, "another key", clientSide, versions, func(s *scene) { s.server2 = &reprise.Config{} }},
}

func offerNothing(s *scene) {
	s.offer = func(*reprise.Session) *reprise.Session { return nil }
}

// downgrade makes the second handshake end one version below the session's.
func downgrade(s *scene) {
	s.sc2, s.cc2 = at(s.version-1, s.sc), s.cc.Clone()
	s.cc2.MinVersion = tls.VersionTLS10
}

// otherName has the client offer a session of a.test to b.test.
func otherName(s *scene) {
	s.cc2 = s.cc.Clone()
	s.cc2.ServerName = "b.test"
	s.offer = func(session *reprise.Session) *reprise.Session {
		session.SetHostname("b.test")
		return session
	}
}

func expired(s *scene) {
	s.server.Timeout = time.Minute
	s.between = func(*reprise.Manager) { s.clock.forward(62 * time.Second) }
}

func tooOld(s *scene) {
	s.server.MaxAge = time.Minute
	s.between = func(*reprise.Manager) { s.clock.forward(62 * time.Second) }
}

func otherSuite12(s *scene) {
	s.sc, s.sc2 = s.sc.Clone(), s.sc.Clone()
	s.sc.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
	s.sc2.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
}

// TestReasons comes to every reason by real handshakes, and counts every
// handshake once.
func TestReasons(t *testing.T) {
	for _, row := range reasonRows {
		for _, version := range row.versions {
			name := strings.Join([]string{row.reason.String(), row.name, row.side.String(), tls.VersionName(version)}, "/")
			t.Run(name, func(t *testing.T) { checkReason(t, row, version) })
		}
	}
}

// newScene sets the scene for a row.
func newScene(t *testing.T, row reasonRow, version uint16) *scene {
	r, clock := newRig(t), new(shiftedClock)
	s := &scene{
		rig: r, version: version, clock: clock,
		server: reprise.Config{Time: clock.Now}, client: reprise.Config{Time: clock.Now},
		sc: at(version, r.server), cc: at(version, r.client),
	}
	row.stage(s)
	if s.server2 != nil {
		s.server2.Time = clock.Now
	}
	return s
}

func checkReason(t *testing.T, row reasonRow, version uint16) {
	server, client := newScene(t, row, version).play()
	seen := []verdict{serverSide: server, clientSide: client}[row.side]
	if seen.why != row.reason || seen.reused != (row.reason == reprise.Resumed) {
		t.Errorf("reused %v, %q; server %q, client %q", seen.reused, seen.why, server.why, client.why)
	}
	if got := count(seen.stats, row.reason); got != 1 {
		t.Errorf("counted %d times: %+v", got, seen.stats)
	}
	for side, st := range map[string]reprise.Stats{"server": server.stats, "client": client.stats} {
		if outcomes, good := outcomes(st), st.AcceptGood+st.ConnectGood; outcomes != good {
			t.Errorf("%s: %d outcomes of %d handshakes: %+v", side, outcomes, good, st)
		}
	}
}

// count is how often a handshake ended for reason r. The first handshake of a
// scene ends with NothingOffered.
func count(st reprise.Stats, r reprise.Reason) uint64 {
	switch r {
	case reprise.Resumed:
		return st.Hits
	case reprise.NothingOffered:
		return st.NotResumed[r] - 1
	}
	return st.NotResumed[r]
}

func outcomes(st reprise.Stats) uint64 {
	n := st.Hits
	for _, k := range st.NotResumed {
		n += k
	}
	return n
}

// TestReasonsComplete: a reason that nothing comes to is a reason that nobody
// has seen.
func TestReasonsComplete(t *testing.T) {
	names := make(map[string]bool)
	for _, reason := range reprise.Reasons() {
		elsewhere := map[reprise.Reason]string{
			reprise.Unmanaged: "TestUnmanaged", // no scene of two managed handshakes
			reprise.InUse:     "TestSingleUseInUse",
		}
		if elsewhere[reason] == "" && !slices.ContainsFunc(reasonRows, func(row reasonRow) bool { return row.reason == reason }) {
			t.Errorf("no handshake of TestReasons ends with %q", reason)
		}
		if name := reason.String(); names[name] || strings.HasPrefix(name, "reason ") || name == "" {
			t.Errorf("reason %d is called %q", reason, name)
		} else {
			names[name] = true
		}
		if text, err := reason.MarshalText(); err != nil || string(text) != reason.String() {
			t.Errorf("MarshalText = %q, %v", text, err)
		} else if back := reprise.Reason(255); back.UnmarshalText(text) != nil || back != reason {
			t.Errorf("%q read back is %v", text, back)
		}
	}
	if name := reprise.Reason(200).String(); name != "reason 200" {
		t.Errorf("an unknown reason is called %q", name)
	}
}

// TestReasonOtherSuiteOfOpenSSL: what OpenSSL's client agrees on by default
// does not resume on a server that then prefers another hash, and says so.
func TestReasonOtherSuiteOfOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("there is no openssl")
	}
	r, file := newRig(t), t.TempDir()+"/session.pem"
	sm := manager(t, reprise.Config{})
	visit := func(args ...string) reprise.Reason {
		t.Helper()
		addr, told := serveOne(t, sm, r.server)
		cmd := exec.CommandContext(t.Context(), openssl, append([]string{"s_client", "-connect", addr, "-servername", "a.test", "-ign_eof"}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil && !bytes.Contains(out, []byte("CONNECTED")) {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
		return <-told
	}
	if why := visit("-ciphersuites", "TLS_AES_256_GCM_SHA384", "-sess_out", file); why != reprise.NothingOffered {
		t.Fatalf("first handshake: %q", why)
	}
	if why := visit("-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", "-sess_in", file); why != reprise.OtherSuite {
		t.Errorf("SHA-384 session, SHA-256 negotiated: %q", why)
	}
	if why := visit("-ciphersuites", "TLS_AES_256_GCM_SHA384", "-sess_in", file); why != reprise.Resumed {
		t.Errorf("SHA-384 session, SHA-384 negotiated: %q", why)
	}
}

// serveOne serves one connection and tells how its handshake ended.
func serveOne(t *testing.T, m *reprise.Manager, config *tls.Config) (addr string, told <-chan reprise.Reason) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	ended := make(chan reprise.Reason, 1)
	go func() {
		nc, err := l.Accept()
		if err != nil {
			close(ended)
			return
		}
		c := m.Server(nc, config)
		_, err = c.Write([]byte("hello\n"))
		_, why := c.SessionReused()
		if err != nil {
			why = 255
		}
		c.Close()
		ended <- why
	}()
	return l.Addr().String(), ended
}
