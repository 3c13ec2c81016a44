package reprise_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// parsed returns the session that DER of these fields stands for.
func parsed(t testing.TB, f asn1sess.Session) *reprise.Session {
	t.Helper()
	if f.Version == 0 {
		f.Version, f.Cipher = tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
	}
	der, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, rest, err := reprise.ParseSession(der)
	if err != nil || len(rest) != 0 {
		t.Fatalf("%v, %d bytes behind", err, len(rest))
	}
	return s
}

// TestNewSession holds a new session to what SSL_SESSION_new gives.
func TestNewSession(t *testing.T) {
	before := time.Now().Unix()
	s := reprise.NewSession()
	if at := s.Time().Unix(); at < before || at > time.Now().Unix() {
		t.Errorf("time is %v", s.Time())
	}
	if s.Timeout() != 304*time.Second || s.VerifyResult() != 1 || s.Resumable() {
		t.Errorf("timeout %v, verify result %d, resumable %v", s.Timeout(), s.VerifyResult(), s.Resumable())
	}
	cert, err := s.PeerCertificate()
	if err != nil || cert != nil || s.HasTicket() || s.Ticket() != nil || s.ID() != nil || s.IDContext() != nil {
		t.Error("a new session is not empty")
	}
	if s.ProtocolVersion() != 0 || s.CipherSuite() != 0 || s.CompressID() != 0 || s.CurveID() != 0 ||
		s.MaxEarlyData() != 0 || s.MaxFragmentLength() != 0 || s.TicketLifetimeHint() != 0 || s.ExtendedMasterSecret() {
		t.Error("a new session has a number that is not zero")
	}
	if s.Hostname() != "" || s.ALPN() != "" || !s.FirstAuthentication().IsZero() {
		t.Error("a new session has a name or a first authentication")
	}
	if key, err := s.MasterKey(); key != nil || err != nil {
		t.Errorf("its master key is %x, %v", key, err)
	}
}

// TestByteFields: limits, copies in and out.
func TestByteFields(t *testing.T) {
	for name, f := range map[string]struct {
		limit int
		set   func(*reprise.Session, []byte) error
		get   func(*reprise.Session) []byte
	}{
		"ID":        {32, (*reprise.Session).SetID, (*reprise.Session).ID},
		"IDContext": {32, (*reprise.Session).SetIDContext, (*reprise.Session).IDContext},
		"MasterKey": {512, (*reprise.Session).SetMasterKey, func(s *reprise.Session) []byte { b, _ := s.MasterKey(); return b }},
		"TicketAppData": {64000, (*reprise.Session).SetTicketAppData, func(s *reprise.Session) []byte {
			b, _ := s.TicketAppData()
			return b
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := reprise.NewSession()
			most := bytes.Repeat([]byte{7}, f.limit)
			given := bytes.Clone(most)
			if err := f.set(s, given); err != nil {
				t.Fatalf("%d bytes: %v", f.limit, err)
			}
			given[0] = 1
			f.get(s)[1] = 2
			if !bytes.Equal(f.get(s), most) {
				t.Error("the session shares memory with its caller")
			}
			if err := f.set(s, make([]byte, f.limit+1)); !errors.Is(err, reprise.ErrTooLong) {
				t.Errorf("%d bytes: %v, want ErrTooLong", f.limit+1, err)
			}
			if !bytes.Equal(f.get(s), most) {
				t.Error("a refused value changed the field")
			}
			if err := f.set(s, nil); err != nil || f.get(s) != nil {
				t.Errorf("removed: %v, %x", err, f.get(s))
			}
		})
	}
}

func TestOtherFields(t *testing.T) {
	s := reprise.NewSession()
	s.SetHostname("a.test\x00hidden")
	s.SetALPN("h2")
	s.SetMaxEarlyData(math.MaxUint32)
	s.SetCipherSuite(0xffff)
	if err := s.SetProtocolVersion(0xfefd); err != nil {
		t.Error(err)
	}
	if s.Hostname() != "a.test" || s.ALPN() != "h2" || s.MaxEarlyData() != math.MaxUint32 ||
		s.CipherSuite() != 0xffff || s.ProtocolVersion() != 0xfefd {
		t.Errorf("%q %q %d %#x %#x", s.Hostname(), s.ALPN(), s.MaxEarlyData(), s.CipherSuite(), s.ProtocolVersion())
	}
	s.SetHostname("")
	s.SetALPN("")
	if s.Hostname() != "" || s.ALPN() != "" {
		t.Error("a name was not removed")
	}
	type key struct{}
	s.SetValue(key{}, 1)
	s.SetValue(key{}, 2)
	if s.Value(key{}) != 2 || s.Value("other") != nil {
		t.Errorf("values: %v, %v", s.Value(key{}), s.Value("other"))
	}
	s.SetValue(key{}, nil)
	if s.Value(key{}) != nil {
		t.Error("a value was not detached")
	}
}

