package gotls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"reflect"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// authority issues the certificates of one key type.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

func newAuthority(tb testing.TB, newKey func() (crypto.Signer, error)) *authority {
	tb.Helper()
	key, err := newKey()
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "test root"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert = issue(tb, template, template, key.Public(), key)
	a.pool.AddCert(a.cert)
	return a
}

// leaf returns a certificate for the authority's own key, which saves making
// another.
func (a *authority) leaf(tb testing.TB, name string) tls.Certificate {
	tb.Helper()
	cert := issue(tb, &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: name},
		DNSNames:     []string{name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key.Public(), a.key)
	return tls.Certificate{
		Certificate:                 [][]byte{cert.Raw, a.cert.Raw},
		PrivateKey:                  a.key,
		OCSPStaple:                  []byte("stapled response"),
		SignedCertificateTimestamps: [][]byte{[]byte("timestamp"), []byte("another")},
	}
}

func issue(tb testing.TB, template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	tb.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func newECDSA() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }
func newRSA() (crypto.Signer, error)   { return rsa.GenerateKey(rand.Reader, 2048) }

// passThrough sends ss through this package and requires that nothing of it
// changes.
func passThrough(tb testing.TB, ss *tls.SessionState) (*tls.SessionState, *State) {
	tb.Helper()
	s, err := FromTLS(ss)
	if err != nil {
		tb.Error(err)
		return ss, &State{}
	}
	again, err := s.TLS()
	if err != nil {
		tb.Error(err)
		return ss, s
	}
	want, err := ss.Bytes()
	if err != nil {
		tb.Error(err)
	}
	if got, err := again.Bytes(); err != nil || !bytes.Equal(got, want) {
		tb.Errorf("changed on the way, %v:\n%x\n%x", err, want, got)
	}
	return again, s
}

// hooks keeps the sessions of a server and a client as States.
type hooks struct {
	tb     testing.TB
	mu     sync.Mutex
	server map[string]*State
	client *State
	ticket []byte
}

func (h *hooks) wrap(_ tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
	ss.Extra = append(ss.Extra, []byte("test extra"))
	_, s := passThrough(h.tb, ss)
	h.mu.Lock()
	defer h.mu.Unlock()
	name := fmt.Sprintf("ticket %d", len(h.server))
	h.server[name] = s
	return []byte(name), nil
}

func (h *hooks) unwrap(identity []byte, _ tls.ConnectionState) (*tls.SessionState, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.server[string(identity)]
	if s == nil {
		return nil, nil
	}
	return s.TLS()
}

func (h *hooks) Put(_ string, cs *tls.ClientSessionState) {
	if cs == nil {
		return
	}
	ticket, ss, err := cs.ResumptionState()
	if err != nil {
		h.tb.Error(err)
		return
	}
	_, s := passThrough(h.tb, ss)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ticket, h.client = ticket, s
}

func (h *hooks) Get(string) (*tls.ClientSessionState, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.client == nil {
		return nil, false
	}
	ss, err := h.client.TLS()
	if err != nil {
		h.tb.Error(err)
		return nil, false
	}
	cs, err := tls.NewResumptionState(h.ticket, ss)
	return cs, err == nil
}

// connect makes a connection over loopback, has the server say one word so
// that the client reads its ticket, and returns what both sides know of it.
func connect(tb testing.TB, server, client *tls.Config) (serverState, clientState tls.ConnectionState) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			conn, err := l.Accept()
			if err != nil {
				return err
			}
			c := tls.Server(conn, server)
			defer c.Close()
			if _, err := io.WriteString(c, "hello"); err != nil {
				return err
			}
			serverState = c.ConnectionState()
			return nil
		}()
	}()
	conn, err := tls.Dial("tcp", l.Addr().String(), client)
	if err != nil {
		l.Close() // the server may still be waiting for the connection
		tb.Fatalf("client: %v, server: %v", err, <-done)
	}
	defer conn.Close()
	if _, err := io.ReadAll(conn); err != nil {
		tb.Fatal(err)
	}
	if err := <-done; err != nil {
		tb.Fatalf("server: %v", err)
	}
	return serverState, conn.ConnectionState()
}

