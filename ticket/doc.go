// Package ticket seals TLS sessions into tickets and opens them again.
//
// A ticket is a session that the server hands to the client instead of keeping
// it (RFC 5077; in TLS 1.3 the identity of a pre-shared key, RFC 8446, Section
// 4.6.1). The client sends it back to resume. Everything therefore rests on
// the key that seals tickets, the session ticket encryption key:
//
//   - Who has the key can open every ticket sealed with it. For TLS 1.2, whose
//     tickets hold the master secret, that also opens the recorded traffic of
//     those sessions: the key undoes forward secrecy for as long as it exists.
//   - Who has the key can make tickets, and so be any client to this server,
//     client certificate included.
//
// So a key belongs to the servers that must accept each other's tickets and to
// nobody else, and it is replaced often.
//
// # Which sealer
//
// A [Sealer] is all that the rest of a TLS server needs to know of this. [AEAD]
// is the one to use for tickets that only this program reads: [NewAEAD] has a
// key of its own that dies with the process, [NewAEADKey] one that several
// processes share.
//
// # What a sealer does not do
//
// Opening a ticket proves that a holder of the key sealed it, and nothing
// more. It does not say that the sender is the client it was sealed for: TLS
// itself proves that, later in the handshake. It does not say that the session
// is still wanted: its age, the policy that it was made under and whether it
// was revoked are to be checked on what Open returns. And a ticket can be
// opened any number of times.
//
// A ticket shows the length of the session inside and the name of the key. A
// ticket that a client offers twice shows that it is the same client.
//
// # Keys in memory
//
// Types that hold keys print a fingerprint under every formatting verb and in
// slog, wipe the key bytes that they own as soon as they can, and never put
// them into an error. The expanded key inside crypto/aes is out of reach; it
// goes when the collector takes it.
package ticket
