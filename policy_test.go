package reprise_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
)

// mutualRig is a rig whose server verifies clients and whose client has a
// certificate.
func mutualRig(t testing.TB) *rig {
	r := newRig(t)
	r.server.ClientAuth, r.server.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
	r.client.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
	return r
}

// poolOf returns a pool of the authorities, in their order.
func poolOf(cas ...*testpki.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	for _, ca := range cas {
		p.AddCert(ca.Cert)
	}
	return p
}

// constrained returns a pool of the authority, with a constraint.
func constrained(ca *testpki.Authority) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCertWithConstraint(ca.Cert, func([]*x509.Certificate) error { return nil })
	return p
}

// verifier returns a function value that is not any other one, though the code
// is the same: inlined, it would not be.
//
//go:noinline
func verifier(calls *int) func([][]byte, [][]*x509.Certificate) error {
	return func([][]byte, [][]*x509.Certificate) error { *calls++; return nil }
}

// byProtocol is a PolicyName: the first of the configuration's NextProtos,
// which clones keep.
func byProtocol(c *tls.Config) string {
	if len(c.NextProtos) == 0 {
		return ""
	}
	return c.NextProtos[0]
}

// TestPolicyAcrossProcesses: two Managers with one ticket key are two
// processes. What is known by content or by name holds in both.
func TestPolicyAcrossProcesses(t *testing.T) {
	ca, other := testpki.New(t, "clients"), testpki.New(t, "more clients")
	function, limited := verifier(new(int)), constrained(ca)
	type process struct {
		name   string
		pool   *x509.CertPool
		auth   tls.ClientAuthType
		verify func([][]byte, [][]*x509.Certificate) error
	}
	const require, given = tls.RequireAndVerifyClientCert, tls.VerifyClientCertIfGiven
	for _, c := range []struct {
		name     string
		from, to process
		want     reprise.Reason
	}{
		{"no client certificates, other pools", process{pool: poolOf(ca)}, process{pool: poolOf(other)}, reprise.Resumed},
		{"one content", process{pool: poolOf(ca), auth: require}, process{pool: poolOf(ca), auth: require}, reprise.Resumed},
		{"one content in another order", process{pool: poolOf(ca, other), auth: require},
			process{pool: poolOf(other, ca, other), auth: require}, reprise.Resumed},
		{"other content", process{pool: poolOf(ca), auth: require}, process{pool: poolOf(ca, other), auth: require}, reprise.OtherPolicy},
		{"one content, other ClientAuth", process{pool: poolOf(ca), auth: given}, process{pool: poolOf(ca), auth: require}, reprise.OtherPolicy},
		{"one content, a constraint", process{pool: poolOf(ca), auth: require}, process{pool: limited, auth: require}, reprise.OtherPolicy},
		{"one pool with a constraint", process{pool: limited, auth: require}, process{pool: limited, auth: require}, reprise.OtherPolicy},
		{"the system's roots", process{auth: tls.RequestClientCert}, process{auth: tls.RequestClientCert}, reprise.Resumed},
		{"one function without a name", process{pool: poolOf(ca), auth: require, verify: function},
			process{pool: poolOf(ca), auth: require, verify: function}, reprise.OtherPolicy},
		{"one name", process{name: "x", pool: poolOf(ca), auth: require, verify: function},
			process{name: "x", pool: poolOf(ca), auth: require, verify: verifier(new(int))}, reprise.Resumed},
		{"one name, no function", process{name: "x", pool: poolOf(ca), auth: require},
			process{name: "x", pool: poolOf(ca), auth: require}, reprise.Resumed},
		{"one name, other content", process{name: "x", pool: poolOf(ca), auth: require, verify: function},
			process{name: "x", pool: poolOf(ca, other), auth: require, verify: function}, reprise.OtherPolicy},
		{"two names", process{name: "x", pool: poolOf(ca), auth: require}, process{name: "y", pool: poolOf(ca), auth: require}, reprise.OtherPolicy},
		{"a name on one side", process{name: "x", pool: poolOf(ca), auth: require}, process{pool: poolOf(ca), auth: require}, reprise.OtherPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, version := range versions[2:] {
				r, key := newRig(t), ticket.NewAEAD()
				start := func(p process) (*reprise.Manager, *tls.Config) {
					sc := at(version, r.server)
					sc.ClientAuth, sc.ClientCAs, sc.VerifyPeerCertificate = p.auth, p.pool, p.verify
					return manager(t, reprise.Config{Tickets: key, PolicyName: func(*tls.Config) string { return p.name }}), sc
				}
				sm, sc := start(c.from)
				sm2, sc2 := start(c.to)
				cm, cc := manager(t, reprise.Config{}), at(version, r.client)
				cc.Certificates = []tls.Certificate{ca.Leaf(t, "client")}
				session := r.session(sm, cm, sc, cc)
				if reused, why := r.offer(sm2, cm, sc2, cc, session); why != c.want || reused != (c.want == reprise.Resumed) {
					t.Errorf("%s: resumed %v, %q, want %q", tls.VersionName(version), reused, why, c.want)
				}
				session.Free()
			}
		})
	}
}

