package interop_test

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// sess_id reads the files that we write, and we read what openssl wrote.

// pair connects two Managers and returns both ends of the connection once it
// has a session. The client offers s, if it is not nil.
func pair(t *testing.T, sm, cm *reprise.Manager, sc, cc *tls.Config, s *reprise.Session) (client, server *reprise.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = cm.Dial("tcp", l.Addr().String(), cc)
	if err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	server = sm.Server(nc, sc)
	t.Cleanup(func() { client.Close(); server.Close() })
	if err := client.SetSession(s); err != nil {
		t.Fatal(err)
	}
	server.SetDeadline(time.Now().Add(patience))
	answered := make(chan error, 1)
	go func() {
		_, err := io.ReadFull(server, make([]byte, len(request)))
		server.Close()
		answered <- err
	}()
	page(t, client)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestSessIDReadsOurs(t *testing.T) {
	ca := newPKI(t)
	below := ca.Intermediate(t, "intermediate")
	sc, cc := serverConfig(below.Leaf(t, "a.test")), ca.clientConfig()
	sc.NextProtos, cc.NextProtos = []string{"h2", "http/1.1"}, []string{"http/1.1"}
	verified, asked := sc.Clone(), sc.Clone()
	verified.ClientAuth, verified.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	asked.ClientAuth = tls.RequireAnyClientCert // and nobody verifies it
	withCert := cc.Clone()
	withCert.Certificates = []tls.Certificate{below.LeafRSA(t, "client.test")}
	for _, test := range []struct {
		name           string
		server, client *tls.Config
		result         int // of the server's verification
	}{
		{"no client certificate", sc, cc, 0},
		{"verified client certificate", verified, withCert, 0},
		{"unverified client certificate", asked, withCert, 1},
	} {
		for _, version := range versions {
			for _, noTickets := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/NoTickets=%v", test.name, tls.VersionName(version), noTickets), func(t *testing.T) {
					sm := manager(t, reprise.Config{NoTickets: noTickets, ContextID: []byte("context")})
					cm := manager(t, reprise.Config{})
					client, server := pair(t, sm, cm, at(version, test.server), at(version, test.client), nil)
					t.Run("client", func(t *testing.T) { readsOurs(t, client.Session(), "", 0) })
					t.Run("server", func(t *testing.T) { readsOurs(t, server.Session(), "context", test.result) })
					client, server = pair(t, sm, cm, at(version, test.server), at(version, test.client), client.Session())
					if reused, why := server.SessionReused(); !reused {
						t.Fatalf("second connection: not resumed: %v", why)
					}
					t.Run("second client", func(t *testing.T) { readsOurs(t, client.Session(), "", 0) })
					t.Run("second server", func(t *testing.T) { readsOurs(t, server.Session(), "context", test.result) })
				})
			}
		}
	}
}

// readsOurs compares what sess_id reads in s's file with what s says of itself.
func readsOurs(t *testing.T, s *reprise.Session, context string, result int) {
	if got := string(s.IDContext()); got != context {
		t.Errorf("session id context %q, want %q", got, context)
	}
	if got := s.VerifyResult(); got != result {
		t.Errorf("verify result %d, want %d", got, result)
	}
	if s.Hostname() != "a.test" || s.ALPN() != "http/1.1" {
		t.Errorf("host name %q, protocol %q", s.Hostname(), s.ALPN())
	}
	agrees(t, s, save(t, s))
}

// agrees compares a session with what sess_id reads in a file of it.
func agrees(t *testing.T, s *reprise.Session, file string) {
	t.Helper()
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if got := sessID(t, file, "-outform", "DER"); got != string(der) {
		t.Errorf("DER of sess_id: %x\nours:           %x", got, der)
	}
	text := sessID(t, file, "-text", "-noout")
	for label, want := range expected(t, s) {
		m := regexp.MustCompile(`(?m)^    ` + label + ` *: ?(.*)$`).FindStringSubmatch(text)
		switch {
		case m == nil && want != "":
			t.Errorf("sess_id has no %s, we have %s:\n%s", label, want, text)
		case m != nil && m[1] != want:
			t.Errorf("%s of sess_id: %q, ours: %q", label, m[1], want)
		}
	}
	if got := ticketIn(t, text); !bytes.Equal(got, s.Ticket()) {
		t.Errorf("ticket of sess_id: %x\nours:              %x", got, s.Ticket())
	}
	peerAgrees(t, s, file)
	tree := run(t, "", program(t, "openssl"), "asn1parse", "-in", file) // sess_id does not show all
	for tag, want := range map[int]string{6: s.Hostname(), 16: s.ALPN()} {
		m := regexp.MustCompile(fmt.Sprintf(`d=1 .*cont \[ %d \]\s+.*OCTET STRING +:(.*)`, tag)).FindStringSubmatch(tree)
		if (m != nil) != (want != "") || m != nil && m[1] != want {
			t.Errorf("field %d of asn1parse: %q, ours %q", tag, m, want)
		}
	}
}

