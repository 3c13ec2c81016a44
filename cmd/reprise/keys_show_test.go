package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/ticket/keyfile"
)

func TestKeysShow(t *testing.T) {
	nginx := keysFile(t, "nginx48")
	rotate(t, "nginx48", nginx)
	haproxy := keysFile(t, "haproxy80")
	rotate(t, "haproxy80", haproxy, "--keep", "4")
	for _, c := range []struct {
		f      keyfile.Format
		names  []string
		states []string
	}{
		{keyfile.FormatNginx48, []string{nginx, nginx + ".1"}, []string{"encrypting", "decrypting"}},
		{keyfile.FormatHAProxy80, []string{haproxy}, []string{"unused", "decrypting", "encrypting", "published"}},
	} {
		keys := keysOf(t, c.f, c.names...).Keys()
		args := append([]string{"keys", "show", "--format", c.f.String()}, c.names...)
		code, stdout, stderr := command(t, args...)
		lines := strings.Split(strings.TrimSpace(stdout), "\n")
		if code != exitGood || stderr != "" || len(lines) != len(keys) {
			t.Fatalf("%v: exit code %d, %q, %d lines, want %d", c.f, code, stderr, len(lines), len(keys))
		}
		for i, k := range keys {
			name := k.Name()
			for _, fact := range []string{hex.EncodeToString(name[:]), c.states[i], c.names[min(i, len(c.names)-1)], "ago"} {
				if !strings.Contains(lines[i], fact) {
					t.Errorf("%v: line %d does not say %q: %s", c.f, i+1, fact, lines[i])
				}
			}
		}
		_, asJSON, _ := command(t, append(args, "--json")...)
		checkKeysJSON(t, asJSON, c.f, keys, c.states)
		for _, data := range keysOf(t, c.f, c.names...).Files() {
			for _, secret := range []string{hex.EncodeToString(data[16:32]), string(data[16:32])} {
				if strings.Contains(stdout+asJSON, secret) {
					t.Errorf("%v: the output holds a key", c.f)
				}
			}
		}
	}
}

func checkKeysJSON(t *testing.T, text string, f keyfile.Format, keys []*keyfile.Key, states []string) {
	t.Helper()
	var got keysShown
	if err := json.Unmarshal([]byte(text), &got); err != nil {
		t.Fatal(err)
	}
	if got.Format != f.String() || len(got.Keys) != len(keys) || got.Warnings == nil {
		t.Fatalf("%s", text)
	}
	for i, k := range got.Keys {
		name := keys[i].Name()
		if k.Name != hex.EncodeToString(name[:]) || k.State != states[i] || k.Changed == nil || k.AgeSeconds == nil || *k.AgeSeconds < 0 {
			t.Errorf("%v: key %d is %+v", f, i, k)
		}
		if !strings.Contains(fmt.Sprint(keys[i]), k.Fingerprint) {
			t.Errorf("%v: the fingerprint of key %d is not that of logs", f, i)
		}
		if wantLine := map[bool]int{true: 0, false: i + 1}[f.MultipleFiles()]; k.Line != wantLine {
			t.Errorf("%v: key %d is on line %d", f, i, k.Line)
		}
	}
}

func TestKeysShowInput(t *testing.T) {
	data := contents(t, keysFile(t, "haproxy48"))
	code, stdout, stderr := commandOn(t, data, "keys", "show", "--format", "haproxy48", "-")
	if code != exitGood || stderr != "" || !strings.Contains(stdout, "published   line 3\n") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}

// TestKeysShowWarns of files that others can read, and tells the age.
func TestKeysShowWarns(t *testing.T) {
	name := keysFile(t, "nginx80")
	if err := os.Chmod(name, 0o640); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-72*time.Hour - time.Minute)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := command(t, "keys", "show", "--format", "nginx80", name)
	if code != exitGood || !strings.Contains(stdout, "3 days ago") || !strings.Contains(stderr, name+": mode 0640") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
}
