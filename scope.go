package reprise

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"sync"
	"weak"
)

// scope is under which conditions a client may offer a session: who the client
// is, whom it trusts and what it asks for. A session is never offered under
// another scope than it was made under.
type scope struct {
	id       [16]byte
	name     string    // says the same in any process; "" where nothing can
	identity *identity // nil unless a function brings the client's certificate
}

// generation is that of the identity's certificate, zero without one.
func (s *scope) generation() uint32 {
	if s.identity == nil {
		return 0
	}
	return s.identity.current()
}

// identity is what a configuration's GetClientCertificate gave last. Sessions
// of another certificate than that are not offered.
//
// That of a connection is the one that it shows: of the session that it offers,
// or the certificate that it was asked for. Its sessions are of that, however
// late they come.
type identity struct {
	config *identity // a connection's: that of its configuration

	mu         sync.Mutex
	known      bool
	sum        [sha256.Size]byte
	generation uint32
}

// is notes that the client's certificate is now c.
func (i *identity) is(c *tls.Certificate) (generation uint32) {
	if i.config != nil {
		generation = i.config.is(c)
		i.mu.Lock()
		defer i.mu.Unlock()
		i.known, i.generation = true, generation
		return generation
	}
	sum := sha256.Sum256(bytes.Join(c.Certificate, nil))
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.known && i.sum != sum {
		i.generation++
	}
	i.known, i.sum = true, sum
	return i.generation
}

// watch has i see what the configuration's GetClientCertificate gives.
func (i *identity) watch(config *tls.Config) {
	get := config.GetClientCertificate
	if i == nil || get == nil {
		return
	}
	config.GetClientCertificate = func(info *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		c, err := get(info)
		if c != nil && err == nil {
			i.is(c)
		}
		return c, err
	}
}

func (i *identity) current() uint32 {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.config != nil && !i.known {
		i.known, i.generation = true, i.config.current()
	}
	return i.generation
}

// connection returns the peer as one connection of config, which is its own, knows it.
func (p *clientPeer) connection(config *tls.Config) *clientPeer {
	if p == nil || p.scope.identity == nil {
		return p
	}
	own := *p.scope
	own.identity = &identity{config: p.scope.identity}
	own.identity.watch(config)
	return &clientPeer{m: p.m, scope: &own, name: p.name}
}

// scopes names scopes. A name holds in any process, unless the scope depends on
// roots with constraints, or on functions outside of a named partition: then the
// name is of this process, and for functions of one *tls.Config.
type scopes struct {
	pools   poolNames
	configs labels[weak.Pointer[tls.Config], *identity]
}

func newScopes(c *Config) *scopes {
	return &scopes{pools: newPoolNames(c.Rand), configs: labels[weak.Pointer[tls.Config], *identity]{rand: c.Rand}}
}

// of returns the scope of a configuration as the application gave it, in a
// partition; false if it could not be named.
func (s *scopes) of(partition string, config *tls.Config) (sc scope, ok bool) {
	var b binding
	b.add([]byte("reprise client 2"))
	b.add([]byte(partition))
	b.add([]byte{mode(config)})
	b.add(protocols(config))
	b.add(certificates(config))
	b.addPool(&s.pools, config.RootCAs)
	if byFunction(config) && partition == "" {
		kept, label := s.configs.of(weak.Make(config), func() *identity { return new(identity) })
		b.addLabel(label)
		sc.identity = kept
	}
	if b.nameless {
		return scope{}, false
	}
	sum := sha256.Sum256(b.encoded)
	sc.id = [16]byte(sum[:])
	if !b.local {
		sc.name = string(b.encoded)
	}
	return sc, true
}

// byFunction reports whether a function that is not asked again on resumption
// decides who the client or the server is.
func byFunction(config *tls.Config) bool {
	return config.VerifyPeerCertificate != nil || config.GetClientCertificate != nil
}

func mode(config *tls.Config) byte {
	return flag(1, config.InsecureSkipVerify) |
		flag(2, len(config.EncryptedClientHelloConfigList) > 0) |
		flag(4, config.VerifyPeerCertificate != nil) |
		flag(8, config.GetClientCertificate != nil)
}

func protocols(config *tls.Config) (list []byte) {
	for _, p := range config.NextProtos {
		list = append(append(list, byte(len(p))), p...)
	}
	return list
}

func certificates(config *tls.Config) (sums []byte) {
	for _, c := range config.Certificates {
		sum := sha256.Sum256(bytes.Join(c.Certificate, nil))
		sums = append(sums, sum[:]...)
	}
	return sums
}
