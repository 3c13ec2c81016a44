package gotls

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"reflect"
	"testing"
	"time"
)

// served returns a clone of c after a handshake, in which crypto/tls fills in
// what it makes by itself.
func served(t *testing.T, c *tls.Config) *tls.Config {
	t.Helper()
	public, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	c.Certificates = []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	done := make(chan error, 1)
	go func() { done <- tls.Server(b, c).Handshake() }()
	client := tls.Client(a, &tls.Config{
		InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(1),
	})
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.Clone()
}

func TestHasTicketKeys(t *testing.T) {
	if ticketKeysField() < 0 {
		t.Fatal("tls.Config keeps the keys of SetSessionTicketKeys elsewhere")
	}
	set := new(tls.Config)
	set.SetSessionTicketKeys([][32]byte{{1}})
	for name, c := range map[string]struct {
		config *tls.Config
		want   bool
	}{
		"zero":                                     {new(tls.Config), false},
		"served, with crypto/tls's own keys":       {served(t, new(tls.Config)), false},
		"SetSessionTicketKeys":                     {set.Clone(), true},
		"SetSessionTicketKeys, served":             {served(t, set.Clone()), true},
		"SessionTicketKey":                         {&tls.Config{SessionTicketKey: [32]byte{1}}, true},
		"SessionTicketKey, served":                 {served(t, &tls.Config{SessionTicketKey: [32]byte{1}}), true},
		"SessionTicketKey with crypto/tls's mark":  {&tls.Config{SessionTicketKey: [32]byte([]byte("DEPRECATED, and 20 random bytes!"))}, false},
		"SessionTicketKey with a part of the mark": {&tls.Config{SessionTicketKey: [32]byte([]byte("DEPRECATE, and 20 random bytes !"))}, true},
	} {
		if got := HasTicketKeys(c.config); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestHasTicketKeysOfOtherFields: without the field, only the exported one is read.
func TestHasTicketKeysOfOtherFields(t *testing.T) {
	for _, in := range []reflect.Type{reflect.TypeFor[struct{}](), reflect.TypeFor[struct{ sessionTicketKeys int }]()} {
		if i := sliceField(in, "sessionTicketKeys"); i >= 0 {
			t.Errorf("%v: found at %d", in, i)
		}
	}
	set := &tls.Config{}
	set.SetSessionTicketKeys([][32]byte{{1}})
	if hasTicketKeys(set.Clone(), -1) {
		t.Error("read a field that is not there")
	}
	if !hasTicketKeys(&tls.Config{SessionTicketKey: [32]byte{1}}, -1) {
		t.Error("did not read SessionTicketKey")
	}
}
