package reprise_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testconfig"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// meet makes one request over nc and returns the state of the connection.
func meet(nc net.Conn, cc *tls.Config) (tls.ConnectionState, error) {
	c := tls.Client(nc, cc)
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"); err != nil {
		return tls.ConnectionState{}, err
	}
	got, err := io.ReadAll(c)
	if err == nil && len(got) == 0 {
		err = io.ErrUnexpectedEOF
	}
	return c.ConnectionState(), err
}

// respond is the other side of meet.
func respond(c net.Conn) {
	defer c.Close()
	if _, err := c.Read(make([]byte, 512)); err == nil {
		io.WriteString(c, "here")
	}
}

// dialer connects to a server and says how that went.
type dialer func(cc *tls.Config) (tls.ConnectionState, error)

// service is how an application makes a server of a configuration.
type service struct {
	name  string
	start func(t testing.TB, r *rig, c *tls.Config) dialer
	adds  []string // fields that it sets in a clone, as for HTTP/2
}

// overPipe is one that needs a net.Conn only.
func overPipe(name string, server func(t testing.TB, nc net.Conn, c *tls.Config) net.Conn) service {
	return service{name: name, start: func(t testing.TB, _ *rig, c *tls.Config) dialer {
		return func(cc *tls.Config) (tls.ConnectionState, error) {
			nc, ns := pipe(t)
			defer ns.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				if s := server(t, ns, c); s != nil {
					respond(s)
				}
			}()
			cs, err := meet(nc, cc)
			nc.Close()
			<-done
			return cs, err
		}
	}}
}

// onPort is one that serves a listener until the end of the test.
func onPort(name string, serve func(t testing.TB, r *rig, l net.Listener, c *tls.Config), adds ...string) service {
	return service{name: name, adds: adds, start: func(t testing.TB, r *rig, c *tls.Config) dialer {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go serve(t, r, l, c)
		return func(cc *tls.Config) (tls.ConnectionState, error) {
			nc, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return tls.ConnectionState{}, err
			}
			defer nc.Close()
			return meet(nc, cc)
		}
	}}
}

func acceptAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go respond(c)
	}
}

// webServer is an http.Server that says nothing.
func webServer(t testing.TB, c *tls.Config) *http.Server {
	srv := &http.Server{TLSConfig: c, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") })}
	t.Cleanup(func() { srv.Close() })
	return srv
}

// services are those that know nothing of a Manager.
var services = []service{
	overPipe("tls.Server", func(_ testing.TB, nc net.Conn, c *tls.Config) net.Conn { return tls.Server(nc, c) }),
	onPort("tls.NewListener", func(_ testing.TB, _ *rig, l net.Listener, c *tls.Config) { acceptAll(tls.NewListener(l, c)) }),
	onPort("net/http", func(t testing.TB, _ *rig, l net.Listener, c *tls.Config) {
		webServer(t, c).ServeTLS(l, "", "")
	}, "NextProtos", "PreferServerCipherSuites"),
	onPort("net/http with files", func(t testing.TB, r *rig, l net.Listener, c *tls.Config) {
		cert, key := certificateFiles(t, r.ca.Leaf(t, "a.test"))
		webServer(t, c).ServeTLS(l, cert, key)
	}, "NextProtos", "PreferServerCipherSuites", "Certificates"),
	{name: "httptest", adds: []string{"NextProtos", "PreferServerCipherSuites", "Certificates"}, start: func(t testing.TB, _ *rig, c *tls.Config) dialer {
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
		srv.TLS, srv.EnableHTTP2, srv.Config.ErrorLog = c, true, log.New(io.Discard, "", 0)
		srv.StartTLS()
		t.Cleanup(srv.Close)
		return func(cc *tls.Config) (tls.ConnectionState, error) {
			nc, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				return tls.ConnectionState{}, err
			}
			defer nc.Close()
			return meet(nc, cc)
		}
	}},
}

// managing are the services that m brings.
func managing(m *reprise.Manager) []service {
	return []service{
		overPipe("ServerConfig", func(_ testing.TB, nc net.Conn, c *tls.Config) net.Conn { return tls.Server(nc, m.ServerConfig(c)) }),
		overPipe("Server", func(_ testing.TB, nc net.Conn, c *tls.Config) net.Conn { return m.Server(nc, c) }),
		overPipe("Accept", func(t testing.TB, nc net.Conn, c *tls.Config) net.Conn {
			s, err := m.Accept(t.Context(), nc, c)
			if err != nil {
				return nil
			}
			return s
		}),
		onPort("NewListener", func(t testing.TB, _ *rig, l net.Listener, c *tls.Config) { acceptAll(listenerOf(t, m, l, c)) }),
		onPort("ServeTLS", func(t testing.TB, _ *rig, l net.Listener, c *tls.Config) {
			m.ServeTLS(webServer(t, c), l, "", "")
		}, "NextProtos", "PreferServerCipherSuites"),
		onPort("ServeTLS with files", func(t testing.TB, r *rig, l net.Listener, c *tls.Config) {
			cert, key := certificateFiles(t, r.ca.Leaf(t, "a.test"))
			m.ServeTLS(webServer(t, c), l, cert, key)
		}, "NextProtos", "PreferServerCipherSuites", "Certificates"),
	}
}

