package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// server is a serve under way.
type server struct {
	t       *testing.T
	address string
	stop    func() string // ends it and returns what else it printed
	hints   *strings.Builder
}

// serving starts serve on a free port and waits for its line.
func serving(t *testing.T, args ...string) *server {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	hints := new(strings.Builder)
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0"}, args...), in, hints)
		in.Close()
	}()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("%v (stderr: %s)", err, hints)
	}
	s := &server{t: t, address: strings.TrimSuffix(strings.TrimPrefix(line, "serving https://"), "/\n"), hints: hints}
	if _, _, err := net.SplitHostPort(s.address); err != nil {
		t.Fatalf("no address in %q", line)
	}
	s.stop = sync.OnceValue(func() string {
		cancel()
		rest, _ := io.ReadAll(lines)
		if c := <-code; c != exitGood {
			t.Errorf("serve: exit code %d", c)
		}
		return string(rest)
	})
	t.Cleanup(func() { s.stop() })
	return s
}

// get asks for a path over a client's connection.
func (s *server) get(client *http.Client, path, accept string) (*http.Response, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "https://"+s.address+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	res, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return res, string(body)
}

// browser is an HTTP client that trusts any server.
func browser(t *testing.T, http2 bool, config *tls.Config) *http.Client {
	config.InsecureSkipVerify, config.ServerName = true, "localhost"
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

func TestServe(t *testing.T) {
	for _, tickets := range []string{"--no-tickets=false", "--no-tickets"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tls.VersionName(version)+tickets, func(t *testing.T) {
				s := serving(t, tickets, "--context-id", "svc", "--timeout", "10m")
				m, err := reprise.New(reprise.Config{})
				if err != nil {
					t.Fatal(err)
				}
				config := m.ClientConfig(&tls.Config{MinVersion: version, MaxVersion: version})
				client := browser(t, true, config)
				for i := range 3 { // each answer ends its connection
					_, body := s.get(client, "/", "application/json")
					var page connectionPage
					if err := json.Unmarshal([]byte(body), &struct {
						*connectionPage
						Reason string `json:"reason"`
					}{connectionPage: &page}); err != nil {
						t.Fatalf("%v in %s", err, body)
					}
					if page.Resumed != (i > 0) || page.Protocol != "HTTP/2.0" || page.ServerName != "localhost" {
						t.Errorf("connection %d: %s", i+1, body)
					}
					if f := page.Session; f == nil || f.Version != tls.VersionName(version) || f.TimeoutSeconds != 600 ||
						f.ContextID != "737663" || f.Fingerprint == "" || f.FirstAuthentication.IsZero() {
						t.Errorf("connection %d: %s", i+1, body)
					}
				}
				if rest := s.stop(); !strings.HasPrefix(rest, "served 3 handshakes, 2 resumed, ") || strings.Count(rest, "\n") != 1 {
					t.Errorf("at the end it prints %q", rest)
				}
			})
		}
	}
}

// TestServeHints proves that the commands to try name one server name and the real address.
func TestServeHints(t *testing.T) {
	s := serving(t)
	s.stop()
	for _, want := range []string{
		"s_client -connect " + s.address + " -servername localhost -quiet -sess_out s.pem\n",
		"s_client -connect " + s.address + " -servername localhost -quiet -sess_in s.pem\n",
		"reprise connect " + s.address + " --server-name localhost ",
	} {
		if !strings.Contains(s.hints.String(), want) {
			t.Errorf("no %q in\n%s", want, s.hints)
		}
	}
	if hints := try("192.0.2.1:443", ""); strings.Count(hints, "-noservername") != 2 || strings.Contains(hints, "--server-name") {
		t.Errorf("without a name:\n%s", hints)
	}
}

func TestServeCertificate(t *testing.T) {
	ca := testpki.New(t, "root")
	cert, key := testpki.PEM(t, ca.Leaf(t, "a.test", "127.0.0.1"))
	dir := t.TempDir()
	write(t, filepath.Join(dir, "cert.pem"), cert)
	write(t, filepath.Join(dir, "key.pem"), key)
	write(t, filepath.Join(dir, "ca.pem"), ca.PEM())
	s := serving(t, "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"))
	code, stdout, stderr := command(t, "connect", s.address, "--ca", filepath.Join(dir, "ca.pem"), "--server-name", "a.test", "--reconnect", "1")
	if code != exitGood || !strings.Contains(stdout, "\n2  resumed, ") {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	s.stop()
	if !strings.Contains(s.hints.String(), "-servername a.test ") {
		t.Errorf("the hints name another server:\n%s", s.hints)
	}
}

// TestServeInUse: the address is checked before anything is promised.
func TestServeInUse(t *testing.T) {
	s := serving(t)
	code, stdout, stderr := command(t, "serve", "--listen", s.address)
	if code != exitFailure || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "in use") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// TestServeSignals runs the command as a process and ends it as an operator would.
func TestServeSignals(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			endedBy(t, signal)
		})
	}
}

func endedBy(t *testing.T, signal os.Signal) {
	cmd := exec.CommandContext(t.Context(), os.Args[0], "serve", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "REPRISE_TEST_COMMAND=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(stdout)
	ready, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(ready, "serving https://"), "/\n")
	idle, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close() // a connection without a request does not hold the end up for ever
	if err := cmd.Process.Signal(signal); err != nil {
		cmd.Process.Kill()
		t.Skipf("no signals here: %v", err)
	}
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(string(rest), "served ") {
		t.Errorf("%v, printed %q", err, rest)
	}
}

func write(t *testing.T, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
}
