package interop_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// Servers of TLS 1.2 that have session ids and no tickets. crypto/tls cannot be
// one of them, so that none of this can be tested without them.

// idServer starts a server that knows no session yet, with or without
// extended master secret, and returns its address.
type idServer struct {
	name    string
	start   func(t testing.TB, cert tls.Certificate, ems bool) (addr string)
	resumed *regexp.Regexp // matches its page then
}

var idServers = []idServer{
	{"openssl", startOpenSSLByID, regexp.MustCompile(`(?m)^Reused, `)},
	// Its page says so only by naming no signature, between key exchange and cipher.
	{"gnutls", startGnuTLSByID, regexp.MustCompile(`\(TLS1\.2-X\.509\)-\([^()]*\)-\([^()]*\)<`)},
	{"nginx", startNginxByID, regexp.MustCompile(`resumed=yes`)},
}

func startOpenSSLByID(t testing.TB, cert tls.Certificate, ems bool) string {
	return startSServerByID(t, ems, identity(t, cert)...).addr
}

// withoutEMS is a configuration of libssl: s_server of OpenSSL 3.0 has no option for it.
const withoutEMS = `openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
Options = -ExtendedMasterSecret
`

// startSServerByID starts an s_server that gives ids only.
func startSServerByID(t testing.TB, ems bool, options ...string) sServer {
	t.Helper()
	cmd := exec.Command(program(t, "openssl"), args([]string{"s_server", "-accept", "127.0.0.1:0", "-www", "-no_ticket", "-tls1_2"}, options)...)
	if !ems {
		cmd.Env = append(os.Environ(), "OPENSSL_CONF="+write(t, "openssl.cnf", []byte(withoutEMS)))
	}
	d := launch(t, cmd)
	return sServer{d, d.await(t, `(?m)^ACCEPT (\S+)$`)[1]}
}

// startGnuTLSByID starts gnutls-serv, which cannot be told to choose a port.
func startGnuTLSByID(t testing.TB, cert tls.Certificate, ems bool) string {
	t.Helper()
	priority := "NORMAL:-VERS-ALL:+VERS-TLS1.2:%NO_TICKETS"
	if !ems {
		priority += ":%NO_SESSION_HASH"
	}
	certFile, keyFile, _ := (&peer{cert: cert}).pem(t, t.TempDir())
	for range 5 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().(*net.TCPAddr)
		l.Close()
		d := start(t, program(t, "gnutls-serv"), "--http", "--priority", priority, "--port", fmt.Sprint(addr.Port),
			"--x509certfile", certFile, "--x509keyfile", keyFile, "--disable-client-cert")
		if d.await(t, `(?m)^HTTP Server listening on IPv4 .*(done|bind\(\) failed)`)[1] == "done" {
			return addr.String()
		}
		d.kill() // somebody else has the port by now
	}
	t.Fatal("no port for gnutls-serv")
	return ""
}

func startNginxByID(t testing.TB, cert tls.Certificate, ems bool) string {
	t.Helper()
	kind := &kindOfPeer{name: "nginx", command: func(t testing.TB, p *peer, dir string, _ []string) *exec.Cmd {
		return nginxByID(t, p, dir, ems)
	}}
	return kind.start(t, peer{cert: cert}, new(keyfile.Set)).address()
}

func nginxByID(t testing.TB, p *peer, dir string, ems bool) *exec.Cmd {
	t.Helper()
	directives := "    ssl_protocols TLSv1.2;\n    ssl_session_tickets off;\n    ssl_session_cache shared:sessions:1m;\n"
	if !ems {
		directives += "    ssl_conf_command Options -ExtendedMasterSecret;\n"
	}
	return nginxWith(t, p, dir, directives)
}

// call dials addr, offers s unless it is nil, and reads a page. It expects
// both sides to say the same of resumption.
func (srv *idServer) call(t testing.TB, m *reprise.Manager, addr string, config *tls.Config, s *reprise.Session) (c *reprise.Conn, resumed bool) {
	t.Helper()
	c, err := m.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetSession(s); err != nil {
		t.Fatal(err)
	}
	text := page(t, c)
	resumed, why := c.SessionReused()
	if srv.resumed.MatchString(string(text)) != resumed || c.ConnectionState().DidResume != resumed {
		t.Fatalf("we say resumed %t (%v), crypto/tls %t, the server:\n%s", resumed, why, c.ConnectionState().DidResume, text)
	}
	return c, resumed
}

