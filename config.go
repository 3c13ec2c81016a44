package reprise

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"slices"
	"time"

	"github.com/reprise-tls/reprise/internal/keycheck"
	"github.com/reprise-tls/reprise/ticket"
)

// Defaults of a Config, libssl's where it has them.
const (
	DefaultCacheSize = 20480         // SSL_SESSION_CACHE_MAX_SIZE_DEFAULT, sessions
	DefaultTimeout   = 2 * time.Hour // of an SSL_CTX
	DefaultMaxAge    = 24 * time.Hour

	DefaultCacheBytes       = 32 << 20         // of a cache
	DefaultHandshakeTimeout = 10 * time.Second // of servers at the listener level
	DefaultMaxHandshakes    = 4096
	DefaultClockSkew        = 5 * time.Minute
)

// maxLifetime is what RFC 8446, section 4.6.1 allows and crypto/tls enforces.
const maxLifetime = 7 * 24 * time.Hour

// Config configures a Manager. The zero value is libssl's default, with
// session tickets under keys of this process. New copies it.
type Config struct {
	// CacheMode says whose sessions are cached, and how; the zero value is CacheServer.
	CacheMode CacheMode

	// CacheSize is how many sessions are cached: 0 means DefaultCacheSize, a
	// negative number no limit. At the limit the session that expires first
	// goes. (SSL_CTX_sess_set_cache_size)
	CacheSize int

	// CacheBytes is how many bytes the cache's entries may take, their
	// bookkeeping included: 0 means DefaultCacheBytes, a negative number no limit
	// but CacheSize. Sessions whose peers have proven nothing yet take 4 MiB
	// at most besides.
	CacheBytes int64

	// FlushEvery is after how many finished handshakes of a side all expired
	// sessions are flushed; libssl's number is 255. 0 means that they go little
	// by little, two for each session that is added. NoAutoClear turns both off.
	FlushEvery int

	// Timeout is how long a new session may be resumed, in whole seconds: 0
	// means DefaultTimeout, and DefaultClientTimeout for what clients keep of
	// their own accord; at most seven days. (SSL_CTX_set_timeout)
	Timeout time.Duration

	// MaxAge is how long after its full handshake a session may be resumed,
	// through any number of renewals: 0 means DefaultMaxAge, a negative
	// duration no limit but Timeout.
	MaxAge time.Duration

	// ClockSkew is how far ahead of this process's clock the clocks of others
	// that share sessions with it may be: 0 means DefaultClockSkew, and it
	// cannot be negative. A session whose Time or first authentication is
	// further ahead neither resumes nor is offered (FromFuture), and a
	// revocation of sessions up to now reaches ClockSkew further for sessions
	// that were made elsewhere. A session that this process keeps is not
	// measured by it: it ages by the monotonic clock, so that it resumes no
	// longer than it may if the wall clock is set back.
	ClockSkew time.Duration

	// ContextID is the session id context, at most 32 bytes: a server resumes a
	// session only where it is the same. Give each service that shares keys or a
	// store its own. Clients go by other conditions: see ClientConfig and
	// Partition. (SSL_CTX_set_session_id_context)
	ContextID []byte

	// AcceptContextIDs are session id contexts, each at most 32 bytes, whose
	// sessions resume here besides those of ContextID: what other servers that
	// share ticket keys give theirs. What is issued bears ContextID.
	AcceptContextIDs [][]byte

	// PolicyName names the client-certificate policy of a server's configuration,
	// where VerifyPeerCertificate is part of it. A session resumes only under the
	// policy that made it, and crypto/tls does not call VerifyPeerCertificate
	// again, so that function is part of the policy. Without a name a function is
	// only itself: sessions made under it resume in this process, under that very
	// function value, and not under one that is made anew for each handshake.
	//
	// PolicyName is called with the configuration of each handshake that asks for
	// client certificates, and must not change or keep it. The name stands for the
	// function: give two functions the same name only if both accept the same
	// clients, and change the name whenever that changes. The name is part of the
	// policy also where the configuration has no VerifyPeerCertificate. "", and a
	// nil PolicyName, name nothing. ClientAuth and ClientCAs are part of the policy
	// in any case, in every process: ClientCAs by content, unless the pool has
	// constraints (x509.CertPool.AddCertWithConstraint); such a pool is only itself.
	// It must be safe for concurrent use.
	PolicyName func(*tls.Config) string

	// DialContext connects for Dial and DialTLSContext: through a proxy, from an
	// address, with a timeout. nil means that of a zero net.Dialer. It must be safe
	// for concurrent use.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// ClientStore keeps the sessions of clients outside the process; nil means
	// in memory. Sessions stay in memory where no other process could tell under
	// which conditions they may be offered: with RootCAs that have constraints
	// (x509.CertPool.AddCertWithConstraint), and with functions that decide on
	// certificates (see Partition).
	ClientStore ClientStore

	// StoreTimeout is how long a handshake, or a session that arrives, waits for
	// ClientStore at most: 0 means DefaultStoreTimeout. A store that took longer
	// is left alone for ten seconds.
	StoreTimeout time.Duration

	// SessionsPerPeer is how many sessions clients keep of each server that they
	// connect to, and Peers of how many servers: 0 means DefaultSessionsPerPeer
	// and DefaultPeers. Sessions of TLS 1.3 and older ones count apart, and a
	// ClientStore has limits of its own. A negative SessionsPerPeer means none, as does CacheOff:
	// connections then offer what SetSession gave them, as in libssl.
	SessionsPerPeer, Peers int

	// Tickets seals sessions into tickets; nil means a ring of keys of this
	// process, which rotate by themselves.
	// (SSL_CTX_set_tlsext_ticket_key_evp_cb)
	Tickets ticket.Sealer

	// OnSeal is called before a session is sealed into a ticket, with no lock
	// held: what it gives SetTicketAppData travels in the ticket. The session is
	// lent for the call. (SSL_CTX_set_session_ticket_cb, gen_cb)
	OnSeal func(*Session)

	// OnOpen decides on a session that was opened from a ticket and would be
	// resumed, with no lock held; the peer has proven nothing yet, so it should
	// change nothing. The session is lent for the call.
	// (SSL_CTX_set_session_ticket_cb, dec_cb)
	OnOpen func(*Session) TicketDecision

	// NoTickets keeps sessions in the cache and gives clients a handle in
	// place of a ticket; tickets are not accepted. It wants a cache for servers,
	// or OnLookup. At the configuration level sessions of TLS 1.3 stay among
	// those whose peers have proven nothing. (SSL_OP_NO_TICKET)
	NoTickets bool

	// SingleUse lets a session that this server keeps resume once. Of several
	// handshakes that offer it at once one resumes, the others are full (InUse).
	// It wants NoTickets, does not go with OnLookup, and wants the listener or
	// connection level: a server that cannot see handshakes complete resumes none
	// of these sessions. What a configuration's own WrapSession seals does not
	// resume.
	SingleUse bool

	// HandshakeTimeout is how long a handshake may take at the listener level:
	// 0 means DefaultHandshakeTimeout. A second later the context of the handshake
	// ends, for the application's callbacks; one that does not heed it runs on.
	HandshakeTimeout time.Duration

	// MaxHandshakes is how many handshakes of a listener may be under way or
	// wait for its Accept, and how many of all calls of Manager.Accept: 0 means
	// DefaultMaxHandshakes. At the limit the oldest one under way is closed, of
	// the network that has the most (IPv4 /24, IPv6 /56); where all have ended
	// and wait for Accept, the listener accepts no more until then. As many
	// connections again may wait for their address to be known, which some
	// transports read from the peer.
	MaxHandshakes int

	// HandleKey authenticates handles, so that a forged one costs no more than a
	// MAC: 32 random bytes, the same in all processes that find each other's
	// sessions through OnLookup. nil means a key of this process.
	HandleKey []byte

	// GenerateID makes the id of a session that this server keeps, 1 to 32
	// bytes, in place of an authenticated handle. An id that is cached already
	// is asked for again, ten times at most. It must be safe for concurrent use.
	// (SSL_CTX_set_generate_session_id)
	GenerateID func() ([]byte, error)

	// SessionIDs lets the connections of Dial and Client resume by session id
	// where a TLS 1.2 server gives ids and no tickets, which crypto/tls cannot.
	// A connection that offers an id offers TLS 1.2 at most; the others are as
	// configured. The id is put into the ClientHello through Config.Rand of
	// crypto/tls, and every ClientHello is checked before it leaves: should a Go
	// release not behave as expected, that connection ends before a byte left,
	// with ErrSessionIDs (one of Dial is dialled again), and nothing is offered by
	// id any more in this process. Not used with Encrypted Client Hello.
	SessionIDs bool

	// IgnoreUnexpectedEOF lets a session survive a peer that ends the
	// connection without close_notify. (SSL_OP_IGNORE_UNEXPECTED_EOF)
	IgnoreUnexpectedEOF bool

	// OnNew is called for every session that came into being, where the cache
	// mode covers its side: once its peer has proven itself, with no lock held.
	// The session is lent for the call: UpRef it to keep it. Servers get no
	// call for TLS 1.2 tickets, whose sessions have no id, as in libssl.
	// (SSL_CTX_sess_set_new_cb)
	OnNew func(*Session)

	// OnRemove is called for every session that leaves the cache and for every
	// Remove, with no lock held. The session is lent for the call.
	// (SSL_CTX_sess_set_remove_cb)
	OnRemove func(*Session, Cause)

	// OnLookup is asked for a session that this server does not find in its
	// cache, by version and id, with no lock held; nil means that there is none.
	// It is asked for handles that authenticate only, unless GenerateID makes
	// them. The reference that comes with the session is the Manager's from then
	// on: UpRef first what is to be kept. The session is cached, unless the mode
	// has NoInternalStore. (SSL_CTX_sess_set_get_cb)
	OnLookup func(version uint16, id []byte) *Session

	// Time is the clock; nil means time.Now. It must be safe for concurrent use,
	// and is called with locks held: it must not block or use the Manager.
	Time func() time.Time

	// Rand makes session ids and handles; nil means crypto/rand. It must be
	// safe for concurrent use.
	Rand io.Reader

	// Logger gets a line for every session that was declined (debug) and for
	// every failure that became a full handshake (warning). No secret is in
	// them. nil means no log.
	Logger *slog.Logger
}

