package main

import (
	"bufio"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/reprise-tls/reprise/ticket/keyfile"
)

func TestServeTicketFlags(t *testing.T) {
	long := strings.Repeat("x", 33)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--ticket-keys", "k"}, "go together"},
		{[]string{"--ticket-format", "nginx80"}, "go together"},
		{[]string{"--ticket-keys", "k", "--ticket-format", "nginx"}, "none of nginx48, nginx80, "},
		{[]string{"--ticket-keys", "k,l", "--ticket-format", "haproxy80"}, "all keys of haproxy80 are in one"},
		{[]string{"--ticket-keys", "k", "--ticket-format", "nginx80", "--no-tickets"}, "exclude each other"},
		{[]string{"--context-id", long}, "--context-id is 33 bytes long"},
		{[]string{"--context-id", "hex:" + hex.EncodeToString([]byte(long))}, "--context-id is 33 bytes long"},
		{[]string{"--context-id", "hex:0"}, "not hexadecimal"},
		{[]string{"--accept-context-id", "svc,hex:xy"}, "--accept-context-id"},
	} {
		if code, _, stderr := command(t, append([]string{"serve"}, c.args...)...); code != exitUsage || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, %q, want %q", c.args, code, stderr, c.want)
		}
	}
	missing := filepath.Join(t.TempDir(), "missing")
	code, stdout, stderr := command(t, "serve", "--listen", "127.0.0.1:0", "--ticket-keys", missing, "--ticket-format", "nginx80")
	if code != exitFailure || stdout != "" || !strings.Contains(stderr, missing) {
		t.Errorf("without its file: exit code %d, %q, %q", code, stdout, stderr)
	}
}

func TestParseContextID(t *testing.T) {
	for text, want := range map[string]string{"": "", "svc": "svc", "hex:": "", "hex:00ff": "\x00\xff", "00ff": "00ff"} {
		if id, err := parseContextID("--context-id", text); err != nil || string(id) != want {
			t.Errorf("%q: %q, %v", text, id, err)
		}
	}
}

// process is the command as a process, which can be sent signals.
type process struct {
	t       *testing.T
	cmd     *exec.Cmd
	address string
	stderr  *bufio.Reader
}

func startProcess(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), "REPRISE_TEST_COMMAND=1")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	ready, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		rest, _ := io.ReadAll(stderr)
		t.Fatalf("%v: %s", err, rest)
	}
	address := strings.TrimSuffix(strings.TrimPrefix(ready, "serving https://"), "/\n")
	return &process{t, cmd, address, bufio.NewReader(stderr)}
}

// hangUp sends SIGHUP and returns the first line after it that has the words.
func (p *process) hangUp(words string) string {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		p.t.Skipf("no signals here: %v", err)
	}
	for {
		line, err := p.stderr.ReadString('\n')
		if err != nil {
			p.t.Fatalf("nothing about %q on standard error: %v", words, err)
		}
		if strings.Contains(line, words) {
			return line
		}
	}
}

// resumes asks for the page with the sessions in a cache.
func (p *process) resumes(sessions tls.ClientSessionCache) bool {
	p.t.Helper()
	client := browser(p.t, false, &tls.Config{ClientSessionCache: sessions})
	s := server{t: p.t, address: p.address}
	_, body := s.get(client, "/", "application/json")
	var page struct{ Resumed bool }
	if err := json.Unmarshal([]byte(body), &page); err != nil {
		p.t.Fatalf("%v in %s", err, body)
	}
	return page.Resumed
}

// TestServeTicketKeys: keys are read again on SIGHUP, good ones replace those
// before, and a broken file replaces nothing.
func TestServeTicketKeys(t *testing.T) {
	keys, err := keyfile.New(keyfile.FormatNginx80)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := []string{filepath.Join(dir, "new.key"), filepath.Join(dir, "old.key")}
	put := func(keys *keyfile.Set) (seals string) {
		t.Helper()
		for i, data := range keys.Files() {
			write(t, files[i], data)
		}
		key, err := keys.InUse()[0].TicketKey()
		if err != nil {
			t.Fatal(err)
		}
		defer key.Wipe()
		return key.Fingerprint()
	}
	rotate := func() string {
		t.Helper()
		if keys, err = keys.Rotate(2); err != nil {
			t.Fatal(err)
		}
		return put(keys)
	}
	rotate()
	p := startProcess(t, "--ticket-format", "nginx80", "--ticket-keys", strings.Join(files, ","), "--context-id", "hex:737663")
	var caches []tls.ClientSessionCache
	for range 3 {
		caches = append(caches, tls.NewLRUClientSessionCache(1))
		if p.resumes(caches[len(caches)-1]) {
			t.Error("the first connection resumed")
		}
	}
	secret := slices.Clone(keys.Files()[0])
	write(t, files[0], secret[:20])
	if line := p.hangUp("last good keys"); !strings.Contains(line, files[0]) {
		t.Errorf("which file is broken? %s", line)
	}
	if !p.resumes(caches[0]) {
		t.Error("a broken file took the keys away")
	}
	p.hangUp(rotatedWords(rotate()))
	if !p.resumes(caches[1]) {
		t.Error("the key from before a rotation does not decrypt")
	}
	p.hangUp(rotatedWords(rotate()))
	if p.resumes(caches[2]) {
		t.Error("a key that is in no file any more decrypts")
	}
}

// rotatedWords are what serve says when it has read new keys.
func rotatedWords(seals string) string { return "seals with " + seals }
