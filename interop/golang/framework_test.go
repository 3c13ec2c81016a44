package golang_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testconfig"
	"github.com/reprise-tls/reprise/internal/testpki"
)

const (
	serverName = "framework.test"
	answer     = "here you are"
)

// framework is a server that others wrote, with its client.
type framework struct {
	name     string
	versions []uint16
	protocol string // negotiated by ALPN

	// serve serves with the configuration until the test ends. It may change it.
	serve func(t *testing.T, config *tls.Config) (addr string)
	// exchange makes a connection, sends a request and reads the answer. The
	// caller calls end, if it is not nil. It may change the configuration.
	exchange func(ctx context.Context, addr string, config *tls.Config) (end func(), err error)
	// rewraps are the fields that the framework changes in the configuration of
	// every connection.
	rewraps []string
}

var frameworks = []framework{overGRPC, overFastHTTP, overQUIC, overHTTP3}

// everywhere runs a test with each framework and each version that it speaks.
func everywhere(t *testing.T, test func(t *testing.T, f framework, version uint16)) {
	for _, f := range frameworks {
		for _, version := range f.versions {
			t.Run(f.name+"/"+tls.VersionName(version), func(t *testing.T) { test(t, f, version) })
		}
	}
}

// serveUntilEnd runs a server, and stops it at the end of the test.
func serveUntilEnd(t *testing.T, serve func() error, stop func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serve()
	}()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

// client connects to a server again and again, and keeps its sessions.
type client struct {
	f      framework
	addr   string
	config *tls.Config
	kept   *announced
}

func newClient(f framework, addr string, authority *testpki.Authority, version uint16) *client {
	return &client{
		f: f, addr: addr,
		config: &tls.Config{ServerName: serverName, RootCAs: authority.Pool(), MinVersion: version, MaxVersion: version},
		kept:   &announced{ClientSessionCache: tls.NewLRUClientSessionCache(0), puts: make(chan struct{}, 100)},
	}
}

// announced tells of each session that it is given.
type announced struct {
	tls.ClientSessionCache
	puts chan struct{}
}

func (a *announced) Put(key string, cs *tls.ClientSessionState) {
	a.ClientSessionCache.Put(key, cs)
	if cs != nil {
		a.puts <- struct{}{}
	}
}

// connect makes a new connection and uses it. If it works, connect waits for the
// session of TLS 1.3 that follows.
func (c *client) connect(t *testing.T) (tls.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	states := make(chan tls.ConnectionState, 1)
	config := c.config.Clone()
	config.ClientSessionCache = c.kept
	config.VerifyConnection = func(cs tls.ConnectionState) error {
		select {
		case states <- cs:
		default: // a client that tries again
		}
		return nil
	}
	end, err := c.f.exchange(ctx, c.addr, config)
	if end != nil {
		defer end()
	}
	if err != nil {
		return tls.ConnectionState{}, err
	}
	cs := <-states
	if cs.Version >= tls.VersionTLS13 {
		select {
		case <-c.kept.puts:
		case <-ctx.Done():
			return cs, fmt.Errorf("no session came: %w", ctx.Err())
		}
	}
	return cs, nil
}

// mustConnect is connect for a connection that is to work.
func (c *client) mustConnect(t *testing.T) tls.ConnectionState {
	t.Helper()
	cs, err := c.connect(t)
	if err != nil {
		t.Fatal(err)
	}
	if c.f.protocol != cs.NegotiatedProtocol {
		t.Errorf("negotiated %q, want %q", cs.NegotiatedProtocol, c.f.protocol)
	}
	return cs
}

// resumes makes a full handshake and two that resume.
func (c *client) resumes(t *testing.T, m *reprise.Manager) {
	t.Helper()
	before := m.Stats()
	for i := range 3 {
		cs := c.mustConnect(t)
		if cs.DidResume != (i > 0) {
			t.Errorf("connection %d: resumed: %t", i, cs.DidResume)
		}
	}
	after := m.Stats()
	if hits := after.Hits - before.Hits; hits != 2 {
		t.Errorf("%d hits, want 2", hits)
	}
	before.NotResumed[reprise.NothingOffered]++
	if !maps.Equal(before.NotResumed, after.NotResumed) {
		t.Errorf("not resumed: %v, want %v", after.NotResumed, before.NotResumed)
	}
}

// TestFrameworksResume: servers of a Manager's configuration resume, by ticket
// and by handle.
func TestFrameworksResume(t *testing.T) {
	authority := testpki.New(t, "resume test")
	leaf := authority.Leaf(t, serverName)
	for name, config := range map[string]reprise.Config{"tickets": {}, "handles": {NoTickets: true}} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, f framework, version uint16) {
				m := newManager(t, config)
				addr := f.serve(t, m.ServerConfig(&tls.Config{Certificates: []tls.Certificate{leaf}}))
				newClient(f, addr, authority, version).resumes(t, m)
			})
		})
	}
}

