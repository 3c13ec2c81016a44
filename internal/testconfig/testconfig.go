// Package testconfig shows tests which configuration crypto/tls goes on with.
//
// Frameworks clone the *tls.Config that they are given and change the clone.
// Which clone is in force at a ClientHello, and which configuration replaces it
// for the connection, crypto/tls shows in an unexported field of the
// ClientHelloInfo only. This package reads that field by reflection.
package testconfig

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"
)

// Managed are the fields that managing a configuration is free to change.
var Managed = []string{"GetConfigForClient", "WrapSession", "UnwrapSession", "SessionTicketsDisabled"}

// Fill sets all fields of c that are zero to values that a server works with
// and that nobody else would choose, so that a lost field shows. Left alone are
// the Managed fields; Certificates, GetCertificate, NextProtos and the versions,
// which decide whether a handshake succeeds; and SessionTicketKey, which cannot
// be honoured.
func Fill(t testing.TB, c *tls.Config, clientCAs *x509.CertPool) {
	t.Helper()
	filling := &tls.Config{
		Rand:                     struct{ io.Reader }{rand.Reader},
		Time:                     func() time.Time { return time.Now() },
		RootCAs:                  clientCAs,
		ClientCAs:                clientCAs,
		ServerName:               "filled.test",
		ClientAuth:               tls.VerifyClientCertIfGiven,
		CipherSuites:             []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		CurvePreferences:         []tls.CurveID{tls.CurveP256, tls.X25519},
		ClientSessionCache:       tls.NewLRUClientSessionCache(1),
		Renegotiation:            tls.RenegotiateOnceAsClient,
		KeyLogWriter:             struct{ io.Writer }{io.Discard},
		EncryptedClientHelloKeys: []tls.EncryptedClientHelloKey{{SendAsRetry: true}},
	}
	left := slices.Concat(Managed, []string{"Certificates", "GetCertificate", "NextProtos", "MinVersion", "MaxVersion", "SessionTicketKey"})
	to, from := reflect.ValueOf(c).Elem(), reflect.ValueOf(filling).Elem()
	for field := range exportedFields {
		switch v := to.FieldByIndex(field.Index); {
		case !v.IsZero() || slices.Contains(left, field.Name):
		case !from.FieldByIndex(field.Index).IsZero():
			v.Set(from.FieldByIndex(field.Index))
		default:
			v.Set(harmless(t, field))
		}
	}
}

// harmless returns a value of the field's type that is not zero, and that
// changes nothing of a handshake: functions return zero values.
func harmless(t testing.TB, field reflect.StructField) reflect.Value {
	t.Helper()
	v := reflect.New(field.Type).Elem()
	switch field.Type.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(field.Type, 1, 1))
	case reflect.Map:
		v.Set(reflect.MakeMap(field.Type))
	case reflect.Func:
		v.Set(reflect.MakeFunc(field.Type, func([]reflect.Value) (out []reflect.Value) {
			for i := range field.Type.NumOut() {
				out = append(out, reflect.Zero(field.Type.Out(i)))
			}
			return out
		}))
	default:
		t.Fatalf("tls.Config.%s is new: say here what to fill it with", field.Name)
	}
	return v
}

// Differences returns the names of the exported fields in which a and b differ.
// Functions are equal if they are the same function value, pointers if they
// point to the same, everything else if reflect.DeepEqual says so. A
// SessionTicketKey that crypto/tls drew by itself counts as none.
func Differences(a, b *tls.Config) (names []string) {
	for field := range exportedFields {
		x, y := reflect.ValueOf(a).Elem().FieldByIndex(field.Index), reflect.ValueOf(b).Elem().FieldByIndex(field.Index)
		if !equal(x, y) && !(drawn(x) && drawn(y)) {
			names = append(names, field.Name)
		}
	}
	return names
}

