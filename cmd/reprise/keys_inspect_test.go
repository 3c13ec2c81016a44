package main

import (
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
	"github.com/reprise-tls/reprise/ticket/keyfile"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// sealedBy makes the session file of a client whose ticket key k sealed around
// what is inside.
func sealedBy(t *testing.T, k *keyfile.Key, inside []byte) string {
	t.Helper()
	key, err := k.TicketKey()
	if err != nil {
		t.Fatal(err)
	}
	ring, err := ticket.NewKeyRing(key)
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	tkt, err := ring.Seal(inside)
	if err != nil {
		t.Fatal(err)
	}
	return withTicket(t, tkt)
}

// withTicket makes the session file of a client that was given a ticket.
func withTicket(t *testing.T, tkt []byte) string {
	t.Helper()
	_, der := encoded(t, exportable(t))
	tag := asn1.Tag(10).ContextSpecific().Constructed()
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		var fields, field cryptobyte.String
		rest, added := cryptobyte.String(der), false
		for ok := rest.ReadASN1(&fields, asn1.SEQUENCE); ok && !fields.Empty(); {
			var at asn1.Tag
			ok = fields.ReadAnyASN1Element(&field, &at)
			if !added && at&0x80 != 0 && at > tag {
				b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddASN1OctetString(tkt) })
				added = true
			}
			b.AddBytes(field)
		}
	})
	name := filepath.Join(t.TempDir(), "s.der")
	write(t, name, b.BytesOrPanic())
	return name
}

// ofServer is the session that a server puts into a ticket.
func ofServer(t *testing.T) (*reprise.Session, []byte) {
	t.Helper()
	s := exportable(t)
	s.SetHostname("inside.test")
	if err := s.SetIDContext([]byte("haproxy")); err != nil {
		t.Fatal(err)
	}
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return s, der
}

func TestKeysInspect(t *testing.T) {
	s, der := ofServer(t)
	for _, f := range keyfile.Formats() {
		name := keysFile(t, f.String())
		set := keysOf(t, f, name)
		for i, k := range set.Keys() {
			file := sealedBy(t, k, der)
			args := []string{"keys", "inspect", "--keys", name, "--format", f.String(), file}
			code, stdout, stderr := command(t, args...)
			id := k.Name()
			for _, fact := range []string{"opened by key " + hex.EncodeToString(id[:]), keyState(set, k), "inside.test", s.Fingerprint(), `"haproxy"`} {
				if code != exitGood || stderr != "" || !strings.Contains(stdout, fact) {
					t.Errorf("%v: exit code %d, %q, nothing says %q:\n%s", f, code, stderr, fact, stdout)
				}
			}
			code, stdout, _ = command(t, append(args, "--json")...)
			var got inspected
			if err := json.Unmarshal([]byte(stdout), &got); err != nil {
				t.Fatal(err)
			}
			if code != exitGood || !got.Opened || got.Finding != "" || got.Key == nil || got.Key.Name != hex.EncodeToString(id[:]) ||
				got.ContextID == nil || *got.ContextID != hex.EncodeToString([]byte("haproxy")) || got.Session == nil || got.Session.Hostname != "inside.test" {
				t.Errorf("%v, key %d: exit code %d:\n%s", f, i, code, stdout)
			}
		}
	}
}

// TestKeysInspectServer opens what a server of this library gave to a client.
func TestKeysInspectServer(t *testing.T) {
	name := keysFile(t, "nginx80")
	ring, err := ticket.NewKeyRing()
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	source, err := keyfile.NewSource(keyfile.Config{Format: keyfile.FormatNginx80, Files: []string{name}})
	if err != nil {
		t.Fatal(err)
	}
	defer source.Close()
	if err := ring.Load(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	m, err := reprise.New(reprise.Config{Tickets: ring, ContextID: []byte{0, 0xff}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	root := testpki.New(t, "root")
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = m.ServerConfig(&tls.Config{Certificates: []tls.Certificate{root.Leaf(t, "a.test")}})
	server.StartTLS()
	defer server.Close()
	ca, file := filepath.Join(t.TempDir(), "ca"), filepath.Join(t.TempDir(), "s.pem")
	write(t, ca, root.PEM())
	for _, version := range []string{"1.2", "1.3"} {
		connecting(t, exitGood, server.Listener.Addr().String(), "--ca", ca, "--server-name", "a.test", "--tls", version, "--sess-out", file)
		code, stdout, stderr := command(t, "keys", "inspect", "--keys", name, "--format", "nginx80", "--json", file)
		var got inspected
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		if code != exitGood || got.ContextID == nil || *got.ContextID != "00ff" || got.Session.Version != "TLS "+version || got.Session.TicketBytes != 0 {
			t.Errorf("TLS %s: exit code %d, %q:\n%s", version, code, stderr, stdout)
		}
	}
}

func TestKeysInspectFindings(t *testing.T) {
	_, der := ofServer(t)
	nginx, other := keysFile(t, "nginx48"), keysFile(t, "nginx48")
	key := keysOf(t, keyfile.FormatNginx48, nginx).Keys()[0]
	id := key.Name()
	none := filepath.Join(t.TempDir(), "none.pem")
	if err := writeSession(none, exportable(t)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		keys, form, file string
		opened, named    bool
		say              string
	}{
		"no ticket":      {nginx, "nginx48", none, false, false, "has no ticket"},
		"another key":    {other, "nginx48", sealedBy(t, key, der), false, false, "names key " + hex.EncodeToString(id[:]) + ", which is not among the 1"},
		"another form":   {nginx, "apache48", sealedBy(t, key, der), false, true, "is the form another than apache48?"},
		"a short ticket": {nginx, "nginx48", withTicket(t, []byte("short")), false, false, "not among"},
		"no session":     {nginx, "nginx48", sealedBy(t, key, []byte("hello")), true, true, "no session is inside"},
	} {
		args := []string{"keys", "inspect", "--keys", c.keys, "--format", c.form, c.file}
		code, stdout, stderr := command(t, args...)
		if code != exitFinding || strings.Contains(stdout, "opened") != c.opened || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, c.say) {
			t.Errorf("%s: exit code %d, %q, %q", name, code, stdout, stderr)
		}
		code, stdout, _ = command(t, append(args, "--json")...)
		var got inspected
		if err := json.Unmarshal([]byte(stdout), &got); err != nil {
			t.Fatal(err)
		}
		if code != exitFinding || got.Opened != c.opened || (got.Key != nil) != c.named || got.Session != nil || got.ContextID != nil || !strings.Contains(got.Finding, c.say) {
			t.Errorf("%s: exit code %d:\n%s", name, code, stdout)
		}
	}
}

// TestKeysInspectFiles: with several files of nginx the one is told that has
// the key.
func TestKeysInspectFiles(t *testing.T) {
	_, der := ofServer(t)
	name := keysFile(t, "nginx80")
	file := sealedBy(t, keysOf(t, keyfile.FormatNginx80, name).Keys()[0], der)
	rotate(t, "nginx80", name)
	code, stdout, stderr := command(t, "keys", "inspect", "--keys", name, "--keys", name+".1", "--format", "nginx80", file)
	if code != exitGood || !strings.Contains(stdout, "(decrypting, "+name+".1)") {
		t.Errorf("exit code %d, %q:\n%s", code, stderr, stdout)
	}
	if code, _, _ = command(t, "keys", "inspect", "--keys", name, "--format", "nginx80", file); code != exitFinding {
		t.Errorf("without the file of the key: exit code %d", code)
	}
}
