// Package dirstore keeps sessions of TLS clients in a directory, so that they
// outlive the process and serve every other process of the same user: a command
// that runs again and again resumes what its last run was given.
//
//	store, err := dirstore.Open(dir, dirstore.Options{})
//	...
//	m, err := reprise.New(reprise.Config{ClientStore: store})
//
// A [Store] is a [reprise.ClientStore]. Any number of processes may have the
// directory open at once. A session that is for one use is taken by one of them:
// that is what keeps a TLS 1.3 session from being offered twice (RFC 8446,
// Appendix C.4). Which session is the newest goes by the clock.
//
// # The directory
//
// It must belong to the user that the process runs as, with mode 0700, and not
// be a symbolic link: [Open] refuses anything else. Its parents are the caller's
// business, as they are for a private key: who may rename one may replace the
// directory. Its subdirectories must be the same; a Store looks at one when it
// uses it, at most four times a second. Outside Unix there are neither modes nor
// owners to look at; there the directory is as private as the system makes it.
//
//	salt        32 random bytes, made once
//	3f/         sessions of the peers whose names begin with 3f, and so on
//
// Names of files do not tell whom a session is for: they begin with HMAC-SHA256
// of the peer under the salt. They do tell when a session was put, when it
// expires and whether it is for one use. What else lies in the directory is left
// alone. Subdirectories stay when they are empty; there are at most 256.
//
// # What a file is worth
//
// A session resumes as its client for whoever reads it. With [Options.Key] the
// files are sealed by AES-256-GCM, each bound to its name, so none can be passed
// off as another peer's or given a later expiry. Without a key they are the
// session's DER behind a checksum, which finds damage and not malice: then the
// modes are what protects them.
//
// A file that is not as it should be (a symbolic link, another owner's, open to
// others, over 128 KiB, truncated, changed) is never used: Take removes it and
// goes on with the next. A file that is well formed but sealed under another key,
// or sealed where this Store has no key, or not sealed where it has one, is passed
// over and stays: another process may have the key.
//
// # What it survives
//
// A process may be killed at any moment. What it had taken by then is lost, and
// what it was writing is not there; all else is. What it left behind, which may
// be a session that it had just taken, is pruned after ten minutes.
//
// Nothing is synced to the disk. A power cut may undo the last seconds, which
// costs full handshakes, and with a session that was taken then, one that is
// offered twice. What it damaged does not decode.
//
// Use a local file system. A network file system may tell two hosts that both
// have removed a file. So does Windows, to two processes that take one session at
// the same moment.
//
// # What it holds open
//
// At most 81 files: those of the eight subdirectories that were used last, and in
// each a few that sessions were taken from or written to, to be used again. What
// waits for the next session is wiped. Close closes all, and removes that.
package dirstore
