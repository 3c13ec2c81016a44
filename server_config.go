package reprise

import (
	"crypto/tls"
	"net"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/reprise-tls/reprise/internal/gotls"
)

// serverConfig is what ServerConfig made of a configuration.
//
// Frameworks clone the result and change the clone, so that the configuration
// of a connection is known only when its ClientHello is there: crypto/tls shows
// it in an unexported field, which internal/gotls reads. Every clone carries
// the mark, in a field that servers do not use.
type serverConfig struct {
	m      *Manager
	result *tls.Config // what the application was given, and may have changed
	mark   *mark
	why    string // it cannot be managed; "" if it can
	warned sync.Once
}

// mark is the ClientSessionCache of every configuration that a Manager made. It
// holds what the application had set in the fields that the Manager needs.
type mark struct {
	tls.ClientSessionCache // the application's, or noCache
	settings
	m     *Manager
	guard func(tls.ConnectionState) error                 // VerifyConnection of the result
	hook  func(*tls.ClientHelloInfo) (*tls.Config, error) // GetConfigForClient of the result
	wraps atomic.Bool                                     // somebody wraps guard
}

// settings are the fields of a tls.Config that a Manager takes over.
type settings struct {
	cache    tls.ClientSessionCache
	disabled bool // SessionTicketsDisabled
	verify   func(tls.ConnectionState) error
	ask      func(*tls.ClientHelloInfo) (*tls.Config, error)
	hooks    sessionHooks
}

// sessionHooks are the WrapSession and UnwrapSession of an application.
type sessionHooks struct {
	wrap   func(tls.ConnectionState, *tls.SessionState) ([]byte, error)
	unwrap func([]byte, tls.ConnectionState) (*tls.SessionState, error)
}

func settingsOf(c *tls.Config) settings {
	return settings{
		cache: c.ClientSessionCache, disabled: c.SessionTicketsDisabled, verify: c.VerifyConnection,
		ask: c.GetConfigForClient, hooks: sessionHooks{c.WrapSession, c.UnwrapSession},
	}
}

// set reports whether both hooks are.
func (h sessionHooks) set() bool { return h.wrap != nil && h.unwrap != nil }

func (h sessionHooks) same(other sessionHooks) bool {
	return gotls.SameFunc(h.wrap, other.wrap) && gotls.SameFunc(h.unwrap, other.unwrap)
}

// noCache is a ClientSessionCache that keeps nothing.
type noCache struct{}

