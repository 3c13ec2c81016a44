package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/reprise-tls/reprise/ticket/keyfile"
)

func TestKeysNew(t *testing.T) {
	for _, f := range keyfile.Formats() {
		name := keysFile(t, f.String())
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v: %v, mode %v", f, err, info.Mode())
		}
		one := keysOf(t, f, name)
		if got := len(one.Keys()); got != f.MinKeys() {
			t.Errorf("%v: %d keys, want %d", f, got, f.MinKeys())
		}
		code, stdout, stderr := command(t, "keys", "new", "--format", f.String())
		other, err := keyfile.Parse(f, keyfile.File{Name: "standard output", Data: []byte(stdout)})
		if code != exitGood || stderr != "" || err != nil {
			t.Errorf("%v: exit code %d, %q, %v", f, code, stderr, err)
			continue
		}
		if bytes.Equal(one.Files()[0], other.Files()[0]) {
			t.Errorf("%v: the same keys twice", f)
		}
	}
}

// TestKeysTerminal: binary is not for a terminal.
func TestKeysTerminal(t *testing.T) {
	tty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("%s: no pseudo-terminal: %v", t.Name(), err)
	}
	defer tty.Close()
	for form, want := range map[string]int{"nginx80": exitUsage, "haproxy80": exitGood} {
		if code := run(t.Context(), []string{"keys", "new", "--format", form}, tty, new(bytes.Buffer)); code != want {
			t.Errorf("%s: exit code %d, want %d", form, code, want)
		}
	}
}
