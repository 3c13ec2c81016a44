package interop_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// Clients of ours connect to s_server. Its status page is its opinion of the
// connection that asked for it, with libssl's counters.

// mode is how s_server hands out sessions, at one version.
type mode struct {
	name    string
	version uint16
	options []string
}

// modes are what crypto/tls resumes: tickets, and in TLS 1.3 the handle of a
// session that the server keeps.
func modes() []mode {
	list := []mode{{"TLS 1.3/stateful", tls.VersionTLS13, []string{"-no_ticket"}}}
	for _, v := range versions {
		list = append(list, mode{tls.VersionName(v) + "/ticket", v, opensslAt(v)})
	}
	return list
}

// resumesAt visits srv twice, each time as a process of its own would: the
// session goes from the first to the second through a file.
func resumesAt(t *testing.T, srv sServer, config *tls.Config) (first, second *reprise.Conn, page said) {
	t.Helper()
	first, page = srv.visit(t, manager(t, reprise.Config{}), config, nil)
	if reused, why := first.SessionReused(); reused || why != reprise.NothingOffered || page.reused(t) {
		t.Fatalf("the first connection resumed: we say %v (%v), s_server %v", reused, why, page.reused(t))
	}
	second, page = offer(t, srv, config, load(t, save(t, first.Session())))
	if key := fmt.Sprintf("%X", masterKey(t, second.Session())); !strings.Contains(string(page), ": "+key+"\n") {
		t.Errorf("the secret of the session is not the server's:\n%s", page)
	}
	return first, second, page
}

// offer visits srv offering s, as a fresh process would, and expects to resume.
func offer(t *testing.T, srv sServer, config *tls.Config, s *reprise.Session) (*reprise.Conn, said) {
	t.Helper()
	defer s.Free()
	c, page := srv.visit(t, manager(t, reprise.Config{}), config, s)
	if reused, why := c.SessionReused(); !reused || !page.reused(t) {
		t.Fatalf("not resumed: we say %v (%v), s_server %v", reused, why, page.reused(t))
	}
	return c, page
}

func TestSServerResumes(t *testing.T) {
	ca := newPKI(t)
	for key, cert := range map[string]tls.Certificate{"ECDSA": ca.Leaf(t, "a.test"), "RSA": ca.LeafRSA(t, "a.test")} {
		options := identity(t, cert)
		for _, mode := range modes() {
			t.Run(key+"/"+mode.name, func(t *testing.T) {
				srv := startSServer(t, args(options, mode.options)...)
				first, second, page := resumesAt(t, srv, at(mode.version, ca.clientConfig()))
				if v := second.ConnectionState().Version; v != mode.version {
					t.Errorf("negotiated %s", tls.VersionName(v))
				}
				for what, want := range map[string]int{
					"server accepts (SSL_accept())": 2, "server accepts that finished": 2,
					"session cache hits": 1,
				} {
					if n := page.count(t, what); n != want {
						t.Errorf("s_server counts %d %s, want %d", n, what, want)
					}
				}
				if stateful := len(mode.options) > 0 && mode.options[0] == "-no_ticket"; stateful {
					if n := len(first.Session().Ticket()); n != reprise.MaxSessionIDLength {
						t.Errorf("a ticket of %d bytes is no handle", n)
					}
				}
			})
		}
	}
}

// TestSServerCache: the session stays in one process, and every connection
// resumes the one that the connection before it received.
func TestSServerCache(t *testing.T) {
	ca := newPKI(t)
	options := identity(t, ca.Leaf(t, "a.test"))
	for _, mode := range modes() {
		t.Run(mode.name, func(t *testing.T) {
			srv := startSServer(t, args(options, mode.options)...)
			m := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
			var session *reprise.Session
			for i := range 4 {
				c, page := srv.visit(t, m, at(mode.version, ca.clientConfig()), session)
				if reused, why := c.SessionReused(); reused != (i > 0) || page.reused(t) != reused {
					t.Fatalf("connection %d: we say reused %v (%v), s_server %v", i, reused, why, page.reused(t))
				}
				if n := page.count(t, "session cache hits"); n != i {
					t.Errorf("connection %d: s_server counts %d hits", i, n)
				}
				session = c.Session()
			}
			if st := m.Stats(); st.Connect != 4 || st.ConnectGood != 4 || st.Hits != 3 {
				t.Errorf("we count %d connects, %d good, %d hits", st.Connect, st.ConnectGood, st.Hits)
			}
		})
	}
}