func (noCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (noCache) Put(string, *tls.ClientSessionState)        {}

func newMark(m *Manager, s settings) *mark {
	k := &mark{ClientSessionCache: s.cache, settings: s, m: m}
	if k.ClientSessionCache == nil {
		k.ClientSessionCache = noCache{}
	}
	return k
}

func markOf(c *tls.Config) *mark {
	if c == nil {
		return nil
	}
	k, _ := c.ClientSessionCache.(*mark)
	return k
}

// plain returns a copy of c as the application set it: what a Manager put into
// it is taken out again.
func plain(c *tls.Config) *tls.Config {
	k := markOf(c)
	c = cloneConfig(c)
	if k == nil {
		return c
	}
	c.ClientSessionCache, c.SessionTicketsDisabled = k.cache, k.disabled
	if gotls.SameFunc(c.VerifyConnection, k.guard) {
		c.VerifyConnection = k.verify
	}
	if gotls.SameFunc(c.GetConfigForClient, k.hook) {
		c.GetConfigForClient = k.ask
	}
	if managedHooks(c) {
		c.WrapSession, c.UnwrapSession = k.hooks.wrap, k.hooks.unwrap
	}
	return c
}

// managedHooks reports whether the session hooks of c are those of a handshake
// that a Manager manages already. They have one code.
func managedHooks(c *tls.Config) bool {
	code := func(f any) uintptr { return reflect.ValueOf(f).Pointer() }
	return c.UnwrapSession != nil && code(c.UnwrapSession) == code((*serverHandshake)(nil).unwrap)
}

func cloneConfig(c *tls.Config) *tls.Config {
	if c == nil {
		return new(tls.Config)
	}
	return c.Clone()
}

// ServerConfig returns a configuration for any code that makes TLS servers of
// a *tls.Config: sessions resume, bound to what made them, and are counted. It
// does not see handshakes complete; NewListener, ServeTLS and Server do.
//
// base is copied. The result may be cloned and changed, as net/http, gRPC and
// others do: what holds is the configuration that a connection is given in the
// end. All that base brings keeps working:
//
//   - its GetConfigForClient is asked first, and what it returns is managed as a
//     configuration of its own;
//   - its WrapSession and UnwrapSession, if both are set, seal and open in place
//     of Config.Tickets, while the Manager still binds, checks and counts;
//   - its SessionTicketsDisabled holds. Set it here: in the result it is always
//     true, so that crypto/tls does not resume by keys of its own where a
//     connection bypasses the Manager, and setting it there changes nothing.
//
// Call the result's GetConfigForClient from one of your own, or give
// [Manager.ConfigForClient] the configuration; do not return the result from
// it, because crypto/tls does not ask a second time. If you change what decides
// on client certificates in what it returned, change that very configuration
// and not a clone.
//
// Where a connection cannot be managed its handshakes are full, under the
// settings in force, counted as [Unmanaged], and the reason is logged once:
// SetSessionTicketKeys was called on the configuration, its session hooks or its
// GetConfigForClient were replaced afterwards, or this Go release does not show
// the configuration.
func (m *Manager) ServerConfig(base *tls.Config) *tls.Config {
	c := plain(base)
	sc := &serverConfig{m: m, mark: newMark(m, settingsOf(c)), why: unmanageable(c)}
	sc.mark.guard, sc.mark.hook = sc.verify, sc.configFor
	sc.result = c
	c.ClientSessionCache = sc.mark
	c.SessionTicketsDisabled = true
	c.VerifyConnection = sc.mark.guard
	c.GetConfigForClient = sc.mark.hook
	if sc.why != "" {
		sc.warn(sc.why)
	}
	return c
}

// unmanageable says why c can never be managed, or "". c is a private clone.
func unmanageable(c *tls.Config) string {
	if gotls.HasTicketKeys(c) {
		return "the configuration has session ticket keys of its own (SetSessionTicketKeys): give keys to Config.Tickets instead"
	}
	return ""
}

// ConfigForClient is for an application's own GetConfigForClient: it returns
// config as ServerConfig's would for this ClientHello. config is copied; its
// GetConfigForClient is not called. If config is nil the configuration in force
// is meant, and where this Go release does not show that the result is nil too.
func (m *Manager) ConfigForClient(hello *tls.ClientHelloInfo, config *tls.Config) *tls.Config {
	if config == nil {
		if config, _ = m.inForce.Of(hello); config == nil {
			m.stats.outcome(serverSide, 0, Unmanaged)
			m.warn("handshake not managed", "why", "this Go release does not show the configuration: give ConfigForClient one")
			return nil
		}
	}
	return m.handshakeFor(hello).manage(hello, config, nil)
}

// configFor is the GetConfigForClient of the result.
func (sc *serverConfig) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	config, known := sc.m.inForce.Of(hello)
	switch {
	case known && sc.made(config):
	case known || !calledByEngine(): // the application's GetConfigForClient calls this one
		config = sc.result
	default:
		config = nil
	}
	if ask := sc.mark.ask; ask != nil {
		switch own, err := ask(hello); {
		case err != nil:
			return nil, err
		case own != nil:
			return sc.m.handshakeFor(hello).manage(hello, own, nil), nil
		}
	}
	if config == nil {
		sc.warn("this Go release does not show the configuration that is in force")
		return nil, nil // that configuration stays: full handshakes, which verify counts
	}
	return sc.m.handshakeFor(hello).manage(hello, config, sc), nil
}

// made reports whether c is the result, or a clone of it.
func (sc *serverConfig) made(c *tls.Config) bool {
	return c == sc.result || markOf(c) == sc.mark || gotls.SameFunc(c.GetConfigForClient, sc.mark.hook)
}

