package keyfile

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func mustNew(tb testing.TB, f Format) *Set {
	tb.Helper()
	s, err := New(f)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// leaks returns the first form of a secret of s that text holds, "" if none.
func leaks(s *Set, text string) string {
	for _, k := range s.keys {
		for _, secret := range [][]byte{k.aes, k.hmac} {
			decimal := strings.Trim(fmt.Sprint(secret), "[]")
			for _, form := range []string{
				string(secret), hex.EncodeToString(secret), strings.ToUpper(hex.EncodeToString(secret)), decimal,
				base64.StdEncoding.EncodeToString(secret)[:20],
			} {
				if strings.Contains(text, form) {
					return form
				}
			}
		}
	}
	return ""
}

func TestKeysPrintNoSecret(t *testing.T) {
	for _, f := range Formats() {
		s := mustNew(t, f)
		var out bytes.Buffer
		log := slog.New(slog.NewJSONHandler(&out, nil))
		for _, v := range []any{s, *s, s.Keys(), s.keys[0], *s.keys[0], struct{ K *Key }{s.keys[0]}} {
			for _, verb := range []string{"%v", "%+v", "%s", "%q", "%x", "%d"} {
				fmt.Fprintf(&out, verb, v)
			}
			asJSON, err := json.Marshal(v)
			fmt.Fprint(&out, string(asJSON), err)
			log.Info("keys", "value", v)
		}
		if form := leaks(s, out.String()); form != "" {
			t.Errorf("%v: %q is in what was printed", f, form)
		}
		if !strings.Contains(out.String(), s.keys[0].String()) {
			t.Errorf("%v: no fingerprint was printed", f)
		}
	}
}

func TestWipe(t *testing.T) {
	s := mustNew(t, FormatHAProxy80)
	s.Wipe()
	for _, k := range s.keys {
		if !bytes.Equal(k.aes, make([]byte, 32)) || !bytes.Equal(k.hmac, make([]byte, 32)) {
			t.Error("a key is not wiped")
		}
	}
}

func TestNewKeysDiffer(t *testing.T) {
	s := mustNew(t, FormatHAProxy48)
	if err := s.check([]string{"1", "2", "3"}); err != nil {
		t.Error(err)
	}
}
