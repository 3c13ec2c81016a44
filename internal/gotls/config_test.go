package gotls

import (
	"crypto/tls"
	"net"
	"reflect"
	"testing"
)

// TestConfigOf reads, in each callback that gets a ClientHelloInfo, the
// configuration in force: the one that the server was given, and later the one
// that GetConfigForClient returned.
func TestConfigOf(t *testing.T) {
	leaf, _ := sampleCertificates()
	given, own := new(tls.Config), new(tls.Config)
	var first, second *tls.Config
	given.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		first, _ = ConfigOf(hello)
		return own, nil
	}
	own.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		second, _ = ConfigOf(hello)
		return &tls.Certificate{Certificate: [][]byte{leaf}}, nil
	}
	a, b := net.Pipe()
	go func() {
		client := tls.Client(a, &tls.Config{InsecureSkipVerify: true})
		client.Handshake() // fails: the server has no key
		a.Close()
	}()
	tls.Server(b, given).Handshake()
	b.Close()
	if first != given {
		t.Errorf("GetConfigForClient: %p, want %p", first, given)
	}
	if second == nil || second.GetCertificate == nil {
		t.Errorf("GetCertificate: %p, want what GetConfigForClient returned", second)
	}
}

func TestConfigOfNothing(t *testing.T) {
	for name, hello := range map[string]*tls.ClientHelloInfo{"nil": nil, "without a configuration": new(tls.ClientHelloInfo)} {
		if c, ok := ConfigOf(hello); c != nil || ok {
			t.Errorf("%s: %p, %t", name, c, ok)
		}
	}
}

type withConfig struct {
	//lint:ignore U1000 found by reflection, or not
	config *tls.Config
}

// TestConfigReaderOfOtherFields: a field that is not there or has another type
// is not read.
func TestConfigReaderOfOtherFields(t *testing.T) {
	if NewConfigReader() == (ConfigReader{}) {
		t.Error("tls.ClientHelloInfo has no field with its configuration")
	}
	type named tls.Config
	for _, hello := range []reflect.Type{
		reflect.TypeFor[struct{}](),
		reflect.TypeFor[struct{ settings *tls.Config }](),
		reflect.TypeFor[struct{ config tls.Config }](),
		reflect.TypeFor[struct{ config *named }](),
		reflect.TypeFor[struct{ config any }](),
		reflect.TypeFor[struct{ withConfig }](),
	} {
		if r := configReader(hello); r != (ConfigReader{}) {
			t.Errorf("%v: found at %d", hello, r.index-1)
		}
	}
	if c, ok := (ConfigReader{}).Of(new(tls.ClientHelloInfo)); c != nil || ok {
		t.Errorf("the zero ConfigReader: %p, %t", c, ok)
	}
}