// TestFrameworksClientAuth: an application asks for certificates after
// ServerConfig has returned. Clients without one get no connection, those with
// one resume.
func TestFrameworksClientAuth(t *testing.T) {
	authority := testpki.New(t, "client auth test")
	leaf, mine := authority.Leaf(t, serverName), authority.Leaf(t, "me.test")
	everywhere(t, func(t *testing.T, f framework, version uint16) {
		m := newManager(t, reprise.Config{})
		config := m.ServerConfig(&tls.Config{Certificates: []tls.Certificate{leaf}})
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool()
		addr := f.serve(t, config)
		if _, err := newClient(f, addr, authority, version).connect(t); err == nil {
			t.Error("a client without certificate is served")
		}
		known := newClient(f, addr, authority, version)
		known.config.Certificates = []tls.Certificate{mine}
		known.resumes(t, m)
	})
}

// TestFrameworksSuitesAndCurves: an application narrows both after ServerConfig
// has returned. Clients with none of them get no connection.
func TestFrameworksSuitesAndCurves(t *testing.T) {
	const suite, other = tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
	authority := testpki.New(t, "suites test")
	leaf := authority.Leaf(t, serverName)
	everywhere(t, func(t *testing.T, f framework, version uint16) {
		m := newManager(t, reprise.Config{})
		config := m.ServerConfig(&tls.Config{Certificates: []tls.Certificate{leaf}})
		config.CurvePreferences, config.CipherSuites = []tls.CurveID{tls.CurveP384}, []uint16{suite}
		addr := f.serve(t, config)
		for _, c := range []struct {
			curve   tls.CurveID
			suite   uint16
			welcome bool
		}{
			{tls.CurveP384, suite, true},
			{tls.CurveP256, suite, false},
			{tls.CurveP384, other, version == tls.VersionTLS13}, // whose suites nobody can choose
		} {
			client := newClient(f, addr, authority, version)
			client.config.CurvePreferences, client.config.CipherSuites = []tls.CurveID{c.curve}, []uint16{c.suite}
			if c.welcome {
				client.resumes(t, m)
			} else if _, err := client.connect(t); err == nil {
				t.Errorf("a client with %v and %s is served", c.curve, tls.CipherSuiteName(c.suite))
			}
		}
	})
}

// TestFrameworksConfiguration: crypto/tls goes on with the configuration that
// the framework and the application left in force, field by field.
func TestFrameworksConfiguration(t *testing.T) {
	authority := testpki.New(t, "configuration test")
	leaf, pool := authority.Leaf(t, serverName), authority.Pool()
	bases := map[string]func(*testing.T, *tls.Config){
		"plain":  func(*testing.T, *tls.Config) {},
		"filled": func(t *testing.T, base *tls.Config) { testconfig.Fill(t, base, pool) },
	}
	changes := map[string]func(*tls.Config){
		"none": func(*tls.Config) {},
		"client auth": func(c *tls.Config) {
			c.ClientAuth, c.ClientCAs = tls.RequestClientCert, testpki.New(t, "another").Pool()
		},
		"suites": func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256} },
		"curves": func(c *tls.Config) { c.CurvePreferences = []tls.CurveID{tls.CurveP521} },
	}
	everywhere(t, func(t *testing.T, f framework, version uint16) {
		for baseName, fill := range bases {
			for changeName, change := range changes {
				t.Run(baseName+"/"+changeName, func(t *testing.T) {
					base := &tls.Config{Certificates: []tls.Certificate{leaf}}
					fill(t, base)
					watch := testconfig.New(base)
					m := newManager(t, reprise.Config{})
					config := m.ServerConfig(base)
					change(config)
					changed := config.Clone()
					newClient(f, f.serve(t, config), authority, version).mustConnect(t)
					// The Manager's mark of each configuration, which servers do not use.
					watch.Check(t, append([]string{"ClientSessionCache"}, f.rewraps...)...)
					inForce, _ := watch.Last(t)
					checkChange(t, changed, inForce)
				})
			}
		}
	})
}

// checkChange fails unless what the application changed is in force.
func checkChange(t *testing.T, changed, inForce *tls.Config) {
	t.Helper()
	for _, name := range testconfig.Differences(changed, inForce) {
		switch name {
		case "ClientAuth", "ClientCAs", "CurvePreferences":
			t.Errorf("%s: the application's value is not in force", name)
		case "CipherSuites":
			if changed.CipherSuites != nil { // else gRPC has a list of its own
				t.Errorf("%s: the application's value is not in force", name)
			}
		}
	}
}