func TestSessionID(t *testing.T) {
	ca := newPKI(t)
	for _, srv := range idServers {
		for key, cert := range map[string]tls.Certificate{"ECDSA": ca.Leaf(t, "a.test"), "RSA": ca.LeafRSA(t, "a.test")} {
			for _, ems := range []bool{true, false} {
				name := fmt.Sprintf("%s/%s/EMS %t", srv.name, key, ems)
				t.Run(name, func(t *testing.T) { resumesByID(t, ca, &srv, cert, ems) })
			}
		}
	}
}

func resumesByID(t *testing.T, ca pki, srv *idServer, cert tls.Certificate, ems bool) {
	addr := srv.start(t, cert, ems)
	m := manager(t, reprise.Config{SessionIDs: true, CacheMode: reprise.CacheClient})
	first, resumed := srv.call(t, m, addr, ca.clientConfig(), nil)
	if resumed {
		t.Fatal("the first connection resumed")
	}
	s := first.Session()
	if !s.Resumable() || s.HasTicket() || len(s.ID()) != reprise.MaxSessionIDLength ||
		s.ProtocolVersion() != tls.VersionTLS12 || s.ExtendedMasterSecret() != ems || s.VerifyResult() != 0 {
		t.Fatalf("session %v: resumable %t, ticket %t, id of %d bytes, %s, EMS %t, verify result %d", s, s.Resumable(),
			s.HasTicket(), len(s.ID()), tls.VersionName(s.ProtocolVersion()), s.ExtendedMasterSecret(), s.VerifyResult())
	}
	if !m.Has(tls.VersionTLS12, s.ID()) {
		t.Error("the session is not cached")
	}

	again, resumed := srv.call(t, m, addr, ca.clientConfig(), s)
	if !resumed || again.Session() != s {
		t.Errorf("the same session again: resumed %t, session %v, was %v", resumed, again.Session(), s)
	}
	file := load(t, save(t, s))
	defer file.Free()
	other := manager(t, reprise.Config{SessionIDs: true})
	for i := range 3 {
		if _, resumed := srv.call(t, other, addr, ca.clientConfig(), file); !resumed {
			t.Errorf("from a file, time %d: not resumed", i)
		}
	}

	forgetful := srv.start(t, cert, ems)
	next, resumed := srv.call(t, m, forgetful, ca.clientConfig(), s)
	if resumed || bytes.Equal(next.Session().ID(), s.ID()) || !next.Session().Resumable() {
		t.Errorf("a server that knows no session: resumed %t, session %v, offered %v", resumed, next.Session(), s)
	}
	if _, resumed := srv.call(t, m, forgetful, ca.clientConfig(), next.Session()); !resumed {
		t.Error("the session that replaced it does not resume")
	}
}

// TestSessionIDCache: nobody sets a session, the client keeps them by itself.
func TestSessionIDCache(t *testing.T) {
	ca := newPKI(t)
	for _, srv := range idServers {
		t.Run(srv.name, func(t *testing.T) {
			addr := srv.start(t, ca.Leaf(t, "a.test"), true)
			m := manager(t, reprise.Config{SessionIDs: true, CacheMode: reprise.CacheClient})
			for i := range 4 {
				c, err := m.Dial("tcp", addr, ca.clientConfig())
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				text := page(t, c)
				if reused, why := c.SessionReused(); reused != (i > 0) || srv.resumed.MatchString(string(text)) != reused {
					t.Errorf("connection %d: we say resumed %t (%v), the server:\n%s", i, reused, why, text)
				}
			}
		})
	}
}

