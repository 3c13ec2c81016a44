package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// keysFile makes a key file of a form, with reprise keys new.
func keysFile(t *testing.T, form string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "keys")
	if code, stdout, stderr := command(t, "keys", "new", "--format", form, "-o", name); code != exitGood || stdout+stderr != "" {
		t.Fatalf("%s: exit code %d, %q, %q", form, code, stdout, stderr)
	}
	return name
}

// keysOf reads key files.
func keysOf(t *testing.T, f keyfile.Format, names ...string) *keyfile.Set {
	t.Helper()
	set, err := keyfile.Read(f, names...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// keyNames are the names of keys, for comparison.
func keyNames(keys []*keyfile.Key) (names [][16]byte) {
	for _, k := range keys {
		names = append(names, k.Name())
	}
	return names
}

func contents(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// listing is what is in the directory of a file.
func listing(t *testing.T, name string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestKeysRefuses holds bad input to its exit code and to one line on standard
// error, and changes nothing.
func TestKeysRefuses(t *testing.T) {
	nginx, haproxy := keysFile(t, "nginx80"), keysFile(t, "haproxy80")
	zero := filepath.Join(t.TempDir(), "zero")
	write(t, zero, make([]byte, 80))
	missing := filepath.Join(t.TempDir(), "missing")
	session := filepath.Join(t.TempDir(), "s.pem")
	if err := writeSession(session, exportable(t)); err != nil {
		t.Fatal(err)
	}
	before := [][]byte{contents(t, nginx), contents(t, haproxy)}
	for _, c := range []struct {
		code int
		say  string
		args []string
	}{
		{exitUsage, `did you mean "rotate"`, []string{"rotat"}},
		{exitUsage, "keys --help", []string{"nosuch"}},
		{exitUsage, "--format is missing: nginx48", []string{"new"}},
		{exitUsage, "none of nginx48", []string{"new", "--format", "nginx"}},
		{exitUsage, "flags only", []string{"new", "--format", "nginx80", nginx}},
		{exitFailure, "reprise keys rotate", []string{"new", "--format", "nginx80", "-o", nginx}},
		{exitFailure, "not written", []string{"new", "--format", "nginx80", "-o", filepath.Join(missing, "keys")}},

		{exitUsage, "--format is missing", []string{"show", nginx}},
		{exitUsage, "takes a FILE", []string{"show", "--format", "nginx80"}},
		{exitUsage, "all keys in one file", []string{"show", "--format", "haproxy80", haproxy, haproxy}},
		{exitFailure, nginx + ": 80 bytes, a file of form apache48 has 48", []string{"show", "--format", "apache48", nginx}},
		{exitFailure, haproxy + ": line 1: 108 characters", []string{"show", "--format", "haproxy48", haproxy}},
		{exitFailure, "pattern", []string{"show", "--format", "nginx80", zero}},
		{exitFailure, "duplicate", []string{"show", "--format", "nginx80", nginx, nginx}},
		{exitFailure, "missing", []string{"show", "--format", "nginx80", missing}},

		{exitUsage, "--from is missing", []string{"convert", "--to", "nginx80", nginx}},
		{exitUsage, "--to is missing", []string{"convert", "--from", "nginx80", nginx}},
		{exitUsage, "--to x is none of", []string{"convert", "--from", "nginx80", "--to", "x", nginx}},
		{exitUsage, "name the first with -o", []string{"convert", "--from", "haproxy80", "--to", "nginx80", haproxy}},
		{exitFailure, "256 bits", []string{"convert", "--from", "nginx80", "--to", "apache48", nginx}},
		{exitFailure, "at least 3", []string{"convert", "--from", "nginx80", "--to", "haproxy80", nginx}},

		{exitUsage, "--format is missing", []string{"rotate", nginx}},
		{exitUsage, "one FILE", []string{"rotate", "--format", "nginx80"}},
		{exitUsage, "standard input", []string{"rotate", "--format", "nginx80", "-"}},
		{exitUsage, "--keep 0", []string{"rotate", "--format", "nginx80", "--keep", "0", nginx}},
		{exitUsage, "--keep 2", []string{"rotate", "--format", "haproxy80", "--keep", "2", haproxy}},
		{exitFailure, "missing", []string{"rotate", "--format", "nginx80", missing}},
		{exitFailure, "apache48 has 48", []string{"rotate", "--format", "apache48", nginx}},

		{exitUsage, "--format is missing", []string{"inspect", "--keys", nginx, session}},
		{exitUsage, "--keys is missing", []string{"inspect", "--format", "nginx80", session}},
		{exitUsage, "one SESSION", []string{"inspect", "--format", "nginx80", "--keys", nginx}},
		{exitFailure, "missing", []string{"inspect", "--format", "nginx80", "--keys", missing, session}},
		{exitFailure, "no session", []string{"inspect", "--format", "nginx80", "--keys", nginx, nginx}},
	} {
		code, stdout, stderr := command(t, append([]string{"keys"}, c.args...)...)
		if code != c.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.say) {
			t.Errorf("%q: exit code %d, %q, %q, want %d and %q", c.args, code, stdout, stderr, c.code, c.say)
		}
	}
	if !bytes.Equal(contents(t, nginx), before[0]) || !bytes.Equal(contents(t, haproxy), before[1]) {
		t.Error("a file was changed")
	}
	if got := slices.Concat(listing(t, nginx), listing(t, haproxy)); len(got) != 2 {
		t.Errorf("files were left behind: %q", got)
	}
}

// TestKeysCompletion: forms are offered where a form is wanted, and files where
// a file is.
func TestKeysCompletion(t *testing.T) {
	const noFiles, shellFiles = ":4\n", ":0\n" // cobra.ShellCompDirectiveNoFileComp, ...Default
	forms := strings.Join(formatNames(), "\n") + "\n"
	for line, want := range map[string]string{
		"keys new --format ":   forms + noFiles,
		"keys convert --to ":   forms + noFiles,
		"keys rotate --keep ":  noFiles,
		"keys new ":            noFiles,
		"keys new -o ":         shellFiles,
		"keys inspect --keys ": shellFiles,
		"keys show ":           shellFiles,
	} {
		_, stdout, _ := command(t, append([]string{"__completeNoDesc"}, strings.Split(line, " ")...)...)
		if stdout != want {
			t.Errorf("%s: completes to %q, want %q", line, stdout, want)
		}
	}
}
