package interop_test

import (
	"crypto/tls"
	"encoding/pem"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// This file drives the openssl program: s_client, s_server and sess_id. What
// is tested with each stands in the file of its name.

var versions = []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}

// current are the versions that need no leave.
var current = versions[2:]

// at returns a configuration for one version only.
func at(version uint16, c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion, c.MaxVersion = version, version
	return c
}

// opensslAt are the options that make openssl speak one version only. Below
// TLS 1.2 it signs with SHA-1, which Debian's default level forbids.
func opensslAt(version uint16) []string {
	switch version {
	case tls.VersionTLS10:
		return []string{"-tls1", "-cipher", "DEFAULT:@SECLEVEL=0"}
	case tls.VersionTLS11:
		return []string{"-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0"}
	case tls.VersionTLS12:
		return []string{"-tls1_2"}
	}
	return []string{"-tls1_3"}
}

// sha256 makes openssl choose the suite that crypto/tls chooses: a TLS 1.3
// session resumes only with a suite of its hash.
var sha256 = []string{"-ciphersuites", "TLS_AES_128_GCM_SHA256"}

func args(lists ...[]string) []string { return slices.Concat(lists...) }

// pki is a certificate authority, as crypto/tls and as openssl take it.
type pki struct {
	*testpki.Authority
	file string
}

func newPKI(t testing.TB) pki {
	ca := testpki.New(t, "root")
	return pki{ca, write(t, "ca.pem", ca.PEM())}
}

// serverConfig is the configuration of a server with a certificate.
func serverConfig(cert tls.Certificate) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10}
}

// clientConfig is the configuration of a client that verifies a.test.
func (p pki) clientConfig() *tls.Config {
	return &tls.Config{RootCAs: p.Pool(), ServerName: "a.test", MinVersion: tls.VersionTLS10}
}

// identity are the options that give openssl a certificate, with its chain.
func identity(t testing.TB, cert tls.Certificate) []string {
	t.Helper()
	leaf, key := testpki.PEM(t, tls.Certificate{Certificate: cert.Certificate[:1], PrivateKey: cert.PrivateKey})
	options := []string{"-cert", write(t, "cert.pem", leaf), "-key", write(t, "key.pem", key)}
	if len(cert.Certificate) > 1 {
		chain, _ := testpki.PEM(t, tls.Certificate{Certificate: cert.Certificate[1:], PrivateKey: cert.PrivateKey})
		options = append(options, "-cert_chain", write(t, "chain.pem", chain))
	}
	return options
}

// request is what makes a server answer and end the connection: s_server,
// servers of ours and the command serve, in JSON.
const request = "GET /?format=json HTTP/1.0\r\n\r\n"

// sClient connects to a.test at addr, verifies it, reads a page and returns
// what s_client said.
func (p pki) sClient(t testing.TB, addr string, options ...string) said {
	t.Helper()
	return said(run(t, request, program(t, "openssl"), args([]string{
		"s_client", "-connect", addr, "-CAfile", p.file, "-verify_return_error", "-verify_hostname", "a.test",
		"-ign_eof", "-servername", "a.test",
	}, options)...))
}

// said is what openssl said of a connection.
type said string

var verdict = regexp.MustCompile(`(?m)^(New|Reused), `)

// reused reports whether the connection resumed a session.
func (s said) reused(t testing.TB) bool {
	t.Helper()
	m := verdict.FindStringSubmatch(string(s))
	if m == nil {
		t.Fatalf("openssl does not say whether it resumed:\n%s", s)
	}
	return m[1] == "Reused"
}

// count returns a counter of s_server's page.
func (s said) count(t testing.TB, what string) int {
	t.Helper()
	m := regexp.MustCompile(`(?m)^ *(\d+) ` + regexp.QuoteMeta(what)).FindStringSubmatch(string(s))
	if m == nil {
		t.Fatalf("no counter of %s:\n%s", what, s)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// hellos counts the ClientHellos that the option -msg showed: two where the
// server asked the client to try again.
func hellos(s string) int { return strings.Count(s, ", ClientHello") }

// sServer is an s_server that answers every request with its status page.
type sServer struct {
	*daemon
	addr string
}

func startSServer(t testing.TB, options ...string) sServer {
	t.Helper()
	d := start(t, program(t, "openssl"), args([]string{"s_server", "-accept", "127.0.0.1:0", "-www"}, options)...)
	return sServer{d, d.await(t, `(?m)^ACCEPT (\S+)$`)[1]}
}

// visit connects to s_server offering s, if it is not nil, reads the status
// page to its end and closes. The page is what s_server says of this connection.
func (srv sServer) visit(t testing.TB, m *reprise.Manager, config *tls.Config, s *reprise.Session) (*reprise.Conn, said) {
	t.Helper()
	c, err := m.Dial("tcp", srv.addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetSession(s); err != nil {
		t.Fatal(err)
	}
	return c, page(t, c)
}

// page reads a page to its end and closes.
func page(t testing.TB, c net.Conn) said {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // an error may say that the server is gone
	return said(text)
}

// sessID runs sess_id on a file.
func sessID(t testing.TB, file string, options ...string) string {
	t.Helper()
	return run(t, "", program(t, "openssl"), args([]string{"sess_id", "-in", file}, options)...)
}

func manager(t testing.TB, c reprise.Config) *reprise.Manager {
	t.Helper()
	m, err := reprise.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// load returns the session in a PEM file.
func load(t testing.TB, file string) *reprise.Session {
	t.Helper()
	s, _, err := reprise.ParseSessionPEM(read(t, file))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return s
}

// save writes a session to a PEM file and returns its path.
func save(t testing.TB, s *reprise.Session) string {
	t.Helper()
	data, err := s.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(data); block == nil || block.Type != reprise.PEMType {
		t.Fatalf("not a session in PEM:\n%s", data)
	}
	return write(t, "session.pem", data)
}

func masterKey(t testing.TB, s *reprise.Session) []byte {
	t.Helper()
	key, err := s.MasterKey()
	if err != nil {
		t.Fatal(err)
	}
	if len(key) == 0 {
		t.Fatalf("%v has no secret", s)
	}
	return key
}
