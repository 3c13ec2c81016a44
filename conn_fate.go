package reprise

import "sync"

// fate decides what becomes of a link's session. It is libssl's bad-session rule
// (SSL_clear(3)) and its alert rule, and nothing else makes a session of a Conn
// bad:
//
//   - A fatal alert, sent or received, makes the session bad.
//   - Where the caller has taken the sessions into its own hands (strict), so do a
//     peer that ends without close_notify and a connection that is cleared, freed
//     or given another session before it has sent close_notify.
//   - Nothing does before the handshake is complete, or once close_notify is sent.
//     It counts as sent from before it is sent: the peer's answer may be read
//     before the call that sends returns. Where nothing was sent after all, what
//     happened meanwhile counts.
type fate struct {
	ignoreEOF bool

	mu       sync.Mutex
	strict   bool
	complete bool
	sending  int   // calls that are sending close_notify
	sent     bool  // close_notify
	against  Cause // what speaks against the session, where accused
	accused  bool
	bad      bool
}

// event is what a link's session may depend on.
type event int

const (
	handshakeComplete event = iota
	sessionSet              // by the caller: SetSession
	closeBegins             // close_notify is about to be sent
	closeSent               // that was sent
	closeUnsent             // that was not sent
	peerEnded               // without close_notify
	alerted                 // a fatal alert
	left                    // cleared, freed, or to use another session
)

// on takes note of e. It reports true once, when the session turns bad.
func (f *fate) on(e event) (why Cause, turned bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch e {
	case handshakeComplete:
		f.complete = true
	case sessionSet:
		f.strict = true
	case closeBegins:
		f.sending++
	case closeSent:
		f.sending--
		f.sent = true
	case closeUnsent:
		f.sending--
	case peerEnded:
		f.accuse(CauseAlert, f.strict && !f.ignoreEOF)
	case alerted:
		f.accuse(CauseAlert, true)
	case left:
		f.accuse(CauseBadConnection, f.strict && f.sending == 0)
	}
	turned = f.accused && !f.sent && f.sending == 0 && !f.bad
	f.bad = f.bad || turned
	return f.against, turned
}

// accuse keeps the first that speaks against the session. The caller holds f.mu.
func (f *fate) accuse(why Cause, counts bool) {
	if f.complete && !f.accused && counts {
		f.against, f.accused = why, true
	}
}

// isBad reports whether the session turned bad.
func (f *fate) isBad() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.bad
}