// calledByEngine reports whether crypto/tls called configFor, which its caller
// asks, and no function of the application. It is for Go releases that do not
// show the configuration in force.
func calledByEngine() bool {
	var pcs [2]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		f, more := frames.Next()
		if !strings.HasSuffix(f.Function, "-fm") { // what makes a method value
			return strings.HasPrefix(f.Function, "crypto/tls.")
		}
		if !more {
			return false
		}
	}
}

// manage returns the configuration that crypto/tls goes on with: config, which
// may be marked, with the hooks of this handshake. of is what config is a clone
// of, nil if it came from the application.
func (st *serverHandshake) manage(hello *tls.ClientHelloInfo, config *tls.Config, of *serverConfig) *tls.Config {
	k := markOf(config)
	again := managedHooks(config) && k != nil && k.m == st.m // another result's hook was called on the way here
	c := plain(config)
	own := settingsOf(c)
	if of != nil {
		if quicHello(hello) {
			own.hooks = of.mark.hooks // quic-go's, in c, wrap what is returned, too
		} else if !own.hooks.same(of.mark.hooks) {
			of.warn("WrapSession and UnwrapSession were set after ServerConfig: set them on the configuration that it is given")
			return st.m.unmanaged(c)
		}
		if !gotls.SameFunc(config.VerifyConnection, of.mark.guard) && config.VerifyConnection != nil {
			of.mark.wraps.Store(true)
		}
	}
	if why := unmanageable(c); why != "" {
		st.m.warn("handshake not managed", "why", why)
		return st.m.unmanaged(c)
	}
	if of != nil {
		c.ClientSessionCache = of.mark
	} else {
		c.ClientSessionCache = newMark(st.m, own)
	}
	return st.begin(hello, c, own, again)
}

// quicHello reports whether hello came over QUIC: crypto/tls refuses it over
// any other transport if it has the extension.
func quicHello(hello *tls.ClientHelloInfo) bool { return hasExtension(hello, extensionQUICParameters) }

// unmanaged returns c for a connection that does not resume.
func (m *Manager) unmanaged(c *tls.Config) *tls.Config {
	verify := c.VerifyConnection
	c.GetConfigForClient = nil
	c.SessionTicketsDisabled = true
	c.VerifyConnection = func(cs tls.ConnectionState) error {
		m.countUnmanaged(&cs)
		return callVerify(verify, cs)
	}
	return c
}

// verify is the VerifyConnection of the result. It runs where the per-connection
// configuration is not in force, or where somebody wraps it.
func (sc *serverConfig) verify(cs tls.ConnectionState) error {
	if !sc.mark.wraps.Load() {
		sc.m.countUnmanaged(&cs)
		sc.warn("its GetConfigForClient was not called: call it from your own, or use ConfigForClient; do not return the result of ServerConfig from one")
	}
	return callVerify(sc.mark.verify, cs)
}

func callVerify(verify func(tls.ConnectionState) error, cs tls.ConnectionState) error {
	if verify == nil {
		return nil
	}
	return verify(cs)
}

// warn says, once for each result of ServerConfig, why handshakes are not managed.
func (sc *serverConfig) warn(why string) {
	sc.warned.Do(func() { sc.m.config.Logger.Warn("handshakes of a server configuration are not managed", "why", why) })
}

func (m *Manager) countUnmanaged(cs *tls.ConnectionState) {
	m.stats.accept.Add(1)
	m.stats.acceptGood.Add(1)
	m.stats.outcome(serverSide, cs.Version, Unmanaged)
}

// handshakeFor returns the state that a higher level prepared for the
// connection, or a new one.
func (m *Manager) handshakeFor(hello *tls.ClientHelloInfo) *serverHandshake {
	if w, ok := hello.Conn.(*wire); ok && w.server != nil && w.server.m == m {
		return w.server
	}
	return &serverHandshake{m: m, peer: addressOf(hello.Conn)}
}

func addressOf(nc net.Conn) net.Addr {
	if nc == nil {
		return nil
	}
	return nc.RemoteAddr()
}