// made has s_client make a session at srv and returns its file.
func (p pki) made(t *testing.T, srv sServer, options ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "session.pem")
	if p.sClient(t, srv.addr, args(options, []string{"-sess_out", file})...).reused(t) {
		t.Fatal("s_client resumed a session that it was not given")
	}
	return file
}

func TestSServerFileOfSClient(t *testing.T) {
	ca := newPKI(t)
	options := identity(t, ca.Leaf(t, "a.test"))
	for _, mode := range modes() {
		t.Run(mode.name, func(t *testing.T) {
			srv := startSServer(t, args(options, mode.options)...)
			file := ca.made(t, srv, args(opensslAt(mode.version), sha256)...)
			offer(t, srv, at(mode.version, ca.clientConfig()), load(t, file))
		})
	}
}

// TestSServerOtherSuite: openssl prefers a suite with SHA-384, crypto/tls one
// with SHA-256, and a TLS 1.3 session is good for one hash.
func TestSServerOtherSuite(t *testing.T) {
	ca := newPKI(t)
	srv := startSServer(t, identity(t, ca.Leaf(t, "a.test"))...)
	s := load(t, ca.made(t, srv, "-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384"))
	defer s.Free()
	if s.CipherSuite() != tls.TLS_AES_256_GCM_SHA384 {
		t.Fatalf("s_client made %v", s)
	}
	c, page := srv.visit(t, manager(t, reprise.Config{}), ca.clientConfig(), s)
	if reused, why := c.SessionReused(); reused || why != reprise.OtherSuite || page.reused(t) {
		t.Errorf("we say reused %v (%v), s_server %v; want %v", reused, why, page.reused(t), reprise.OtherSuite)
	}
}

// TestSServerIntermediate: the file of s_client holds the server's leaf alone,
// ours the chain too.
func TestSServerIntermediate(t *testing.T) {
	ca := newPKI(t)
	below := ca.Intermediate(t, "intermediate")
	options := identity(t, below.Leaf(t, "a.test"))
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			srv := startSServer(t, args(options, opensslAt(version))...)
			config := at(version, ca.clientConfig())
			resumesAt(t, srv, config)

			s := load(t, ca.made(t, srv, args(opensslAt(version), sha256)...))
			m := manager(t, reprise.Config{})
			c, err := m.Dial("tcp", srv.addr, config)
			if err != nil {
				t.Fatal(err)
			}
			if err := c.SetSession(s); err == nil || !strings.Contains(err.Error(), "certificate chain") {
				t.Errorf("SetSession without the intermediate: %v", err)
			}
			page(t, c)
			if reused, why := c.SessionReused(); reused || why != reprise.NothingOffered {
				t.Errorf("after SetSession failed: reused %v (%v)", reused, why)
			}
			s.SetIntermediates([]*x509.Certificate{below.Cert})
			offer(t, srv, config, s)
		})
	}
}