// TestPolicyNameSeesHandshake: PolicyName is asked about the configuration of
// each handshake that wants client certificates, also what GetConfigForClient
// made for that hello alone.
func TestPolicyNameSeesHandshake(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := mutualRig(t)
		asked := 0
		sm := manager(t, reprise.Config{NoTickets: noTickets, PolicyName: func(c *tls.Config) string {
			asked++
			if c.ClientAuth == tls.NoClientCert {
				t.Error("asked where no client certificate is")
			}
			return byProtocol(c)
		}})
		cm := manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		tenant, calls := "one", 0
		sc.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			own := at(version, r.server)
			own.NextProtos, own.VerifyPeerCertificate = []string{tenant}, verifier(&calls)
			return own, nil
		}
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		for i, want := range []bool{true, false, true} {
			tenant = []string{"one", "two", "one"}[i]
			asked = 0
			if reused, why := r.offer(sm, cm, sc, cc, session); reused != want || asked == 0 {
				t.Errorf("tenant %s: resumed %v, %q, asked %d times", tenant, reused, why, asked)
			}
		}
		if calls != 2 { // the first handshake, and that of the other tenant
			t.Errorf("VerifyPeerCertificate called %d times", calls)
		}
		sc.GetConfigForClient, sc.ClientAuth = nil, tls.NoClientCert
		plain := r.session(sm, cm, sc, cc)
		plain.Free()
	})
}

// TestAttackPolicyFunctions takes a session of a lenient function, of none and
// of another to a strict one, under a name for all and without: the strict one
// is called, unless the application gave both functions the one name.
func TestAttackPolicyFunctions(t *testing.T) {
	none := func(*int) func([][]byte, [][]*x509.Certificate) error { return nil }
	for _, c := range []struct {
		name    string
		policy  func(*tls.Config) string
		lenient func(*int) func([][]byte, [][]*x509.Certificate) error
	}{
		{"no function, no name", nil, none},
		{"another function, no name", nil, verifier},
		{"no function, one name", func(*tls.Config) string { return "all" }, none},
		{"another function, an empty name", func(*tls.Config) string { return "" }, verifier},
		{"another function, two names", byProtocol, verifier},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				r := mutualRig(t)
				sm, cm := manager(t, reprise.Config{NoTickets: noTickets, PolicyName: c.policy}), manager(t, reprise.Config{})
				lenient, strict, cc := at(version, r.server), at(version, r.server), at(version, r.client)
				lenient.NextProtos, strict.NextProtos = []string{"lenient"}, []string{"strict"}
				var calls int
				lenient.VerifyPeerCertificate, strict.VerifyPeerCertificate = c.lenient(new(int)), verifier(&calls)
				session := r.session(sm, cm, lenient, cc)
				defer session.Free()
				if reused, why := r.offer(sm, cm, strict, cc, session); reused || why != reprise.OtherPolicy || calls != 1 {
					t.Errorf("resumed %v, %q, called %d times", reused, why, calls)
				}
			})
		})
	}
}

