package testconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"reflect"
	"slices"
	"testing"
)

// TestDifferences: a field that differs is named, whichever it is, and a clone
// has none.
func TestDifferences(t *testing.T) {
	filled := new(tls.Config)
	Fill(t, filled, x509.NewCertPool())
	if names := Differences(filled, filled.Clone()); names != nil {
		t.Errorf("a clone differs in %q", names)
	}
	count := 0
	for field := range exportedFields {
		other := filled.Clone()
		v := reflect.ValueOf(other).Elem().FieldByIndex(field.Index)
		if v.IsZero() {
			continue // Fill leaves it alone
		}
		v.SetZero()
		if names := Differences(filled, other); !slices.Equal(names, []string{field.Name}) {
			t.Errorf("without %s: %q differ", field.Name, names)
		}
		count++
	}
	if count < 20 {
		t.Errorf("only %d fields were filled", count)
	}
}

// TestSameFunc: closures of one function are the same only if they are one value.
func TestSameFunc(t *testing.T) {
	closure := func(n int) func() int { return func() int { return n } }
	f, g := closure(1), closure(2)
	if !SameFunc(f, f) || SameFunc(f, g) || SameFunc(f, (func() int)(nil)) {
		t.Error("cannot tell closures apart")
	}
}

// TestOf: of a real ClientHello it is the server's configuration.
func TestOf(t *testing.T) {
	var seen *tls.Config
	enough := errors.New("enough")
	config := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		seen = Of(hello)
		return nil, enough
	}}
	client, server := net.Pipe()
	defer client.Close()
	go tls.Client(client, &tls.Config{ServerName: "of.test"}).Handshake()
	if err := tls.Server(server, config).Handshake(); !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if seen != config {
		t.Errorf("%p, want %p", seen, config)
	}
}