// TestDecodedFields: what only decoding sets.
func TestDecodedFields(t *testing.T) {
	cert := testpki.New(t, "root").Cert
	s := parsed(t, asn1sess.Session{
		Ticket: []byte("ticket"), TicketLifetimeHint: math.MaxUint64, MaxFragmentLen: 4, CompressID: 1,
		Flags: asn1sess.FlagExtendedMasterSecret, KexGroup: uint32(tls.X25519), VerifyResult: 20, Peer: cert.Raw,
	})
	if !s.HasTicket() || string(s.Ticket()) != "ticket" || s.TicketLifetimeHint() != math.MaxInt64 {
		t.Errorf("ticket %q, hint %v", s.Ticket(), s.TicketLifetimeHint())
	}
	if s.MaxFragmentLength() != 4 || s.CompressID() != 1 || !s.ExtendedMasterSecret() || s.CurveID() != tls.X25519 || s.VerifyResult() != 20 {
		t.Errorf("%d %d %v %v %d", s.MaxFragmentLength(), s.CompressID(), s.ExtendedMasterSecret(), s.CurveID(), s.VerifyResult())
	}
	if got, err := s.PeerCertificate(); err != nil || !got.Equal(cert) {
		t.Errorf("peer: %v", err)
	}
	if parsed(t, asn1sess.Session{MaxFragmentLen: 5}).MaxFragmentLength() != 0 {
		t.Error("a code for no length is given as one")
	}
	bad := parsed(t, asn1sess.Session{Peer: []byte{0x30, 0}})
	if _, err := bad.PeerCertificate(); err == nil || !strings.Contains(err.Error(), "certificate 0") {
		t.Errorf("a certificate that does not parse: %v", err)
	}
	s.SetIntermediates([]*x509.Certificate{cert, cert})
	if chain, err := s.PeerCertificates(); err != nil || len(chain) != 3 {
		t.Errorf("with intermediates: %d certificates, %v", len(chain), err)
	}
}

// TestExpiresAt: sums that overflow saturate, in both directions.
func TestExpiresAt(t *testing.T) {
	const never = math.MaxInt64
	for _, c := range []struct{ time, timeout, want int64 }{
		{1000, 300, 1300},
		{-1000, 300, -700},
		{1000, -300, 700},
		{math.MaxInt64, 1, never},
		{1, math.MaxInt64, never},
		{math.MaxInt64, math.MaxInt64, never},
		{math.MaxInt64 - 1, 1, never}, // the largest time that could be is never too
		{math.MaxInt64 - 2, 1, math.MaxInt64 - 1},
		{math.MaxInt64, math.MinInt64, -1},
		{math.MinInt64, math.MaxInt64, -1},
		{math.MinInt64, 1, math.MinInt64 + 1},
		{math.MinInt64, -1, math.MinInt64},
		{math.MinInt64, math.MinInt64, math.MinInt64},
	} {
		s := parsed(t, asn1sess.Session{Time: c.time, Timeout: c.timeout})
		got, ok := s.ExpiresAt()
		if ok != (c.want != never) || ok && got.Unix() != c.want || !ok && !got.IsZero() {
			t.Errorf("%d + %d: %d, %v, want %d", c.time, c.timeout, got.Unix(), ok, c.want)
		}
		if s.Time().Unix() != c.time {
			t.Errorf("time %d came back as %d", c.time, s.Time().Unix())
		}
	}
}

func TestTimeout(t *testing.T) {
	s := reprise.NewSession()
	for given, want := range map[time.Duration]time.Duration{
		0: 0, time.Nanosecond: 0, 1999 * time.Millisecond: time.Second, time.Hour: time.Hour,
		math.MaxInt64: time.Duration(math.MaxInt64).Truncate(time.Second),
	} {
		if err := s.SetTimeout(given); err != nil || s.Timeout() != want {
			t.Errorf("SetTimeout(%v): %v, gives %v, want %v", given, err, s.Timeout(), want)
		}
	}
	s.SetTimeout(time.Minute)
	if err := s.SetTimeout(-1); err == nil || s.Timeout() != time.Minute {
		t.Errorf("a negative timeout: %v, gives %v", err, s.Timeout())
	}
	s.SetTime(time.Unix(5, 999_999_999))
	if at := s.Time(); at != time.Unix(5, 0) {
		t.Errorf("time is %v, want the second below", at)
	}
	if s := parsed(t, asn1sess.Session{Timeout: math.MaxInt64}); s.Timeout() != math.MaxInt64 {
		t.Errorf("the longest timeout is %v", s.Timeout())
	}
	if s := parsed(t, asn1sess.Session{Timeout: math.MinInt64}); s.Timeout() != math.MinInt64 {
		t.Errorf("the shortest timeout is %v", s.Timeout())
	}
}

