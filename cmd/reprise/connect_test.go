package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// closedPort is an address on loopback where nobody listens.
func closedPort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// connected is connect --json as a reader of its output sees it.
type connected struct {
	Address     string `json:"address"`
	ServerName  string `json:"server_name"`
	Connections []struct {
		Resumed     *bool    `json:"resumed"`
		Reason      string   `json:"reason"`
		NotOffered  string   `json:"not_offered"`
		HandshakeMS *float64 `json:"handshake_ms"`
		Version     string   `json:"version"`
		Suite       string   `json:"suite"`
		NoSession   string   `json:"no_session"`
		Session     *struct {
			Fingerprint string    `json:"fingerprint"`
			Expires     time.Time `json:"expires"`
		} `json:"session"`
	} `json:"connections"`
}

// connecting runs connect --json and returns what it says.
func connecting(t *testing.T, code int, args ...string) (c connected, stderr string) {
	t.Helper()
	got, stdout, stderr := command(t, append([]string{"connect", "--json"}, args...)...)
	if got != code {
		t.Errorf("%q: exit code %d, want %d: %s", args, got, code, stderr)
	}
	if err := json.Unmarshal([]byte(stdout), &c); err != nil {
		t.Fatalf("%q: %v in %q (%s)", args, err, stdout, stderr)
	}
	return c, stderr
}

// outcome is which connections resumed, y or n each.
func (c *connected) outcome() string {
	var b strings.Builder
	for _, k := range c.Connections {
		switch {
		case k.Resumed == nil:
			b.WriteByte('?')
		case *k.Resumed:
			b.WriteByte('y')
		default:
			b.WriteByte('n')
		}
	}
	return b.String()
}

func TestConnect(t *testing.T) {
	for _, tickets := range []string{"--no-tickets=false", "--no-tickets"} {
		s := serving(t, tickets)
		for _, version := range []string{"1.2", "1.3"} {
			t.Run(version+tickets, func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "s.pem")
				flags := []string{s.address, "--server-name", "localhost", "--insecure", "--tls", version}
				c, _ := connecting(t, exitGood, append(flags, "--reconnect", "2", "--sess-out", file)...)
				if c.outcome() != "nyy" || c.Address != s.address || c.ServerName != "localhost" {
					t.Errorf("connected: %+v", c)
				}
				for i, k := range c.Connections {
					if k.Version != "TLS "+version || !strings.HasPrefix(k.Suite, "TLS_") || k.HandshakeMS == nil || *k.HandshakeMS <= 0 ||
						k.Session == nil || k.Session.Fingerprint == "" || !k.Session.Expires.After(time.Now()) {
						t.Errorf("connection %d: %+v", i+1, k)
					}
				}
				if c.Connections[0].Reason != "nothing offered" || c.Connections[1].Reason != "resumed" {
					t.Errorf("reasons: %+v", c.Connections)
				}
				c, _ = connecting(t, exitGood, append(flags, "--sess-in", file)...)
				if c.outcome() != "y" {
					t.Errorf("with the session of the file: %+v", c)
				}
			})
		}
	}
}

func TestConnectText(t *testing.T) {
	s := serving(t)
	code, stdout, stderr := command(t, "connect", s.address, "--server-name", "localhost", "--insecure", "--reconnect", "1")
	lines := strings.Split(stdout, "\n")
	if code != exitGood || stderr != "" || len(lines) != 7 ||
		!strings.HasPrefix(lines[0], "1  full handshake, nothing offered, ") || !strings.HasPrefix(lines[3], "2  resumed, ") {
		t.Errorf("exit code %d, stderr %q:\n%s", code, stderr, stdout)
	}
}

// TestConnectRefuses: a session that fails its check is not offered, which is
// said, and the connection goes on without it.
func TestConnectRefuses(t *testing.T) {
	ca, other := testpki.New(t, "root"), testpki.New(t, "other")
	cert, key := testpki.PEM(t, ca.Leaf(t, "a.test", "b.test"))
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("cert"), cert)
	write(t, path("key"), key)
	write(t, path("ca"), ca.PEM())
	write(t, path("both"), append(ca.PEM(), other.PEM()...))
	cert, key = testpki.PEM(t, other.Leaf(t, "a.test"))
	write(t, path("other-cert"), cert)
	write(t, path("other-key"), key)
	s := serving(t, "--cert", path("cert"), "--key", path("key"))
	stranger := serving(t, "--cert", path("other-cert"), "--key", path("other-key"))
	connecting(t, exitGood, s.address, "--ca", path("ca"), "--server-name", "a.test", "--sess-out", path("s.pem"))
	connecting(t, exitGood, stranger.address, "--ca", path("both"), "--server-name", "a.test", "--sess-out", path("stranger.pem"))
	expire(t, path("s.pem"), path("expired.pem"))

	for name, c := range map[string]struct {
		say  string
		args []string
	}{
		"chain":   {"certificate chain", []string{"--server-name", "a.test", "--sess-in", path("stranger.pem")}},
		"name":    {`made for "a.test"`, []string{"--server-name", "b.test", "--sess-in", path("s.pem")}},
		"expired": {"expired", []string{"--server-name", "a.test", "--sess-in", path("expired.pem")}},
		"version": {"other version", []string{"--server-name", "a.test", "--tls", "1.2", "--sess-in", path("s.pem")}},
	} {
		t.Run(name, func(t *testing.T) {
			got, stderr := connecting(t, exitFinding, append([]string{s.address, "--ca", path("ca"), "--reconnect", "1"}, c.args...)...)
			if got.outcome() != "ny" {
				t.Errorf("connected: %+v", got)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.say) {
				t.Errorf("it does not say %q in a line: %q", c.say, stderr)
			}
			if first := got.Connections[0]; name == "chain" && !strings.Contains(first.NotOffered, "certificate chain") {
				t.Errorf("connection 1: %+v", first)
			}
		})
	}
}

