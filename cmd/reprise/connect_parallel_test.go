package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// TestConnectParallel: connections at a time, each again: only the first of
// each find nothing to offer.
func TestConnectParallel(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		s := serving(t)
		got, _ := connecting(t, exitGood, s.address, "--ca", savedCA(t, s.address), "--server-name", "localhost",
			"--tls", version, "--parallel", "8", "--reconnect", "3")
		outcome := got.outcome()
		if len(outcome) != 32 || strings.Count(outcome, "n") > 8 || strings.Count(outcome, "y") < 24 {
			t.Errorf("TLS %s: %s", version, outcome)
		}
	}
}

func TestConnectParallelText(t *testing.T) {
	s := serving(t)
	code, stdout, stderr := command(t, "connect", s.address, "--insecure", "--parallel", "4", "--reconnect", "1")
	for _, want := range []string{"8 connections, 4 at a time\n", "  resumed\n", "  full handshake, nothing offered\n", "handshakes took "} {
		if code != exitGood || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, no %q in\n%s", code, want, stdout)
		}
	}
	if stderr != "" {
		t.Errorf("no terminal, but progress: %q", stderr)
	}
}

// TestConnectParallelFails: the first connection that cannot be made ends all.
func TestConnectParallelFails(t *testing.T) {
	code, stdout, stderr := command(t, "connect", closedPort(t), "--parallel", "16", "--reconnect", "100")
	if code != exitFailure || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "refused") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// TestConnectSessionDir: another process, and another after that, go on where
// the first left off, under the same conditions only.
func TestConnectSessionDir(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, fmt.Appendf(nil, "%x\n", sha256.Sum256(nil)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1.2", "1.3"} {
		for _, sealed := range [][]string{nil, {"--key-file", key}} {
			s := serving(t)
			args := append([]string{s.address, "--ca", savedCA(t, s.address), "--server-name", "localhost", "--tls", version,
				"--session-dir", filepath.Join(t.TempDir(), "sessions")}, sealed...)
			var all string
			for range 3 {
				got, _ := connecting(t, exitGood, args...)
				all += got.outcome()
			}
			if all != "nyy" {
				t.Errorf("TLS %s, %q: %s", version, sealed, all)
			}
			if len(sealed) > 0 {
				continue
			}
			got, _ := connecting(t, exitGood, s.address, "--insecure", "--server-name", "localhost", "--tls", version,
				"--session-dir", args[8])
			if got.outcome() != "n" {
				t.Errorf("TLS %s: unverified, a session of a verified server was offered", version)
			}
		}
	}
}

func TestConnectDirUsage(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--parallel", "0"}, exitUsage, "--parallel"},
		{[]string{"--parallel", "1001"}, exitUsage, "1000"},
		{[]string{"--reconnect", "18446744073709551615"}, exitUsage, "1000000"},
		{[]string{"--sess-in", "f", "--parallel", "2"}, exitUsage, "--sess-in"},
		{[]string{"--sess-in", "f", "--session-dir", "d"}, exitUsage, "--sess-in"},
		{[]string{"--key-file", "f"}, exitUsage, "--session-dir"},
		{[]string{"--session-dir", dir}, exitFailure, "700"},
		{[]string{"--session-dir", filepath.Join(dir, "no", "such")}, exitFailure, "no such"},
	} {
		code, stdout, stderr := command(t, append([]string{"connect", "127.0.0.1:1"}, c.args...)...)
		if code != c.code || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: exit code %d, want %d; %q", c.args, code, c.code, stderr)
		}
	}
}

// TestConnectRootsByContent: what --ca names is known by its content: another
// file with the same is the same, and the same file with more is another.
func TestConnectRootsByContent(t *testing.T) {
	s := serving(t)
	roots, dir := savedCA(t, s.address), filepath.Join(t.TempDir(), "sessions")
	resumed := func(roots string) string {
		got, _ := connecting(t, exitGood, s.address, "--ca", roots, "--server-name", "localhost", "--session-dir", dir)
		return got.outcome()
	}
	resumed(roots)
	pem, err := os.ReadFile(roots)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other.pem")
	if err := os.WriteFile(other, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := resumed(other); got != "y" {
		t.Errorf("the same roots in another file: %s", got)
	}
	if err := os.WriteFile(roots, append(pem, testpki.New(t, "more").PEM()...), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := resumed(roots); got != "n" {
		t.Errorf("the same file with one more root: %s", got)
	}
}
