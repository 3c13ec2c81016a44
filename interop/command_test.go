package interop_test

import (
	"crypto/tls"
	"encoding/json"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// The command reprise meets openssl: two programs and files between them.

// build compiles the command and returns its path.
func build(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "reprise.exe") // a name that every system runs
	run(t, "", program(t, "go"), "build", "-buildvcs=false", "-o", path, "github.com/reprise-tls/reprise/cmd/reprise")
	return path
}

func TestCommandServe(t *testing.T) {
	ca := newPKI(t)
	cert, key := testpki.PEM(t, ca.Leaf(t, "a.test"))
	files := []string{"--cert", write(t, "cert.pem", cert), "--key", write(t, "key.pem", key)}
	command := build(t)
	for _, version := range current {
		for _, options := range [][]string{nil, {"--no-tickets"}} {
			t.Run(tls.VersionName(version)+strings.Join(options, ""), func(t *testing.T) {
				srv := start(t, command, args([]string{"serve", "--listen", "127.0.0.1:0"}, files, options)...)
				addr := srv.await(t, `(?m)^serving https://(\S+)/$`)[1]
				file := filepath.Join(t.TempDir(), "session.pem")
				for i, option := range []string{"-sess_out", "-sess_in"} {
					client := ca.sClient(t, addr, args(opensslAt(version), []string{option, file})...)
					resumed := strings.Contains(string(client), `"resumed": true`)
					if want := i == 1; client.reused(t) != want || resumed != want {
						t.Errorf("connection %d: s_client says reused %v, the page %v", i, client.reused(t), resumed)
					}
				}
				if err := srv.cmd.Process.Signal(syscall.SIGTERM); err != nil {
					t.Fatal(err)
				}
				if last := srv.await(t, `(?m)^served (.* resumed)`)[1]; last != "2 handshakes, 1 resumed" {
					t.Errorf("served %s", last)
				}
			})
		}
	}
}

// connected is what connect --json says, as far as it matters here.
type connected struct {
	Connections []struct {
		Resumed bool
		Reason  string
		Version string
	}
}

// connect runs the command against addr and returns what it says of its only
// connection.
func (p pki) connect(t *testing.T, command, addr string, options ...string) (resumed bool, reason string) {
	t.Helper()
	out := run(t, "", command, args([]string{"connect", addr, "--json", "--ca", p.file, "--server-name", "a.test"}, options)...)
	var c connected
	if err := json.Unmarshal([]byte(out), &c); err != nil || len(c.Connections) != 1 {
		t.Fatalf("%v:\n%s", err, out)
	}
	return c.Connections[0].Resumed, c.Connections[0].Reason
}

// TestCommandConnect passes one session from program to program by file: each
// step resumes what the one before it left, and s_server counts them.
func TestCommandConnect(t *testing.T) {
	ca := newPKI(t)
	options := identity(t, ca.Leaf(t, "a.test"))
	command := build(t)
	for _, mode := range modes() {
		if mode.version < tls.VersionTLS12 {
			continue // the command does not speak it
		}
		t.Run(mode.name, func(t *testing.T) {
			srv := startSServer(t, args(options, mode.options)...)
			flag := map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[mode.version]
			first, second, third := filepath.Join(t.TempDir(), "1.pem"), filepath.Join(t.TempDir(), "2.pem"), filepath.Join(t.TempDir(), "3.pem")

			if resumed, why := ca.connect(t, command, srv.addr, "--tls", flag, "--sess-out", first); resumed || why != reprise.NothingOffered.String() {
				t.Errorf("first connection: resumed %v (%s)", resumed, why)
			}
			if resumed, why := ca.connect(t, command, srv.addr, "--tls", flag, "--sess-in", first, "--sess-out", second); !resumed {
				t.Errorf("from a file of connect: not resumed: %s", why)
			}
			client := ca.sClient(t, srv.addr, args(opensslAt(mode.version), sha256, []string{"-sess_in", second, "-sess_out", third})...)
			if !client.reused(t) {
				t.Errorf("s_client did not resume from a file of connect:\n%s", client)
			}
			if mode.version < tls.VersionTLS13 {
				third = second // s_client got no new session: it goes on with the one
			}
			if resumed, why := ca.connect(t, command, srv.addr, "--tls", flag, "--sess-in", third); !resumed {
				t.Errorf("from a file of s_client: not resumed: %s", why)
			}
			if n := ca.sClient(t, srv.addr).count(t, "session cache hits"); n != 3 {
				t.Errorf("s_server counts %d hits, want 3", n)
			}
		})
	}
}

// TestCommandConnectKeeps: sessions that the command leaves in a directory serve
// the next process, at servers of both kinds.
func TestCommandConnectKeeps(t *testing.T) {
	ca := newPKI(t)
	command := build(t)
	cert := ca.Leaf(t, "a.test")
	for name, c := range map[string]struct {
		addr    string
		options []string
	}{
		"TLS 1.2, tickets":     {startSServer(t, append(identity(t, cert), "-tls1_2")...).addr, nil},
		"TLS 1.2, session ids": {startOpenSSLByID(t, cert, true), []string{"--session-ids"}},
		"TLS 1.3":              {startSServer(t, identity(t, cert)...).addr, nil},
	} {
		t.Run(name, func(t *testing.T) {
			options := append(c.options, "--session-dir", filepath.Join(t.TempDir(), "sessions"))
			for i := range 3 {
				if resumed, reason := ca.connect(t, command, c.addr, options...); resumed != (i > 0) {
					t.Errorf("process %d: resumed %v, %s", i, resumed, reason)
				}
			}
		})
	}
}

// TestCommandServeSharesTickets puts the command beside nginx and HAProxy, under
// key files and a session id context that it is given.
func TestCommandServeSharesTickets(t *testing.T) {
	ca := newPKI(t)
	command := build(t)
	for _, kind := range []*kindOfPeer{nginx, haproxy} {
		t.Run(kind.name, func(t *testing.T) {
			keys := newKeys(t, kind.formats[1])
			there := kind.start(t, peer{cert: ca.Leaf(t, "a.test")}, keys)
			cert, key := testpki.PEM(t, ca.Leaf(t, "a.test"))
			sharesSessions(t, ca, keys, there, &served{
				command: command, contextID: contextOf(t, ca, there, keys),
				options: []string{"--cert", write(t, "cert.pem", cert), "--key", write(t, "key.pem", key)},
			})
		})
	}
}
