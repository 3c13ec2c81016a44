package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHelp(t *testing.T) {
	var verbs []string
	for _, c := range newRoot().Commands() {
		if c.Name() != "help" {
			verbs = append(verbs, c.Name())
		}
	}
	for _, args := range [][]string{{}, {"help"}, {"--help"}} {
		code, stdout, stderr := command(t, args...)
		if code != exitGood || stderr != "" || strings.Count(stdout, "\n") > 24 {
			t.Errorf("%q: exit code %d, %d lines, stderr %q", args, code, strings.Count(stdout, "\n"), stderr)
		}
		for line := range strings.Lines(stdout) {
			if len(line) > 80+len("\n") {
				t.Errorf("%q: a line of %d columns: %s", args, len(line), line)
			}
		}
		for _, verb := range append(verbs, "help", "exit codes") {
			if !strings.Contains(stdout, verb) {
				t.Errorf("%q does not tell of %q", args, verb)
			}
		}
	}
	for _, verb := range verbs {
		_, help, _ := command(t, "help", verb)
		_, flag, _ := command(t, verb, "--help")
		if help != flag || !strings.Contains(help, "reprise "+verb) {
			t.Errorf("help %s and %s --help differ:\n%s\n%s", verb, verb, help, flag)
		}
		for _, line := range strings.Split(help, "\n") {
			if len(line) > 90 {
				t.Errorf("help %s: a line of %d columns: %s", verb, len(line), line)
			}
		}
	}
	if code, stdout, _ := command(t, "--version"); code != exitGood || !strings.HasPrefix(stdout, "reprise ") {
		t.Errorf("--version: exit code %d, %q", code, stdout)
	}
}

// TestBadInput holds every kind of bad input to its exit code and to one line
// on standard error that says what is wrong.
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	junk, empty := file("junk", "junk"), file("empty", "")
	block := func(body string) string {
		return "-----BEGIN SSL SESSION PARAMETERS-----\n" + body + "\n-----END SSL SESSION PARAMETERS-----\n"
	}
	notDER := file("not-der.pem", block("aGVsbG8="))
	// SEQUENCE { INTEGER 1, INTEGER 0x0303, OCTET STRING 1234 (the suite), OCTET STRING (id), OCTET STRING (key) }
	der := "\x30\x0f\x02\x01\x01\x02\x02\x03\x03\x04\x02\x12\x34\x04\x00\x04\x00"
	unknown := file("unknown.pem", block(base64.StdEncoding.EncodeToString([]byte(der))))
	missing := filepath.Join(dir, "missing")

	for _, c := range []struct {
		code int
		say  string
		args []string
	}{
		{exitUsage, "nosuch", []string{"nosuch"}},
		{exitUsage, `did you mean "tour"`, []string{"tuor"}},
		{exitUsage, "nosuch", []string{"help", "nosuch"}},
		{exitUsage, "nosuch", []string{"completion", "nosuch"}},
		{exitUsage, "--nosuch", []string{"--nosuch"}},
		{exitUsage, "--nosuch", []string{"tour", "--nosuch"}},
		{exitUsage, "flags only", []string{"tour", "x"}},

		{exitUsage, "flags only", []string{"serve", "x"}},
		{exitUsage, "go together", []string{"serve", "--cert", junk}},
		{exitUsage, "go together", []string{"serve", "--key", junk}},
		{exitUsage, "--listen", []string{"serve", "--listen", "8443"}},
		{exitUsage, "--listen", []string{"serve", "--listen", "localhost:99999"}},
		{exitUsage, "--cache-size", []string{"serve", "--cache-size", "0"}},
		{exitUsage, "whole number", []string{"serve", "--cache-size", "x"}},
		{exitUsage, "--timeout", []string{"serve", "--timeout", "0"}},
		{exitUsage, "--timeout", []string{"serve", "--timeout", "169h"}},
		{exitUsage, "duration", []string{"serve", "--timeout", "x"}},
		{exitUsage, "--context-id", []string{"serve", "--context-id", strings.Repeat("x", 33)}},
		{exitFailure, "missing", []string{"serve", "--cert", missing, "--key", missing}},
		{exitFailure, "junk", []string{"serve", "--cert", junk, "--key", junk}},
		{exitFailure, "--listen", []string{"serve", "--listen", "203.0.113.1:0"}},

		{exitUsage, "HOST:PORT", []string{"connect"}},
		{exitUsage, "HOST:PORT", []string{"connect", "a:1", "b:1"}},
		{exitUsage, "HOST:PORT", []string{"connect", "a"}},
		{exitUsage, "HOST:PORT", []string{"connect", ":443"}},
		{exitUsage, "port", []string{"connect", "a:99999"}},
		{exitUsage, "--tls", []string{"connect", "a:1", "--tls", "1.1"}},
		{exitUsage, "--reconnect", []string{"connect", "a:1", "--reconnect", "-1"}},
		{exitUsage, "--wait", []string{"connect", "a:1", "--wait", "0s"}},
		{exitUsage, "--json", []string{"connect", "a:1", "--json=x"}},
		{exitUsage, "--ca", []string{"connect", "a:1", "--ca", junk, "--insecure"}},
		{exitFailure, "missing", []string{"connect", "a:1", "--ca", missing}},
		{exitFailure, "no certificate", []string{"connect", "a:1", "--ca", junk}},
		{exitFailure, "missing", []string{"connect", "a:1", "--sess-in", missing}},
		{exitFailure, "directory", []string{"connect", "a:1", "--sess-in", dir}},
		{exitFailure, "no PEM block", []string{"connect", "a:1", "--sess-in", junk}},
		{exitFailure, "no PEM block", []string{"connect", "a:1", "--sess-in", empty}},
		{exitFailure, "not decoded", []string{"connect", "a:1", "--sess-in", notDER}},
		{exitFailure, "unknown cipher suite 0x1234", []string{"connect", "a:1", "--sess-in", unknown}},
		{exitFailure, "refused", []string{"connect", closedPort(t)}},
	} {
		code, stdout, stderr := command(t, c.args...)
		switch {
		case code != c.code:
			t.Errorf("%q: exit code %d, want %d (%s)", c.args, code, c.code, stderr)
		case stdout != "":
			t.Errorf("%q: standard output has %q", c.args, stdout)
		case strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "reprise: "):
			t.Errorf("%q: standard error is not one line: %q", c.args, stderr)
		case !strings.Contains(stderr, c.say):
			t.Errorf("%q: standard error does not say %q: %s", c.args, c.say, stderr)
		}
	}
}