// TestAttackPolicyConstraints: CertPool.Equal says that pools with and without
// constraints are equal. Sessions do not cross between them.
func TestAttackPolicyConstraints(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := mutualRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		cc := at(version, r.client)
		under := func(p *x509.CertPool) *tls.Config {
			c := at(version, r.server)
			c.ClientCAs = p
			return c
		}
		limited := constrained(r.ca)
		pools := []*x509.CertPool{r.ca.Pool(), limited, constrained(r.ca), limited.Clone()}
		for i, from := range pools {
			session := r.session(sm, cm, under(from), cc)
			for j, to := range pools {
				if reused, why := r.offer(sm, cm, under(to), cc, session); reused != (i == j) || !reused && why != reprise.OtherPolicy {
					t.Errorf("from pool %d to %d: resumed %v, %q", i, j, reused, why)
				}
			}
			session.Free()
		}
		session := r.session(sm, cm, under(limited), cc)
		defer session.Free()
		limited.AddCertWithConstraint(testpki.New(t, "more").Cert, func([]*x509.Certificate) error { return nil })
		if reused, why := r.offer(sm, cm, under(limited), cc, session); reused || why != reprise.OtherPolicy {
			t.Errorf("after one more was added: resumed %v, %q", reused, why)
		}
	})
}

// TestPolicyPoolByContent: pools are compared by what is in them, as they were
// when they were used.
func TestPolicyPoolByContent(t *testing.T) {
	r := mutualRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	session := r.session(sm, cm, r.server, r.client)
	defer session.Free()
	equal := r.server.Clone()
	equal.ClientCAs = r.ca.Pool()
	if reused, why := r.offer(sm, cm, equal, r.client, session); !reused {
		t.Errorf("an equal pool: %q", why)
	}
	r.server.ClientCAs.AddCert(testpki.New(t, "more").Cert)
	if reused, why := r.offer(sm, cm, r.server, r.client, session); reused || why != reprise.OtherPolicy {
		t.Errorf("the pool with one more: resumed %v, %q", reused, why)
	}
	if reused, why := r.offer(sm, cm, equal, r.client, session); !reused {
		t.Errorf("an equal pool, after the first was added to: %q", why)
	}
}

// TestPolicyUnread: on a Go release whose pools cannot be read, sessions resume
// under the pool that made them, in that process.
func TestPolicyUnread(t *testing.T) {
	r := mutualRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	reprise.UnreadPools(sm)
	session := r.session(sm, cm, r.server, r.client)
	defer session.Free()
	if reused, why := r.offer(sm, cm, r.server, r.client, session); !reused {
		t.Errorf("the same pool: %q", why)
	}
	equal := r.server.Clone()
	equal.ClientCAs = r.ca.Pool()
	if reused, why := r.offer(sm, cm, equal, r.client, session); reused || why != reprise.OtherPolicy {
		t.Errorf("an equal pool: resumed %v, %q", reused, why)
	}
}

