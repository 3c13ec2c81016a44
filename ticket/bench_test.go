package ticket

import (
	"crypto/tls"
	"fmt"
	"testing"
)

// benchSession is what crypto/tls makes of a session of TLS 1.3: version, type,
// suite, time, secret of 32 bytes, Extra, and nothing else; and again with
// extra bytes, as a session with a client certificate has.
func benchSession(tb testing.TB, extra int) *tls.SessionState {
	tb.Helper()
	b := []byte{3, 4, 1, 0x13, 1, 0, 0, 0, 0, 0x69, 0xa4, 0x2c, 0x80, 32}
	b = append(b, testAES...)
	n := extra + 3
	b = append(b, byte(n>>16), byte(n>>8), byte(n), byte(extra>>16), byte(extra>>8), byte(extra))
	b = append(b, make([]byte, extra)...)
	b = append(b, 0, 0)             // EMS, early data
	b = append(b, 0, 0, 0, 0, 0, 0) // certificates, chains
	s, err := tls.ParseSessionState(b)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// benchSizes are bytes of Extra: a session without a client certificate, with one.
var benchSizes = []int{100, 1200}

type namedSealer struct {
	name string
	Sealer
}

func benchSealers(tb testing.TB) []namedSealer {
	var many []*Key
	for range MaxKeys {
		many = append(many, GenerateKey(FormOpenSSL256))
	}
	return []namedSealer{
		{"AEAD", NewAEAD()},
		{"ring/AEAD", mustRing(tb, GenerateKey(FormAEAD))},
		{"ring/generated", mustGenerate(tb, RingConfig{})},
		{"ring/openssl128", mustRing(tb, GenerateKey(FormOpenSSL128))},
		{"ring/openssl256", mustRing(tb, GenerateKey(FormOpenSSL256))},
		{"ring/64keys", mustRing(tb, many...)},
	}
}

// BenchmarkSeal stands beside crypto/tls's own sealing of the same state, the
// encoding of the state included on both sides.
func BenchmarkSeal(b *testing.B) {
	for _, extra := range benchSizes {
		state := benchSession(b, extra)
		b.Run(fmt.Sprintf("extra=%d/crypto-tls", extra), func(b *testing.B) {
			c := stdConfig()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.EncryptTicket(tls.ConnectionState{}, state); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, s := range benchSealers(b) {
			b.Run(fmt.Sprintf("extra=%d/%s", extra, s.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					der, err := state.Bytes()
					if err != nil {
						b.Fatal(err)
					}
					if _, err := s.Seal(der); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpen likewise, the parsing of the state included.
func BenchmarkOpen(b *testing.B) {
	for _, extra := range benchSizes {
		state := benchSession(b, extra)
		b.Run(fmt.Sprintf("extra=%d/crypto-tls", extra), func(b *testing.B) {
			c := stdConfig()
			ticket, err := c.EncryptTicket(tls.ConnectionState{}, state)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if got, err := c.DecryptTicket(ticket, tls.ConnectionState{}); err != nil || got == nil {
					b.Fatal(got, err)
				}
			}
		})
		for _, s := range benchSealers(b) {
			b.Run(fmt.Sprintf("extra=%d/%s", extra, s.name), func(b *testing.B) {
				der, err := state.Bytes()
				if err != nil {
					b.Fatal(err)
				}
				ticket := mustSeal(b, s, der)
				b.ReportAllocs()
				for b.Loop() {
					session, _, err := s.Open(ticket)
					if err != nil {
						b.Fatal(err)
					}
					if _, err := tls.ParseSessionState(session); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkOpenKeys: opening does not depend on how many keys there are.
func BenchmarkOpenKeys(b *testing.B) {
	for _, form := range []Form{FormAEAD, FormOpenSSL256} {
		for _, n := range []int{1, 4, 16, MaxKeys} {
			var keys []*Key
			for range n {
				keys = append(keys, GenerateKey(form))
			}
			r := mustRing(b, keys...)
			ticket := sealedWith(keys[n-1], string(make([]byte, 300)))
			b.Run(fmt.Sprintf("%v/keys=%d", form, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, _, err := r.Open(ticket); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// stdConfig has a key of crypto/tls's own.
func stdConfig() *tls.Config {
	c := new(tls.Config)
	c.SetSessionTicketKeys([][32]byte{[32]byte(testHMAC)})
	return c
}