// certificateFiles writes a certificate and its key to files.
func certificateFiles(t testing.TB, leaf tls.Certificate) (cert, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	var chain bytes.Buffer
	for _, c := range leaf.Certificate {
		pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: c})
	}
	if err := errors.Join(
		os.WriteFile(cert, chain.Bytes(), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// trusting returns a client's configuration that keeps sessions, and takes the
// certificate of httptest for the server's, too.
func trusting(version uint16, c *tls.Config) *tls.Config {
	c = at(version, keeping(c))
	c.InsecureSkipVerify = true
	return c
}

// filler sets fields of configurations, and sees with which crypto/tls goes on.
type filler struct {
	t      testing.TB
	random *mathrand.Rand
	ca     *testpki.Authority
	certs  []tls.Certificate
	used   atomic.Pointer[tls.Config]
	// A Manager knows what it made by ClientSessionCache or VerifyConnection:
	// one of them stays. keep is its name.
	keep   string
	verify bool // VerifyConnection was changed in what a Manager made
}

// values gives each field of a tls.Config another value that servers work with,
// nil where the test itself decides. A field that is not here is new.
func (f *filler) values() map[string]func() any {
	pool := func() any { return f.ca.Pool() }
	list := func(all ...uint16) []uint16 {
		f.random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		return all
	}
	yes := func() any { return f.random.IntN(2) == 0 }
	return map[string]func() any{
		"GetConfigForClient": nil, "WrapSession": nil, "UnwrapSession": nil, "SessionTicketsDisabled": nil, "SessionTicketKey": nil,
		"Rand": func() any { return &struct{ io.Reader }{rand.Reader} },
		"Time": func() any { return func() time.Time { return time.Now().Add(time.Duration(len(f.certs))) } },
		"Certificates": func() any {
			i := f.random.IntN(len(f.certs))
			return f.certs[i : i+1]
		},
		"NameToCertificate": func() any { return map[string]*tls.Certificate{fmt.Sprint(f.random.Int()): &f.certs[0]} },
		"GetCertificate": func() any {
			return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				f.used.Store(testconfig.Of(hello))
				return nil, nil
			}
		},
		"GetClientCertificate": func() any {
			return func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return nil, f.t.Context().Err() }
		},
		"GetEncryptedClientHelloKeys": func() any {
			return func(*tls.ClientHelloInfo) ([]tls.EncryptedClientHelloKey, error) { return nil, f.t.Context().Err() }
		},
		"VerifyPeerCertificate": func() any { return func([][]byte, [][]*x509.Certificate) error { return f.t.Context().Err() } },
		"VerifyConnection":      func() any { return func(tls.ConnectionState) error { return f.t.Context().Err() } },
		"RootCAs":               pool,
		"ClientCAs":             pool,
		"NextProtos":            func() any { return []string{"h2", "http/1.1", fmt.Sprint(f.random.Int())} },
		"ServerName":            func() any { return fmt.Sprint(f.random.Int()) },
		"ClientAuth": func() any {
			return []tls.ClientAuthType{tls.NoClientCert, tls.RequestClientCert, tls.VerifyClientCertIfGiven}[f.random.IntN(3)]
		},
		"InsecureSkipVerify": yes,
		"CipherSuites": func() any {
			return list(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
		},
		"PreferServerCipherSuites": yes,
		"ClientSessionCache":       func() any { return tls.NewLRUClientSessionCache(1) },
		"MinVersion":               func() any { return list(0, tls.VersionTLS11, tls.VersionTLS12)[0] },
		"MaxVersion":               func() any { return list(0, tls.VersionTLS13)[0] },
		"CurvePreferences": func() any {
			return [][]tls.CurveID{{tls.X25519, tls.CurveP256}, {tls.CurveP256, tls.X25519}}[f.random.IntN(2)]
		},
		"DynamicRecordSizingDisabled":         yes,
		"Renegotiation":                       func() any { return tls.RenegotiationSupport(f.random.IntN(3)) },
		"KeyLogWriter":                        func() any { return &struct{ io.Writer }{io.Discard} },
		"EncryptedClientHelloConfigList":      func() any { return randomBytes(4) },
		"EncryptedClientHelloRejectionVerify": func() any { return func(tls.ConnectionState) error { return f.t.Context().Err() } },
		"EncryptedClientHelloKeys":            func() any { return []tls.EncryptedClientHelloKey{{SendAsRetry: f.random.IntN(2) == 0}} },
	}
}

// change gives about part of c's fields other values. made says that a Manager
// made c.
func (f *filler) change(c *tls.Config, part float64, made bool) {
	values := f.values()
	for _, field := range reflect.VisibleFields(reflect.TypeFor[tls.Config]()) {
		if !field.IsExported() {
			continue
		}
		value, ok := values[field.Name]
		switch {
		case !ok:
			f.t.Fatalf("tls.Config.%s is new: decide what managing a configuration does to it", field.Name)
		case value == nil || f.random.Float64() > part || made && field.Name == f.keep:
		default:
			f.verify = f.verify || made && field.Name == "VerifyConnection"
			reflect.ValueOf(c).Elem().FieldByIndex(field.Index).Set(reflect.ValueOf(value()))
		}
	}
}

// check compares what crypto/tls went on with to what it should.
func (f *filler) check(t *testing.T, want *tls.Config, verify func(tls.ConnectionState) error, adds []string) {
	t.Helper()
	used := f.used.Swap(nil)
	if used == nil {
		t.Fatal("no full handshake")
	}
	free := slices.Concat(testconfig.Managed, []string{"ClientSessionCache", "VerifyConnection"}, adds)
	for _, name := range testconfig.Differences(want, used) {
		if !slices.Contains(free, name) {
			t.Errorf("%s: in force %v, used %v", name, reflect.ValueOf(want).Elem().FieldByName(name), reflect.ValueOf(used).Elem().FieldByName(name))
		}
	}
	if !testconfig.SameFunc(used.VerifyConnection, verify) {
		t.Error("VerifyConnection is another one")
	}
	if used.GetConfigForClient != nil || used.WrapSession == nil || used.UnwrapSession == nil {
		t.Error("the configuration is not managed")
	}
	if len(adds) > 0 && !slices.Contains(used.NextProtos, "h2") {
		t.Errorf("NextProtos: %q", used.NextProtos)
	}
}

// base returns a configuration in which every field is set.
func (f *filler) base() *tls.Config {
	f.verify = false
	f.keep = []string{"ClientSessionCache", "VerifyConnection"}[f.random.IntN(2)]
	c := new(tls.Config)
	f.change(c, 1, false)
	return c
}

// result is a filled configuration that m made, perhaps cloned and changed, and
// the VerifyConnection that holds.
func (f *filler) result(m *reprise.Manager, r *rig) (c *tls.Config, verify func(tls.ConnectionState) error) {
	base := f.base()
	c = m.ServerConfig(base)
	for clone := range 2 {
		if clone == 1 && f.random.IntN(2) == 0 {
			c = c.Clone()
		}
		if f.random.IntN(3) > 0 {
			f.change(c, 0.3, true)
		}
	}
	if verify = base.VerifyConnection; f.verify {
		verify = c.VerifyConnection
	}
	return c, verify
}

// delegating returns the configuration of an application that calls c's
// GetConfigForClient in its own, and otherwise has only a certificate.
func delegating(r *rig, c *tls.Config) *tls.Config {
	return &tls.Config{Certificates: r.server.Certificates, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if c.GetConfigForClient == nil {
			return c, nil
		}
		return c.GetConfigForClient(hello)
	}}
}

