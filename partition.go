package reprise

import (
	"context"
	"crypto/tls"
	"net"
)

// ClientConfig returns a configuration for any code that makes TLS clients of
// a *tls.Config: it keeps several sessions for each server, offers a TLS 1.3
// session once and an older one until it expires. base is copied; its
// ClientSessionCache is not used.
//
// Sessions are kept for the server's name, which is its address with the port
// where base has no name, and are offered only under the conditions under
// which they were made: partition, client certificate, roots, protocols, and
// whether the server is verified. So configurations of one Manager may share
// them. Clones of the configuration do, as http.Transport's: crypto/tls checks
// the server's name and chain against each before a session is offered, but a
// clone with other Certificates, another GetClientCertificate or another
// VerifyPeerCertificate needs a ClientConfig of its own. Once
// GetClientCertificate has given another certificate nothing more is kept:
// nobody tells which of them the connection of a session has shown. The other
// ways to connect tell them apart, and in a named Partition it does not matter.
//
// crypto/tls does not tell a configuration whether a connection resumed.
// Renewed sessions therefore count as descending from the oldest session of
// that server: Config.MaxAge ends them all at once.
func (m *Manager) ClientConfig(base *tls.Config) *tls.Config {
	return m.Partition("").ClientConfig(base)
}

// Client returns a connection on the client's side of nc. config is copied; its
// ClientSessionCache is not used. It must have a ServerName or
// InsecureSkipVerify; without a ServerName sessions are kept for the address of
// the other end of nc, which through a proxy is not the server's.
//
// It offers a session of its own accord, if one is kept for the server's name
// under the same conditions (see ClientConfig), and keeps what the server
// sends; SetSession, with nil too, leaves both to the caller, as libssl does.
//
// It is SSL_new and SSL_set_connect_state.
func (m *Manager) Client(nc net.Conn, config *tls.Config) *Conn {
	return m.Partition("").Client(nc, config)
}

// Dial connects to addr and returns the connection, its handshake still to be
// done so that a session may be set before. A config without ServerName gets
// the host of addr. It is otherwise like Client, but sessions are kept for
// name and port.
func (m *Manager) Dial(network, addr string, config *tls.Config) (*Conn, error) {
	return m.DialContext(context.Background(), network, addr, config)
}

// DialContext is Dial under a context, which is for the transport only: give
// HandshakeContext one for the handshake.
func (m *Manager) DialContext(ctx context.Context, network, addr string, config *tls.Config) (*Conn, error) {
	return m.Partition("").DialContext(ctx, network, addr, config)
}

// DialTLSContext returns what http.Transport wants as its DialTLSContext: a
// function that connects, shakes hands under its context, and returns a
// *tls.Conn. Sessions are offered and kept as by Dial. For HTTP/2 config must
// have NextProtos "h2" and "http/1.1" and the transport ForceAttemptHTTP2.
//
// http.Transport applies neither its TLSHandshakeTimeout nor its DialContext to
// it, and does not use it for servers behind a proxy, for which it takes its
// TLSClientConfig: see ClientConfig. The NetConn of the *tls.Conn has a NetConn
// method of its own, which returns the transport.
func (m *Manager) DialTLSContext(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return m.Partition("").DialTLSContext(config)
}

// Partition makes client connections that share sessions with nobody outside
// it: give each user of a program, or each identity, one of its own, so that a
// server cannot tell from a session what belongs together. It costs nothing to
// make and is gone when nobody uses it; its sessions go as others come.
//
// A named partition also stands for the functions of its configurations: where
// GetClientCertificate or VerifyPeerCertificate decide who is who, sessions
// are otherwise shared by the connections of one *tls.Config only.
type Partition struct {
	m     *Manager
	label string
}

// Partition returns the partition of a label, at most a few hundred bytes. The
// Manager's own clients are in that of "".
func (m *Manager) Partition(label string) Partition { return Partition{m, label} }

// scope returns under which conditions sessions are offered on config's
// connections; nil where none are kept. config is as the application gave it.
func (p Partition) scope(config *tls.Config) *scope {
	if !p.m.keepsClients() {
		return nil
	}
	if config == nil {
		config = new(tls.Config)
	}
	scope, ok := p.m.scopes.of(p.label, config)
	if !ok {
		return nil
	}
	return &scope
}

// peer returns the peer of a name under scope; nil where no sessions are kept for it.
func (p Partition) peer(scope *scope, name string) *clientPeer {
	if scope == nil {
		return nil
	}
	return &clientPeer{m: p.m, scope: scope, name: name}
}

// ClientConfig is Manager.ClientConfig in the partition.
func (p Partition) ClientConfig(base *tls.Config) *tls.Config {
	c := p.clientConfig(base)
	c.ClientSessionCache = nil
	if peer := p.peer(p.scope(base), ""); peer != nil {
		low, high := versionRange(c)
		c.ClientSessionCache = &configCache{m: p.m, scope: peer.scope, low: low, high: high}
		peer.scope.identity.watch(c)
	}
	return c
}

// clientConfig returns a copy of base with what Config says of clients.
func (p Partition) clientConfig(base *tls.Config) *tls.Config {
	c := cloneConfig(base)
	if c.Time == nil {
		c.Time = p.m.config.Time
	}
	return c
}

// Client is Manager.Client in the partition.
func (p Partition) Client(nc net.Conn, config *tls.Config) *Conn {
	c := p.clientConfig(config)
	name := clientName(c.ServerName)
	if name == "" && nc != nil && nc.RemoteAddr() != nil {
		name = nc.RemoteAddr().String()
	}
	return p.client(nc, c, p.peer(p.scope(config), name))
}

// Dial is Manager.Dial in the partition.
func (p Partition) Dial(network, addr string, config *tls.Config) (*Conn, error) {
	return p.DialContext(context.Background(), network, addr, config)
}

// DialContext is Manager.DialContext in the partition.
func (p Partition) DialContext(ctx context.Context, network, addr string, config *tls.Config) (*Conn, error) {
	return p.dial(ctx, network, addr, config, p.scope(config))
}

// dial is DialContext for a copy of config whose scope was determined before.
func (p Partition) dial(ctx context.Context, network, addr string, config *tls.Config, sc *scope) (*Conn, error) {
	c := p.clientConfig(config)
	host, port := splitAddress(addr)
	if c.ServerName == "" {
		c.ServerName = host
	}
	peer := p.peer(sc, clientName(c.ServerName)+"\x00"+port)
	dial := func(ctx context.Context) (net.Conn, error) { return p.m.config.DialContext(ctx, network, addr) }
	nc, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	conn := p.client(nc, c, peer)
	conn.dial = dial
	return conn, nil
}

// DialTLSContext is Manager.DialTLSContext in the partition.
func (p Partition) DialTLSContext(config *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	sc := p.scope(config) // of config itself: another call with that shares the sessions
	config = cloneConfig(config)
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		c, err := p.dial(ctx, network, addr, config, sc)
		if err != nil {
			return nil, err
		}
		if err := c.HandshakeContext(ctx); err != nil {
			c.Free()
			return nil, err
		}
		l := c.link.Load()
		l.wire.onEnd = l.client.release // nobody will call Free
		return l.tls, nil
	}
}

// client starts a connection with a configuration of its own.
func (p Partition) client(nc net.Conn, config *tls.Config, peer *clientPeer) *Conn {
	c := &Conn{m: p.m, config: config, client: true, peer: peer}
	c.start(nc)
	return c
}

// splitAddress returns the server name that an address stands for, and its port.
func splitAddress(addr string) (host, port string) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr, ""
	}
	return host, port
}