// TestSServerVerifies: a session file is no way around the verification of the
// server that it is from.
func TestSServerVerifies(t *testing.T) {
	ca, other := newPKI(t), newPKI(t)
	srv := startSServer(t, identity(t, ca.Leaf(t, "a.test"))...)
	file := ca.made(t, srv, sha256...)
	for _, test := range []struct {
		name   string
		config *tls.Config
		clock  func() time.Time
		says   string
	}{
		{"other root", other.clientConfig(), nil, "certificate chain"},
		{"other name", &tls.Config{RootCAs: ca.Pool(), ServerName: "b.test"}, nil, "server name"},
		{"expired certificate", ca.clientConfig(), inThreeDays, "certificate chain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := load(t, file)
			defer s.Free()
			c, err := manager(t, reprise.Config{Time: test.clock}).Dial("tcp", srv.addr, test.config)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Free()
			if err := c.SetSession(s); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("SetSession: %v; want the %s named", err, test.says)
			}
			if err := c.Handshake(); err == nil {
				t.Error("the handshake verified what SetSession refused")
			}
		})
	}
}

// inThreeDays is later than any certificate of the tests.
func inThreeDays() time.Time { return time.Now().Add(72 * time.Hour) }

// TestSServerSessionToSClient: s_client resumes what a client of ours saved.
func TestSServerSessionToSClient(t *testing.T) {
	ca := newPKI(t)
	options := identity(t, ca.Leaf(t, "a.test"))
	for _, mode := range modes() {
		t.Run(mode.name, func(t *testing.T) {
			srv := startSServer(t, args(options, mode.options)...)
			c, _ := srv.visit(t, manager(t, reprise.Config{}), at(mode.version, ca.clientConfig()), nil)
			client := ca.sClient(t, srv.addr, args(opensslAt(mode.version), sha256, []string{"-sess_in", save(t, c.Session())})...)
			if !client.reused(t) {
				t.Errorf("s_client did not resume:\n%s", client)
			}
			if n := client.count(t, "session cache hits"); n != 1 {
				t.Errorf("s_server counts %d hits", n)
			}
		})
	}
}

func TestSServerClientCertificate(t *testing.T) {
	ca := newPKI(t)
	options := args(identity(t, ca.Leaf(t, "a.test")), []string{"-Verify", "1", "-CAfile", ca.file, "-verify_return_error"})
	leaf := ca.LeafRSA(t, "client.test")
	for _, mode := range modes() {
		t.Run(mode.name, func(t *testing.T) {
			srv := startSServer(t, args(options, mode.options)...)
			config := at(mode.version, ca.clientConfig())
			config.Certificates = []tls.Certificate{leaf}
			_, _, page := resumesAt(t, srv, config)
			if !strings.Contains(string(page), "Subject: CN=client.test") {
				t.Errorf("s_server does not know the client of the resumed session:\n%s", page)
			}
		})
	}
}

func TestSServerHelloRetryRequest(t *testing.T) {
	ca := newPKI(t)
	options := args(identity(t, ca.Leaf(t, "a.test")), []string{"-tls1_3", "-groups", "P-521", "-msg"})
	for name, more := range map[string][]string{"ticket": nil, "stateful": {"-no_ticket"}} {
		t.Run(name, func(t *testing.T) {
			srv := startSServer(t, args(options, more)...)
			first, second, _ := resumesAt(t, srv, ca.clientConfig())
			if n := hellos(srv.output()); n != 4 {
				t.Errorf("%d ClientHellos in two handshakes: the server did not ask for another group", n)
			}
			for which, c := range map[string]*reprise.Conn{"first": first, "second": second} {
				if id := c.Session().CurveID(); id != tls.CurveP521 {
					t.Errorf("%s connection: the session's group is %v", which, id)
				}
			}
		})
	}
}

func TestSServerALPN(t *testing.T) {
	ca := newPKI(t)
	options := args(identity(t, ca.Leaf(t, "a.test")), []string{"-alpn", "x/1,http/1.1"})
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			srv := startSServer(t, args(options, opensslAt(version))...)
			config := at(version, ca.clientConfig())
			config.NextProtos = []string{"http/1.1"}
			first, second, _ := resumesAt(t, srv, config)
			for which, c := range map[string]*reprise.Conn{"first": first, "second": second} {
				if p := c.Session().ALPN(); p != "http/1.1" {
					t.Errorf("%s connection: the session's protocol is %q", which, p)
				}
			}
		})
	}
}