// TestResume makes real sessions of every version, key type and client
// certificate policy, keeps both halves only as States, and resumes twice.
func TestResume(t *testing.T) {
	for keyType, newKey := range map[string]func() (crypto.Signer, error){"ECDSA": newECDSA, "RSA": newRSA} {
		a := newAuthority(t, newKey)
		for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
			for _, mutual := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/mutual=%v", tls.VersionName(version), keyType, mutual), func(t *testing.T) {
					testResume(t, a, version, mutual)
				})
			}
		}
	}
}

func testResume(t *testing.T, a *authority, version uint16, mutual bool) {
	h := &hooks{tb: t, server: map[string]*State{}}
	server := &tls.Config{
		MinVersion:    version,
		MaxVersion:    version,
		Certificates:  []tls.Certificate{a.leaf(t, "server.test")},
		WrapSession:   h.wrap,
		UnwrapSession: h.unwrap,
	}
	client := &tls.Config{
		MinVersion:         version,
		MaxVersion:         version,
		RootCAs:            a.pool,
		ServerName:         "server.test",
		ClientSessionCache: h,
	}
	if mutual {
		server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.pool
		client.Certificates = []tls.Certificate{a.leaf(t, "client.test")}
	}
	for round := range 3 {
		ss, cs := connect(t, server, client)
		if resumed := round > 0; ss.DidResume != resumed || cs.DidResume != resumed {
			t.Fatalf("connection %d: resumed: server %v, client %v", round, ss.DidResume, cs.DidResume)
		}
		if mutual && (len(ss.PeerCertificates) != 2 || ss.PeerCertificates[0].DNSNames[0] != "client.test" || len(ss.VerifiedChains) == 0) {
			t.Fatalf("connection %d: the client's certificate is lost", round)
		}
		if len(cs.VerifiedChains) == 0 || string(cs.OCSPResponse) != "stapled response" || len(cs.SignedCertificateTimestamps) != 2 {
			t.Fatalf("connection %d: the server's certificate, its staple or its timestamps are lost", round)
		}
		if cs.CurveID == 0 || cs.CurveID != ss.CurveID {
			t.Fatalf("connection %d: curve %v on the server, %v on the client", round, ss.CurveID, cs.CurveID)
		}
		h.checkFields(t, version, mutual)
	}
}

// checkFields compares the decoded fields with what the handshakes must have
// left in them.
func (h *hooks) checkFields(t *testing.T, version uint16, mutual bool) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	s, c := h.server[string(h.ticket)], h.client
	if s == nil || c == nil {
		t.Fatal("a side has no session")
	}
	if s.Client || !c.Client {
		t.Errorf("Client: server %v, client %v", s.Client, c.Client)
	}
	if s.Version != version || c.Version != version || s.Suite != c.Suite || s.EMS != c.EMS || s.Curve != c.Curve {
		t.Errorf("the sides disagree: server %v EMS %v curve %v, client %v EMS %v curve %v", s, s.EMS, s.Curve, c, c.EMS, c.Curve)
	}
	if s.EMS != (version <= tls.VersionTLS12) || (s.Curve != 0) != (version <= tls.VersionTLS12) {
		t.Errorf("EMS %v, curve %v", s.EMS, s.Curve)
	}
	if !bytes.Equal(s.Secret, c.Secret) {
		t.Error("the sides hold different secrets")
	}
	if (c.UseBy != 0) != (version == tls.VersionTLS13) {
		t.Errorf("UseBy = %d", c.UseBy)
	}
	if len(s.Extra) != 1 || string(s.Extra[0]) != "test extra" {
		t.Errorf("Extra = %q", s.Extra)
	}
	if (len(s.Peer) == 2) != mutual || (len(s.Chains) == 1 && len(s.Chains[0]) == 1) != mutual {
		t.Errorf("the server's session has %d certificates, chains %d", len(s.Peer), len(s.Chains))
	}
	if now := uint64(time.Now().Unix()); s.CreatedAt < now-3600 || s.CreatedAt > now {
		t.Errorf("CreatedAt = %d at %d", s.CreatedAt, now)
	}
}

func TestFromTLSRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := stateGen(true).Draw(t, "state")
		ss, err := s.TLS()
		if err != nil {
			t.Fatal(err)
		}
		got, err := FromTLS(ss)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("got %+v\nwant %+v", fields(got), fields(s))
		}
	})
}

