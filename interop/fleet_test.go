package interop_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// A fleet is hosts of several kinds under one set of ticket keys: a client that
// got its session at one resumes it at another. Every host answers every request
// with its opinion of the connection:
//
//	resumed=yes|no verify=WHAT [reason=WHY]

// host is a server of a fleet.
type host interface {
	address() string
	// use replaces the ticket keys.
	use(testing.TB, *keyfile.Set)
}

// answer is a host's opinion of a connection.
type answer struct {
	resumed bool
	verify  string // of the client's certificate, in the host's own words
	reason  string // why it did not resume, where the host says
	page    string
}

// The command serve answers in JSON, and asks for no client certificate.
var (
	answerForm = regexp.MustCompile(`(?m)^resumed=(yes|no) verify=(\S*)(?: reason=(.*))?$`)
	answerJSON = regexp.MustCompile(`(?s)"resumed": (true|false),.*"reason": "([^"]*)"`)
)

func parseAnswer(page string) answer {
	if m := answerForm.FindStringSubmatch(page); m != nil {
		return answer{m[1] == "yes", m[2], m[3], page}
	}
	if m := answerJSON.FindStringSubmatch(page); m != nil {
		return answer{m[1] == "true", "NONE", m[2], page}
	}
	return answer{page: page}
}

// client visits a host, offering the session that its last visit left, and
// fails the test if client and host disagree on whether they resumed.
type client func(t testing.TB, h host) answer

// kindOfClient makes clients that have no session yet.
type kindOfClient struct {
	name string
	make func(t testing.TB, ca pki, version uint16, cert *tls.Certificate) client
}

var clients = []kindOfClient{{"openssl", newSClient}, {"Go", newGoClient}}

// newSClient returns a client that is an s_client at each visit, with a file
// between them. Its suites of TLS 1.3 are those of openssl, in openssl's order.
func newSClient(t testing.TB, ca pki, version uint16, cert *tls.Certificate) client {
	file := filepath.Join(t.TempDir(), "session.pem")
	options := args(opensslAt(version), []string{"-sess_out", file})
	if cert != nil {
		options = append(options, identity(t, *cert)...)
	}
	return func(t testing.TB, h host) answer {
		t.Helper()
		options := options
		if _, err := os.Stat(file); err == nil {
			options = args(options, []string{"-sess_in", file})
		}
		s := ca.sClient(t, h.address(), options...)
		return agreed(t, s.reused(t), parseAnswer(string(s)))
	}
}

