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
// # Who frees what
//
// Nobody has to: the garbage collector reclaims sessions, and what they hold
// of secrets is wiped then. Who wants secrets gone at once frees what they own,
// and a Free of what they do not own panics at that line. See [Session].
//
// # What resumes
//
// A session resumes only under what made it: session id context, server name,
// client-certificate policy and its CAs, TLS version, and within its timeout
// and [Config].MaxAge. Whatever goes wrong means a full handshake, a count
// under a [Reason] and a line in the log; no hook of ours ends a connection.
// Until a peer has proven itself nothing that it sends changes anything.
//
// # Limits
//
// crypto/tls cannot resume by session id on a server, send more than one
// TLS 1.3 ticket, take early data over TCP or choose the lifetime hint; the
// README has the table. It keeps copies of secrets that nothing here can wipe.
package reprise
