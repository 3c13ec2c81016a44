package interop_test

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
)

// documented builds a program that a page of docs shows and returns its path.
func documented(t testing.TB, page, name string) string {
	t.Helper()
	text := read(t, filepath.Join("..", "docs", page))
	for _, block := range regexp.MustCompile("(?s)```go\n(// Command (\\w+).*?)```").FindAllSubmatch(text, -1) {
		if string(block[2]) != name {
			continue
		}
		dir := t.TempDir()
		path := filepath.Join(dir, name)
		cmd := exec.CommandContext(t.Context(), "go", "build", "-o", path, put(t, dir, "main.go", block[1]))
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s does not build: %v\n%s", name, err, out)
		}
		return path
	}
	t.Fatalf("docs/%s shows no program %s", page, name)
	return ""
}

// TestClientsDocumentFetch runs the HTTP client of docs/clients.md.
func TestClientsDocumentFetch(t *testing.T) {
	ca := newPKI(t)
	srv := &http.Server{TLSConfig: serverConfig(ca.Leaf(t, "127.0.0.1")), Handler: http.NotFoundHandler()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go manager(t, reprise.Config{}).ServeTLS(srv, l, "", "")
	t.Cleanup(func() { srv.Close() })
	out := run(t, "", documented(t, "clients.md", "fetch"), "https://"+l.Addr().String(), ca.file)
	full, resumed := strings.Count(out, ": HTTP/2.0, resumed false\n"), strings.Count(out, ": HTTP/2.0, resumed true\n")
	// How many find a session is for the scheduler: over HTTP/2 a request may take
	// another's connection while its own is made.
	if full < 1 || resumed < 4 || full+resumed != 12 || !strings.HasPrefix(out, "round 0: HTTP/2.0, resumed false\n") {
		t.Errorf("%d full handshakes and %d resumptions:\n%s", full, resumed, out)
	}
}

// TestClientsDocumentAgain runs the client whose sessions outlive it.
func TestClientsDocumentAgain(t *testing.T) {
	ca := newPKI(t)
	srv := startSServer(t, identity(t, ca.Leaf(t, "127.0.0.1"))...)
	again, dir := documented(t, "clients.md", "again"), filepath.Join(t.TempDir(), "sessions")
	for n, want := range []string{"resumed false (nothing offered)\n", "resumed true (resumed)\n", "resumed true (resumed)\n"} {
		if out := run(t, "", again, srv.addr, ca.file, dir); out != want {
			t.Errorf("run %d: %q, want %q", n, out, want)
		}
	}
}

// TestClientsDocumentByHand runs the client that carries its session over by
// itself, and has openssl read what it leaves.
func TestClientsDocumentByHand(t *testing.T) {
	ca := newPKI(t)
	srv := startSServer(t, identity(t, ca.Leaf(t, "127.0.0.1"))...)
	path := documented(t, "clients.md", "byhand")
	cmd := exec.CommandContext(t.Context(), path, srv.addr, ca.file)
	cmd.Dir = t.TempDir()
	out, err := cmd.CombinedOutput()
	want := regexp.MustCompile(`^resumed false \(nothing offered\), next: session [0-9a-f]{16}\nresumed true \(resumed\), next: session [0-9a-f]{16}\n$`)
	if err != nil || !want.Match(out) {
		t.Errorf("%v: %s", err, out)
	}
	if text := sessID(t, filepath.Join(cmd.Dir, "session.pem"), "-noout", "-text"); !strings.Contains(text, "Protocol  : TLSv1.3") {
		t.Errorf("openssl reads\n%s", text)
	}
}
