package oracle_test

import (
	"bytes"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/internal/oracle"
)

// A session of TLS 1.2 with time 1000, timeout 300 and the id 0102030405060708.
const sessionHex = "302d020101020203030402c030" + "04080102030405060708" + "0401bb" +
	"a104020203e8" + "a2040202012c" + "a4020400" + "b303020100"

func session(t testing.TB) []byte {
	t.Helper()
	der, err := hex.DecodeString(sessionHex)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestParse(t *testing.T) {
	o := oracle.Start(t)
	der := session(t)
	got := o.Parse([][]byte{der, der[:len(der)-1], append(slices.Clone(der), 7)}, true)
	if got[1] != nil {
		t.Error("a session cut short was accepted")
	}
	for _, i := range []int{0, 2} {
		s := got[i]
		if s == nil {
			t.Fatalf("input %d: refused", i)
		}
		if s.Consumed != int64(len(der)) || !bytes.Equal(s.Encoded, der) {
			t.Errorf("input %d: consumed %d, encoded %x", i, s.Consumed, s.Encoded)
		}
		if s.Version != 0x0303 || s.Cipher != 0xc030 || s.Time != 1000 || s.Timeout != 300 || !s.Resumable {
			t.Errorf("input %d: %+v", i, s)
		}
		if want := "RSA Session-ID:0102030405060708 Master-Key:BB\n"; !s.KeyLogOK || s.KeyLog != want {
			t.Errorf("input %d: key log %q", i, s.KeyLog)
		}
	}
}

func TestConstants(t *testing.T) {
	o := oracle.Start(t)
	if name := o.Suites()[0x1301]; name != "TLS_AES_128_GCM_SHA256" {
		t.Errorf("suite 0x1301 is %q", name)
	}
	if number, name := o.Version(); number>>28 < 3 || !strings.HasPrefix(name, "OpenSSL ") {
		t.Errorf("version %#x, %s", number, name)
	}
	if text := o.VerifyText(10); text != "certificate has expired" {
		t.Errorf("verify result 10 is %q", text)
	}
}

func TestCache(t *testing.T) {
	o := oracle.Start(t)
	c := o.NewContext(20480, 2, 7200)
	s := o.Decode(session(t))
	other := o.Dup(s)
	o.SetID(other, 0x0303, []byte{9})
	if !c.Add(s) || c.Add(s) || !c.Add(other) {
		t.Error("add does not tell new sessions from cached ones")
	}
	if got := c.Lookup(0x0303, []byte{9}); got != other {
		t.Errorf("lookup gives %d, want %d", got, other)
	}
	if got := c.Lookup(0x0304, []byte{9}); got != oracle.None {
		t.Errorf("lookup by another version gives %d", got)
	}
	if n, _ := c.Counts(); n != 2 || len(c.Sessions()) != 2 {
		t.Errorf("%d sessions, listed %v", n, c.Sessions())
	}
	o.SetTimeout(other, 301)
	c.Flush(1301)
	if got, want := c.Events(), []oracle.Event{{Removed: true, Session: s}}; !slices.Equal(got, want) {
		t.Errorf("events of a flush: %v, want %v", got, want)
	}
	if _, _, resumable := o.State(s); resumable {
		t.Error("a flushed session is resumable")
	}
	o.Release(other)
	c.Free()
	if got, want := c.Events(), []oracle.Event{{Removed: true, Session: other}}; !slices.Equal(got, want) {
		t.Errorf("events of the end: %v, want %v", got, want)
	}
}

func TestRefused(t *testing.T) {
	o := oracle.Start(t)
	if got := o.Decode([]byte{0x30, 0}); got != oracle.None {
		t.Errorf("an empty sequence gives session %d", got)
	}
}

func BenchmarkParse(b *testing.B) {
	o := oracle.Start(b)
	inputs := slices.Repeat([][]byte{session(b)}, 1000)
	for b.Loop() {
		o.Parse(inputs, true)
	}
	b.ReportMetric(float64(b.N*len(inputs))/b.Elapsed().Seconds(), "sessions/s")
}