// TestPolicyTenants: any number of tenants with a pool each resume, and nothing
// is kept of their pools.
func TestPolicyTenants(t *testing.T) {
	const tenants = 260
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		p := newPlayers(t)
		p.start(version, noTickets, nil)
		states := make([]*tls.ClientSessionState, tenants)
		more := make([]*x509.CertPool, tenants)
		for i := range tenants {
			extra := *p.extra.Cert
			extra.Raw = append(bytes.Clone(extra.Raw), byte(i), byte(i>>8)) // AddCert looks at no more than this
			more[i] = poolOf(p.ca)
			more[i].AddCert(&extra)
		}
		tenant := func(i int) *tls.Config {
			return &tls.Config{Certificates: p.server, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: more[i]}
		}
		visit := func(i int, offer *tls.ClientSessionState) (resumed bool, got *tls.ClientSessionState) {
			return p.meet(p.managers[0], tenant(i), player{cert: &p.cert}, offer)
		}
		for i := range tenants {
			_, states[i] = visit(i, nil)
			if resumed, _ := visit(i, states[i]); !resumed { // which proves the client, so the session stays
				t.Fatalf("tenant %d does not resume at once", i)
			}
		}
		for i := range tenants {
			if resumed, _ := visit(i, states[i]); !resumed {
				t.Errorf("tenant %d does not resume", i)
			}
			if resumed, _ := visit(i, states[(i+1)%tenants]); resumed {
				t.Errorf("tenant %d resumes a session of the next", i)
			}
		}
		if n := reprise.Labels(p.managers[0]); n != 0 {
			t.Errorf("%d labels are kept", n)
		}
	})
}

// TestAttackNames: server names that differ in more than the case of ASCII
// letters are not the same, whatever Unicode folds them to.
func TestAttackNames(t *testing.T) {
	names := []string{"k.test", "\u212a.test", "s.test", "\u017f.test", "\xff.test", "\xfe.test", "\ufffd.test", "i.test", "\u0130.test", "ä.test", "Ä.test"}
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		p := newPlayers(t)
		p.start(version, noTickets, nil)
		config := &tls.Config{Certificates: p.server}
		for i, from := range names {
			_, state := p.meet(p.managers[0], config, player{name: from}, nil)
			for j, to := range names {
				if resumed, _ := p.meet(p.managers[0], config, player{name: to}, state); resumed != (i == j) {
					t.Errorf("from %q to %q: resumed %v", from, to, resumed)
				}
			}
		}
		_, state := p.meet(p.managers[0], config, player{name: "K.Test"}, nil)
		if resumed, _ := p.meet(p.managers[0], config, player{name: "k.tEST"}, state); !resumed {
			t.Error("ASCII letters in another case: does not resume")
		}
	})
}

// players are what random servers and their clients are made of. All server
// configurations and Managers of a test share the certificates.
type players struct {
	t         testing.TB
	version   uint16
	server    []tls.Certificate
	ca, extra *testpki.Authority
	cert      tls.Certificate // of ca
	other     tls.Certificate // of extra
	managers  []*reprise.Manager
	listener  net.Listener
}

// player is a client.
type player struct {
	name string
	cert *tls.Certificate // nil for none
}

func newPlayers(t testing.TB) *players {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &players{t: t, listener: l, ca: testpki.New(t, "clients"), extra: testpki.New(t, "more clients")}
	p.server = []tls.Certificate{testpki.New(t, "root").Leaf(t, "k.test")}
	p.cert, p.other = p.ca.Leaf(t, "client"), p.extra.Leaf(t, "client")
	return p
}

// start makes the Managers of two processes, each with two context ids, that
// share a ticket key.
func (p *players) start(version uint16, noTickets bool, name func(*tls.Config) string) {
	p.version, p.managers = version, nil
	key := ticket.NewAEAD()
	for range 2 {
		for _, context := range []string{"x", "y"} {
			p.managers = append(p.managers, manager(p.t, reprise.Config{
				NoTickets: noTickets, Tickets: key, ContextID: []byte(context), PolicyName: name,
			}))
		}
	}
}

// pair returns both ends of a connection that leaves nothing behind when it is
// closed, however many there were before.
func (p *players) pair() (client, server net.Conn) {
	p.t.Helper()
	client, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		p.t.Fatal(err)
	}
	if server, err = p.listener.Accept(); err != nil {
		p.t.Fatal(err)
	}
	client.(*net.TCPConn).SetLinger(0)
	return client, server
}

// one is a ClientSessionCache that offers one session and keeps the last that
// came, whatever the server is called.
type one struct{ offer, got *tls.ClientSessionState }