// TestServerConfigInForce: whatever is set on the configuration that a Manager
// is given, on what it returns or on a clone of that holds, however the server
// is made, alone or managed again: crypto/tls goes on with it, field by field.
func TestServerConfigInForce(t *testing.T) {
	r := newRig(t)
	m, other := manager(t, reprise.Config{}), manager(t, reprise.Config{NoTickets: true})
	all := slices.Clone(services)
	for name, m := range map[string]*reprise.Manager{"": m, "another's ": other} {
		for _, w := range managing(m) {
			w.name = name + w.name
			all = append(all, w)
		}
	}
	for _, w := range all {
		t.Run(w.name, func(t *testing.T) {
			seed := mathrand.Uint64()
			f := &filler{t: t, random: mathrand.New(mathrand.NewPCG(1, seed)), ca: r.ca}
			for range 3 {
				f.certs = append(f.certs, r.ca.Leaf(t, "a.test"))
			}
			for i := range 6 {
				c, verify := f.result(m, r)
				handed := c.Clone()
				dial := w.start(t, r, c)
				cc := trusting(later[i%2], r.client)
				if _, err := dial(cc); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				f.check(t, handed, verify, w.adds)
				if cs, err := dial(cc); err != nil || !cs.DidResume {
					t.Errorf("seed %d: resumed %v, %v", seed, cs.DidResume, err)
				}
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

// TestServerConfigDelegated is TestServerConfigInForce where an application's
// GetConfigForClient calls that of a result, or ConfigForClient: the settings of
// the result hold, and not those of the application.
func TestServerConfigDelegated(t *testing.T) {
	r := newRig(t)
	m, other := manager(t, reprise.Config{}), manager(t, reprise.Config{NoTickets: true})
	direct := services[0]
	for name, app := range map[string]func(c *tls.Config) *tls.Config{
		"calls":    func(c *tls.Config) *tls.Config { return delegating(r, c) },
		"assigned": func(c *tls.Config) *tls.Config { return &tls.Config{GetConfigForClient: c.GetConfigForClient} },
		"ConfigForClient": func(c *tls.Config) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return m.ConfigForClient(hello, c), nil }}
		},
		"managed":            func(c *tls.Config) *tls.Config { return m.ServerConfig(delegating(r, c)) },
		"managed by another": func(c *tls.Config) *tls.Config { return other.ServerConfig(delegating(r, c)) },
		"ConfigForClient of another": func(c *tls.Config) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				own, err := c.GetConfigForClient(hello)
				return other.ConfigForClient(hello, own), err
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			seed := mathrand.Uint64()
			f := &filler{t: t, random: mathrand.New(mathrand.NewPCG(1, seed)), ca: r.ca, certs: r.server.Certificates}
			for i := range 6 {
				base := f.base()
				c := m.ServerConfig(base)
				f.change(c, 0.3, true)
				verify := base.VerifyConnection
				if f.verify {
					verify = c.VerifyConnection
				}
				dial := direct.start(t, r, app(c))
				cc := trusting(later[i%2], r.client)
				if _, err := dial(cc); err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				f.check(t, c, verify, nil)
				if cs, err := dial(cc); err != nil || !cs.DidResume {
					t.Errorf("seed %d: resumed %v, %v", seed, cs.DidResume, err)
				}
			}
		})
	}
}

