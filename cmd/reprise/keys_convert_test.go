package main

import (
	"bytes"
	"path/filepath"
	"slices"
	"testing"

	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// TestKeysConvertOrder: the bytes of a key change their places.
func TestKeysConvertOrder(t *testing.T) {
	name := keysFile(t, "nginx48")
	nginx := contents(t, name) // name, AES, HMAC
	want := slices.Concat(nginx[:16], nginx[32:], nginx[16:32])
	for _, input := range []string{name, "-"} {
		code, stdout, stderr := commandOn(t, nginx, "keys", "convert", "--from", "nginx48", "--to", "apache48", input)
		if code != exitGood || stderr != "" || !bytes.Equal([]byte(stdout), want) {
			t.Errorf("%s: exit code %d, %q, %d bytes", input, code, stderr, len(stdout))
		}
	}
}

// TestKeysConvertFiles: the lines of HAProxy become files of nginx, and again
// the lines that they were.
func TestKeysConvertFiles(t *testing.T) {
	haproxy := keysFile(t, "haproxy80")
	out := filepath.Join(t.TempDir(), "ticket.key")
	if code, _, stderr := command(t, "keys", "convert", "--from", "haproxy80", "--to", "nginx80", haproxy, "-o", out); code != exitGood {
		t.Fatalf("exit code %d, %q", code, stderr)
	}
	names := []string{out, out + ".1", out + ".2"}
	if got := listing(t, out); !slices.Equal(got, []string{"ticket.key", "ticket.key.1", "ticket.key.2"}) {
		t.Errorf("there are %q", got)
	}
	want := keyNames(keysOf(t, keyfile.FormatHAProxy80, haproxy).InUse())
	if got := keyNames(keysOf(t, keyfile.FormatNginx80, names...).Keys()); !slices.Equal(got, want) {
		t.Errorf("keys %x, want %x", got, want)
	}
	code, back, stderr := command(t, append([]string{"keys", "convert", "--from", "nginx80", "--to", "haproxy80"}, names...)...)
	if code != exitGood || back != string(contents(t, haproxy)) {
		t.Errorf("exit code %d, %q: not the lines of before", code, stderr)
	}
}
