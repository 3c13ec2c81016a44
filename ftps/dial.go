package ftps

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// closePatience is how long Close of a data connection may take.
const closePatience = 10 * time.Second

// DialData dials a data connection over TLS, for libraries that let the program
// dial. Its handshake runs with the first Read, Write or Handshake: FTP servers
// begin theirs after the reply to the command.
//
// Its Close sends close_notify and then waits until the server has closed, at
// most ten seconds, reading what may still be under way; what the server has not
// read by then is still delivered. Without that an upload may be lost in TLS 1.3:
// the server sends tickets into a connection that the client only writes to, and
// closing a connection with unread data resets it, so that the server loses what
// has not reached it yet. vsftpd and Go servers send such tickets; ProFTPD sends
// none into uploads. Close does not wait where the server is sending data: that is
// a download being given up.
//
// What ctx ends is the dialing, not the connection. The error is that of
// net.Dialer.
func (p *Pin) DialData(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	nc, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &dataConn{tls.Client(nc, p.Data())}, nil
}

// dataConn is a *tls.Conn that the server closes first.
type dataConn struct{ *tls.Conn }

func (c *dataConn) Close() error {
	c.SetDeadline(time.Now().Add(closePatience)) // for a Write that hangs too
	if c.CloseWrite() == nil {
		c.Read(make([]byte, 1)) // tickets do not end it
	}
	return c.Conn.Close()
}