// TestServerConfigHTTP2: net/http and httptest speak HTTP/2 and resume, however
// the certificate comes.
func TestServerConfigHTTP2(t *testing.T) {
	r := newRig(t)
	certify := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &r.server.Certificates[0], nil }
	for name, base := range map[string]*tls.Config{
		"Certificates":   {Certificates: r.server.Certificates},
		"GetCertificate": {GetCertificate: certify},
		"autocert":       {GetCertificate: certify, NextProtos: []string{"h2", "http/1.1", "acme-tls/1"}},
		"autocert, asked": {GetCertificate: certify, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if slices.Contains(hello.SupportedProtos, "acme-tls/1") {
				return nil, errors.New("no challenge")
			}
			return nil, nil
		}},
		"nothing but files": {},
	} {
		for _, w := range services[2:] {
			if name == "nothing but files" && w.name == "net/http" {
				continue
			}
			t.Run(name+"/"+w.name, func(t *testing.T) {
				for _, version := range later {
					for _, noTickets := range []bool{false, true} {
						m := manager(t, reprise.Config{NoTickets: noTickets})
						dial := w.start(t, r, m.ServerConfig(base))
						cc := trusting(version, r.client)
						if _, err := dial(cc); err != nil {
							t.Fatal(err)
						}
						if cs, err := dial(cc); err != nil || !cs.DidResume {
							t.Errorf("%s: resumed %v, %v", tls.VersionName(version), cs.DidResume, err)
						}
						h2 := cc.Clone()
						h2.NextProtos = []string{"h2"}
						cs, _ := dial(h2) // which is no way to speak HTTP/2
						if cs.NegotiatedProtocol != "h2" {
							t.Errorf("%s: %q was negotiated", tls.VersionName(version), cs.NegotiatedProtocol)
						}
					}
				}
			})
		}
	}
}

// TestServerConfigClientAuth: client authentication that is set afterwards, on
// the result, on a clone or in what its GetConfigForClient returned, is
// demanded, and sessions made without it do not resume.
func TestServerConfigClientAuth(t *testing.T) {
	demand := func(r *rig, c *tls.Config) *tls.Config {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
		return c
	}
	for name, strict := range map[string]func(r *rig, m *reprise.Manager, c *tls.Config) *tls.Config{
		"result":         func(r *rig, _ *reprise.Manager, c *tls.Config) *tls.Config { return demand(r, c) },
		"clone":          func(r *rig, _ *reprise.Manager, c *tls.Config) *tls.Config { return demand(r, c.Clone()) },
		"clone of clone": func(r *rig, _ *reprise.Manager, c *tls.Config) *tls.Config { return demand(r, c.Clone()).Clone() },
		"delegation":     func(r *rig, _ *reprise.Manager, c *tls.Config) *tls.Config { return delegating(r, demand(r, c)) },
		"returned": func(r *rig, _ *reprise.Manager, c *tls.Config) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				own, err := c.GetConfigForClient(hello)
				return demand(r, own), err
			}}
		},
		"ConfigForClient": func(r *rig, m *reprise.Manager, c *tls.Config) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				return demand(r, m.ConfigForClient(hello, c)), nil
			}}
		},
		"managed again":        func(r *rig, m *reprise.Manager, c *tls.Config) *tls.Config { return demand(r, m.ServerConfig(c)) },
		"before managed again": func(r *rig, m *reprise.Manager, c *tls.Config) *tls.Config { return m.ServerConfig(demand(r, c)) },
		"another result": func(r *rig, m *reprise.Manager, c *tls.Config) *tls.Config {
			return m.ServerConfig(demand(r, r.server.Clone()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				r := newRig(t)
				m := manager(t, reprise.Config{NoTickets: noTickets})
				c := m.ServerConfig(r.server)
				cc := trusting(version, r.client)
				cc.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
				if _, err := services[0].start(t, r, c)(cc); err != nil {
					t.Fatal(err)
				}
				dial := services[0].start(t, r, strict(r, m, c))
				if cs, err := dial(cc); err != nil || cs.DidResume {
					t.Errorf("a session without authentication: resumed %v, %v", cs.DidResume, err)
				}
				if n := m.Stats().NotResumed[reprise.OtherPolicy]; n != 1 {
					t.Errorf("%d counted as %v, want 1", n, reprise.OtherPolicy)
				}
				if cs, err := dial(cc); err != nil || !cs.DidResume {
					t.Errorf("a session with it: resumed %v, %v", cs.DidResume, err)
				}
				if _, err := dial(trusting(version, r.client)); err == nil {
					t.Error("a client without a certificate was let in")
				}
			})
		})
	}
}

// logged counts warnings.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(p))
	return len(p), nil
}

func (l *logged) config(c reprise.Config) reprise.Config {
	c.Logger = slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelWarn}))
	return c
}

func userHooks(c *tls.Config) {
	keys := new(tls.Config)
	keys.SetSessionTicketKeys([][32]byte{{1}})
	c.WrapSession, c.UnwrapSession = keys.EncryptTicket, keys.DecryptTicket
}