// CacheMode says whose sessions a Manager caches: one of the first four, and
// any of the flags after them. Its zero value is libssl's default.
//
// It is the mode of SSL_CTX_set_session_cache_mode; OpenSSL gives its number.
type CacheMode uint16

// Cache modes.
const (
	CacheServer CacheMode = 0 // SSL_SESS_CACHE_SERVER
	CacheOff    CacheMode = 1 // SSL_SESS_CACHE_OFF
	CacheClient CacheMode = 2 // SSL_SESS_CACHE_CLIENT
	CacheBoth   CacheMode = 3 // SSL_SESS_CACHE_BOTH

	NoAutoClear      CacheMode = 0x080 // SSL_SESS_CACHE_NO_AUTO_CLEAR: expired sessions stay until Flush
	NoInternalLookup CacheMode = 0x100 // SSL_SESS_CACHE_NO_INTERNAL_LOOKUP: servers ask OnLookup only
	NoInternalStore  CacheMode = 0x200 // SSL_SESS_CACHE_NO_INTERNAL_STORE: only Add caches; OnNew is told all the same
	NoInternal       CacheMode = 0x300 // SSL_SESS_CACHE_NO_INTERNAL: both
	UpdateTime       CacheMode = 0x400 // SSL_SESS_CACHE_UPDATE_TIME: a session's time is when it is cached

	cacheSides = 0x003
	cacheFlags = NoAutoClear | NoInternal | UpdateTime
)

