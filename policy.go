package reprise

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"slices"
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
	id       string
	named    *x509.CertPool // the pool of Config.ClientCAsPEM
	namedSum []byte
	rand     io.Reader

	mu      sync.Mutex
	idFirst *labelled // the policy that PolicyID was first used for
	pools   []labelled
}

// labelled is a pool that has been seen, under a label of this process.
type labelled struct {
	auth  tls.ClientAuthType
	pool  *x509.CertPool
	label []byte
}

// maxPools bounds the pools remembered; with more, the oldest is forgotten and
// its sessions do not resume.
const maxPools = 256

func newPolicies(c *Config) (*policies, error) {
	pool, err := c.clientCAs()
	if err != nil {
		return nil, err
	}
	return &policies{id: c.PolicyID, named: pool, namedSum: sumPEM(c.ClientCAsPEM), rand: c.Rand}, nil
}

// sumPEM names a set of certificates, whatever their order.
func sumPEM(data []byte) []byte {
	var sums [][]byte
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" && len(block.Headers) == 0 {
			sum := sha256.Sum256(block.Bytes)
			sums = append(sums, sum[:])
		}
	}
	slices.SortFunc(sums, bytes.Compare)
	sums = slices.CompactFunc(sums, bytes.Equal)
	sum := sha256.Sum256(bytes.Join(sums, nil))
	return sum[:]
}

// of returns the name of cfg's policy, or unnamed. direct means that the Manager was handed cfg itself.
func (p *policies) of(cfg *tls.Config, direct bool) policy {
	if cfg.ClientAuth == tls.NoClientCert {
		return hashPolicy(cfg.ClientAuth, "none", nil)
	}
	if direct && p.id != "" && p.idNames(cfg) {
		return hashPolicy(cfg.ClientAuth, "id", []byte(p.id))
	}
	if cfg.VerifyPeerCertificate != nil {
		return unnamed
	}
	if p.named != nil && p.named.Equal(cfg.ClientCAs) {
		return hashPolicy(cfg.ClientAuth, "content", p.namedSum)
	}
	label := p.label(cfg)
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
		p.idFirst = &labelled{auth: cfg.ClientAuth, pool: clonePool(cfg.ClientCAs)}
	}
	return p.idFirst.auth == cfg.ClientAuth && samePool(p.idFirst.pool, cfg.ClientCAs)
}

// label returns the label in this process of cfg's pool, nil if none could be drawn.
func (p *policies) label(cfg *tls.Config) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, seen := range p.pools {
		if samePool(seen.pool, cfg.ClientCAs) {
			return seen.label
		}
	}
	label := make([]byte, 16)
	if _, err := io.ReadFull(p.rand, label); err != nil {
		return nil
	}
	if len(p.pools) == maxPools {
		p.pools = slices.Delete(p.pools, 0, 1)
	}
	p.pools = append(p.pools, labelled{pool: clonePool(cfg.ClientCAs), label: label})
	return label
}

// clonePool keeps what a pool is now: the application may add to it.
func clonePool(pool *x509.CertPool) *x509.CertPool {
	if pool == nil {
		return nil
	}
	return pool.Clone()
}

func samePool(a, b *x509.CertPool) bool {
	if a == nil || b == nil {
		return a == b // nil stands for the system's roots
	}
	return a.Equal(b)
}
