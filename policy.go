package reprise

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"sync"
)

// policy is the name of a client-certificate policy.
type policy []byte

// unnamed is the policy of a function that nobody named: nothing is under it,
// not even what was made under it.
var unnamed = policy{0}

// is reports whether a session that was made under the recorded policy is
// under p.
func (p policy) is(recorded []byte) bool {
	return bytes.Equal(p, recorded) && !bytes.Equal(p, unnamed)
}

// policies names client-certificate policies. A session resumes only under the
// policy that made it: the client's certificate is not shown again, so whoever
// may resume has what it authenticated for.
//
// The name is a hash of the kind of authentication and of the CAs' label.
// crypto/x509 does not show what is in a pool, so a pool's label is one drawn
// at random the first time that an equal pool is seen (good for this process),
// or what Config.PolicyID or Config.ClientCAsPEM say (good for any).
type policies struct {
	id    string
	named namedPool // of Config.ClientCAsPEM
	pools *labels[*x509.CertPool]

	mu      sync.Mutex
	idFirst *firstPolicy // the policy that PolicyID was first used for
}

type firstPolicy struct {
	auth tls.ClientAuthType
	pool *x509.CertPool
}

func newPolicies(c *Config) (*policies, error) {
	named, err := newNamedPool("ClientCAsPEM", c.ClientCAsPEM)
	if err != nil {
		return nil, err
	}
	return &policies{id: c.PolicyID, named: named, pools: newPools(c.Rand)}, nil
}

// of returns the name of cfg's policy, or unnamed. direct means that the Manager was handed cfg itself.
func (p *policies) of(cfg *tls.Config) policy {
	if cfg.ClientAuth == tls.NoClientCert {
		return hashPolicy(cfg.ClientAuth, "none", nil)
	}
	if p.id != "" && p.idNames(cfg) {
		return hashPolicy(cfg.ClientAuth, "id", []byte(p.id))
	}
	if cfg.VerifyPeerCertificate != nil {
		return unnamed
	}
	if p.named.is(cfg.ClientCAs) {
		return hashPolicy(cfg.ClientAuth, "content", p.named.sum)
	}
	_, label := p.pools.of(cfg.ClientCAs)
	if label == nil {
		return unnamed
	}
	return hashPolicy(cfg.ClientAuth, "pool", label)
}

func hashPolicy(auth tls.ClientAuthType, kind string, label []byte) policy {
	h := sha256.New()
	h.Write([]byte("reprise policy 1\x00"))
	h.Write([]byte{byte(auth), byte(len(kind))})
	h.Write([]byte(kind))
	h.Write(label)
	return h.Sum(nil)
}

// idNames reports whether PolicyID may stand for cfg: it names one policy, the
// first that it is used for.
func (p *policies) idNames(cfg *tls.Config) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.idFirst == nil {
		p.idFirst = &firstPolicy{auth: cfg.ClientAuth, pool: clonePool(cfg.ClientCAs)}
	}
	return p.idFirst.auth == cfg.ClientAuth && samePool(p.idFirst.pool, cfg.ClientCAs)
}