func TestFromTLSRefuses(t *testing.T) {
	// A zero SessionState has an encoding, which ParseSessionState refuses too.
	if s, err := FromTLS(new(tls.SessionState)); !errors.Is(err, ErrLayout) || s != nil {
		t.Errorf("FromTLS of a zero SessionState = %v, %v, want ErrLayout", s, err)
	}
}

func TestTLSRefuses(t *testing.T) {
	if ss, err := new(State).TLS(); !errors.Is(err, ErrInvalid) || ss != nil {
		t.Errorf("TLS of a zero State = %v, %v, want ErrInvalid", ss, err)
	}
	s := &State{Version: tls.VersionTLS13, Secret: []byte("secret"), Peer: [][]byte{[]byte("not a certificate")}}
	if ss, err := s.TLS(); err == nil || ss != nil {
		t.Errorf("TLS with a certificate that does not parse = %v, %v", ss, err)
	}
	if string(s.Secret) != "secret" {
		t.Error("the refusal wiped the caller's secret")
	}
}

// TestParseSessionStateAliases is why TLS does not wipe what it encoded. If it
// fails, crypto/tls copies, and TLS should wipe.
func TestParseSessionStateAliases(t *testing.T) {
	s := &State{Version: tls.VersionTLS13, Secret: []byte("secret"), Extra: [][]byte{[]byte("extra")}}
	b := mustAppend(t, s)
	ss, err := tls.ParseSessionState(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[secretOffset:][:len(s.Secret)])
	if out, err := ss.Bytes(); err != nil || bytes.Contains(out, s.Secret) {
		t.Errorf("ParseSessionState copied the secret (%v)", err)
	}
}

// TestTLSRefusedKeepsCertificates is why TLS wipes only the secret when it
// fails: crypto/tls shares parsed certificates between connections, and they
// alias what they were parsed from.
func TestTLSRefusedKeepsCertificates(t *testing.T) {
	leaf := newAuthority(t, newECDSA).cert.Raw
	bad := &State{Version: tls.VersionTLS13, Secret: []byte("secret"), Peer: [][]byte{leaf, []byte("not a certificate")}}
	if _, err := bad.TLS(); err == nil {
		t.Fatal("a certificate that does not parse was accepted")
	}
	good := &State{Version: tls.VersionTLS13, Secret: []byte("secret"), Peer: [][]byte{leaf}}
	ss, err := good.TLS()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := ss.Bytes(); err != nil || !bytes.Equal(out, mustAppend(t, good)) {
		t.Errorf("the certificate changed, %v", err)
	}
}

func TestFromTLSConcurrent(t *testing.T) {
	leaf, issuer := sampleCertificates()
	s := fullSample(tls.VersionTLS13, true, leaf, issuer)
	ss, err := s.TLS()
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := FromTLS(ss)
			if err != nil || !reflect.DeepEqual(got, s) {
				t.Errorf("got %v, %v", got, err)
			}
			got.Wipe()
		})
	}
	wg.Wait()
	if got, err := FromTLS(ss); err != nil || !bytes.Equal(got.Secret, s.Secret) {
		t.Errorf("Wipe of what FromTLS returned reached the session: %v", err)
	}
}

func benchmarkState(b *testing.B, mutual bool) *State {
	s := &State{Version: tls.VersionTLS13, Suite: tls.TLS_AES_128_GCM_SHA256, CreatedAt: 1 << 30, Secret: make([]byte, 32)}
	if mutual {
		a := newAuthority(b, newECDSA)
		s.Peer = a.leaf(b, "client.test").Certificate
		s.Chains = [][][]byte{{a.cert.Raw}}
	}
	return s
}

func BenchmarkFromTLS(b *testing.B) {
	for _, mutual := range []bool{false, true} {
		b.Run(fmt.Sprintf("mutual=%v", mutual), func(b *testing.B) {
			ss, err := benchmarkState(b, mutual).TLS()
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				s, err := FromTLS(ss)
				if err != nil {
					b.Fatal(err)
				}
				s.Wipe()
			}
		})
	}
}

func BenchmarkTLS(b *testing.B) {
	for _, mutual := range []bool{false, true} {
		b.Run(fmt.Sprintf("mutual=%v", mutual), func(b *testing.B) {
			s := benchmarkState(b, mutual)
			keep, err := s.TLS() // holds the parsed certificates, as a live connection does
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.TLS(); err != nil {
					b.Fatal(err)
				}
			}
			_ = keep
		})
	}
}
