package reprise_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// TestFormat: every verb prints the same line, and no secret.
func TestFormat(t *testing.T) {
	s := named("the session's id", time.Unix(1000, 0))
	s.SetMasterKey([]byte("the secret"))
	s.SetCipherSuite(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	want := "Session(TLS 1.2, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, " + s.Fingerprint() + ")"
	for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d %p %t %08b %-40s %T") {
		got := fmt.Sprintf(verb, s)
		if verb == "%T" || verb == "%p" { // fmt answers these itself
			if strings.Contains(got, "secret") {
				t.Errorf("%s prints %q", verb, got)
			}
		} else if got != want {
			t.Errorf("%s prints %q, want %q", verb, got, want)
		}
	}
	for _, value := range []any{[]*reprise.Session{s}, struct{ S *reprise.Session }{s}, map[string]*reprise.Session{"s": s}} {
		if got := fmt.Sprintf("%v %+v", value, value); strings.Contains(got, "secret") || !strings.Contains(got, s.Fingerprint()) {
			t.Errorf("inside %T it prints %q", value, got)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("a line", "session", s)
	if !strings.Contains(log.String(), want) || strings.Contains(log.String(), "secret") {
		t.Errorf("logged as %s", &log)
	}
	if got := fmt.Sprint(reprise.NewSession()); got != "Session(no version, no suite, new)" {
		t.Errorf("a new session prints %q", got)
	}
	if got := fmt.Sprint((*reprise.Session)(nil)); got != "Session(nil)" {
		t.Errorf("nil prints %q", got)
	}
}

// TestFingerprint: it tells sessions apart, by what they have, and stays when the secret goes.
func TestFingerprint(t *testing.T) {
	bare := reprise.NewSession()
	seen := map[string]bool{bare.Fingerprint(): true}
	keyed := reprise.NewSession()
	keyed.SetMasterKey([]byte("key"))
	other := keyed.Dup()
	other.SetMasterKey([]byte("other"))
	for _, s := range []*reprise.Session{keyed, other, named("a", time.Unix(1, 0)), named("b", time.Unix(1, 0))} {
		if f := s.Fingerprint(); seen[f] || len(f) != 16 {
			t.Errorf("fingerprint %q is not its own", f)
		}
		seen[s.Fingerprint()] = true
	}
	s := named("a", time.Unix(1, 0))
	before := s.Fingerprint()
	s.SetMasterKey([]byte("key"))
	s.Free()
	if s.Fingerprint() != before {
		t.Error("the fingerprint depends on the secret though there is an id")
	}
	keyed.Free()
	if got := keyed.Fingerprint(); got != "new" {
		t.Errorf("a session whose secret is gone and that has nothing else is %q", got)
	}
}
