package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
)

// commandOn runs a command line on standard input.
func commandOn(t *testing.T, stdin []byte, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	root := newRoot()
	var out, errs bytes.Buffer
	root.SetArgs(args)
	root.SetIn(bytes.NewReader(stdin))
	root.SetOut(&out)
	root.SetErr(&errs)
	code = report(&errs, root.ExecuteContext(t.Context()))
	return code, out.String(), errs.String()
}

// encoded is a session in both forms.
func encoded(t *testing.T, s *reprise.Session) (pem, der []byte) {
	t.Helper()
	pem, err := s.MarshalPEM()
	if err != nil {
		t.Fatal(err)
	}
	der, err = s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return pem, der
}

func TestInput(t *testing.T) {
	s := exportable(t)
	pem, der := encoded(t, s)
	other := s.Dup()
	defer other.Free()
	if err := other.SetID([]byte("other")); err != nil {
		t.Fatal(err)
	}
	otherPEM, otherDER := encoded(t, other)
	for name, test := range map[string]struct {
		data []byte
		form string
		more string
	}{
		"PEM":                 {pem, "PEM", ""},
		"PEM behind text":     {append([]byte("0 is how DER begins\n"), pem...), "PEM", ""},
		"DER":                 {der, "DER", ""},
		"several in PEM":      {slices.Concat(pem, []byte("text\n"), otherPEM, pem), "PEM", "holds 3 sessions: this is the first"},
		"several in DER":      {slices.Concat(der, otherDER), "DER", "holds 2 sessions: this is the first"},
		"DER and other bytes": {append(slices.Clone(der), "\n\n"...), "DER", "2 bytes after the session are not looked at"},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := parseInput(test.data)
			if err != nil {
				t.Fatal(err)
			}
			defer in.Free()
			if in.Fingerprint() != s.Fingerprint() || in.form != test.form || in.more != test.more {
				t.Errorf("%s of %v, %q", in.form, in.Session, in.more)
			}
			file := filepath.Join(t.TempDir(), "s")
			write(t, file, test.data)
			code, fromFile, said := command(t, "show", file)
			onInput, fromInput, _ := commandOn(t, test.data, "show", "-")
			if code != exitGood || onInput != exitGood || fromFile != fromInput || !strings.Contains(fromFile, s.Fingerprint()) {
				t.Errorf("exit codes %d and %d:\n%s\n%s", code, onInput, fromFile, fromInput)
			}
			if test.more != "" && !strings.Contains(said, test.more) {
				t.Errorf("standard error does not say that it %s: %q", test.more, said)
			}
		})
	}
}

func TestInputRefuses(t *testing.T) {
	pem, der := encoded(t, exportable(t))
	for name, test := range map[string]struct {
		data []byte
		say  string
	}{
		"nothing":       {nil, "no session"},
		"text":          {[]byte("hello\n"), "no session"},
		"half of a DER": {der[:len(der)/2], "not decoded"},
		"damaged PEM":   {bytes.Replace(pem, []byte("-\nM"), []byte("-\nA"), 1), "not decoded"},
		"too much":      {make([]byte, maxFile+1), "more than"},
	} {
		for _, verb := range [][]string{{"show"}, {"convert", "--to", "pem"}} {
			code, stdout, stderr := commandOn(t, test.data, append(verb, "-")...)
			if code != exitFailure || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.say) {
				t.Errorf("%s %s: exit code %d, %q, %q", verb, name, code, stdout, stderr)
			}
		}
	}
}
