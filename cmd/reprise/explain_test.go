package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// explained runs explain --json and returns what it says.
func explained(t *testing.T, code int, args ...string) *explanation {
	t.Helper()
	e := new(explanation)
	got, stdout, stderr := command(t, append([]string{"explain", "--json"}, args...)...)
	if got != code || stderr != "" {
		t.Errorf("%q: exit code %d, want %d: %s", args, got, code, stderr)
	}
	facts := struct {
		*explanation
		Connection json.RawMessage `json:"connection"` // its reason is not read back
	}{explanation: e}
	if err := json.Unmarshal([]byte(stdout), &facts); err != nil {
		t.Fatalf("%q: %v in %q", args, err, stdout)
	}
	if len(e.Checks) == 0 || e.Checks[0].Name != "decodes" {
		t.Fatalf("%q: %s", args, stdout)
	}
	return e
}

// says expects a check of the explanation.
func (e *explanation) says(t *testing.T, name string, want status, say string) {
	t.Helper()
	for _, c := range e.Checks {
		if c.Name == name && c.Status == want && strings.Contains(c.Detail, say) {
			return
		}
	}
	t.Errorf("no check %s: %s, %q in %+v", name, want, say, e.Checks)
}

func TestExplain(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		t.Run(version, func(t *testing.T) {
			c := newChained(t, version)
			flags := []string{c.file, "--ca", c.ca, "--tls", version}
			e := explained(t, exitGood, flags...)
			if e.Fingerprint != c.session.Fingerprint() || e.ServerName != "a.test" || e.File != c.file || e.Address != "" {
				t.Errorf("%+v", e)
			}
			if want := map[string]status{"1.2": statusOK, "1.3": statusUnknown}[version]; e.Resumes != want {
				t.Errorf("resumes: %s, want %s", e.Resumes, want)
			}
			flags = append(flags, "--server-name", "a.test", c.server.address)
			e = explained(t, exitGood, flags...)
			e.says(t, "connection", statusOK, "resumed, TLS "+version)
			if e.Resumes != statusOK || e.Address != c.server.address {
				t.Errorf("%+v", e)
			}
		})
	}
}

// TestExplainIntermediates: a file with the leaf alone, as openssl's, resumes
// once the certificates between are at hand.
func TestExplainIntermediates(t *testing.T) {
	c := newChained(t, "1.3")
	c.session.SetIntermediates(nil)
	c.save(t)
	flags := []string{c.file, "--ca", c.ca, "--server-name", "a.test"}
	e := explained(t, exitFinding, flags...)
	e.says(t, "chain", statusNo, "needs intermediates")
	if e.Resumes != statusNo {
		t.Errorf("resumes: %s", e.Resumes)
	}
	between := filepath.Join(t.TempDir(), "intermediates")
	write(t, between, c.intermediate.PEM())
	e = explained(t, exitGood, append(flags, "--intermediates", between)...)
	e.says(t, "chain", statusOK, "leads to CN=root")
	e = explained(t, exitGood, append(flags, c.server.address)...)
	e.says(t, "chain", statusOK, "leads to CN=root")
	e.says(t, "connection", statusOK, "resumed")
}

// TestExplainWhyNot: the connection tells what the file cannot.
func TestExplainWhyNot(t *testing.T) {
	c, stranger := newChained(t, "1.2"), newChained(t, "1.2")
	roots := filepath.Join(t.TempDir(), "roots")
	write(t, roots, append(c.root.PEM(), stranger.root.PEM()...))
	flags := []string{c.file, "--ca", roots, "--server-name", "a.test"}
	for _, test := range []struct {
		say  string
		args []string
	}{
		{"declined", []string{"--tls", "1.2", stranger.server.address}},
		{"other version", []string{c.server.address}},
		{"not offered", []string{"--ca", stranger.ca, "--server-name", "a.test", stranger.server.address}},
	} {
		e := explained(t, exitFinding, append(flags, test.args...)...)
		e.says(t, "connection", statusNo, test.say)
		if e.Resumes != statusNo {
			t.Errorf("%s: resumes: %s", test.say, e.Resumes)
		}
	}
}

func TestExplainText(t *testing.T) {
	c := newChained(t, "1.3")
	code, stdout, stderr := command(t, "explain", c.file, "--ca", c.ca, "--server-name", "b.test")
	if code != exitFinding || stderr != "" || !strings.HasSuffix(stdout, "\nit would not resume\n") {
		t.Errorf("exit code %d, %q:\n%s", code, stderr, stdout)
	}
	_, good, _ := command(t, "explain", c.file, "--ca", c.ca)
	if !strings.Contains(good, "\nno check is against it (") {
		t.Errorf("the conclusion is another:\n%s", good)
	}
	for line := range strings.Lines(stdout + good) {
		if len(line) > 81 {
			t.Errorf("a line of %d columns: %s", len(line), line)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	c := newChained(t, "1.3")
	noSession, noPEM := c.ca, filepath.Join(t.TempDir(), "empty")
	write(t, noPEM, nil)
	for _, test := range []struct {
		code int
		say  string
		args []string
	}{
		{exitUsage, "one FILE", nil},
		{exitUsage, "one FILE", []string{c.file, c.server.address, "more"}},
		{exitUsage, "HOST:PORT", []string{c.file, "localhost"}},
		{exitUsage, "none of 1.0", []string{c.file, "--tls", "2"}},
		{exitUsage, "no place", []string{c.file, "--ca", c.ca, "--insecure"}},
		{exitFailure, "no such file", []string{c.file + ".not"}},
		{exitFailure, "no certificate", []string{c.file, "--ca", noPEM}},
		{exitFailure, "no certificate", []string{c.file, "--intermediates", noPEM}},
		{exitFailure, "refused", []string{c.file, "--ca", c.ca, "--server-name", "a.test", closedPort(t)}},
	} {
		code, stdout, stderr := command(t, append([]string{"explain"}, test.args...)...)
		if code != test.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.say) {
			t.Errorf("%q: exit code %d, %q, %q", test.args, code, stdout, stderr)
		}
	}
	explained(t, exitFinding, noSession).says(t, "decodes", statusNo, "no session")
}

// TestExplainSelfSigned names the way out.
func TestExplainSelfSigned(t *testing.T) {
	s := serving(t)
	file := filepath.Join(t.TempDir(), "s.pem")
	connecting(t, exitGood, s.address, "--insecure", "--server-name", "localhost", "--sess-out", file)
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, testpki.New(t, "other").PEM())
	explained(t, exitFinding, file, "--ca", other).says(t, "chain", statusNo, "signed itself")
	explained(t, exitGood, file, "--insecure", "--server-name", "localhost", s.address).says(t, "connection", statusOK, "resumed")
}