// TestSessionIDOptIn: without the option nothing changes.
func TestSessionIDOptIn(t *testing.T) {
	ca := newPKI(t)
	addr := startOpenSSLByID(t, ca.Leaf(t, "a.test"), true)
	openssl := &idServers[0]
	with, without := manager(t, reprise.Config{SessionIDs: true}), manager(t, reprise.Config{})
	first, _ := openssl.call(t, with, addr, ca.clientConfig(), nil)
	file := load(t, save(t, first.Session()))
	defer file.Free()
	c, _ := openssl.call(t, without, addr, ca.clientConfig(), nil)
	if s := c.Session(); s.Resumable() || s.ID() != nil {
		t.Errorf("session %v is resumable", s)
	}
	if err := c.SetSession(file); !errors.Is(err, reprise.ErrNotResumable) {
		t.Errorf("SetSession: %v", err)
	}
}

// TestSessionIDClientCertificate: what crypto/tls signs with takes random bytes
// too, and a resumed session shows the certificate of the full handshake.
func TestSessionIDClientCertificate(t *testing.T) {
	ca := newPKI(t)
	openssl := &idServers[0]
	for key, cert := range map[string]tls.Certificate{"ECDSA": ca.Leaf(t, "client"), "RSA": ca.LeafRSA(t, "client")} {
		t.Run(key, func(t *testing.T) {
			options := args(identity(t, ca.Leaf(t, "a.test")), []string{"-Verify", "1", "-CAfile", ca.file, "-verify_return_error", "-context", "test"})
			srv := startSServerByID(t, true, options...)
			m := manager(t, reprise.Config{SessionIDs: true})
			config := ca.clientConfig()
			config.Certificates = []tls.Certificate{cert}
			first, _ := openssl.call(t, m, srv.addr, config, nil)
			if _, resumed := openssl.call(t, m, srv.addr, config, first.Session()); !resumed {
				t.Error("not resumed")
			}
			forgetful := startSServerByID(t, true, options...)
			if _, resumed := openssl.call(t, m, forgetful.addr, config, first.Session()); resumed {
				t.Error("resumed where nobody knows the session")
			}
		})
	}
}

// TestSessionIDSuites: suites whose records take random bytes, and RSA key
// exchange, whose secret is made of them.
func TestSessionIDSuites(t *testing.T) {
	ca := newPKI(t)
	cert := ca.LeafRSA(t, "a.test")
	openssl := &idServers[0]
	for _, suite := range []uint16{
		tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	} {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			addr := startOpenSSLByID(t, cert, true)
			m := manager(t, reprise.Config{SessionIDs: true})
			config := ca.clientConfig()
			config.CipherSuites = []uint16{suite}
			first, _ := openssl.call(t, m, addr, config, nil)
			if got := first.Session().CipherSuite(); got != suite {
				t.Fatalf("session of %s", tls.CipherSuiteName(got))
			}
			if _, resumed := openssl.call(t, m, addr, config, first.Session()); !resumed {
				t.Error("not resumed")
			}
			if _, resumed := openssl.call(t, m, startOpenSSLByID(t, cert, true), config, first.Session()); resumed {
				t.Error("resumed where nobody knows the session")
			}
		})
	}
}

// TestSessionIDFiles: files with an id and no ticket pass between s_client and us.
func TestSessionIDFiles(t *testing.T) {
	ca := newPKI(t)
	for _, ems := range []bool{true, false} {
		t.Run(fmt.Sprintf("EMS %t", ems), func(t *testing.T) {
			addr := startOpenSSLByID(t, ca.Leaf(t, "a.test"), ems)
			m := manager(t, reprise.Config{SessionIDs: true})
			file := filepath.Join(t.TempDir(), "session.pem")
			if ca.sClient(t, addr, "-no_ticket", "-sess_out", file).reused(t) {
				t.Fatal("s_client resumed a session that it was not given")
			}
			theirs := load(t, file)
			defer theirs.Free()
			if theirs.HasTicket() {
				t.Fatal("the file has a ticket")
			}
			openssl := &idServers[0]
			if _, resumed := openssl.call(t, m, addr, ca.clientConfig(), theirs); !resumed {
				t.Error("s_client's session does not resume")
			}
			c, _ := openssl.call(t, m, addr, ca.clientConfig(), nil)
			if !ca.sClient(t, addr, "-no_ticket", "-sess_in", save(t, c.Session())).reused(t) {
				t.Error("s_client does not resume our session")
			}
		})
	}
}