// TestUnmanaged: where handshakes cannot be managed they are full, also for
// sessions that crypto/tls made of the same settings, counted once and explained
// by one warning.
func TestUnmanaged(t *testing.T) {
	keyed := func(c *tls.Config) *tls.Config {
		c = c.Clone()
		c.SetSessionTicketKeys([][32]byte{{1}})
		return c
	}
	app := func(f func(*tls.ClientHelloInfo) *tls.Config) *tls.Config {
		return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return f(hello), nil }}
	}
	nothing := func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, nil }
	for name, make := range map[string]func(m *reprise.Manager, base *tls.Config) (c *tls.Config, says string){
		"result returned": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base)
			return app(func(*tls.ClientHelloInfo) *tls.Config { return c }), "do not return the result"
		},
		"clone returned": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base).Clone()
			return app(func(*tls.ClientHelloInfo) *tls.Config { return c }), "do not return the result"
		},
		"GetConfigForClient replaced": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base)
			c.GetConfigForClient = nothing
			return c, "call it from your own"
		},
		"GetConfigForClient replaced on a clone": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base).Clone()
			c.GetConfigForClient = nil
			return c, "call it from your own"
		},
		"hooks set afterwards": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base)
			userHooks(c)
			return c, "WrapSession and UnwrapSession were set after"
		},
		"hooks set afterwards on a clone": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base).Clone()
			userHooks(c)
			return c, "WrapSession and UnwrapSession were set after"
		},
		"one hook": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			base = base.Clone()
			userHooks(base)
			base.UnwrapSession = nil
			return m.ServerConfig(base), "set both, or none"
		},
		"keys": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return m.ServerConfig(keyed(base)), "Config.Tickets"
		},
		"keys, managed twice": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return m.ServerConfig(m.ServerConfig(keyed(base))), "Config.Tickets"
		},
		"keys, delegation": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return app(func(hello *tls.ClientHelloInfo) *tls.Config {
				c, _ := m.ServerConfig(keyed(base)).GetConfigForClient(hello)
				return c
			}), "Config.Tickets"
		},
		"keys, delegation, managed": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return m.ServerConfig(app(func(hello *tls.ClientHelloInfo) *tls.Config {
				c, _ := m.ServerConfig(keyed(base)).GetConfigForClient(hello)
				return c
			})), "Config.Tickets"
		},
		"keys on the result": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return keyed(m.ServerConfig(base)), "Config.Tickets"
		},
		"SessionTicketKey": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			base = base.Clone()
			base.SessionTicketKey = [32]byte{1} //lint:ignore SA1019 an application may still set it
			return m.ServerConfig(base), "Config.Tickets"
		},
		"keys on what GetConfigForClient returned": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return m.ServerConfig(app(func(*tls.ClientHelloInfo) *tls.Config { return keyed(base) })), "Config.Tickets"
		},
		"keys on what the result's GetConfigForClient returned": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			c := m.ServerConfig(base)
			return m.ServerConfig(app(func(hello *tls.ClientHelloInfo) *tls.Config {
				own, _ := c.GetConfigForClient(hello)
				return keyed(own)
			})), "Config.Tickets"
		},
		"keys, ConfigForClient": func(m *reprise.Manager, base *tls.Config) (*tls.Config, string) {
			return app(func(hello *tls.ClientHelloInfo) *tls.Config { return m.ConfigForClient(hello, keyed(base)) }), "Config.Tickets"
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				const handshakes = 12
				r, warnings := newRig(t), new(logged)
				m := manager(t, warnings.config(reprise.Config{NoTickets: noTickets}))
				cc := trusting(version, r.client)
				// What crypto/tls made by itself, of the same configuration, with the same keys.
				if _, err := services[0].start(t, r, keyed(r.server))(cc); err != nil {
					t.Fatal(err)
				}
				var verified atomic.Int64
				base := r.server.Clone()
				base.VerifyConnection = func(tls.ConnectionState) error { verified.Add(1); return nil }
				c, says := make(m, base)
				dial := services[0].start(t, r, c)
				for i := range handshakes {
					if cs, err := dial(cc); err != nil || cs.DidResume {
						t.Fatalf("handshake %d: resumed %v, %v", i, cs.DidResume, err)
					}
				}
				want := map[reprise.Reason]uint64{reprise.Unmanaged: handshakes}
				if st := m.Stats(); st.Accept != handshakes || st.AcceptGood != handshakes || outcomes(st) != handshakes || !reflect.DeepEqual(st.NotResumed, want) {
					t.Errorf("%+v", st)
				}
				if n := verified.Load(); n != handshakes {
					t.Errorf("VerifyConnection ran %d times in %d handshakes", n, handshakes)
				}
				if n := len(warnings.lines); n != 1 || !strings.Contains(warnings.lines[0], says) {
					t.Errorf("%d warnings, want one that says %q: %q", n, says, warnings.lines)
				}
			})
		})
	}
}

// TestUnmanagedListener: at the listener level they are counted once, too.
func TestUnmanagedListener(t *testing.T) {
	r, warnings := newRig(t), new(logged)
	m := manager(t, warnings.config(reprise.Config{}))
	base := r.server.Clone()
	base.SetSessionTicketKeys([][32]byte{{1}})
	own := m.ServerConfig(r.server)
	inner := &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := own.GetConfigForClient(hello)
		c.SetSessionTicketKeys([][32]byte{{1}})
		return c, err
	}}
	n := uint64(0)
	for _, c := range []*tls.Config{base, inner} {
		for _, w := range managing(m) {
			if len(w.adds) > 0 {
				continue // their certificates are another thing
			}
			dial := w.start(t, r, c)
			for _, version := range later {
				cc := trusting(version, r.client)
				for range 2 {
					if cs, err := dial(cc); err != nil || cs.DidResume {
						t.Fatalf("%s: resumed %v, %v", w.name, cs.DidResume, err)
					}
					n++
				}
			}
		}
	}
	if st := m.Stats(); st.Accept != n || st.AcceptGood != n || st.NotResumed[reprise.Unmanaged] != n || outcomes(st) != n {
		t.Errorf("%d handshakes: %+v", n, st)
	}
	if len(warnings.lines) != 1 {
		t.Errorf("%d warnings, want 1: %q", len(warnings.lines), warnings.lines)
	}
}

// layer puts one use of a configuration around another.
type layer struct {
	name string
	m    int // the Manager that it brings in, -1 if none
	put  func(ms [2]*reprise.Manager, r *rig, c *tls.Config) *tls.Config
}

