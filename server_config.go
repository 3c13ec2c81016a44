package reprise

import (
	"crypto/tls"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/reprise-tls/reprise/internal/gotls"
)

// mark is what a Manager knows of a configuration that it made: a result of
// ServerConfig, or the configuration of one connection. It is that
// configuration's ClientSessionCache, a field that servers do not use.
//
// Frameworks clone the result and change the clone, so that the configuration
// of a connection is known only when its ClientHello is there: crypto/tls shows
// it in an unexported field, which internal/gotls reads. Every clone carries
// the mark, and so tells that it is one.
type mark struct {
	tls.ClientSessionCache // the application's, or noCache
	settings               // the application's
	m                      *Manager
	result                 *tls.Config      // of ServerConfig, which the application may have changed; else nil
	st                     *serverHandshake // of the connection; nil in a result
	from                   *mark            // of what result was made of, if its hook may still be called
	wraps                  atomic.Bool      // somebody wraps guard
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

// markOf returns the mark of c, nil if no Manager made c. If the application
// replaced ClientSessionCache, the guard tells.
func markOf(c *tls.Config) *mark {
	if c == nil {
		return nil
	}
	if k, ok := c.ClientSessionCache.(*mark); ok {
		return k
	}
	return guardOf(c.VerifyConnection)
}

// guardOf returns the mark whose guard verify is, nil if it is none. Guards have
// one code, which knows its mark.
func guardOf(verify func(tls.ConnectionState) error) *mark {
	if verify == nil || code(verify) != code((*mark)(nil).guard) {
		return nil
	}
	k, _ := verify(tls.ConnectionState{}).(guardError)
	return k.mark
}

// guardError is what a guard says without a connection.
type guardError struct{ mark *mark }

func (guardError) Error() string { return "reprise: no connection to verify" }

// hookOf returns the mark whose configFor ask is, nil if it is none.
func hookOf(ask func(*tls.ClientHelloInfo) (*tls.Config, error)) *mark {
	if ask == nil || code(ask) != code((*mark)(nil).configFor) {
		return nil
	}
	c, _ := ask(nil)
	return markOf(c)
}

// plain returns a copy of config, whose mark is k, as the application set it:
// what a Manager put into config is taken out again.
func plain(config *tls.Config, k *mark) *tls.Config {
	c := cloneConfig(config)
	if k == nil {
		if managedHooks(c) { // whose they are cannot be told any more
			c.WrapSession, c.UnwrapSession = nil, nil
		}
		return c
	}
	if marked, ok := c.ClientSessionCache.(*mark); ok {
		c.ClientSessionCache = marked.cache
	}
	if guard := guardOf(c.VerifyConnection); guard != nil {
		c.VerifyConnection = guard.verify
	} else if c.VerifyConnection != nil {
		k.wraps.Store(true)
	}
	if hookOf(c.GetConfigForClient) == k {
		c.GetConfigForClient = k.ask
	}
	if managedHooks(c) {
		c.WrapSession, c.UnwrapSession = k.hooks.wrap, k.hooks.unwrap
	} else { // managed connections have the application's value, or a reason
		c.SessionTicketsDisabled = k.disabled
	}
	return c
}

// managedHooks reports whether the session hooks of c are those of a handshake
// that a Manager manages already.
func managedHooks(c *tls.Config) bool {
	st := (*serverHandshake)(nil)
	return c.WrapSession != nil && code(c.WrapSession) == code(st.wrap) &&
		c.UnwrapSession != nil && code(c.UnwrapSession) == code(st.unwrap)
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
// it, because crypto/tls does not ask a second time. A clone is known by its
// ClientSessionCache or its VerifyConnection: do not replace both, or its
// connections are under the settings of the result. If you change what decides
// on client certificates in what it returned, change that very configuration
// and not a clone.
//
// Where a connection cannot be managed its handshakes are full, under the
// settings in force, counted as [Unmanaged], and the reason is logged once for
// each Manager: SetSessionTicketKeys was called on the configuration, only one
// of its session hooks is set, they or its GetConfigForClient were replaced
// afterwards, or this Go release does not show the configuration.
func (m *Manager) ServerConfig(base *tls.Config) *tls.Config {
	from := markOf(base)
	c := plain(base, from)
	k := newMark(m, settingsOf(c))
	k.result = c
	if from != nil {
		k.from = from
		if hookOf(base.GetConfigForClient) == from { // and nobody else calls it
			k.from = from.from
		}
	}
	c.ClientSessionCache = k
	c.SessionTicketsDisabled = true
	c.VerifyConnection = k.guard
	c.GetConfigForClient = k.configFor
	if why := unmanageable(c, k.hooks); why != "" {
		m.warnUnmanaged(why)
	}
	return c
}

// unmanageable says why c, a private clone with these session hooks of the
// application, can never be managed, or "".
func unmanageable(c *tls.Config, hooks sessionHooks) string {
	switch {
	case gotls.HasTicketKeys(c):
		return "the configuration has session ticket keys (SetSessionTicketKeys): give keys to Config.Tickets instead"
	case (hooks.wrap == nil) != (hooks.unwrap == nil):
		return "the configuration has one of WrapSession and UnwrapSession: set both, or none"
	}
	return ""
}

// ConfigForClient is for an application's own GetConfigForClient: it returns
// config as ServerConfig's would for this ClientHello. config is copied; its
// GetConfigForClient is not called. nil stands for an empty configuration, not
// for the one in force.
func (m *Manager) ConfigForClient(hello *tls.ClientHelloInfo, config *tls.Config) *tls.Config {
	return m.handshakeFor(hello).manage(hello, config, nil)
}

const notShown = "this Go release does not show the configuration in force: call ConfigForClient from a GetConfigForClient of your own"

// configFor is the GetConfigForClient of the result. hookOf calls it with nil.
func (k *mark) configFor(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	if hello == nil {
		return &tls.Config{ClientSessionCache: k}, nil
	}
	config, shown := k.m.inForce.Of(hello)
	switch {
	case shown && k.made(config):
	case shown && config.ClientAuth > k.result.ClientAuth && hookOf(config.GetConfigForClient) == k:
		// A clone that lost both marks, and is stricter than the result.
	case shown || !calledByEngine(): // the application's GetConfigForClient calls this one
		config = k.result
	default:
		config = nil
	}
	if k.ask != nil {
		switch own, err := k.ask(hello); {
		case err != nil:
			return nil, err
		case own != nil:
			return k.m.handshakeFor(hello).manage(hello, own, nil), nil
		}
	}
	if config == nil {
		k.m.warnUnmanaged(notShown)
		return nil, nil // that configuration stays: full handshakes, which guard counts
	}
	return k.m.handshakeFor(hello).manage(hello, config, k), nil
}

// made reports whether c is the result, a clone of it, or made of one.
func (k *mark) made(c *tls.Config) bool {
	of := markOf(c)
	for of != nil && of != k {
		of = of.from
	}
	return of == k || c == k.result
}

// calledByEngine reports whether crypto/tls called the method that asks, and no
// function of the application.
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
// may be marked, with the hooks of this handshake. If config is in force because
// it was made of a result, that is result's mark; else result is nil.
func (st *serverHandshake) manage(hello *tls.ClientHelloInfo, config *tls.Config, result *mark) *tls.Config {
	k := markOf(config)
	if k == nil {
		k = result
	}
	c := plain(config, k)
	own := settingsOf(c)
	if k != nil && k.st != nil {
		if managed := st.takeOver(k.st); managed && !managedHooks(config) { // which would call this very handshake's
			return st.unmanaged(c, own, "WrapSession and UnwrapSession of a configuration that is managed already were changed: set them on the configuration that is given to ServerConfig or ConfigForClient")
		}
	}
	if result != nil && quicHello(hello) {
		own.hooks = k.hooks // quic-go's, in c, wrap what is returned, too
	}
	if result != nil && !own.hooks.same(k.hooks) {
		return st.unmanaged(c, own, "WrapSession and UnwrapSession were set after ServerConfig: set them on the configuration that it is given")
	}
	if why := unmanageable(c, own.hooks); why != "" {
		return st.unmanaged(c, own, why)
	}
	st.mark(c, own)
	return st.begin(hello, c, own)
}

// mark marks c, the configuration of this connection.
func (st *serverHandshake) mark(c *tls.Config, own settings) *mark {
	k := newMark(st.m, own)
	k.st = st
	c.ClientSessionCache = k
	return k
}

// takeOver has st count the handshake in place of inner, whose configuration
// comes to nothing. It reports whether that was managed.
func (st *serverHandshake) takeOver(inner *serverHandshake) (managed bool) {
	inner.mu.Lock()
	managed = inner.begun
	if inner == st {
		inner.mu.Unlock()
		return managed
	}
	counted := inner.counted && !inner.finished
	if counted {
		inner.counted = false
	}
	inner.mu.Unlock()
	switch {
	case !counted:
	case inner.m != st.m:
		inner.m.stats.accept.Add(^uint64(0))
	default:
		st.mu.Lock()
		st.counted = true
		st.mu.Unlock()
	}
	return managed
}

// quicHello reports whether hello came over QUIC, which has TLS 1.3 only. In TLS
// 1.3 crypto/tls refuses the extension over any other transport.
func quicHello(hello *tls.ClientHelloInfo) bool {
	return hasExtension(hello, extensionQUICParameters) &&
		!slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool { return v < tls.VersionTLS13 })
}

// unmanaged returns c for a connection that does not resume, and says why.
func (st *serverHandshake) unmanaged(c *tls.Config, own settings, why string) *tls.Config {
	st.m.warnUnmanaged(why)
	st.mu.Lock()
	st.begun = false
	st.mu.Unlock()
	c.VerifyConnection = st.mark(c, own).guard
	c.GetConfigForClient = nil
	c.SessionTicketsDisabled = true
	return c
}

// guard is the VerifyConnection of a result. It runs where the configuration of
// a connection is not in force, or where somebody wraps it. Connections that are
// not managed have it, too. guardOf calls it without a connection.
func (k *mark) guard(cs tls.ConnectionState) error {
	if cs.Version == 0 {
		return guardError{k}
	}
	own := calledByEngine() || !k.wraps.Load()
	if own {
		switch {
		case k.st != nil: // unmanaged said it
		case k.m.inForce == (gotls.ConfigReader{}):
			k.m.warnUnmanaged(notShown)
		default:
			k.m.warnUnmanaged("the GetConfigForClient of ServerConfig's result was not called: call it from your own, or use ConfigForClient; do not return the result")
		}
	}
	err := callVerify(k.verify, cs)
	if own {
		k.countUnmanaged(&cs, err == nil)
	}
	return err
}

func callVerify(verify func(tls.ConnectionState) error, cs tls.ConnectionState) error {
	if verify == nil {
		return nil
	}
	return verify(cs)
}

// warnUnmanaged says, once for each Manager, why handshakes are not managed.
func (m *Manager) warnUnmanaged(why string) {
	if m.warnings.first(why) {
		m.config.Logger.Warn("handshakes of a server configuration are not managed", "why", why)
	}
}

// countUnmanaged counts a handshake, and how it ends if the application accepts the peer.
func (k *mark) countUnmanaged(cs *tls.ConnectionState, accepted bool) {
	if k.st == nil || k.st.count() {
		k.m.stats.accept.Add(1)
	}
	if accepted {
		k.m.stats.acceptGood.Add(1)
		k.m.stats.outcome(serverSide, cs.Version, Unmanaged)
	}
}

// count reports whether the handshake is yet to be counted, and notes that it is.
func (st *serverHandshake) count() bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	counted := st.counted
	st.counted = true
	return !counted
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
