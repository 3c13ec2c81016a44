package reprise_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

func described(t *testing.T) *reprise.Session {
	t.Helper()
	r := newRig(t)
	m := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
	c, _ := r.connect(manager(t, reprise.Config{}), m, r.server, r.client, nil)
	s := wait(t, c)
	t.Cleanup(s.Free)
	return s
}

func TestWriteText(t *testing.T) {
	s := described(t)
	key, err := s.MasterKey()
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.ToUpper(hex.EncodeToString(key))
	for _, secrets := range []bool{false, true} {
		var b bytes.Buffer
		if err := s.WriteText(&b, secrets); err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(b.String(), secret); got != secrets {
			t.Errorf("secrets %v: the key is in the text: %v", secrets, got)
		}
		if !strings.HasPrefix(b.String(), "SSL-Session:\n    Protocol  : TLSv1.3\n") {
			t.Errorf("text: %s", b.String())
		}
	}
}

func TestKeyLog(t *testing.T) {
	s := described(t)
	line, err := s.KeyLog()
	if err != nil || !strings.HasPrefix(line, "RSA Session-ID:") || !strings.HasSuffix(line, "\n") {
		t.Errorf("%q, %v", line, err)
	}
	n := reprise.NewSession()
	if _, err := n.KeyLog(); !errors.Is(err, reprise.ErrNoKeyLog) {
		t.Errorf("of a new session: %v", err)
	}
	n.Free()
	if _, err := n.KeyLog(); !errors.Is(err, reprise.ErrFreed) {
		t.Errorf("of a freed session: %v", err)
	}
	if err := n.WriteText(new(bytes.Buffer), true); !errors.Is(err, reprise.ErrFreed) {
		t.Errorf("text of a freed session: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	s := described(t)
	d := s.Describe()
	if d.Version != "TLS 1.3" || d.Hostname != "a.test" || !d.Resumable || d.TicketBytes == 0 || d.VerifyResult != 0 ||
		len(d.Peer) != 1 || d.KeyExchange == "" || d.LifetimeHintSeconds != 604800 || d.FirstAuthentication == nil {
		t.Errorf("%+v", d)
	}
	out, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	key, _ := s.MasterKey()
	if bytes.Contains(out, []byte(hex.EncodeToString(key))) {
		t.Error("the secret is in the description")
	}
	for _, name := range []string{"fingerprint", "version", "cipher_suite", "time", "timeout_seconds", "expires_at", "peer", "verify_text"} {
		if !bytes.Contains(out, []byte(`"`+name+`":`)) {
			t.Errorf("no %s in %s", name, out)
		}
	}
}

func TestDescribeAnyTime(t *testing.T) {
	s := reprise.NewSession()
	defer s.Free()
	for _, sec := range []int64{0, -1, math.MaxInt64 / 2, 1 << 40, -1 << 50} {
		s.SetTime(time.Unix(sec, 0))
		if err := s.SetTimeout(math.MaxInt64); err != nil {
			t.Fatal(err)
		}
		d := s.Describe()
		if _, err := json.Marshal(d); err != nil {
			t.Errorf("time %d: %v", sec, err)
		}
		if d.TimeSeconds != sec {
			t.Errorf("time %d told as %d", sec, d.TimeSeconds)
		}
	}
}
