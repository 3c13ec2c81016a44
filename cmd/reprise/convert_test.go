package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConvert(t *testing.T) {
	c := newChained(t, "1.3")
	pem, der := encoded(t, c.session)
	_, asJSON, _ := command(t, "show", "--json", "--secrets", c.file)
	for form, want := range map[string][]byte{"pem": pem, "der": der, "json": []byte(asJSON)} {
		for _, input := range [][]byte{pem, der} {
			code, stdout, stderr := commandOn(t, input, "convert", "--to", form, "-")
			if code != exitGood || stderr != "" || stdout != string(want) {
				t.Errorf("--to %s: exit code %d, %q:\n%q\nwant\n%q", form, code, stderr, stdout, want)
			}
		}
		file := filepath.Join(t.TempDir(), "out")
		write(t, file, bytes.Repeat([]byte("what was there before\n"), 1000))
		if err := os.Chmod(file, 0o644); err != nil {
			t.Fatal(err)
		}
		if code, stdout, stderr := command(t, "convert", "--to", form, c.file, "-o", file); code != exitGood || stdout+stderr != "" {
			t.Errorf("--to %s -o: exit code %d, %q, %q", form, code, stdout, stderr)
		}
		got, err := os.ReadFile(file)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("--to %s -o: %v, %q\nwant %q", form, err, got, want)
		}
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("--to %s -o: %v, mode %v", form, err, info.Mode())
		}
	}
}

func TestConvertRefuses(t *testing.T) {
	pem, _ := encoded(t, exportable(t))
	missing := filepath.Join(t.TempDir(), "missing", "s.der")
	for _, test := range []struct {
		code int
		say  string
		args []string
	}{
		{exitUsage, "--to is missing", []string{"-"}},
		{exitUsage, "none of pem, der and json", []string{"--to", "text", "-"}},
		{exitUsage, "one FILE", []string{"--to", "pem"}},
		{exitFailure, "not written", []string{"--to", "der", "-o", missing, "-"}},
	} {
		code, stdout, stderr := commandOn(t, pem, append([]string{"convert"}, test.args...)...)
		if code != test.code || stdout != "" || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, test.say) {
			t.Errorf("%q: exit code %d, %q, %q", test.args, code, stdout, stderr)
		}
	}
}

// TestConvertDevice: what is no file is written to and stays what it is.
func TestConvertDevice(t *testing.T) {
	before, err := os.Stat(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	pem, _ := encoded(t, exportable(t))
	link := filepath.Join(t.TempDir(), "null")
	if err := os.Symlink(os.DevNull, link); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := commandOn(t, pem, "convert", "--to", "der", "-o", link, "-"); code != exitGood {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if after, err := os.Stat(link); err != nil || !os.SameFile(before, after) {
		t.Errorf("%v: %v became %v", err, before, after)
	}
}

// TestConvertTerminal: the master side of a pseudo-terminal is a terminal too.
func TestConvertTerminal(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("%s: no pseudo-terminal: %v", t.Name(), err)
	}
	defer tty.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	file := filepath.Join(t.TempDir(), "s.pem")
	if err := writeSession(file, exportable(t)); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		stdout *os.File
		form   string
		code   int
		say    string
	}{{tty, "der", exitUsage, "-o"}, {tty, "pem", exitGood, ""}, {null, "der", exitGood, ""}} {
		var errs bytes.Buffer
		code := run(t.Context(), []string{"convert", "--to", test.form, file}, test.stdout, &errs)
		if code != test.code || !strings.Contains(errs.String(), test.say) {
			t.Errorf("%s to %s: exit code %d, %q", test.form, test.stdout.Name(), code, errs.String())
		}
	}
}