var layers = func() (all []layer) {
	for i := range 2 {
		all = append(all, layer{fmt.Sprintf("ServerConfig%d", i), i, func(ms [2]*reprise.Manager, _ *rig, c *tls.Config) *tls.Config {
			return ms[i].ServerConfig(c)
		}}, layer{fmt.Sprintf("ConfigForClient%d", i), i, func(ms [2]*reprise.Manager, r *rig, c *tls.Config) *tls.Config {
			return &tls.Config{Certificates: r.server.Certificates, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				return ms[i].ConfigForClient(hello, c), nil
			}}
		}}, layer{fmt.Sprintf("both%d", i), i, func(ms [2]*reprise.Manager, r *rig, c *tls.Config) *tls.Config {
			return &tls.Config{Certificates: r.server.Certificates, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				own, err := delegating(r, c).GetConfigForClient(hello)
				return ms[i].ConfigForClient(hello, own), err
			}}
		}})
	}
	return append(all,
		layer{"calls", -1, func(_ [2]*reprise.Manager, r *rig, c *tls.Config) *tls.Config { return delegating(r, c) }},
		layer{"assigned", -1, func(_ [2]*reprise.Manager, r *rig, c *tls.Config) *tls.Config {
			return &tls.Config{Certificates: r.server.Certificates, GetConfigForClient: c.GetConfigForClient}
		}},
		layer{"clone", -1, func(_ [2]*reprise.Manager, _ *rig, c *tls.Config) *tls.Config { return c.Clone() }},
		layer{"wrapped", -1, func(_ [2]*reprise.Manager, r *rig, c *tls.Config) *tls.Config {
			c = c.Clone()
			if verify := c.VerifyConnection; verify != nil {
				c.VerifyConnection = func(cs tls.ConnectionState) error { return verify(cs) }
			}
			if ask := c.GetConfigForClient; ask != nil {
				c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return ask(hello) }
			}
			return c
		}},
	)
}()

// TestServerConfigNested: however often, in whatever order and by how many
// Managers a configuration is managed, handshakes complete, resume and are
// counted once, by the outermost.
func TestServerConfigNested(t *testing.T) {
	r := newRig(t)
	n := 0
	var nest func(names []string, managing int, wrap func([2]*reprise.Manager, *tls.Config) *tls.Config)
	nest = func(names []string, outer int, wrap func([2]*reprise.Manager, *tls.Config) *tls.Config) {
		if len(names) > 0 {
			n++
			checkNested(t, r, strings.Join(names, "("), outer, n, wrap)
		}
		if len(names) == 3 {
			return
		}
		for _, l := range layers {
			m := outer
			if m < 0 {
				m = l.m
			}
			nest(append(slices.Clone(names), l.name), m, func(ms [2]*reprise.Manager, c *tls.Config) *tls.Config {
				return wrap(ms, l.put(ms, r, c))
			})
		}
	}
	nest(nil, -1, func(_ [2]*reprise.Manager, c *tls.Config) *tls.Config { return c })
}

func checkNested(t *testing.T, r *rig, name string, outer, n int, wrap func([2]*reprise.Manager, *tls.Config) *tls.Config) {
	noTickets, version := n%2 == 0, later[n/2%2]
	ms := [2]*reprise.Manager{manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{NoTickets: noTickets})}
	base := r.server.Clone()
	var verified atomic.Uint64
	base.VerifyConnection = func(tls.ConnectionState) error { verified.Add(1); return nil }
	c := wrap(ms, base)
	w := services[0]
	if brought := append([]service{w}, managing(ms[0])[:4]...); n%3 > 0 {
		if w = brought[n/3%len(brought)]; w.name != "tls.Server" {
			name, outer = w.name+"("+name, 0
		}
	}
	if outer < 0 {
		return
	}
	dial, cc := w.start(t, r, c), trusting(version, r.client)
	for i := range 3 {
		if cs, err := dial(cc); err != nil || cs.DidResume != (i > 0) {
			t.Errorf("%s: handshake %d: resumed %v, %v", name, i, cs.DidResume, err)
			return
		}
	}
	st, idle := ms[outer].Stats(), ms[1-outer].Stats()
	if st.Accept != 3 || st.Hits != 2 || outcomes(st) != 3 || st.NotResumed[reprise.NothingOffered] != 1 {
		t.Errorf("%s: %+v", name, st)
	}
	if idle.Accept != 0 || idle.AcceptGood != 0 || outcomes(idle) != 0 {
		t.Errorf("%s: the other Manager counted: %+v", name, idle)
	}
	if n := verified.Load(); n != 3 && n != 0 || n == 0 && !strings.Contains(name, "ConfigForClient") && !strings.Contains(name, "assigned") {
		t.Errorf("%s: VerifyConnection ran %d times in 3 handshakes", name, n)
	}
	ms[0].Close()
	ms[1].Close()
}

