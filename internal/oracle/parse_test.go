package oracle

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	o := Start(t)
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
	o := Start(t)
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

func BenchmarkParse(b *testing.B) {
	o := Start(b)
	inputs := slices.Repeat([][]byte{session(b)}, 1000)
	for b.Loop() {
		o.Parse(inputs, true)
	}
	b.ReportMetric(float64(b.N*len(inputs))/b.Elapsed().Seconds(), "sessions/s")
}
