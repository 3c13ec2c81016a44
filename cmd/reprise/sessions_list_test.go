package main

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

func TestSessionsList(t *testing.T) {
	keyFile := sealingKey(t)
	for _, key := range []string{"", keyFile} {
		dir := sessionDir(t, key, "a.test", "many.test")
		args := []string{"sessions", "list", dir}
		if key != "" {
			args = append(args, "--key-file", key)
		}
		code, stdout, stderr := command(t, args...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		if code != exitGood || stderr != "" || len(lines) != 2 {
			t.Fatalf("exit code %d, %q, %q", code, stdout, stderr)
		}
		for i, name := range []string{"many.test", "a.test"} { // newest first
			for _, fact := range []string{namedSession(t, name).Fingerprint(), " " + name, "TLS 1.2", []string{"many", "once"}[i], "(in 1h", "bytes"} {
				if !strings.Contains(lines[i], fact) {
					t.Errorf("line %d does not say %q: %s", i+1, fact, lines[i])
				}
			}
		}
		if n := len(filesIn(t, dir)); n != 2 {
			t.Errorf("%d files are left", n)
		}
	}
}

func TestSessionsListJSON(t *testing.T) {
	keyFile := sealingKey(t)
	dir := sessionDir(t, keyFile, "a.test")
	read := func(args ...string) (got sessionsListed, text string) {
		code, text, _ := command(t, append([]string{"sessions", "list", "--json", dir}, args...)...)
		strict := json.NewDecoder(strings.NewReader(text))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&got); err != nil || code != exitGood || len(got.Sessions) != 1 || got.Warnings == nil {
			t.Fatalf("%v, exit code %d: %s", err, code, text)
		}
		return got, text
	}
	with, text := read("--key-file", keyFile)
	s := with.Sessions[0]
	if s.Session == nil || s.Session.ServerName != "a.test" || !s.SingleUse || !s.Sealed || s.Problem != "" || s.Size == 0 || s.Expires.Sub(s.Put).Hours() > 2 {
		t.Errorf("%s", text)
	}
	if secret := hex.EncodeToString(make([]byte, 48)); strings.Contains(text, secret) {
		t.Error("the output holds the secret")
	}
	without, text := read()
	if s := without.Sessions[0]; s.Session != nil || !s.Sealed || !strings.Contains(s.Problem, "sealed under a key") || !s.SingleUse {
		t.Errorf("without a key: %s", text)
	}
	_, stdout, stderr := command(t, "sessions", "list", dir)
	if !strings.HasPrefix(stdout, "sealed ") || strings.Contains(stdout, "a.test") || stderr != "" {
		t.Errorf("%q, %q", stdout, stderr)
	}
	empty := sessionDir(t, "")
	if code, stdout, stderr := command(t, "sessions", "list", empty); code != exitGood || stdout+stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if _, stdout, _ := command(t, "sessions", "list", "--json", empty); !strings.Contains(stdout, `"sessions": []`) {
		t.Errorf("%s", stdout)
	}
}

// TestSessionsListDamaged: a file that nothing makes readable is a finding, and
// stays.
func TestSessionsListDamaged(t *testing.T) {
	dir := sessionDir(t, "", "a.test", "b.test")
	damaged := filesIn(t, dir)[0]
	if err := os.Truncate(damaged, 100); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "sessions", "list", dir)
	if code != exitFinding || !strings.HasPrefix(stdout, "unreadable ") || !strings.Contains(stdout, "a.test") || !strings.Contains(stderr, "wrong checksum") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	code, stdout, stderr = command(t, "sessions", "list", "--json", dir)
	if code != exitFinding || !strings.Contains(stdout, "wrong checksum") || stderr != "" {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	if _, err := os.Stat(damaged); err != nil {
		t.Error(err)
	}
}

// TestSessionsListNotASession: what a program put may be anything.
func TestSessionsListNotASession(t *testing.T) {
	_, der := encoded(t, exportable(t))
	for _, content := range [][]byte{[]byte("no DER"), append(der, 0)} {
		if s, err := parseStored(content); err == nil || s != nil {
			t.Errorf("%q is a session: %v", content, err)
		}
	}
	s, err := parseStored(der)
	if err != nil {
		t.Fatal(err)
	}
	s.Free()
}

// TestSessionsListPlain: a session cannot speak to the terminal, and a key that
// others can read is told.
func TestSessionsListPlain(t *testing.T) {
	keyFile := sealingKey(t)
	if err := os.Chmod(keyFile, 0o644); err != nil {
		t.Fatal(err)
	}
	dir := sessionDir(t, keyFile, "a\x1b[2J\nb.test")
	_, stdout, stderr := command(t, "sessions", "list", "--key-file", keyFile, dir)
	if strings.ContainsRune(stdout, '\x1b') || strings.Count(stdout, "\n") != 1 || !strings.Contains(stdout, "b.test") {
		t.Errorf("%q", stdout)
	}
	if !strings.Contains(stderr, keyFile+": mode 0644") {
		t.Errorf("%q", stderr)
	}
}