func (o *one) Get(string) (*tls.ClientSessionState, bool) { return o.offer, o.offer != nil }
func (o *one) Put(_ string, cs *tls.ClientSessionState) {
	if cs != nil {
		o.got = cs
	}
}

// meet has a client connect and offer a session. resumed is false also where
// the handshake fails; got is the session that the client has then, if any.
func (p *players) meet(m *reprise.Manager, config *tls.Config, c player, offer *tls.ClientSessionState) (resumed bool, got *tls.ClientSessionState) {
	config.MinVersion, config.MaxVersion = p.version, p.version
	nc, ns := p.pair()
	done := make(chan error, 1)
	go func() {
		s := tls.Server(ns, m.ServerConfig(config))
		_, err := s.Write([]byte{'x'})
		done <- err
		ns.Close()
	}()
	cache := &one{offer: offer}
	client := tls.Client(nc, &tls.Config{
		ServerName: c.name, InsecureSkipVerify: true, ClientSessionCache: cache, MinVersion: p.version, MaxVersion: p.version,
		CurvePreferences: []tls.CurveID{tls.X25519}, // the others take longer
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if c.cert == nil {
				return new(tls.Certificate), nil
			}
			return c.cert, nil
		},
	})
	_, failed := io.ReadFull(client, make([]byte, 1))
	nc.Close()
	if err := <-done; err != nil || failed != nil {
		return false, nil
	}
	return client.ConnectionState().DidResume, cache.got
}

// setting is a server's configuration and the client that goes there, as
// numbers of what there is to choose from.
type setting struct {
	auth                                 tls.ClientAuthType
	pool, verify, name, sni, context, at int
}

// choices are what settings choose from, each with what it is for the model:
// two choices of one class are the same to the rules.
type choices struct {
	pools     []poolChoice
	functions []func([][]byte, [][]*x509.Certificate) error
	names     []string // of policies
	sni       []sniChoice
}

type poolChoice struct {
	pool  *x509.CertPool
	class string           // what is in it
	only  bool             // with a constraint: only itself
	cert  *tls.Certificate // of a client that it lets in
}

type sniChoice struct {
	name  string
	class int
}

type gate struct{ calls int }

func (g *gate) verify([][]byte, [][]*x509.Certificate) error { g.calls++; return nil }

func (p *players) choices() *choices {
	limited, mixed := constrained(p.ca), poolOf(p.ca)
	mixed.AddCertWithConstraint(p.extra.Cert, func([]*x509.Certificate) error { return nil })
	byPEM := x509.NewCertPool()
	byPEM.AppendCertsFromPEM(slices.Concat(p.extra.PEM(), p.ca.PEM(), p.extra.PEM()))
	g := new(gate)
	return &choices{
		pools: []poolChoice{
			{poolOf(p.ca), "a", false, &p.cert}, {poolOf(p.ca), "a", false, &p.cert}, {poolOf(p.ca).Clone(), "a", false, &p.cert},
			{poolOf(p.ca, p.extra), "ab", false, &p.cert}, {poolOf(p.extra, p.ca), "ab", false, &p.cert}, {byPEM, "ab", false, &p.cert},
			{poolOf(p.extra), "b", false, &p.other},
			{limited, "a", true, &p.cert}, {constrained(p.ca), "a", true, &p.cert}, {limited.Clone(), "a", true, &p.cert},
			{mixed, "ab", true, &p.cert},
			{nil, "system", false, nil}, {x509.NewCertPool(), "", false, nil},
		},
		functions: []func([][]byte, [][]*x509.Certificate) error{nil, verifier(new(int)), verifier(new(int)), g.verify, g.verify},
		names:     []string{"", "x", "y"},
		sni: []sniChoice{
			{"k.test", 0}, {"K.TEST", 0}, {"k.Test", 0}, {"\u212a.test", 1}, {"", 2}, {"\xff.test", 3}, {"\xfe.test", 4}, {"s.test", 5}, {"\u017f.test", 6},
		},
	}
}

