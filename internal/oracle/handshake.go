package oracle

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// handshakes are the connections of RealSessions: the options of s_client for each.
var handshakes = map[string][]string{
	"tls12 ticket":        {"-tls1_2"},
	"tls12 id":            {"-tls1_2", "-no_ticket"},
	"tls12 name and alpn": {"-tls1_2", "-servername", "localhost", "-alpn", "h2"},
	"tls12 fragment":      {"-tls1_2", "-maxfraglen", "1024"},
	"tls12 psk":           {"-tls1_2", "-psk", pskHex, "-cipher", "PSK-AES128-GCM-SHA256"},
	"tls13":               {"-tls1_3"},
	"tls13 name and alpn": {"-tls1_3", "-servername", "localhost", "-alpn", "h2"},
	"tls13 chacha, P-256": {"-tls1_3", "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256", "-groups", "P-256"},
	"tls13 psk":           {"-tls1_3", "-psk", pskHex},
	"tls13 trusted":       {"-tls1_3", "-CAfile", "server.pem"},
}

// servers are the servers that each client connects to: the options of s_server for each.
// One that allows early data issues stateful tickets in TLS 1.3.
var servers = map[string][]string{
	"":             {},
	", early data": {"-max_early_data", "1024"},
}

const pskHex = "6f4c7a1e5d0b9382"

// RealSessions makes sessions by real handshakes between openssl s_server and s_client and
// gives each as DER. Where there is no openssl command it skips the test or fails it, as
// [Start] does.
func RealSessions(t testing.TB) map[string][]byte {
	t.Helper()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("REPRISE_REQUIRE_INTEROP") == "1" {
			t.Fatal(err)
		}
		t.Skipf("%s: no openssl to make sessions with: %v", t.Name(), err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r := runner{t: t, ctx: ctx, openssl: openssl, dir: t.TempDir()}
	r.run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
		"-keyout", "server.key", "-out", "server.pem")
	sessions := make(map[string][]byte)
	for suffix, serverOptions := range servers {
		address := r.serve(append([]string{"-cert", "server.pem", "-key", "server.key", "-www",
			"-alpn", "h2", "-psk", pskHex}, serverOptions...)...)
		for name, options := range handshakes {
			sessions[name+suffix] = r.connect(address, options)
		}
	}
	return sessions
}

type runner struct {
	t       testing.TB
	ctx     context.Context
	openssl string
	dir     string
}

func (r *runner) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(r.ctx, r.openssl, args...)
	cmd.Dir = r.dir
	return cmd
}

func (r *runner) run(args ...string) {
	r.t.Helper()
	if out, err := r.command(args...).CombinedOutput(); err != nil {
		r.t.Fatalf("openssl %s: %v\n%s", args[0], err, out)
	}
}

// serve starts s_server on a free port and returns its address. The server ends with the test.
func (r *runner) serve(args ...string) (address string) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, r.openssl, append([]string{"s_server", "-accept", "127.0.0.1:0"}, args...)...)
	cmd.Dir = r.dir
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if address, ok := strings.CutPrefix(lines.Text(), "ACCEPT "); ok {
			go io.Copy(io.Discard, out)
			return address
		}
	}
	r.t.Fatal("openssl s_server ended before it listened")
	return ""
}

// connect fetches a page, so that the tickets of TLS 1.3 have arrived when the server closes.
func (r *runner) connect(address string, options []string) (der []byte) {
	r.t.Helper()
	const file = "session.pem"
	os.Remove(filepath.Join(r.dir, file))
	cmd := r.command(append([]string{"s_client", "-connect", address, "-ign_eof", "-sess_out", file}, options...)...)
	cmd.Stdin = strings.NewReader("GET / HTTP/1.0\r\n\r\n")
	out, err := cmd.CombinedOutput()
	text, readErr := os.ReadFile(filepath.Join(r.dir, file))
	block, _ := pem.Decode(bytes.TrimSpace(text))
	if readErr != nil || block == nil {
		r.t.Fatalf("openssl s_client %s: %v, %v\n%s", strings.Join(options, " "), err, readErr, out)
	}
	return block.Bytes
}
