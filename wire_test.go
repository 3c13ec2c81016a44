package reprise_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/reprise-tls/reprise"
)

// transport is what the documentation says to ask connections for.
type transport interface {
	NetConn() net.Conn
	syscall.Conn
}

// TestWire: what hooks see, and the connections, lead to the transport, at the
// listener and the connection level, over TCP and in memory.
func TestWire(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{})
	for _, overTCP := range []bool{true, false} {
		for _, level := range []string{"Accept", "Server"} {
			nc, ns := net.Pipe()
			if overTCP {
				nc, ns = pipe(t)
			}
			var asked int
			see := func(c net.Conn) {
				asked++
				w, ok := c.(transport)
				if !ok || w.NetConn() != ns {
					t.Errorf("%s, TCP %v: %T is no way to the transport", level, overTCP, c)
					return
				}
				raw, err := w.SyscallConn()
				switch {
				case !overTCP && !errors.Is(err, errors.ErrUnsupported):
					t.Errorf("SyscallConn of a pipe: %v", err)
				case overTCP && err != nil:
					t.Errorf("SyscallConn: %v", err)
				case overTCP:
					if err := raw.Control(func(fd uintptr) { asked++ }); err != nil {
						t.Error(err)
					}
				}
			}
			config := r.server.Clone()
			config.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				see(hello.Conn)
				return &r.server.Certificates[0], nil
			}
			config.Certificates = nil
			go io.Copy(io.Discard, tls.Client(nc, r.client))
			if level == "Accept" {
				c, err := m.Accept(t.Context(), ns, config)
				if err != nil {
					t.Fatal(err)
				}
				see(c.NetConn())
				if tcp, ok := c.NetConn().(interface{ NetConn() net.Conn }).NetConn().(*net.TCPConn); ok != overTCP || ok && tcp.SetNoDelay(false) != nil {
					t.Errorf("%T", tcp)
				}
			} else {
				c := m.Server(ns, config)
				if err := c.Handshake(); err != nil {
					t.Fatal(err)
				}
				if c.NetConn() != ns {
					t.Errorf("NetConn of a Conn is %T", c.NetConn())
				}
			}
			if asked == 0 {
				t.Error("nobody asked")
			}
			nc.Close()
			ns.Close()
		}
	}
}
