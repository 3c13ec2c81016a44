package reprise

import "fmt"

// Reason says why a handshake did not resume a session, or that it did.
type Reason uint8

// The reasons, in the order in which they are looked for: the first that
// matches is the one that is reported and counted.
const (
	// NoneYet is the zero Reason: no handshake is complete yet.
	NoneYet Reason = iota
	// Resumed: the handshake resumed a session.
	Resumed
	// Unmanaged: the connection was made without the Manager's hooks, or under a
	// configuration that it cannot manage (see Manager.ServerConfig). Its handshake was full.
	Unmanaged
	// NothingOffered: the client offered no session (or, seen from a client, none was set).
	NothingOffered
	// NotResumable: the session to offer was removed or found bad in the meantime, or this
	// server may not resume it: it was closed, or nobody sees handshakes complete (Config.SingleUse).
	NotResumable
	// UnknownHandle: a handle of ours, but the session is no longer cached.
	UnknownHandle
	// InUse: the session serves once (Config.SingleUse), and another handshake under way offers it.
	InUse
	// UnknownKey: a ticket or handle under a key that we do not have: of another host, of an
	// earlier process, or retired.
	UnknownKey
	// Forged: a ticket or handle that names a key of ours and does not authenticate. One in
	// 256 handles of other keys looks like that, too.
	Forged
	// Undecodable: what the ticket or the cache held is not a session that crypto/tls takes.
	Undecodable
	// OtherVersion: the session belongs to another TLS version than was negotiated.
	OtherVersion
	// OtherContext: the session id context is not the configured one.
	OtherContext
	// OtherName: the session was made for another server name.
	OtherName
	// OtherPolicy: the session was made under another client-certificate policy: another
	// ClientAuth, other CAs, or another VerifyPeerCertificate, such as that of another process
	// (see Config.PolicyName).
	OtherPolicy
	// FromFuture: the session, or the full handshake that it descends from, is further ahead of
	// the clock than Config.ClockSkew.
	FromFuture
	// Expired: the session's timeout has passed.
	Expired
	// TooOld: the full handshake that the session descends from is longer ago than Config.MaxAge.
	TooOld
	// Revoked: the session was revoked (Manager.Revoke, Remove, FlushAll).
	Revoked
	// Refused: the application refused the ticket (Config.OnOpen).
	Refused
	// OtherSuite: the negotiated cipher suite cannot carry the session (TLS 1.3: another
	// hash; TLS 1.2: the session's suite is not to be had).
	OtherSuite
	// ChainIncomplete: the peer's certificates do not lead to a trusted root any more, or never did.
	ChainIncomplete
	// EMSMismatch: the session has no extended master secret and the client now offers it (RFC 7627).
	EMSMismatch
	// Declined: the server was offered the session and did not resume it, for reasons of its own.
	Declined

	reasonCount
)

var reasonNames = [reasonCount]string{
	NoneYet:         "none yet",
	Resumed:         "resumed",
	Unmanaged:       "unmanaged",
	NothingOffered:  "nothing offered",
	NotResumable:    "not resumable",
	UnknownHandle:   "unknown handle",
	InUse:           "in use",
	UnknownKey:      "unknown key",
	Forged:          "forged",
	Undecodable:     "undecodable",
	OtherVersion:    "other version",
	OtherContext:    "other context",
	OtherName:       "other name",
	OtherPolicy:     "other client-certificate policy",
	FromFuture:      "from the future",
	Expired:         "expired",
	TooOld:          "too old",
	Revoked:         "revoked",
	Refused:         "refused",
	OtherSuite:      "other suite",
	ChainIncomplete: "chain incomplete",
	EMSMismatch:     "extended master secret mismatch",
	Declined:        "declined",
}

// Reasons returns every reason that a complete handshake can have, Resumed first.
func Reasons() []Reason {
	var all []Reason
	for r := Resumed; r < reasonCount; r++ {
		all = append(all, r)
	}
	return all
}

// String returns the reason in words; the words are stable.
func (r Reason) String() string {
	if r >= reasonCount {
		return fmt.Sprintf("reason %d", uint8(r))
	}
	return reasonNames[r]
}

// MarshalText returns String, for JSON and metrics.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText is the reverse of MarshalText, for who reads what a program told.
func (r *Reason) UnmarshalText(text []byte) error {
	for i, name := range reasonNames {
		if name == string(text) {
			*r = Reason(i)
			return nil
		}
	}
	return fmt.Errorf("reprise: %q is no reason", text)
}

// Cause says why a session left the cache.
type Cause uint8

// The causes of Config.OnRemove.
const (
	// CauseRemoved: Manager.Remove was called.
	CauseRemoved Cause = iota + 1
	// CauseExpired: its timeout had passed, found by a flush or a lookup.
	CauseExpired
	// CauseEvicted: the cache was full and it was the one to expire first.
	CauseEvicted
	// CauseFlushed: FlushAll was called.
	CauseFlushed
	// CauseReplaced: another session with its version and id was added.
	CauseReplaced
	// CauseBadConnection: its connection was cleared or freed without close_notify.
	CauseBadConnection
	// CauseAlert: a fatal alert was sent or received on its connection, or the peer ended it
	// without close_notify (see Config.IgnoreUnexpectedEOF).
	CauseAlert
	// CauseTaken: it served once: a client used it in TLS 1.3, or Config.SingleUse.
	CauseTaken
	// CauseClosed: the Manager was closed.
	CauseClosed

	causeCount
)

var causeNames = [causeCount]string{
	CauseRemoved:       "removed",
	CauseExpired:       "expired",
	CauseEvicted:       "evicted",
	CauseFlushed:       "flushed",
	CauseReplaced:      "replaced",
	CauseBadConnection: "bad connection",
	CauseAlert:         "alert",
	CauseTaken:         "taken",
	CauseClosed:        "closed",
}

// String returns the cause in words; the words are stable.
func (c Cause) String() string {
	if c == 0 || c >= causeCount {
		return fmt.Sprintf("cause %d", uint8(c))
	}
	return causeNames[c]
}

// MarshalText returns String, for JSON and metrics.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
