// Package reprise is the session half of OpenSSL's libssl for Go: SSL_SESSION
// objects with their life cycle, the session cache that a context owns, and
// connections that resume, on top of crypto/tls and nothing but its public
// hooks.
//
// # The few types
//
// A [Session] is a TLS session: created, duplicated, counted and freed by
// libssl's rules, encoded as OpenSSL encodes it. A [Manager] is what SSL_CTX is
// to sessions: it owns the cache and the keys of tickets. A [Conn] is a
// connection with libssl's rules on what becomes of its session; code that
// wants a *tls.Config or a *tls.Conn gets one with fewer rules, see [Manager].
//
// # Three levels of use
//
// [Manager.ServerConfig] and [Manager.ClientConfig] are for any code that takes
// a *tls.Config; what counts is the configuration that is in force for a
// connection in the end. [Manager.NewListener], [Manager.Accept] and
// [Manager.ServeTLS] give a server connections whose handshake is complete and
// whose peer is proven: there single use holds, and revocations reach handshakes
// that are under way. [Manager.Server], [Manager.Client] and [Manager.Dial] give
// a [Conn]. The README has a table of what holds where.
//
// # Who frees what
//
// You need not free anything: the garbage collector reclaims sessions, and their
// secrets are wiped then. To wipe secrets immediately, Free every reference you
// own. A Free of a session that you do not own panics at that line. See
// [Session].
//
// # What resumes
//
// A session resumes only under what made it: session id context, server name,
// client-certificate policy and TLS version, and within its timeout and
// [Config].MaxAge. The policy is ClientAuth, the content of ClientCAs and
// VerifyPeerCertificate, by value or by the name that [Config].PolicyName gives.
// Whatever goes wrong means a full handshake, a count under a [Reason] and a
// line in the log. Two errors end a connection instead: [ErrRevoked], if a
// session is revoked while the handshake that resumes it is under way, and
// [ErrSessionIDs] on a client. Until a peer has proven itself, what it sends is
// only looked up.
//
// # Limits
//
// crypto/tls cannot resume by session id on a server, send more than one
// TLS 1.3 ticket, take early data over TCP or choose the lifetime hint; the
// README has the table. It keeps copies of secrets that nothing here can wipe.
package reprise
