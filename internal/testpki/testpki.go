// Package testpki makes the certificates that tests need.
package testpki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// Authority is a certificate authority, a root or an intermediate.
type Authority struct {
	Cert  *x509.Certificate
	key   crypto.Signer
	chain [][]byte // from this authority up, without the root
}

// New returns a root authority.
func New(t testing.TB, name string) *Authority {
	t.Helper()
	key := ecKey(t)
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	return &Authority{Cert: sign(t, tmpl, tmpl, key.Public(), key), key: key}
}

// Intermediate returns an authority below a.
func (a *Authority) Intermediate(t testing.TB, name string) *Authority {
	t.Helper()
	key := ecKey(t)
	tmpl := template(name)
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	cert := sign(t, tmpl, a.Cert, key.Public(), a.key)
	return &Authority{Cert: cert, key: key, chain: append([][]byte{cert.Raw}, a.chain...)}
}

// Leaf returns a certificate for servers and clients with an ECDSA key, for
// the names, which may be addresses.
func (a *Authority) Leaf(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	return a.leaf(t, ecKey(t), time.Now().Add(24*time.Hour), names)
}

// LeafRSA is Leaf with an RSA key.
func (a *Authority) LeafRSA(t testing.TB, names ...string) tls.Certificate {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return a.leaf(t, key, time.Now().Add(24*time.Hour), names)
}

// LeafUntil is Leaf with its last valid second.
func (a *Authority) LeafUntil(t testing.TB, notAfter time.Time, names ...string) tls.Certificate {
	t.Helper()
	return a.leaf(t, ecKey(t), notAfter, names)
}

func (a *Authority) leaf(t testing.TB, key crypto.Signer, notAfter time.Time, names []string) tls.Certificate {
	t.Helper()
	tmpl := template(names[0])
	tmpl.NotAfter = notAfter
	tmpl.KeyUsage = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment
	tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			tmpl.IPAddresses = append(tmpl.IPAddresses, ip)
		} else {
			tmpl.DNSNames = append(tmpl.DNSNames, name)
		}
	}
	cert := sign(t, tmpl, a.Cert, key.Public(), a.key)
	return tls.Certificate{Certificate: append([][]byte{cert.Raw}, a.chain...), PrivateKey: key, Leaf: cert}
}

// Pool returns a pool of the authority.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Cert)
	return pool
}

// PEM returns the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw})
}

// PEM returns a certificate with its chain, and its key.
func PEM(t testing.TB, c tls.Certificate) (cert, key []byte) {
	t.Helper()
	for _, der := range c.Certificate {
		cert = append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // crypto/rand does not fail
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(48 * time.Hour),
	}
}

func sign(t testing.TB, tmpl, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
