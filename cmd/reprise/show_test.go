package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// chained is a file with a session of a.test, which an intermediate below root
// certified, and the server that gave it.
type chained struct {
	root, intermediate *testpki.Authority
	server             *server
	session            *reprise.Session
	file, ca           string
}

func newChained(t *testing.T, version string) *chained {
	t.Helper()
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	c := &chained{root: testpki.New(t, "root"), file: path("s.pem"), ca: path("ca")}
	c.intermediate = c.root.Intermediate(t, "intermediate")
	cert, key := testpki.PEM(t, c.intermediate.Leaf(t, "a.test"))
	write(t, path("cert"), cert)
	write(t, path("key"), key)
	write(t, c.ca, c.root.PEM())
	c.server = serving(t, "--cert", path("cert"), "--key", path("key"))
	connecting(t, exitGood, c.server.address, "--ca", c.ca, "--server-name", "a.test", "--tls", version, "--sess-out", c.file)
	s, err := readSession(c.file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Free)
	c.session = s
	return c
}

// save writes the session, as it is by now, to its file.
func (c *chained) save(t *testing.T) {
	t.Helper()
	if err := writeSession(c.file, c.session); err != nil {
		t.Fatal(err)
	}
}

func TestShow(t *testing.T) {
	for _, version := range []string{"1.2", "1.3"} {
		c := newChained(t, version)
		code, stdout, stderr := command(t, "show", c.file)
		if code != exitGood || stderr != "" {
			t.Errorf("exit code %d, %q", code, stderr)
		}
		for _, fact := range []string{
			c.session.Fingerprint(), "TLS " + version, "a.test", "X25519", hex.EncodeToString(c.session.ID()),
			"issued by CN=intermediate", "0 (ok)", "(hidden: --secrets shows it)",
		} {
			if !strings.Contains(stdout, fact) {
				t.Errorf("nothing says %q:\n%s", fact, stdout)
			}
		}
		if n := strings.Count(stdout, "\n"); n > 24 {
			t.Errorf("%d lines are more than a screen", n)
		}
	}
}

func TestShowSecrets(t *testing.T) {
	c := newChained(t, "1.3")
	key, err := c.session.MasterKey()
	if err != nil || len(key) == 0 {
		t.Fatal(err, "no secret")
	}
	secret := hex.EncodeToString(key)
	for _, form := range []string{"", "--json", "--openssl"} {
		flags := strings.Fields("show " + form + " " + c.file)
		_, hidden, said := command(t, flags...)
		if strings.Contains(strings.ToLower(hidden+said), secret) {
			t.Errorf("%q: the output holds the secret", form)
		}
		if _, told, _ := command(t, append(flags, "--secrets")...); !strings.Contains(strings.ToLower(told), secret) {
			t.Errorf("%q --secrets: the output does not hold the secret:\n%s", form, told)
		}
	}
}

func TestShowJSON(t *testing.T) {
	c := newChained(t, "1.2")
	_, stdout, _ := command(t, "show", "--json", c.file)
	var got struct {
		reprise.Description
		MasterKey *string  `json:"master_key"`
		Ticket    *string  `json:"ticket"`
		Warnings  []string `json:"warnings"`
	}
	strict := json.NewDecoder(strings.NewReader(stdout))
	strict.DisallowUnknownFields()
	if err := strict.Decode(&got); err != nil {
		t.Fatal(err)
	}
	want, err := json.Marshal(c.session.Describe())
	if err != nil {
		t.Fatal(err)
	}
	if description, _ := json.Marshal(got.Description); !bytes.Equal(description, want) {
		t.Errorf("%s\nwant %s", description, want)
	}
	if got.MasterKey != nil || got.Ticket != nil || got.Warnings == nil {
		t.Errorf("without --secrets:\n%s", stdout)
	}
	_, stdout, _ = command(t, "show", "--json", "--secrets", c.file)
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || got.Ticket == nil || *got.Ticket != hex.EncodeToString(c.session.Ticket()) {
		t.Errorf("%v, with --secrets:\n%s", err, stdout)
	}
}

