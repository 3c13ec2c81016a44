package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// A sample is a session that works are done on.
type sample int

const (
	serverSession      sample = iota // a TLS 1.3 server's, without a client certificate
	certificateSession               // the same with one
)

// samples holds the samples' DER, as i2d_SSL_SESSION writes it.
type samples map[sample][]byte

func newSamples() (samples, error) {
	cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	plain, err := encodeSession(nil)
	if err != nil {
		return nil, err
	}
	withPeer, err := encodeSession(cert)
	return samples{serverSession: plain, certificateSession: withPeer}, err
}

// encodeSession writes the session by hand: no call of the public API gives a
// session a peer.
func encodeSession(peer []byte) ([]byte, error) {
	id, key := make([]byte, 32), make([]byte, 48)
	for _, random := range [][]byte{id, key} {
		if _, err := rand.Read(random); err != nil {
			return nil, err
		}
	}
	explicit := func(b *cryptobyte.Builder, tag uint8, add cryptobyte.BuilderContinuation) {
		b.AddASN1(asn1.Tag(tag).ContextSpecific().Constructed(), add)
	}
	number := func(b *cryptobyte.Builder, tag uint8, n int64) {
		explicit(b, tag, func(b *cryptobyte.Builder) { b.AddASN1Int64(n) })
	}
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1Int64(tls.VersionTLS13)
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddUint16(tls.TLS_AES_256_GCM_SHA384) })
		b.AddASN1OctetString(id)
		b.AddASN1OctetString(key)
		number(b, 1, baseTime)
		number(b, 2, int64(timeout/time.Second))
		if peer != nil {
			explicit(b, 3, func(b *cryptobyte.Builder) { b.AddBytes(peer) })
		}
		explicit(b, 4, func(b *cryptobyte.Builder) { b.AddASN1OctetString([]byte("shop")) })
		number(b, 19, int64(tls.X25519))
	})
	return b.Bytes()
}

// newCertificate returns a certificate of about 900 bytes: an RSA key and a few names.
func newCertificate() ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetInt64(now.UnixNano()),
		Subject:      pkix.Name{Country: []string{"DE"}, Organization: []string{"Example"}, CommonName: "client.example.com"},
		NotBefore:    now,
		NotAfter:     now.AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{"client.example.com", "client.internal.example.com"},
		CRLDistributionPoints: []string{
			"http://crl.example.com/clients.crl",
		},
		OCSPServer: []string{"http://ocsp.example.com"},
	}
	return x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
}