// OpenSSL returns the mode in libssl's numbers.
func (c CacheMode) OpenSSL() int {
	side := [...]int{CacheServer: 2, CacheOff: 0, CacheClient: 1, CacheBoth: 3}[c&cacheSides]
	return side | int(c&cacheFlags)
}

func (c CacheMode) server() bool { return c&cacheSides == CacheServer || c&cacheSides == CacheBoth }
func (c CacheMode) client() bool { return c&cacheSides == CacheClient || c&cacheSides == CacheBoth }

// String returns the mode in words: "server", "both, no internal store".
func (c CacheMode) String() string {
	name := [...]string{CacheServer: "server", CacheOff: "off", CacheClient: "client", CacheBoth: "both"}[c&cacheSides]
	for _, f := range []struct {
		bit  CacheMode
		name string
	}{{NoAutoClear, "no auto clear"}, {NoInternalLookup, "no internal lookup"}, {NoInternalStore, "no internal store"}, {UpdateTime, "update time"}} {
		if c&f.bit != 0 {
			name += ", " + f.name
		}
	}
	if rest := c &^ (cacheSides | cacheFlags); rest != 0 {
		name += fmt.Sprintf(", %#x", uint16(rest))
	}
	return name
}

// TicketDecision is what Config.OnOpen makes of a ticket.
type TicketDecision uint8

// Decisions. There is no abort: SSL_TICKET_RETURN_ABORT is TicketIgnore here.
const (
	TicketUse         TicketDecision = iota // resume, and renew the ticket if its sealer says so (SSL_TICKET_RETURN_USE)
	TicketUseRenew                          // resume, and renew the ticket; TLS 1.3 always does (SSL_TICKET_RETURN_USE_RENEW)
	TicketIgnore                            // full handshake (SSL_TICKET_RETURN_IGNORE)
	TicketIgnoreRenew                       // full handshake, which always brings another ticket: the same (SSL_TICKET_RETURN_IGNORE_RENEW)
)

