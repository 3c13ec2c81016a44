package ftps

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/reprise-tls/reprise"
)

// Errors of SameSession.
var (
	// ErrNotResumed: the data connection did not resume a session, so that nothing
	// shows that it is the control connection's client. A Pin gives it where the
	// session was offered too: it expired, or the server did not take it.
	ErrNotResumed = errors.New("ftps: data connection did not resume the control connection's session")
	// ErrOtherSession: the data connection resumed a session of another client.
	ErrOtherSession = errors.New("ftps: data connection resumed a session that is not the control connection's")
	// ErrUnknownConn: there is no session to compare.
	ErrUnknownConn = errors.New("ftps: connection has no session: it wants to be a *reprise.Conn, " +
		"or a *tls.Conn that a listener of reprise.Manager.NewListener accepted, open and with its handshake complete")
)

// SameSession returns nil if data resumed a session that descends, through any
// number of resumptions, from the same full handshake as control's session. A
// server calls it when the handshake of a data connection is complete, before
// it sends or takes a byte, and closes the connection on an error (reply 522,
// RFC 4217, section 10):
//
//   - ErrNotResumed, with the [reprise.Reason], if data resumed nothing;
//   - ErrOtherSession if what it resumed is not of control's line;
//   - ErrUnknownConn, naming the connection, if a handshake is not complete or
//     the connection is not one of a Manager that can tell.
//
// Both connections are *reprise.Conn, or *tls.Conn at the listener level, of one
// Manager or of several that share ticket keys.
//
// A control connection may itself have resumed a session, of an earlier control
// or data connection: then sessions of that earlier one are of its line and
// pass too. They are the same client's, who had their secret.
//
// It is safe for concurrent use.
func SameSession(control, data net.Conn) error {
	of, _, err := session("control", control)
	if err != nil {
		return err
	}
	resumed, how, err := session("data", data)
	switch {
	case err != nil:
		return err
	case !how.Resumed:
		return fmt.Errorf("%w: %v", ErrNotResumed, how.Reason)
	case !of.SameLineage(resumed):
		return ErrOtherSession
	}
	return nil
}

// session returns the session of a connection, lent, and whether it resumed.
func session(kind string, c net.Conn) (*reprise.Session, reprise.Resumption, error) {
	var s *reprise.Session
	var r reprise.Resumption
	switch c := c.(type) {
	case *reprise.Conn:
		s = c.Session()
		r.Resumed, r.Reason = c.SessionReused()
	case *tls.Conn:
		s = reprise.SessionOf(c)
		r, _ = reprise.ResumptionOf(c)
	}
	if s == nil {
		return nil, r, fmt.Errorf("%w: %s connection, a %T", ErrUnknownConn, kind, c)
	}
	return s, r, nil
}
