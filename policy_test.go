package reprise_test

import (
	"crypto/tls"
	"crypto/x509"
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

// TestPolicyAcrossProcesses: two Managers with one ticket key are two
// processes. A policy is known to both only by a name.
func TestPolicyAcrossProcesses(t *testing.T) {
	ca, other := testpki.New(t, "clients"), testpki.New(t, "more clients")
	both := append(ca.PEM(), other.PEM()...)
	turned := slices.Concat([]byte("a comment\n"), other.PEM(), ca.PEM(), other.PEM())
	pool := func(cas ...*testpki.Authority) *x509.CertPool {
		p := x509.NewCertPool()
		for _, ca := range cas {
			p.AddCert(ca.Cert)
		}
		return p
	}
	function := func([][]byte, [][]*x509.Certificate) error { return nil }
	type process struct {
		id     string
		cas    []byte
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
		{"nothing names the pool", process{pool: pool(ca), auth: require}, process{pool: pool(ca), auth: require}, reprise.OtherPolicy},
		{"no client certificates", process{}, process{}, reprise.Resumed},
		{"one PolicyID", process{id: "x", pool: pool(ca), auth: require}, process{id: "x", pool: pool(ca), auth: require}, reprise.Resumed},
		{"one PolicyID, a function", process{id: "x", pool: pool(ca), auth: require, verify: function},
			process{id: "x", pool: pool(ca), auth: require, verify: function}, reprise.Resumed},
		{"two PolicyIDs", process{id: "x", pool: pool(ca), auth: require}, process{id: "y", pool: pool(ca), auth: require}, reprise.OtherPolicy},
		{"PolicyID on one side", process{id: "x", pool: pool(ca), auth: require}, process{pool: pool(ca), auth: require}, reprise.OtherPolicy},
		{"one PolicyID, other ClientAuth", process{id: "x", pool: pool(ca), auth: given}, process{id: "x", pool: pool(ca), auth: require}, reprise.OtherPolicy},
		{"one content", process{cas: ca.PEM(), pool: pool(ca), auth: require}, process{cas: ca.PEM(), pool: pool(ca), auth: require}, reprise.Resumed},
		{"one content in another order", process{cas: both, pool: pool(ca, other), auth: require},
			process{cas: turned, pool: pool(other, ca), auth: require}, reprise.Resumed},
		{"other content", process{cas: ca.PEM(), pool: pool(ca), auth: require}, process{cas: both, pool: pool(ca, other), auth: require}, reprise.OtherPolicy},
		{"content that is not the pool's", process{cas: both, pool: pool(ca), auth: require}, process{cas: both, pool: pool(ca), auth: require}, reprise.OtherPolicy},
		{"one content, a function", process{cas: ca.PEM(), pool: pool(ca), auth: require, verify: function},
			process{cas: ca.PEM(), pool: pool(ca), auth: require, verify: function}, reprise.OtherPolicy},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, version := range versions[2:] {
				r, key := newRig(t), ticket.NewAEAD()
				start := func(p process) (*reprise.Manager, *tls.Config) {
					sc := at(version, r.server)
					sc.ClientAuth, sc.ClientCAs, sc.VerifyPeerCertificate = p.auth, p.pool, p.verify
					return manager(t, reprise.Config{Tickets: key, PolicyID: p.id, ClientCAsPEM: p.cas}), sc
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

// TestPolicyIDNamesOne: a PolicyID stands for the first configuration that it
// is used for; others are told apart in the process as without it.
func TestPolicyIDNamesOne(t *testing.T) {
	r := mutualRig(t)
	sm, cm := manager(t, reprise.Config{PolicyID: "x"}), manager(t, reprise.Config{})
	first := r.session(sm, cm, r.server, r.client)
	defer first.Free()
	second := r.server.Clone()
	second.ClientCAs = r.ca.Pool()
	second.ClientCAs.AddCert(testpki.New(t, "more").Cert)
	if reused, why := r.offer(sm, cm, second, r.client, first); reused || why != reprise.OtherPolicy {
		t.Errorf("another pool under the id: resumed %v, %q", reused, why)
	}
	session := r.session(sm, cm, second, r.client)
	defer session.Free()
	if reused, why := r.offer(sm, cm, second, r.client, session); !reused {
		t.Errorf("the second policy: %q", why)
	}
	if reused, why := r.offer(sm, cm, r.server, r.client, first); !reused {
		t.Errorf("the first policy: %q", why)
	}
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

// TestPolicyPoolsBounded: of thousands of pools those used last are remembered; the
// sessions of one that was forgotten do not resume, and nothing else happens.
func TestPolicyPoolsBounded(t *testing.T) {
	r := mutualRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	use := func(n int) {
		for range n {
			c := r.server.Clone()
			c.ClientCAs = testpki.New(t, "passing").Pool()
			sm.ServerConfig(c)
		}
	}
	session := r.session(sm, cm, r.server, r.client)
	use(255)
	if reused, why := r.offer(sm, cm, r.server, r.client, session); !reused {
		t.Errorf("after 255 others: %q", why)
	}
	use(256) // since it was used
	if reused, why := r.offer(sm, cm, r.server, r.client, session); reused || why != reprise.OtherPolicy {
		t.Errorf("after 256 others: resumed %v, %q", reused, why)
	}
	session.Free()
	session = r.session(sm, cm, r.server, r.client)
	defer session.Free()
	if reused, why := r.offer(sm, cm, r.server, r.client, session); !reused {
		t.Errorf("used again: %q", why)
	}
}

// TestPolicyPEMWithoutCertificate: a list that names nothing is a mistake.
func TestPolicyPEMWithoutCertificate(t *testing.T) {
	if _, err := reprise.New(reprise.Config{ClientCAsPEM: []byte("no certificate")}); err == nil {
		t.Error("New took it")
	}
}