// TestServerConfigBase: what the base brings keeps working, and nobody changes it.
func TestServerConfigBase(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		m := manager(t, reprise.Config{NoTickets: noTickets})
		var asked, verified, wrapped atomic.Int64
		var refuse atomic.Bool
		var keys bytes.Buffer
		base := r.server.Clone()
		base.NextProtos, base.KeyLogWriter = []string{"one", "two"}, &keys
		base.VerifyConnection = func(tls.ConnectionState) error { verified.Add(1); return nil }
		base.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			asked.Add(1)
			if refuse.Load() {
				return nil, errors.New("not you")
			}
			return nil, nil
		}
		before := base.Clone()
		c := m.ServerConfig(base)
		inner := c.VerifyConnection
		c.VerifyConnection = func(cs tls.ConnectionState) error { wrapped.Add(1); return inner(cs) }
		cc := trusting(version, r.client)
		cc.NextProtos = []string{"two"}
		dial := services[0].start(t, r, c)
		for i := range 3 {
			cs, err := dial(cc)
			if err != nil || cs.DidResume != (i > 0) || cs.NegotiatedProtocol != "two" {
				t.Fatalf("resumed %v, protocol %q, %v", cs.DidResume, cs.NegotiatedProtocol, err)
			}
		}
		if a, v, w := asked.Load(), verified.Load(), wrapped.Load(); a != 3 || v != 3 || w != 3 {
			t.Errorf("asked %d, verified %d, wrapped %d times in three handshakes", a, v, w)
		}
		if st := m.Stats(); st.Accept != 3 || outcomes(st) != 3 || st.NotResumed[reprise.Unmanaged] != 0 {
			t.Errorf("%+v", st)
		}
		if names := testconfig.Differences(before, base); names != nil {
			t.Errorf("the base was changed: %q", names)
		}
		if keys.Len() == 0 {
			t.Error("KeyLogWriter was not written to")
		}
		refuse.Store(true)
		if _, err := dial(cc); err == nil || asked.Load() != 4 {
			t.Errorf("asked %d times: %v, want an error that ends the handshake", asked.Load(), err)
		}
	})
}

// TestServerConfigTicketsDisabled: the base's SessionTicketsDisabled holds.
func TestServerConfigTicketsDisabled(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		m := manager(t, reprise.Config{NoTickets: noTickets})
		cc := trusting(version, r.client)
		if _, err := services[0].start(t, r, m.ServerConfig(r.server))(cc); err != nil {
			t.Fatal(err)
		}
		base := r.server.Clone()
		base.SessionTicketsDisabled = true
		returning := r.server.Clone()
		returning.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return base, nil }
		enabled := m.ServerConfig(r.server)
		inPlace := r.server.Clone()
		inPlace.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			c, err := enabled.GetConfigForClient(hello)
			c.SessionTicketsDisabled = true
			return c, err
		}
		for name, c := range map[string]*tls.Config{
			"base": m.ServerConfig(base), "twice": m.ServerConfig(m.ServerConfig(base)),
			"returned": m.ServerConfig(returning), "in place": inPlace, "in place, managed": m.ServerConfig(inPlace),
		} {
			for range 2 {
				if cs, err := services[0].start(t, r, c)(cc); err != nil || cs.DidResume {
					t.Errorf("%s: resumed %v, %v", name, cs.DidResume, err)
				}
			}
		}
	})
}

// TestServerConfigTime: the Manager's clock is crypto/tls's where one was given
// and the configuration has none.
func TestServerConfigTime(t *testing.T) {
	r := newRig(t)
	clock, own := func() time.Time { return time.Now().Add(time.Second) }, func() time.Time { return time.Now() }
	for _, row := range []struct{ config, base, want func() time.Time }{
		{nil, nil, nil}, {nil, own, own}, {clock, nil, clock}, {clock, own, own},
	} {
		base := r.server.Clone()
		base.Time = row.base
		var used *tls.Config
		base.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			used = testconfig.Of(hello)
			return nil, nil
		}
		m := manager(t, reprise.Config{Time: row.config})
		if _, err := services[0].start(t, r, m.ServerConfig(base))(trusting(tls.VersionTLS13, r.client)); err != nil {
			t.Fatal(err)
		}
		if (used.Time == nil) != (row.want == nil) || row.want != nil && !testconfig.SameFunc(used.Time, row.want) {
			t.Errorf("Config.Time %v, the base's %v: another one is used", row.config != nil, row.base != nil)
		}
	}
}

// TestServerConfigECH: Encrypted ClientHello is accepted, and such clients resume.
func TestServerConfigECH(t *testing.T) {
	r := newRig(t)
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ech := echConfig(key.PublicKey().Bytes(), "b.test")
	base := r.server.Clone()
	base.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{{Config: ech, PrivateKey: key.Bytes(), SendAsRetry: true}}
	for _, noTickets := range []bool{false, true} {
		m := manager(t, reprise.Config{NoTickets: noTickets})
		dial := services[0].start(t, r, m.ServerConfig(base))
		cc := at(tls.VersionTLS13, keeping(r.client))
		cc.EncryptedClientHelloConfigList = append([]byte{0, byte(len(ech))}, ech...)
		for i := range 3 {
			cs, err := dial(cc)
			if err != nil || !cs.ECHAccepted || cs.DidResume != (i > 0) {
				t.Errorf("accepted %v, resumed %v, %v", cs.ECHAccepted, cs.DidResume, err)
			}
		}
	}
}

// echConfig is an ECHConfig for X25519, HKDF-SHA256 and AES-128-GCM (RFC 9849, section 4).
func echConfig(public []byte, name string) []byte {
	body := slices.Concat([]byte{1, 0, 0x20, 0, byte(len(public))}, public, []byte{0, 4, 0, 1, 0, 1, 32, byte(len(name))}, []byte(name), []byte{0, 0})
	return slices.Concat([]byte{0xfe, 0x0d, 0, byte(len(body))}, body)
}