func TestShowOpenSSL(t *testing.T) {
	c := newChained(t, "1.3")
	for _, secrets := range []bool{false, true} {
		var want bytes.Buffer
		if err := c.session.WriteText(&want, secrets); err != nil {
			t.Fatal(err)
		}
		flags := []string{"show", "--openssl", c.file}
		if secrets {
			flags = append(flags, "--secrets")
		}
		if _, stdout, _ := command(t, flags...); stdout != want.String() {
			t.Errorf("%q:\n%s\nwant\n%s", flags, stdout, &want)
		}
	}
	if code, _, stderr := command(t, "show", "--openssl", "--json", c.file); code != exitUsage || !strings.Contains(stderr, "choose one") {
		t.Errorf("both forms: exit code %d, %q", code, stderr)
	}
}

func TestShowWarns(t *testing.T) {
	now := time.Now()
	c := newChained(t, "1.3")
	lonely := c.session.Dup()
	defer lonely.Free()
	lonely.SetIntermediates(nil)
	for name, test := range map[string]struct {
		session *reprise.Session
		at      time.Time
		say     string
	}{
		"nothing":             {c.session, now, ""},
		"ended":               {c.session, now.Add(3 * time.Hour), "its timeout of 2h0m0s"},
		"made in the future":  {c.session, now.Add(-time.Hour), "a clock is wrong"},
		"certificate expired": {c.session, now.Add(48 * time.Hour), "certificate expired"},
		"leaf only":           {lonely, now, "if an intermediate issued"},
		"nothing to resume":   {reprise.NewSession(), now, "neither id nor ticket"},
	} {
		list := strings.Join(warnings(test.session, test.at), "\n")
		if test.say == "" && list != "" || !strings.Contains(list, test.say) {
			t.Errorf("%s: warned %q, want %q", name, list, test.say)
		}
	}
}

// TestShowUnverified warns of a peer that nobody verified.
func TestShowUnverified(t *testing.T) {
	s := serving(t)
	file := filepath.Join(t.TempDir(), "s.pem")
	connecting(t, exitGood, s.address, "--insecure", "--server-name", "localhost", "--sess-out", file)
	if code, _, stderr := command(t, "show", file); code != exitGood || !strings.Contains(stderr, "not verified") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
}

// TestShowPlain: a file cannot speak to the terminal.
func TestShowPlain(t *testing.T) {
	s := exportable(t)
	s.SetHostname("a.test\x1b[2J\n  verify result  0 (ok)")
	s.SetALPN("\x07\u009b31m\x9b")
	pem, _ := encoded(t, s)
	for _, verb := range []string{"show", "explain"} {
		_, stdout, stderr := commandOn(t, pem, verb, "-")
		if i := strings.IndexFunc(stdout+stderr, func(r rune) bool { return r < ' ' && r != '\n' || r == '\u009b' }); i >= 0 {
			t.Errorf("%s: control character at %d of %q", verb, i, stdout+stderr)
		}
		if strings.Contains(stdout, "\n  verify result  0") {
			t.Errorf("%s: the file made a line of its own:\n%s", verb, stdout)
		}
	}
}

func TestLastSecond(t *testing.T) {
	s := newChained(t, "1.3").session // with a hint of seven days and a timeout of two hours
	made := s.Time()
	for _, test := range []struct {
		timeout time.Duration
		want    time.Duration
		why     string
	}{
		{time.Hour, time.Hour, "timeout"},
		{30 * 24 * time.Hour, maxClientLifetime, "hint"},
	} {
		if err := s.SetTimeout(test.timeout); err != nil {
			t.Fatal(err)
		}
		if last, why, ends := lastSecond(s); !ends || last.Sub(made) != test.want || !strings.Contains(why, test.why) {
			t.Errorf("timeout %v: ends %v after %v, %s", test.timeout, ends, last.Sub(made), why)
		}
	}
}