// TestSetCached: what the cache finds a session by does not change under it.
func TestSetCached(t *testing.T) {
	m := manager(t, reprise.Config{})
	s := named("s", time.Unix(1000, 0))
	mustAdd(t, m, s)
	for name, err := range map[string]error{"SetID": s.SetID([]byte("t")), "SetProtocolVersion": s.SetProtocolVersion(tls.VersionTLS13)} {
		if !errors.Is(err, reprise.ErrCached) {
			t.Errorf("%s of a cached session: %v, want ErrCached", name, err)
		}
	}
	if string(s.ID()) != "s" || s.ProtocolVersion() != tls.VersionTLS12 {
		t.Error("a refused value changed the field")
	}
	m.Remove(s)
	if err := errors.Join(s.SetID([]byte("t")), s.SetProtocolVersion(tls.VersionTLS13)); err != nil {
		t.Errorf("after Remove: %v", err)
	}
}

// TestFreedFields: secrets are gone with the last owner, the rest stays readable.
func TestFreedFields(t *testing.T) {
	s := named("s", time.Unix(1000, 0))
	s.SetMasterKey([]byte("key"))
	s.SetTicketAppData([]byte("data"))
	s.SetCipherSuite(tls.TLS_AES_128_GCM_SHA256)
	s.SetHostname("a.test")
	s.SetValue("key", 1)
	s.Free()
	_, keyErr := s.MasterKey()
	_, dataErr := s.TicketAppData()
	_, derErr := s.MarshalBinary()
	_, pemErr := s.MarshalPEM()
	for name, err := range map[string]error{
		"MasterKey": keyErr, "TicketAppData": dataErr, "MarshalBinary": derErr, "MarshalPEM": pemErr, "UpRef": s.UpRef(),
		"SetMasterKey": s.SetMasterKey([]byte("new")), "SetTicketAppData": s.SetTicketAppData([]byte("new")),
	} {
		if !errors.Is(err, reprise.ErrFreed) {
			t.Errorf("%s: %v, want ErrFreed", name, err)
		}
	}
	if s.Resumable() || s.Value("key") != nil {
		t.Error("a freed session is resumable or has values")
	}
	if string(s.ID()) != "s" || s.Hostname() != "a.test" || s.Time() != time.Unix(1000, 0) || s.Timeout() != 10*time.Second {
		t.Error("the metadata of a freed session is not readable")
	}
}

// TestSameLineage: sessions that descend from one full handshake know it, in
// whatever form they travelled, and no others.
func TestSameLineage(t *testing.T) {
	r := newRig(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			sm := manager(t, reprise.Config{OnOpen: func(*reprise.Session) reprise.TicketDecision { return reprise.TicketUseRenew }})
			cm := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
			sc, cc := at(version, r.server), at(version, r.client)
			c, first := r.connect(sm, cm, sc, cc, nil)
			session := wait(t, c)
			line := []*reprise.Session{first.Session()}
			for range 3 {
				c.Close()
				var s *reprise.Conn
				if c, s = r.connect(sm, cm, sc, cc, session); s.Session() == line[len(line)-1] {
					t.Fatal("the session was not renewed")
				}
				session.Free()
				session = wait(t, c)
				line = append(line, s.Session())
			}
			session.Free()
			der, err := line[0].MarshalBinary()
			if err != nil {
				t.Fatal(err)
			}
			decoded, _, err := reprise.ParseSession(der)
			if err != nil {
				t.Fatal(err)
			}
			line = append(line, decoded, line[0].Dup())
			_, second := r.connect(sm, cm, sc, cc, nil)
			for i, s := range line {
				for j, other := range line {
					if !s.SameLineage(other) {
						t.Errorf("%d is not of the line of %d", i, j)
					}
				}
				for name, other := range map[string]*reprise.Session{
					"another full handshake": second.Session(), "a new session": reprise.NewSession(), "none": nil,
				} {
					if s.SameLineage(other) {
						t.Errorf("%d is of the line of %s", i, name)
					}
				}
			}
			if s := reprise.NewSession(); s.SameLineage(s) {
				t.Error("a session without a line is of one")
			}
		})
	}
}