// TestServerConfigParallel: a result serves many handshakes at once, while
// others are made of its base.
func TestServerConfigParallel(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	c := m.ServerConfig(r.server)
	c.VerifyConnection = func(inner func(tls.ConnectionState) error) func(tls.ConnectionState) error {
		return func(cs tls.ConnectionState) error { return inner(cs) }
	}(c.VerifyConnection)
	ctx, stop := context.WithCancel(t.Context())
	var makers, clients sync.WaitGroup
	for range 2 {
		makers.Go(func() {
			for ctx.Err() == nil {
				m.ServerConfig(r.server)
				m.ServerConfig(c)
			}
		})
	}
	const each = 5
	for i := range 20 {
		clients.Go(func() {
			dial, cc := services[0].start(t, r, c), trusting(later[i%2], r.client)
			for j := range each {
				if cs, err := dial(cc); err != nil || cs.DidResume != (j > 0) {
					t.Errorf("handshake %d: resumed %v, %v", j, cs.DidResume, err)
				}
			}
		})
	}
	clients.Wait()
	stop()
	makers.Wait()
	if st := m.Stats(); st.Accept != 20*each || st.Hits != 20*(each-1) {
		t.Errorf("%+v", st)
	}
}

// TestUnmanagedRelease: a Go release that does not show the configuration in
// force means full handshakes under that configuration, of which nothing is
// ignored. Where an application's GetConfigForClient calls the result's, the
// result's own settings hold.
func TestUnmanagedRelease(t *testing.T) {
	ca := testpki.New(t, "root")
	base := &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}}
	strict := func(c *tls.Config) *tls.Config {
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
		return c
	}
	calling := func(c *tls.Config) *tls.Config {
		ask := c.GetConfigForClient
		return &tls.Config{Certificates: base.Certificates, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return ask(hello) }}
	}
	for name, row := range map[string]struct {
		server  func(m *reprise.Manager) *tls.Config
		managed bool
	}{
		"directly":        {func(m *reprise.Manager) *tls.Config { return strict(m.ServerConfig(base)) }, false},
		"clone":           {func(m *reprise.Manager) *tls.Config { return strict(m.ServerConfig(base).Clone()) }, false},
		"managed twice":   {func(m *reprise.Manager) *tls.Config { return strict(m.ServerConfig(m.ServerConfig(base))) }, false},
		"changed between": {func(m *reprise.Manager) *tls.Config { return m.ServerConfig(strict(m.ServerConfig(base))) }, false},
		"returned": {func(m *reprise.Manager) *tls.Config {
			c := strict(m.ServerConfig(base))
			return &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return c, nil }}
		}, false},
		"delegation":          {func(m *reprise.Manager) *tls.Config { return calling(strict(m.ServerConfig(base))) }, true},
		"delegation, managed": {func(m *reprise.Manager) *tls.Config { return m.ServerConfig(calling(strict(m.ServerConfig(base)))) }, true},
		"ConfigForClient": {func(m *reprise.Manager) *tls.Config {
			return &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				return m.ConfigForClient(hello, strict(base.Clone())), nil
			}}
		}, true},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				r, warnings := newRig(t), new(logged)
				m := manager(t, warnings.config(reprise.Config{}))
				reprise.HideConfigs(m)
				dial := services[0].start(t, r, row.server(m))
				cc := at(version, keeping(&tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", Certificates: []tls.Certificate{ca.Leaf(t, "client")}}))
				const handshakes = 5
				for i := range handshakes {
					if cs, err := dial(cc); err != nil || cs.DidResume != (row.managed && i > 0) {
						t.Errorf("handshake %d: resumed %v, %v", i, cs.DidResume, err)
					}
				}
				st, want := m.Stats(), 1
				if row.managed {
					want = 0
				}
				if n := len(warnings.lines); n != want || n > 0 && !strings.Contains(warnings.lines[0], "this Go release does not show") {
					t.Errorf("%d warnings, want %d: %q", n, want, warnings.lines)
				}
				if n := st.NotResumed[reprise.Unmanaged]; st.Accept != handshakes || !row.managed && (n != handshakes || st.AcceptGood != n) || row.managed && n != 0 {
					t.Errorf("%+v", st)
				}
				cc.Certificates, cc.ClientSessionCache = nil, nil
				if _, err := dial(cc); err == nil {
					t.Error("a client without a certificate was let in")
				}
			})
		}
	}
}

// TestPlain: what a Manager put into a configuration is taken out of it,
// whichever of the marks the application replaced.
func TestPlain(t *testing.T) {
	var verified, asked atomic.Int64
	base := &tls.Config{
		ClientSessionCache: tls.NewLRUClientSessionCache(1),
		VerifyConnection:   func(tls.ConnectionState) error { verified.Add(1); return nil },
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { asked.Add(1); return nil, nil },
	}
	m := manager(t, reprise.Config{})
	for name, change := range map[string]func(c *tls.Config){
		"nothing":            func(*tls.Config) {},
		"ClientSessionCache": func(c *tls.Config) { c.ClientSessionCache = base.ClientSessionCache },
		"both": func(c *tls.Config) {
			c.ClientSessionCache, c.VerifyConnection = base.ClientSessionCache, base.VerifyConnection
			c.GetConfigForClient, c.SessionTicketsDisabled = base.GetConfigForClient, false
		},
	} {
		c := m.ServerConfig(m.ServerConfig(base))
		change(c)
		c = reprise.Plain(c)
		if c.ClientSessionCache != base.ClientSessionCache || !testconfig.SameFunc(c.VerifyConnection, base.VerifyConnection) ||
			!testconfig.SameFunc(c.GetConfigForClient, base.GetConfigForClient) || c.SessionTicketsDisabled {
			t.Errorf("%s replaced: %+v", name, c)
		}
	}
	if verified.Load()+asked.Load() != 0 {
		t.Error("the application's functions were called")
	}
}
