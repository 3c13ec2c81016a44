package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/store/dirstore"
)

// sealingKey is the file of a key.
func sealingKey(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "key")
	write(t, name, []byte("9c2f61b80ed35a7714c6f0a92b8e4d53e7013f96ca58247d61bb0e8f35d2a94c\n"))
	return name
}

// sessionDir is a directory of sessions of these servers, put one after the
// other an hour ago and living for two. Those whose name begins with "many" are
// for many uses.
func sessionDir(t *testing.T, keyFile string, names ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sessions")
	key, err := readSealingKey(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Hour)
	store, err := dirstore.Open(dir, dirstore.Options{Key: key, PerPeer: -1, Time: func() time.Time { return then }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, name := range names {
		then = then.Add(time.Minute)
		_, der := encoded(t, namedSession(t, name))
		if err := store.Put(t.Context(), name, der, then.Add(2*time.Hour), !strings.HasPrefix(name, "many")); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// namedSession is a session of a server of this name, with a fingerprint of its own.
func namedSession(t *testing.T, name string) *reprise.Session {
	t.Helper()
	s := exportable(t)
	if err := s.SetID([]byte(name)); err != nil {
		t.Fatal(err)
	}
	s.SetHostname(name)
	return s
}

// filesIn are the sessions' files in a directory, newest first.
func filesIn(t *testing.T, dir string) (names []string) {
	t.Helper()
	store, err := inspectSessionDir(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	list, err := newestFirst(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		names = append(names, filepath.Join(dir, filepath.FromSlash(e.File)))
	}
	return names
}

func TestOpenSessionDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sessions")
	for _, keyFile := range []string{"", sealingKey(t)} {
		for range 2 { // made, then found
			store, err := openSessionDir(dir, keyFile)
			if err != nil {
				t.Fatal(err)
			}
			if err := store.Put(t.Context(), "peer", []byte("session"), time.Now().Add(time.Hour), true); err != nil {
				t.Fatal(err)
			}
			if got, err := store.Take(t.Context(), "peer"); err != nil || string(got) != "session" {
				t.Errorf("took %q, %v", got, err)
			}
			store.Close()
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := openSessionDir(dir, ""); !errors.Is(err, dirstore.ErrNotPrivate) || strings.Contains(err.Error(), "dirstore") {
		t.Errorf("a directory for all: %v", err)
	}
	if _, err := openSessionDir(filepath.Join(dir, "missing", "sessions"), ""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a missing directory: %v", err)
	}
}

// TestSealingKey: one form only.
func TestSealingKey(t *testing.T) {
	good := string(contents(t, sealingKey(t)))
	digits := strings.TrimSpace(good)
	want, err := hex.DecodeString(digits)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "key")
	for text, taken := range map[string]bool{
		good: true, digits: true, digits + "\r\n": true, strings.ToUpper(digits): true,
		"": false, digits[:62]: false, digits + "00": false, " " + digits: false, digits[:63] + "g": false, string(want): false,
		strings.Repeat("0", 64) + strings.Repeat("x", 1<<20): false,
	} {
		write(t, name, []byte(text))
		key, err := readSealingKey(name)
		switch {
		case taken != (err == nil) || taken && !bytes.Equal(key, want):
			t.Errorf("%.80q: %x, %v", text, key, err)
		case err != nil && len(text) > 20 && strings.Contains(err.Error(), text[:20]):
			t.Errorf("the error holds the key: %v", err)
		}
	}
}

// TestSessionsRefuses holds bad input to its exit code and to one line on
// standard error, and changes nothing.
func TestSessionsRefuses(t *testing.T) {
	keyFile := sealingKey(t)
	dir, sealed := sessionDir(t, "", "a.test"), sessionDir(t, keyFile, "a.test")
	fingerprint := namedSession(t, "a.test").Fingerprint()
	parent := t.TempDir()
	open, missing, junk, zero := filepath.Join(parent, "open"), filepath.Join(parent, "missing"), filepath.Join(parent, "junk"), filepath.Join(parent, "zero")
	if err := errors.Join(os.Mkdir(open, 0o700), os.Chmod(open, 0o755)); err != nil {
		t.Fatal(err)
	}
	write(t, junk, []byte("junk"))
	write(t, zero, bytes.Repeat([]byte("0"), 64))
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		code int
		say  string
		args []string
	}{
		{exitUsage, `did you mean "list"`, []string{"lis"}},
		{exitUsage, "sessions --help", []string{"nosuch"}},

		{exitUsage, "one DIRECTORY", []string{"list"}},
		{exitUsage, "one DIRECTORY", []string{"list", dir, dir}},
		{exitFailure, missing + ": no directory of sessions", []string{"list", missing}},
		{exitFailure, "no directory of sessions", []string{"list", private}},
		{exitFailure, "not a directory", []string{"list", junk}},
		{exitFailure, "chmod 700 " + open, []string{"list", open}},
		{exitFailure, missing, []string{"list", "--key-file", missing, dir}},
		{exitFailure, "openssl rand -hex 32", []string{"list", "--key-file", junk, dir}},
		{exitFailure, "pattern", []string{"list", "--key-file", zero, dir}},

		{exitUsage, "fingerprints or --all", []string{"rm"}},
		{exitUsage, "fingerprints or --all", []string{"rm", dir}},
		{exitUsage, "choose one", []string{"rm", "--all", dir, fingerprint}},
		{exitUsage, `"x" is no fingerprint`, []string{"rm", dir, fingerprint, "x"}},
		{exitUsage, "is no fingerprint", []string{"rm", dir, strings.ToUpper(fingerprint)}},
		{exitFailure, dir + ": no session 0123456789abcdef", []string{"rm", dir, fingerprint, "0123456789abcdef"}},
		{exitFailure, "--key-file names the key", []string{"rm", sealed, fingerprint}},
		{exitFailure, "no directory of sessions", []string{"rm", "--all", private}},
		{exitFailure, "chmod 700", []string{"rm", "--all", open}},

		{exitUsage, "one DIRECTORY", []string{"prune"}},
		{exitUsage, "--older-than 0s", []string{"prune", "--older-than", "0s", dir}},
		{exitUsage, "a duration", []string{"prune", "--older-than", "x", dir}},
		{exitUsage, "--keep -1", []string{"prune", "--keep", "-1", dir}},
		{exitUsage, "a whole number", []string{"prune", "--keep", "x", dir}},
		{exitFailure, "no directory of sessions", []string{"prune", private}},
		{exitFailure, "chmod 700", []string{"prune", open}},
	} {
		code, stdout, stderr := command(t, append([]string{"sessions"}, c.args...)...)
		if code != c.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.say) || strings.Contains(stderr, "dirstore") {
			t.Errorf("%q: exit code %d, %q, %q, want %d and %q", c.args, code, stdout, stderr, c.code, c.say)
		}
	}
	if len(filesIn(t, dir)) != 1 || len(filesIn(t, sealed)) != 1 {
		t.Error("a session was removed")
	}
	for _, empty := range []string{private, open} {
		if list, err := os.ReadDir(empty); err != nil || len(list) > 0 {
			t.Errorf("%v, something was made: %v", err, list)
		}
	}
}

// TestSessionsCompletion: directories first, and files where a flag wants one.
func TestSessionsCompletion(t *testing.T) {
	const noFiles, shellFiles, directories = ":4\n", ":0\n", ":16\n" // cobra.ShellCompDirectiveNoFileComp, ...Default, ...FilterDirs
	for line, want := range map[string]string{
		"sessions ":                    "list\nprune\nrm\n" + noFiles,
		"sessions list ":               directories,
		"sessions list d ":             noFiles,
		"sessions rm d ":               noFiles,
		"sessions list --key-file ":    shellFiles,
		"sessions prune --keep ":       noFiles,
		"sessions prune --older-than ": noFiles,
	} {
		_, stdout, _ := command(t, append([]string{"__completeNoDesc"}, strings.Split(line, " ")...)...)
		if stdout != want {
			t.Errorf("%s: completes to %q, want %q", line, stdout, want)
		}
	}
}