func newGoClient(t testing.TB, ca pki, version uint16, cert *tls.Certificate) client {
	config := at(version, ca.clientConfig())
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // by name, whatever the address
	if cert != nil {
		config.Certificates = []tls.Certificate{*cert}
	}
	return func(t testing.TB, h host) answer {
		t.Helper()
		c, err := tls.Dial("tcp", h.address(), config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a := parseAnswer(string(page(t, c)))
		return agreed(t, c.ConnectionState().DidResume, a)
	}
}

func agreed(t testing.TB, resumed bool, a answer) answer {
	t.Helper()
	if a.verify != "" && a.resumed != resumed {
		t.Errorf("the client says resumed %v, the host %v", resumed, a.resumed)
	}
	a.resumed = resumed
	return a
}

// clientCertificates says what hosts make of client certificates.
type clientCertificates int

const (
	noClientCertificates clientCertificates = iota
	optionalClientCertificates
	requiredClientCertificates
)

// peer is a host that is a program of others. It listens on a socket of the
// test's, so that it can be connected to at once, and has the same address
// when it is started again.
type peer struct {
	kind     *kindOfPeer
	cert     tls.Certificate
	clients  clientCertificates
	ca       pki  // of clients
	defaults bool // no suites are configured
	listener *net.TCPListener
	daemon   *daemon
}

// kindOfPeer is a program that takes ticket keys from files.
type kindOfPeer struct {
	name    string
	formats []keyfile.Format
	// command returns how to run it in a directory of its own, listening on
	// file descriptor 3.
	command func(t testing.TB, p *peer, dir string, keys []string) *exec.Cmd
	// What its page says of a client certificate: verified, not sent, brought by
	// a ticket and verified by nobody, and required but not in the ticket.
	verified, none, unverified, missing string
}

func (k *kindOfPeer) start(t testing.TB, p peer, keys *keyfile.Set) *peer {
	t.Helper()
	program(t, k.name)
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p.kind, p.listener = k, l
	p.use(t, keys)
	return &p
}

func (p *peer) address() string { return p.listener.Addr().String() }

// use starts the program, again if it runs.
func (p *peer) use(t testing.TB, keys *keyfile.Set) {
	t.Helper()
	if p.daemon != nil {
		p.daemon.terminate()
	}
	dir := t.TempDir()
	cmd := p.kind.command(t, p, dir, keyFiles(t, dir, keys))
	socket, err := p.listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	cmd.ExtraFiles = []*os.File{socket}
	p.daemon = launch(t, cmd)
	t.Cleanup(p.daemon.terminate)
}

// keyFiles writes keys to files in a directory and returns their paths.
func keyFiles(t testing.TB, dir string, keys *keyfile.Set) (paths []string) {
	t.Helper()
	for i, data := range keys.Files() {
		paths = append(paths, put(t, dir, fmt.Sprintf("%d.key", i), data))
	}
	return paths
}

// put writes a file into a directory and returns its path.
func put(t testing.TB, dir, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// pem writes the peer's certificate and its key into a directory.
func (p *peer) pem(t testing.TB, dir string) (cert, key, both string) {
	t.Helper()
	c, k := testpki.PEM(t, p.cert)
	return put(t, dir, "cert.pem", c), put(t, dir, "key.pem", k), put(t, dir, "both.pem", slices.Concat(c, k))
}

// goSuites are the suites of TLS 1.3 in the order of crypto/tls.
const goSuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"

// ours is a host of ours, in the process of the test.
type ours struct {
	addr  string
	ring  *ticket.KeyRing
	stats func() reprise.Stats
}

func (o *ours) address() string { return o.addr }

func (o *ours) use(t testing.TB, keys *keyfile.Set) {
	t.Helper()
	loadRing(t, o.ring, keys)
}

func newRing(t testing.TB, keys *keyfile.Set) *ticket.KeyRing {
	t.Helper()
	ring, err := ticket.NewKeyRing()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	loadRing(t, ring, keys)
	return ring
}

// loadRing gives a ring keys through files.
func loadRing(t testing.TB, ring *ticket.KeyRing, keys *keyfile.Set) {
	t.Helper()
	source, err := keyfile.NewSource(keyfile.Config{Format: keys.Form(), Files: keyFiles(t, t.TempDir(), keys)})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := ring.Load(t.Context(), source); err != nil {
		t.Fatal(err)
	}
}

// startOurs starts a server of ours.
func startOurs(t testing.TB, config *tls.Config, keys *keyfile.Set, c reprise.Config) *ours {
	t.Helper()
	ring := newRing(t, keys)
	c.Tickets = ring
	m := manager(t, c)
	srv := &http.Server{TLSConfig: config, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		how, _ := reprise.ResumptionFromContext(r.Context())
		resumed := "no"
		if how.Resumed {
			resumed = "yes"
		}
		fmt.Fprintf(w, "resumed=%s verify=%s reason=%v\n", resumed, verdictOf(r.TLS), how.Reason)
	})}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- m.ServeTLS(srv, l, "", "") }()
	t.Cleanup(func() { srv.Close(); <-ended })
	return &ours{l.Addr().String(), ring, m.Stats}
}

// verdictOf says in nginx's words what a server of ours makes of a client's certificate.
func verdictOf(cs *tls.ConnectionState) string {
	switch {
	case len(cs.VerifiedChains) > 0:
		return "SUCCESS"
	case len(cs.PeerCertificates) > 0:
		return "UNVERIFIED"
	}
	return "NONE"
}

// served is a host of ours that is the command serve.
type served struct {
	command   string
	options   []string
	contextID []byte
	daemon    *daemon
	addr      string
}

func (s *served) address() string { return s.addr }

// use starts the command, again if it runs.
func (s *served) use(t testing.TB, keys *keyfile.Set) {
	t.Helper()
	if s.daemon != nil {
		s.daemon.terminate()
	}
	s.daemon = start(t, s.command, args([]string{
		"serve", "--listen", "127.0.0.1:0", "--ticket-format", keys.Form().String(),
		"--ticket-keys", strings.Join(keyFiles(t, t.TempDir(), keys), ","), "--context-id", fmt.Sprintf("hex:%x", s.contextID),
	}, s.options)...)
	s.addr = s.daemon.await(t, `(?m)^serving https://(\S+)/$`)[1]
}

// sealedSession is the session in a ticket that a host gives.
func sealedSession(t testing.TB, ca pki, h host, version uint16, keys *keyfile.Set) *reprise.Session {
	t.Helper()
	file := filepath.Join(t.TempDir(), "session.pem")
	ca.sClient(t, h.address(), args(opensslAt(version), []string{"-sess_out", file})...)
	s := load(t, file)
	defer s.Free()
	der, _, err := newRing(t, keys).Open(s.Ticket())
	if err != nil {
		t.Fatalf("a ticket of %s: %v", h.address(), err)
	}
	sealed, _, err := reprise.ParseSession(der)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sealed.Free)
	return sealed
}