func equal(x, y reflect.Value) bool {
	switch x.Kind() {
	case reflect.Func: // two closures may have the same code, so Pointer would not do
		return word(x) == word(y)
	case reflect.Pointer:
		return x.Pointer() == y.Pointer()
	case reflect.Interface:
		return x.Equal(y)
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}

// drawn reports whether v is a SessionTicketKey that the application did not
// set. crypto/tls draws one, with this mark, where it uses ticket keys of its own.
func drawn(v reflect.Value) bool {
	key, ok := v.Interface().([32]byte)
	return ok && (key == [32]byte{} || bytes.HasPrefix(key[:], []byte("DEPRECATED")))
}

// SameFunc reports whether two functions, of one type, are the same value.
func SameFunc(f, g any) bool {
	x, y := addressable(f), addressable(g)
	return word(x) == word(y)
}

func addressable(f any) reflect.Value {
	v := reflect.New(reflect.TypeOf(f)).Elem()
	v.Set(reflect.ValueOf(f))
	return v
}

// word returns the one word that a function value is. It tells two closures of
// the same function apart.
func word(f reflect.Value) uintptr {
	return uintptr(reflect.NewAt(reflect.TypeFor[uintptr](), f.Addr().UnsafePointer()).Elem().Uint())
}

// exportedFields yields the exported fields of tls.Config.
func exportedFields(yield func(reflect.StructField) bool) {
	for _, field := range reflect.VisibleFields(reflect.TypeFor[tls.Config]()) {
		if field.IsExported() && !yield(field) {
			return
		}
	}
}

// Of returns the configuration that crypto/tls had in force when it made hello.
func Of(hello *tls.ClientHelloInfo) *tls.Config {
	field := reflect.ValueOf(hello).Elem().FieldByName("config")
	return (*tls.Config)(field.UnsafePointer())
}

// Watch sees the configurations of the connections of a server.
type Watch struct {
	verify func(tls.ConnectionState) error

	mu            sync.Mutex
	inForce, used *tls.Config
}

// New watches servers that are made of base, whose GetConfigForClient and
// GetCertificate it replaces: what they were is asked after it. base should
// have its VerifyConnection already.
func New(base *tls.Config) *Watch {
	w := &Watch{verify: base.VerifyConnection}
	getConfig, getCertificate := base.GetConfigForClient, base.GetCertificate
	base.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		w.mu.Lock()
		w.inForce, w.used = Of(hello), nil
		w.mu.Unlock()
		if getConfig == nil {
			return nil, nil
		}
		return getConfig(hello)
	}
	base.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		w.mu.Lock()
		w.used = Of(hello)
		w.mu.Unlock()
		if getCertificate == nil {
			return nil, nil // crypto/tls goes on with Certificates
		}
		return getCertificate(hello)
	}
	return w
}

// Last returns the configuration that was in force at the last ClientHello,
// which must have been of a full handshake, and the one that crypto/tls went on
// with. The client must have sent a server name. Nobody may change them.
func (w *Watch) Last(t testing.TB) (inForce, used *tls.Config) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.inForce == nil || w.used == nil {
		t.Fatalf("no full handshake: GetConfigForClient was called: %t, then GetCertificate: %t", w.inForce != nil, w.used != nil)
	}
	return w.inForce, w.used
}

// Check fails the test unless crypto/tls went on, at the last ClientHello, with
// a configuration that equals the one in force in every exported field but the
// Managed ones and those in except. VerifyConnection must be the one of base:
// the one in force is the Manager's, unless somebody wrapped it.
func (w *Watch) Check(t testing.TB, except ...string) {
	t.Helper()
	inForce, used := w.Last(t)
	if inForce == used {
		t.Fatal("crypto/tls went on with the configuration in force: nobody manages it")
	}
	for _, name := range Differences(inForce, used) {
		if !slices.Contains(Managed, name) && !slices.Contains(except, name) && name != "VerifyConnection" {
			x, y := reflect.ValueOf(inForce).Elem().FieldByName(name), reflect.ValueOf(used).Elem().FieldByName(name)
			t.Errorf("%s: in force %v, used %v", name, x, y)
		}
	}
	if !slices.Contains(except, "VerifyConnection") && !SameFunc(used.VerifyConnection, w.verify) {
		t.Error("VerifyConnection is not the one of base")
	}
}