// TestSessionIDUpgrade: the server learns TLS 1.3 while the client has a
// session by id, for which it offers TLS 1.2 at most. That ends with the session.
func TestSessionIDUpgrade(t *testing.T) {
	ca := newPKI(t)
	options := identity(t, ca.Leaf(t, "a.test"))
	for _, c := range []struct {
		name    string
		options []string
		fails   int // handshakes
		until13 int // connections
	}{
		{"TLS 1.3 only", []string{"-tls1_3"}, 1, 1},
		{"TLS 1.2 and 1.3", []string{"-no_ticket"}, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := startSServerByID(t, true, options...)
			m := manager(t, reprise.Config{SessionIDs: true})
			try := func() (version uint16, resumed bool, err error) {
				conn, err := m.Dial("tcp", before.addr, ca.clientConfig())
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if err := conn.Handshake(); err != nil {
					return 0, false, err
				}
				page(t, conn)
				resumed, _ = conn.SessionReused()
				return conn.ConnectionState().Version, resumed, nil
			}
			for i := range 2 {
				if _, resumed, err := try(); resumed != (i > 0) || err != nil {
					t.Fatalf("connection %d: resumed %t, %v", i, resumed, err)
				}
			}
			before.kill()
			after := start(t, program(t, "openssl"), args([]string{"s_server", "-accept", before.addr, "-www"}, options, c.options)...)
			after.await(t, `(?m)^ACCEPT`)
			failed := 0
			for i := 1; ; i++ {
				version, resumed, err := try()
				if err != nil {
					failed++
				}
				if version == tls.VersionTLS13 && !resumed {
					if i != c.until13+c.fails || failed != c.fails {
						t.Errorf("TLS 1.3 with connection %d, %d failed", i, failed)
					}
					return
				}
				if i > 3 {
					t.Fatalf("still %s, resumed %t, %v", tls.VersionName(version), resumed, err)
				}
			}
		})
	}
}

// TestSessionIDReload: nginx learns TLS 1.3 and still knows the session. It is
// resumed once more, and says what else the server speaks.
func TestSessionIDReload(t *testing.T) {
	ca := newPKI(t)
	var config string
	kind := &kindOfPeer{name: "nginx", command: func(t testing.TB, p *peer, dir string, _ []string) *exec.Cmd {
		config = filepath.Join(dir, "nginx.conf")
		return nginxByID(t, p, dir, true)
	}}
	srv := kind.start(t, peer{cert: ca.Leaf(t, "a.test")}, new(keyfile.Set))
	m := manager(t, reprise.Config{SessionIDs: true})
	try := func() (version uint16, resumed bool) {
		c, err := m.Dial("tcp", srv.address(), ca.clientConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		page(t, c)
		resumed, _ = c.SessionReused()
		return c.ConnectionState().Version, resumed
	}
	try()
	if _, resumed := try(); !resumed {
		t.Fatal("not resumed before")
	}
	with13 := bytes.Replace(read(t, config), []byte("TLSv1.2;"), []byte("TLSv1.2 TLSv1.3;"), 1)
	if err := os.WriteFile(config, with13, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := srv.daemon.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	srv.daemon.await(t, `worker process \d+ exited with code 0`)
	if version, resumed := try(); version != tls.VersionTLS12 || !resumed {
		t.Errorf("after the reload: %s, resumed %t", tls.VersionName(version), resumed)
	}
	if version, resumed := try(); version != tls.VersionTLS13 || resumed {
		t.Errorf("after that: %s, resumed %t", tls.VersionName(version), resumed)
	}
}

// TestSessionIDLifetimeHint: the hint beside a TLS 1.2 ticket caps its session.
func TestSessionIDLifetimeHint(t *testing.T) {
	ca := newPKI(t)
	srv := startSServer(t, args(identity(t, ca.Leaf(t, "a.test")), []string{"-tls1_2"})...)
	c, _ := srv.visit(t, manager(t, reprise.Config{}), ca.clientConfig(), nil)
	if hint := c.Session().TicketLifetimeHint(); hint != 7200*time.Second {
		t.Errorf("lifetime hint %v, s_server gives two hours", hint)
	}
}