// contextOf is the session id context that a host gives its sessions.
func contextOf(t testing.TB, ca pki, h host, keys *keyfile.Set) []byte {
	t.Helper()
	return sealedSession(t, ca, h, tls.VersionTLS12, keys).IDContext()
}

func newKeys(t testing.TB, f keyfile.Format) *keyfile.Set {
	t.Helper()
	return must(t)(keyfile.New(f))
}

// rotated is keys after a rotation: what encrypted before still decrypts, and
// after another rotation does no more.
func rotated(t testing.TB, keys *keyfile.Set) *keyfile.Set {
	t.Helper()
	return must(t)(keys.Rotate(max(2, keys.Form().MinKeys())))
}

func must(t testing.TB) func(*keyfile.Set, error) *keyfile.Set {
	return func(keys *keyfile.Set, err error) *keyfile.Set {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
}

// sharesSessions takes two hosts through the life of their keys: each resumes
// what the other made, also after a rotation, and no more when the keys of
// that time are gone.
func sharesSessions(t *testing.T, ca pki, keys *keyfile.Set, a, b host) {
	for _, version := range current {
		for _, kind := range clients {
			t.Run(tls.VersionName(version)+"/"+kind.name, func(t *testing.T) {
				visits := func(name string, c client, h host, resumed bool) {
					t.Helper()
					got := c(t, h)
					if got.verify == "" {
						t.Fatalf("%s: no answer:\n%s", name, got.page)
					}
					if got.resumed != resumed {
						t.Errorf("%s: resumed %v, want %v (%s)", name, got.resumed, resumed, got.reason)
					}
				}
				fresh := func() client { return kind.make(t, ca, version, nil) }
				directions := []struct {
					name     string
					from, to host
				}{{"there and here", a, b}, {"here and there", b, a}}
				a.use(t, keys)
				b.use(t, keys)
				before, long := make(map[string]client), make(map[string]client)
				for _, d := range directions {
					c := fresh()
					visits(d.name, c, d.from, false)
					visits(d.name, c, d.to, true)
					visits(d.name+" and back", c, d.from, true)
					before[d.name], long[d.name] = fresh(), fresh()
					visits(d.name, before[d.name], d.from, false)
					visits(d.name, long[d.name], d.from, false)
				}
				next := rotated(t, keys)
				a.use(t, next)
				b.use(t, next)
				for _, d := range directions {
					visits(d.name+" after a rotation", before[d.name], d.to, true)
				}
				next = rotated(t, next)
				a.use(t, next)
				b.use(t, next)
				for _, d := range directions {
					visits(d.name+" after the keys are gone", long[d.name], d.to, false)
					visits(d.name+" with the new keys", long[d.name], d.from, true)
				}
			})
		}
	}
}

// trusting is a server configuration that asks for client certificates.
func (p pki) trusting(config *tls.Config, auth tls.ClientAuthType) *tls.Config {
	config.ClientAuth, config.ClientCAs = auth, p.Pool()
	return config
}

// passes takes a client from one host to the other.
func passes(t *testing.T, c client, from, to host) (first, second answer) {
	t.Helper()
	first = c(t, from)
	if first.resumed {
		t.Errorf("the first connection resumed:\n%s", first.page)
	}
	return first, c(t, to)
}

// eachClient runs a test for every version and client.
func eachClient(t *testing.T, ca pki, cert *tls.Certificate, test func(*testing.T, client)) {
	for _, version := range current {
		for _, kind := range clients {
			t.Run(tls.VersionName(version)+"/"+kind.name, func(t *testing.T) { test(t, kind.make(t, ca, version, cert)) })
		}
	}
}

// clientCertificatesWith tests sessions of clients with certificates, between a
// peer and servers of ours. What a ticket of ours says is what the peer believes.
func clientCertificatesWith(t *testing.T, kind *kindOfPeer) {
	ca, other := newPKI(t), newPKI(t)
	keys := newKeys(t, kind.formats[1])
	good, bad := ca.Leaf(t, "client.test"), other.Leaf(t, "client.test")
	there := kind.start(t, peer{cert: ca.Leaf(t, "a.test"), ca: ca, clients: optionalClientCertificates}, keys)
	c := reprise.Config{ContextID: contextOf(t, ca, there, keys)}
	verifying := startOurs(t, ca.trusting(serverConfig(ca.Leaf(t, "a.test")), tls.VerifyClientCertIfGiven), keys, c)
	indifferent := startOurs(t, serverConfig(ca.Leaf(t, "a.test")), keys, c)
	asking := startOurs(t, ca.trusting(serverConfig(ca.Leaf(t, "a.test")), tls.RequestClientCert), keys, c)
	declined := reprise.OtherPolicy.String()

	t.Run("verified there", func(t *testing.T) {
		eachClient(t, ca, &good, func(t *testing.T, c client) {
			first, second := passes(t, c, there, verifying)
			if first.verify != kind.verified {
				t.Errorf("there: %s", first.page)
			}
			if second.resumed || second.reason != declined || second.verify != "SUCCESS" {
				t.Errorf("here: want a full handshake, which verifies: %s", second.page)
			}
			if third := c(t, indifferent); third.resumed || third.verify != "NONE" {
				t.Errorf("where no client certificate is wanted: %s", third.page)
			}
		})
	})
	t.Run("verified there, unwanted here", func(t *testing.T) {
		eachClient(t, ca, &good, func(t *testing.T, c client) {
			if _, second := passes(t, c, there, indifferent); second.resumed || second.reason != declined {
				t.Errorf("here: want a full handshake: %s", second.page)
			}
		})
	})
	t.Run("none there", func(t *testing.T) {
		eachClient(t, ca, nil, func(t *testing.T, c client) {
			if _, second := passes(t, c, there, verifying); second.resumed || second.reason != declined || second.verify != "NONE" {
				t.Errorf("here: want a full handshake: %s", second.page)
			}
		})
	})
	t.Run("verified here", func(t *testing.T) {
		eachClient(t, ca, &good, func(t *testing.T, c client) {
			if _, second := passes(t, c, verifying, there); !second.resumed || second.verify != kind.verified {
				t.Errorf("there: %s", second.page)
			}
			// libssl passes on what is ours in a ticket, so the policy comes back.
			if third := c(t, verifying); !third.resumed || third.verify != "SUCCESS" {
				t.Errorf("here again: %s", third.page)
			}
		})
	})
	t.Run("none here", func(t *testing.T) {
		eachClient(t, ca, nil, func(t *testing.T, c client) {
			if _, second := passes(t, c, verifying, there); !second.resumed || second.verify != kind.none {
				t.Errorf("there: %s", second.page)
			}
		})
	})
	for name, cert := range map[string]tls.Certificate{"of the CA": good, "of another CA": bad} {
		t.Run("unverified here, "+name, func(t *testing.T) {
			eachClient(t, ca, &cert, func(t *testing.T, c client) {
				first, second := passes(t, c, asking, there)
				if first.verify != "UNVERIFIED" {
					t.Fatalf("here: %s", first.page)
				}
				if !second.resumed || !strings.Contains(second.page, kind.unverified) || second.verify == kind.verified {
					t.Errorf("there: want it resumed and seen as unverified (%s): %s", kind.unverified, second.page)
				}
			})
		})
	}
	// Who sends no certificate to a server that wants none has a session
	// without one; whether that is enough elsewhere is decided there.
	t.Run("required there, unwanted here", func(t *testing.T) {
		requiring := kind.start(t, peer{cert: there.cert, ca: ca, clients: requiredClientCertificates}, keys)
		eachClient(t, ca, nil, func(t *testing.T, c client) {
			if _, second := passes(t, c, indifferent, requiring); !second.resumed || !strings.Contains(second.page, kind.missing) {
				t.Errorf("there: want %q: %s", kind.missing, second.page)
			}
		})
	})
}

// TestOtherNameThere: a session that a peer made for one name does not resume
// here under another, whatever the peer itself would do.
func TestOtherNameThere(t *testing.T) {
	ca := newPKI(t)
	for _, kind := range []*kindOfPeer{nginx, haproxy} {
		for _, version := range current {
			t.Run(kind.name+"/"+tls.VersionName(version), func(t *testing.T) {
				keys := newKeys(t, kind.formats[1])
				there := kind.start(t, peer{cert: ca.Leaf(t, "a.test")}, keys)
				here := startOurs(t, serverConfig(ca.Leaf(t, "a.test")), keys, reprise.Config{ContextID: contextOf(t, ca, there, keys)})
				file := filepath.Join(t.TempDir(), "session.pem")
				options := opensslAt(version)
				ca.sClient(t, there.address(), args(options, []string{"-sess_out", file})...)
				s := ca.sClient(t, here.address(), args(options, []string{"-sess_in", file, "-servername", "b.test"})...)
				if a := parseAnswer(string(s)); s.reused(t) || a.reason != reprise.OtherName.String() {
					t.Errorf("want %v: %s", reprise.OtherName, a.page)
				}
				if s := ca.sClient(t, here.address(), args(options, []string{"-sess_in", file})...); !s.reused(t) {
					t.Errorf("under its own name:\n%s", s)
				}
			})
		}
	}
}
