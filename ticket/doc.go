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
// A [Sealer] is all that the rest of a TLS server needs to know of this.
//
//   - [GenerateRing], for tickets that only this process reads. Its keys are made
//     here, replaced every hour, wiped when the last ticket under them is too
//     old, and die with the process.
//   - [NewKeyRing] and [KeyRing.Set], for keys that the program has: old ones and
//     new ones, with times if need be.
//   - [KeyRing.Follow], for keys that come from elsewhere and change there: files
//     (package keyfile), a store. That is a [Source].
//   - [NewAEAD], [NewAEADKey] and [NewOpenSSL], for one key that does not change,
//     as in a test.
//
// # Two forms of tickets
//
// [AEAD] is the form of this package: AES-256-GCM, with a revision in front.
// [OpenSSL] is that of libssl, for servers that share their tickets with nginx,
// HAProxy or Apache: AES-CBC and HMAC-SHA256, which is checked before anything
// is decrypted. A ring may have keys of both forms, so that a fleet can go from
// one to the other: the key that opens a ticket need not be of the form, nor the
// one, that seals.
//
// # Keys
//
// A [Key] has a name of 16 bytes, which every ticket shows, and secrets. It is
// made by [NewGCMKey] or [NewOpenSSLKey], which copy what they are given and
// refuse zeros and other patterns, or by [GenerateKey]. In a ring it is in one
// [State] at a time:
//
//	Published    opens, and will seal: until every host knows the key
//	Encrypting   seals and opens
//	Decrypting   opens, and what it opens is to be renewed
//	Gone         is in no ring, and wiped
//
// Hosts that share keys need the first of these: one that seals with a key which
// another has not heard of yet sends its clients there for a full handshake.
//
// A key stops to seal before its random nonces could plausibly repeat: AEAD after
// 2^32 tickets. A ring that makes its keys then makes the next one; another goes
// on with the next best that it has. If no key encrypts, Seal gives [ErrNoKey]:
// clients get no ticket that is worth anything, and their connections go on.
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
// slog, and never put key bytes into an error. A ring that lets go of a key wipes
// the bytes that this package owns, once no Seal or Open uses them. The expanded
// keys inside crypto/aes and crypto/hmac are out of reach; they go when the
// collector takes them.
//
// A ring notices the time when it is used. That of a server without handshakes
// keeps its keys longer than they need be, unless somebody asks for
// [KeyRing.Stats] now and then, as a monitoring system does.
package ticket
