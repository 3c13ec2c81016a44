// Package keyfile reads and writes the files in which nginx, HAProxy and Apache
// httpd keep the keys of their session tickets, and watches them for change: a
// Go server that shares such a file opens the tickets of those servers, and they
// open its tickets.
//
// # The forms
//
// Every key has a name of 16 bytes, a key for AES in CBC mode and one for
// HMAC-SHA256. The files differ in their order:
//
//	nginx48    name 16, AES 16, HMAC 16    ssl_session_ticket_key
//	nginx80    name 16, HMAC 32, AES 32    ssl_session_ticket_key, SSL_CTX_set_tlsext_ticket_keys
//	haproxy48  name 16, AES 16, HMAC 16    tls-ticket-keys
//	haproxy80  name 16, AES 32, HMAC 32    tls-ticket-keys
//	apache48   name 16, HMAC 16, AES 16    SSLSessionTicketKeyFile
//
// A file of 48 bytes can be nginx's or Apache's, and one of 80 bytes holds
// different keys for nginx and for HAProxy. So the form is always named, by a
// [Format], and never guessed: under the wrong one every key would be wrong, and
// nothing would say so but handshakes that do not resume.
//
// A file of nginx or Apache is one key. nginx takes several files, of 48 and of 80
// bytes side by side: the first encrypts, all decrypt. A file of HAProxy has a key in base64 on each line, at
// least three: the penultimate encrypts, the last three decrypt, and what stands
// above is no longer used. The last line is the key to come: appending a line
// puts the line before it, which all servers know by then, into use.
//
// # What the keys are worth
//
// Whoever has such a file reads what was recorded of the TLS 1.2 connections
// whose tickets it sealed, and can be any client of the server, so keep it as you
// would a private key, and replace it often. A file that all can read or write, or
// that its group can write, is refused: run chmod o=,g-w, or set defaultMode: 0440
// in Kubernetes, where a group reads the files of a Secret. Keys that are visibly a pattern are
// refused, and so are two keys of one name and one key under two names.
//
// Errors say which file and line is wrong, and how; they never hold bytes of a
// key. Keys print a fingerprint under every verb.
package keyfile
