package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/ticket/keyfile"
)

func rotate(t *testing.T, form, name string, flags ...string) {
	t.Helper()
	args := append([]string{"keys", "rotate", "--format", form, name}, flags...)
	if code, stdout, stderr := command(t, args...); code != exitGood || stdout+stderr != "" {
		t.Fatalf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
	}
}

func TestKeysRotateFiles(t *testing.T) {
	for _, f := range []keyfile.Format{keyfile.FormatNginx48, keyfile.FormatNginx80, keyfile.FormatApache48} {
		name := keysFile(t, f.String())
		all := [][]byte{contents(t, name)} // the newest first
		for range 4 {
			rotate(t, f.String(), name)
			all = slices.Insert(all, 0, contents(t, name))
		}
		if bytes.Equal(all[0], all[1]) {
			t.Errorf("%v: the key did not change", f)
		}
		if got := listing(t, name); !slices.Equal(got, []string{"keys", "keys.1", "keys.2"}) {
			t.Errorf("%v: there are %q", f, got)
		}
		for i := range 3 {
			if !bytes.Equal(contents(t, numbered(name, i)), all[i]) {
				t.Errorf("%v: file %d is not the key that was %d rotations ago", f, i, i)
			}
			if info, err := os.Stat(numbered(name, i)); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v: file %d: %v, mode %v", f, i, err, info.Mode())
			}
		}
		rotate(t, f.String(), name, "--keep", "1")
		if got := listing(t, name); !slices.Equal(got, []string{"keys"}) {
			t.Errorf("%v: kept %q, want one", f, got)
		}
	}
}

func TestKeysRotateLines(t *testing.T) {
	name := keysFile(t, "haproxy80")
	before := strings.Split(strings.TrimSpace(string(contents(t, name))), "\n")
	rotate(t, "haproxy80", name, "--keep", "4")
	after := strings.Split(strings.TrimSpace(string(contents(t, name))), "\n")
	if len(after) != 4 || !slices.Equal(after[:3], before) {
		t.Errorf("%d lines, or others than before", len(after))
	}
	rotate(t, "haproxy80", name)
	if got := strings.Split(strings.TrimSpace(string(contents(t, name))), "\n"); len(got) != 3 || !slices.Equal(got[:2], after[2:]) {
		t.Errorf("%d lines, or others than the last", len(got))
	}
}

// TestKeysRotateWhole: where one of the files cannot be written none is.
func TestKeysRotateWhole(t *testing.T) {
	name := keysFile(t, "nginx80")
	rotate(t, "nginx80", name)
	before := [][]byte{contents(t, name), contents(t, name+".1")}
	if err := os.Mkdir(name+".reprise-next", 0o700); err != nil { // in the way
		t.Fatal(err)
	}
	write(t, name+".reprise-next/kept", nil)
	code, _, stderr := command(t, "keys", "rotate", "--format", "nginx80", name)
	if code != exitFailure || !strings.Contains(stderr, "not written") {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	if !bytes.Equal(contents(t, name), before[0]) || !bytes.Equal(contents(t, name+".1"), before[1]) {
		t.Error("a file was changed")
	}
	if got := listing(t, name); !slices.Equal(got, []string{"keys", "keys.1", "keys.reprise-next"}) {
		t.Errorf("left behind: %q", got)
	}
}
