package reprise

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"

	"github.com/reprise-tls/reprise/internal/gotls"
)

// policy is the name of a client-certificate policy.
type policy []byte

// unnamed is a policy that could not be named. It matches no session, including
// its own.
var unnamed = policy{0}

// is reports whether a session that was made under the recorded policy is
// under p.
func (p policy) is(recorded []byte) bool {
	return bytes.Equal(p, recorded) && !bytes.Equal(p, unnamed)
}

// policies names client-certificate policies. A session resumes only under the
// policy that made it: the client's certificate is not shown again, and
// VerifyPeerCertificate is not called again, so whoever resumes has what it
// authenticated for.
//
// A policy's name is a hash of the kind of authentication, the CAs, and what
// Config.PolicyName says, or else of which function VerifyPeerCertificate is.
// The name holds in any process, unless a label is part of it: that of a
// function without a name, or of a pool that is only itself (see poolNames).
type policies struct {
	name  func(*tls.Config) string // Config.PolicyName, or nil
	pools poolNames
	funcs labels[uintptr, verifyFunc] // by gotls.FuncID
}

type verifyFunc = func(rawCerts [][]byte, verifiedChains [][]*x509.Certificate) error

func newPolicies(c *Config) *policies {
	return &policies{name: c.PolicyName, pools: newPoolNames(c.Rand), funcs: labels[uintptr, verifyFunc]{rand: c.Rand}}
}

// of returns the name of cfg's policy, or unnamed. cfg is the configuration of a
// handshake.
func (p *policies) of(cfg *tls.Config) policy {
	var b binding
	b.add([]byte("reprise policy 2"))
	b.add([]byte{byte(cfg.ClientAuth)})
	if cfg.ClientAuth != tls.NoClientCert {
		b.addPool(&p.pools, cfg.ClientCAs)
		p.addFunction(&b, cfg)
	}
	if b.nameless {
		return unnamed
	}
	sum := sha256.Sum256(b.encoded)
	return sum[:]
}

// addFunction adds three fields: whether cfg has a VerifyPeerCertificate, the
// name that the application gives, and the label of a function without a name.
func (p *policies) addFunction(b *binding, cfg *tls.Config) {
	verify, name := cfg.VerifyPeerCertificate, ""
	if p.name != nil {
		name = p.name(cfg)
	}
	b.add([]byte{flag(1, verify != nil)})
	b.add([]byte(name))
	if verify == nil || name != "" {
		b.add(nil)
		return
	}
	id := gotls.FuncID(verify)
	if id == 0 { // this Go release does not tell functions apart
		b.nameless = true
		return
	}
	_, label := p.funcs.of(id, func() verifyFunc { return verify })
	b.addLabel(label)
}
