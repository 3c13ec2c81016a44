package reprise

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
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

// scopes names scopes. A name holds in any process, unless it depends on roots
// that Config.RootCAsPEM does not describe, or on functions outside of a named
// partition: then it is of this process, and for functions of one *tls.Config.
type scopes struct {
	roots   namedPool
	pools   *labels[*x509.CertPool]
	configs *labels[*configIdentity]
}

// configIdentity is a configuration that functions belong to, for as long as it lives.
type configIdentity struct {
	config   weak.Pointer[tls.Config]
	identity identity
}

func newScopes(c *Config) (*scopes, error) {
	roots, err := newNamedPool("RootCAsPEM", c.RootCAsPEM)
	if err != nil {
		return nil, err
	}
	return &scopes{roots: roots, pools: newPools(c.Rand), configs: &labels[*configIdentity]{
		rand: c.Rand,
		same: func(a, b *configIdentity) bool { return a.config == b.config },
		keep: func(c *configIdentity) *configIdentity { return c },
	}}, nil
}

// of returns the scope of a configuration as the application gave it, in a
// partition; false if it could not be named.
func (s *scopes) of(partition string, config *tls.Config) (sc scope, ok bool) {
	var n scopeName
	n.add([]byte("reprise client 1"))
	n.add([]byte(partition))
	n.add([]byte{mode(config)})
	n.add(protocols(config))
	n.add(certificates(config))
	n.addRoots(s, s.rootsOf(config))
	if byFunction(config) && partition == "" {
		kept, label := s.configs.of(&configIdentity{config: weak.Make(config)})
		n.addLocal(label)
		sc.identity = &kept.identity
	}
	if n.nameless {
		return scope{}, false
	}
	sum := sha256.Sum256(n.name)
	sc.id = [16]byte(sum[:])
	if !n.local {
		sc.name = string(n.name)
	}
	return sc, true
}

// rootsOf returns the roots of a configuration: those of Config.RootCAsPEM where
// it brings none.
func (s *scopes) rootsOf(config *tls.Config) *x509.CertPool {
	if config.RootCAs == nil {
		return s.roots.pool
	}
	return config.RootCAs
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

// scopeName is the name of a scope in the making.
type scopeName struct {
	name     []byte
	local    bool // good for this process
	nameless bool
}

func (n *scopeName) add(field []byte) {
	n.name = binary.BigEndian.AppendUint32(n.name, uint32(len(field)))
	n.name = append(n.name, field...)
}

func (n *scopeName) addLocal(label []byte) {
	n.add(label)
	n.local = true
	n.nameless = n.nameless || label == nil
}

func (n *scopeName) addRoots(s *scopes, roots *x509.CertPool) {
	switch {
	case roots == nil:
		n.add([]byte("system"))
	case s.roots.is(roots):
		n.add(s.roots.sum)
	default:
		_, label := s.pools.of(roots)
		n.addLocal(label)
	}
}