// same is the model: whether a session of a resumes under b.
func (c *choices) same(a, b setting, noTickets bool) bool {
	switch {
	case noTickets && a.at != b.at: // a handle leads to the cache of one process
		return false
	case a.context != b.context || c.sni[a.sni].class != c.sni[b.sni].class || a.auth != b.auth:
		return false
	case a.auth == tls.NoClientCert:
		return true
	case c.pools[a.pool].class != c.pools[b.pool].class || a.name != b.name:
		return false
	case (c.pools[a.pool].only || c.pools[b.pool].only) && (a.pool != b.pool || a.at != b.at):
		return false
	}
	if withA, withB := a.verify != 0, b.verify != 0; !withA || !withB {
		return withA == withB
	}
	return a.name != 0 || a.verify == b.verify && a.at == b.at
}

// random returns a setting under which a client can get in.
func (c *choices) random(r *rand.Rand) setting {
	s := setting{
		auth: tls.ClientAuthType(r.IntN(5)), pool: r.IntN(len(c.pools)), verify: r.IntN(len(c.functions)), name: r.IntN(len(c.names)),
		sni: r.IntN(len(c.sni)), context: r.IntN(2), at: r.IntN(2),
	}
	if s.auth == tls.RequireAndVerifyClientCert && c.pools[s.pool].cert == nil {
		s.pool = 0
	}
	return s
}

// near returns a setting that differs from s in few things, or only seems to.
func (c *choices) near(r *rand.Rand, s setting) setting {
	other := c.random(r)
	for range r.IntN(3) {
		switch r.IntN(7) {
		case 0:
			s.auth = other.auth
		case 1, 2:
			s.pool = other.pool
		case 3:
			s.verify = other.verify
		case 4:
			s.name = other.name
		case 5:
			s.sni = other.sni
		case 6:
			s.context, s.at = other.context, other.at
		}
	}
	return s
}

// visit has a client go to the server of a setting.
func (p *players) visit(c *choices, s setting, offer *tls.ClientSessionState) (resumed bool, got *tls.ClientSessionState) {
	config := &tls.Config{
		Certificates: p.server, ClientAuth: s.auth, ClientCAs: c.pools[s.pool].pool, VerifyPeerCertificate: c.functions[s.verify],
	}
	if name := c.names[s.name]; name != "" {
		config.NextProtos = []string{name}
	}
	client := player{name: c.sni[s.sni].name, cert: c.pools[s.pool].cert}
	if client.cert == nil && s.auth < tls.VerifyClientCertIfGiven {
		client.cert = &p.cert // which nobody verifies
	}
	return p.meet(p.managers[2*s.at+s.context], config, client, offer)
}

// TestPolicyRandomPairs: a session that one random configuration made resumes
// under another exactly where the model says that they are equal.
func TestPolicyRandomPairs(t *testing.T) {
	const each = 5 // pairs with one session
	sessions := 110
	if os.Getenv("REPRISE_LONG") != "" {
		sessions *= 10
	}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, noTickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, handles %t", tls.VersionName(version), noTickets), func(t *testing.T) {
				t.Parallel()
				p := newPlayers(t)
				p.start(version, noTickets, byProtocol)
				c, r := p.choices(), rand.New(rand.NewPCG(uint64(version), 7))
				resumptions := 0
				for range sessions {
					from := c.random(r)
					_, state := p.visit(c, from, nil)
					if state == nil {
						t.Fatalf("%+v: no session", from)
					}
					for range each {
						to := c.near(r, from)
						want := c.same(from, to, noTickets)
						if resumed, _ := p.visit(c, to, state); resumed != want {
							t.Errorf("from %+v to %+v: resumed %v", from, to, resumed)
						}
						if want {
							resumptions++
						}
					}
				}
				if all := sessions * each; resumptions < all/4 || resumptions > all*3/4 {
					t.Errorf("%d of %d pairs are equal: the pairs prove little", resumptions, all)
				}
			})
		}
	}
}
