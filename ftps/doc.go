// Package ftps resumes, on both sides, the TLS session of an FTP control
// connection in its data connections.
//
// # Why
//
// The data connections of FTP over TLS (RFC 4217) carry no password. Servers
// therefore demand that each resumes the session of its control connection,
// which only the client that logged in can: vsftpd with require_ssl_reuse=YES,
// ProFTPD without NoSessionReuseRequired, FileZilla Server. They refuse others
// with "522 SSL connection failed: session reuse required" or "425 Unable to
// build data connection: Operation not permitted".
//
// The client cache of crypto/tls does not do that reliably: it knows a session
// by its server name, or without one by address and port, which is another for
// each data connection; and it replaces the session by every ticket that
// arrives, those of other control connections among them.
//
// # Clients
//
// A [Pin] holds the session of one control connection and offers it for all of
// its data connections. It gives the library that speaks FTP the configuration
// that it wants: [Pin.Config] where one serves for both kinds of connection,
// [Pin.Control] and [Pin.Data] where there are two. [Pin.Err] tells why a data
// connection did not resume. It needs no [reprise.Manager]. Who speaks FTP over
// a [reprise.Conn] needs no pin: [reprise.Conn.SetSession] says which session is
// offered.
//
// # Servers
//
// [SameSession] tells whether a data connection resumed a session of its
// control connection.
package ftps