// expire writes a copy of a session file whose session was good until an hour ago.
func expire(t *testing.T, from, to string) {
	t.Helper()
	s, err := readSession(from)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Free()
	s.SetTime(s.Time().Add(-s.Timeout() - time.Hour))
	if err := writeSession(to, s); err != nil {
		t.Fatal(err)
	}
}

// silent is a TLS 1.3 server that sends no session and says nothing.
func silent(t *testing.T, config *tls.Config) (address string) {
	config = config.Clone()
	config.SessionTicketsDisabled = true
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				c.Read(make([]byte, 1)) // the handshake, then until the client goes
			}()
		}
	}()
	return l.Addr().String()
}

func TestConnectNoSession(t *testing.T) {
	certificate, _, err := selfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	address := silent(t, &tls.Config{Certificates: []tls.Certificate{certificate}})
	for _, version := range []string{"1.2", "1.3"} {
		flags := []string{address, "--insecure", "--wait", "50ms", "--tls", version}
		c, stderr := connecting(t, exitGood, append(flags, "--reconnect", "1")...)
		if c.outcome() != "nn" || stderr != "" || c.Connections[0].Session != nil || c.Connections[0].NoSession == "" {
			t.Errorf("TLS %s: %+v, %q", version, c, stderr)
		}
		file := filepath.Join(t.TempDir(), "s.pem")
		_, stderr = connecting(t, exitFailure, append(flags, "--sess-out", file)...)
		if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "not written") {
			t.Errorf("TLS %s: %q", version, stderr)
		}
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("TLS %s: %v", version, err)
		}
	}
}

// TestConnectFails: what happened before a failure is told, and the way out.
func TestConnectFails(t *testing.T) {
	s := serving(t)
	for say, args := range map[string][]string{
		"--ca":          {s.address, "--server-name", "localhost"},
		"--server-name": {s.address, "--server-name", "other.test", "--ca", savedCA(t, s.address)},
	} {
		code, stdout, stderr := command(t, append([]string{"connect"}, args...)...)
		if code != exitFailure || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, say) {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

// savedCA saves the certificate of a server, as a user who trusts it would.
func savedCA(t *testing.T, address string) string {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cert, _ := testpki.PEM(t, tls.Certificate{Certificate: [][]byte{c.ConnectionState().PeerCertificates[0].Raw}, PrivateKey: unusedKey(t)})
	name := filepath.Join(t.TempDir(), "ca.pem")
	write(t, name, cert)
	return name
}

func unusedKey(t *testing.T) any {
	c, _, err := selfSigned("unused")
	if err != nil {
		t.Fatal(err)
	}
	return c.PrivateKey
}

// TestConnectSelfSigned: a certificate that is its own root resumes verified.
func TestConnectSelfSigned(t *testing.T) {
	s := serving(t)
	c, _ := connecting(t, exitGood, s.address, "--server-name", "localhost", "--ca", savedCA(t, s.address), "--reconnect", "2")
	if c.outcome() != "nyy" {
		t.Errorf("connected: %+v", c)
	}
}

func TestConnectInterrupted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		if c, err := l.Accept(); err == nil {
			defer c.Close()
			c.Read(make([]byte, 1)) // the ClientHello: the handshake is under way
			cancel()
			<-t.Context().Done()
		}
	}()
	var out, errs bytes.Buffer
	if code := run(ctx, []string{"connect", l.Addr().String(), "--insecure"}, &out, &errs); code != exitFailure || errs.String() != "reprise: interrupted\n" {
		t.Errorf("exit code %d, %q", code, errs.String())
	}
}

// TestConnectSecrets: nothing that is printed holds the session's secret.
func TestConnectSecrets(t *testing.T) {
	s := serving(t)
	file := filepath.Join(t.TempDir(), "s.pem")
	_, stdout, stderr := command(t, "connect", s.address, "--server-name", "localhost", "--insecure", "--json", "--sess-out", file)
	session, err := readSession(file)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Free()
	key, err := session.MasterKey()
	if err != nil || len(key) == 0 {
		t.Fatalf("no secret in the file: %v", err)
	}
	for form, secret := range map[string]string{"hex": hexOf(key), "base64": base64Of(key), "ticket": hexOf(session.Ticket())} {
		if strings.Contains(strings.ToLower(stdout+stderr), strings.ToLower(secret)) {
			t.Errorf("the output holds the secret in %s", form)
		}
	}
}

func hexOf(b []byte) string    { return hex.EncodeToString(b) }
func base64Of(b []byte) string { return base64.StdEncoding.EncodeToString(b) }