// expected is what sess_id should print of s, by label; nothing where the line
// is left out.
func expected(t *testing.T, s *reprise.Session) map[string]string {
	t.Helper()
	want := map[string]string{
		"Protocol":               opensslVersion[s.ProtocolVersion()],
		"Cipher":                 opensslSuite(t, s.CipherSuite()),
		"Session-ID":             fmt.Sprintf("%X", s.ID()),
		"Session-ID-ctx":         fmt.Sprintf("%X", s.IDContext()),
		"PSK identity":           "None",
		"Start Time":             fmt.Sprint(s.Time().Unix()),
		"Timeout":                fmt.Sprintf("%d (sec)", s.Timeout()/time.Second),
		"Verify return code":     fmt.Sprintf("%d (%s)", s.VerifyResult(), verifyText[s.VerifyResult()]),
		"Extended master secret": map[bool]string{false: "no", true: "yes"}[s.ExtendedMasterSecret()],
	}
	if secret := fmt.Sprintf("%X", masterKey(t, s)); s.ProtocolVersion() == tls.VersionTLS13 {
		want["Resumption PSK"], want["Max Early Data"] = secret, fmt.Sprint(s.MaxEarlyData())
	} else {
		want["Master-Key"] = secret
	}
	if hint := s.TicketLifetimeHint(); hint != 0 {
		want["TLS session ticket lifetime hint"] = fmt.Sprintf("%d (seconds)", hint/time.Second)
	}
	return want
}

var opensslVersion = map[uint16]string{
	tls.VersionTLS10: "TLSv1", tls.VersionTLS11: "TLSv1.1", tls.VersionTLS12: "TLSv1.2", tls.VersionTLS13: "TLSv1.3",
}

// verifyText are X509_verify_cert_error_string's words.
var verifyText = map[int]string{0: "ok", 1: "unspecified certificate verification error"}

// opensslSuite returns openssl's own name of a cipher suite.
func opensslSuite(t *testing.T, id uint16) string {
	t.Helper()
	list := run(t, "", program(t, "openssl"), "ciphers", "-V", "ALL:@SECLEVEL=0")
	m := regexp.MustCompile(fmt.Sprintf(`0x%02X,0x%02X - (\S+)`, id>>8, id&0xff)).FindStringSubmatch(list)
	if m == nil {
		t.Fatalf("openssl does not know suite %#04x", id)
	}
	return m[1]
}

var dump = regexp.MustCompile(`(?m)^    [0-9a-f]{4,} - (.{47})`)

// ticketIn returns the ticket that sess_id dumped.
func ticketIn(t *testing.T, text string) []byte {
	t.Helper()
	var ticket []byte
	for _, m := range dump.FindAllStringSubmatch(text, -1) {
		line, err := hex.DecodeString(strings.NewReplacer(" ", "", "-", "").Replace(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		ticket = append(ticket, line...)
	}
	return ticket
}

// peerAgrees compares the peer's certificates.
func peerAgrees(t *testing.T, s *reprise.Session, file string) {
	t.Helper()
	out := sessID(t, file, "-cert")
	peer, err := s.PeerCertificate()
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(out))
	switch {
	case peer == nil && block != nil:
		t.Errorf("sess_id has a certificate, the session has none:\n%s", out)
	case peer != nil && (block == nil || !bytes.Equal(block.Bytes, peer.Raw)):
		t.Errorf("sess_id does not have the session's certificate of %s:\n%s", peer.Subject, out)
	}
}

// TestSessIDOursOfTheirs: what openssl wrote we write again, byte for byte.
func TestSessIDOursOfTheirs(t *testing.T) {
	ca := newPKI(t)
	options := identity(t, ca.Leaf(t, "a.test"))
	for _, mode := range modes() {
		t.Run(mode.name, func(t *testing.T) {
			srv := startSServer(t, args(options, mode.options)...)
			file := ca.made(t, srv, opensslAt(mode.version)...)
			s := load(t, file)
			defer s.Free()
			agrees(t, s, file)
			if !bytes.Equal(read(t, file), read(t, save(t, s))) {
				t.Error("the file changed on its way through")
			}
		})
	}
}