// validate reports what of c cannot be.
func (c *Config) validate() error {
	switch {
	case slices.ContainsFunc(c.AcceptContextIDs, func(id []byte) bool { return len(id) > MaxSessionIDContextLength }):
		return fmt.Errorf("%w: an entry of Config.AcceptContextIDs, at most %d bytes", ErrTooLong, MaxSessionIDContextLength)
	case c.CacheMode&^(cacheSides|cacheFlags) != 0:
		return fmt.Errorf("reprise: Config.CacheMode: %v is none", c.CacheMode)
	case c.ClockSkew < 0:
		return fmt.Errorf("reprise: Config.ClockSkew: %v is negative", c.ClockSkew)
	case c.FlushEvery < 0:
		return fmt.Errorf("reprise: Config.FlushEvery: %d is negative", c.FlushEvery)
	case c.SingleUse && !c.NoTickets:
		return errors.New("reprise: Config.SingleUse: a ticket can be copied: it wants NoTickets")
	case c.SingleUse && c.OnLookup != nil:
		return errors.New("reprise: Config.SingleUse does not go with OnLookup: every host that asks there would resume the session")
	case c.NoTickets && !c.CacheMode.server() && c.OnLookup == nil:
		return fmt.Errorf("reprise: Config.NoTickets with the cache mode %q and no OnLookup: nothing would resume", c.CacheMode)
	case c.NoTickets && c.CacheMode&NoInternalLookup != 0 && c.OnLookup == nil:
		return fmt.Errorf("reprise: Config.NoTickets with the cache mode %q wants OnLookup: nothing would resume", c.CacheMode)
	case c.HandshakeTimeout < 0:
		return fmt.Errorf("reprise: Config.HandshakeTimeout: %v is negative", c.HandshakeTimeout)
	case c.MaxHandshakes < 0:
		return fmt.Errorf("reprise: Config.MaxHandshakes: %d is negative", c.MaxHandshakes)
	case c.StoreTimeout < 0:
		return fmt.Errorf("reprise: Config.StoreTimeout: %v is negative", c.StoreTimeout)
	case c.Peers < 0:
		return fmt.Errorf("reprise: Config.Peers: %d is negative", c.Peers)
	case c.HandleKey != nil && len(c.HandleKey) != handleKeyLen:
		return fmt.Errorf("reprise: Config.HandleKey: %d bytes, not %d", len(c.HandleKey), handleKeyLen)
	case c.HandleKey != nil && keycheck.Weak(c.HandleKey):
		return errors.New("reprise: Config.HandleKey is a pattern, not random bytes")
	case c.Timeout < 0 || c.Timeout > maxLifetime:
		return fmt.Errorf("reprise: Config.Timeout: %v is not between 0 and seven days (RFC 8446, section 4.6.1)", c.Timeout)
	case c.Timeout > 0 && c.Timeout < time.Second:
		return fmt.Errorf("reprise: Config.Timeout: %v is under a second", c.Timeout)
	case len(c.ContextID) > MaxSessionIDContextLength:
		return tooLong("Config.ContextID", len(c.ContextID), MaxSessionIDContextLength)
	}
	return nil
}

// populate puts defaults where c has zero values.
func (c *Config) populate() {
	if c.CacheSize == 0 {
		c.CacheSize = DefaultCacheSize
	} else if c.CacheSize < 0 {
		c.CacheSize = math.MaxInt
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	} else if c.CacheBytes < 0 {
		c.CacheBytes = math.MaxInt64
	}
	c.HandshakeTimeout = cmp.Or(c.HandshakeTimeout, DefaultHandshakeTimeout)
	c.MaxHandshakes = cmp.Or(c.MaxHandshakes, DefaultMaxHandshakes)
	if c.DialContext == nil {
		c.DialContext = new(net.Dialer).DialContext
	}
	if c.SessionsPerPeer == 0 {
		c.SessionsPerPeer = DefaultSessionsPerPeer
	}
	if c.StoreTimeout == 0 {
		c.StoreTimeout = DefaultStoreTimeout
	}
	if c.Peers == 0 {
		c.Peers = DefaultPeers
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.ClockSkew == 0 {
		c.ClockSkew = DefaultClockSkew
	}
	switch {
	case c.MaxAge == 0:
		c.MaxAge = DefaultMaxAge
	case c.MaxAge < 0:
		c.MaxAge = math.MaxInt64
	}
	c.ContextID, c.AcceptContextIDs = slices.Clone(c.ContextID), cloneList(c.AcceptContextIDs)
	if c.Time == nil {
		c.Time = time.Now
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// autoClears reports whether expired sessions go as others come.
func (c *Config) autoClears() bool { return c.CacheMode&NoAutoClear == 0 && c.FlushEvery == 0 }

func (c *Config) acceptsContext(id []byte) bool {
	return bytes.Equal(id, c.ContextID) ||
		slices.ContainsFunc(c.AcceptContextIDs, func(other []byte) bool { return bytes.Equal(id, other) })
}
