package ftps_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ftps"
)

// dialData makes a data connection through the pin; the handshakes are still
// to run.
func (r *rig) dialData(pin *ftps.Pin) (net.Conn, *reprise.Conn) {
	r.t.Helper()
	l := listen(r.t)
	c, err := pin.DialData(r.t.Context(), "tcp", l.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	ns, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	s := r.m.Server(ns, r.server)
	r.t.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

// TestDialDataUpload: Close waits for the server, which reads late, and no
// byte is lost though the server has sent a ticket that nobody reads.
func TestDialDataUpload(t *testing.T) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t, version)
			pin := ftps.NewPin(r.base)
			control := r.login(pin.Control())
			c, s := r.dialData(pin)
			content := bytes.Repeat([]byte("content\n"), 100_000)
			got := make(chan []byte, 1)
			go func() {
				defer s.Close()
				if err := s.Handshake(); err != nil {
					t.Errorf("server: %v", err)
				}
				if err := ftps.SameSession(control, s); err != nil {
					t.Errorf("server: %v", err)
				}
				data, err := io.ReadAll(s)
				if err != nil {
					t.Errorf("server: %v", err)
				}
				got <- data
			}()
			if _, err := c.Write(content); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
			if len(got) == 0 {
				t.Error("Close did not wait for the server")
			}
			if data := <-got; !bytes.Equal(data, content) {
				t.Errorf("%d bytes arrived of %d", len(data), len(content))
			}
		})
	}
}

// TestDialDataGivesUpDownload: Close does not read the rest of a download.
func TestDialDataGivesUpDownload(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	pin := ftps.NewPin(r.base)
	r.login(pin.Control())
	c, s := r.dialData(pin)
	failed := make(chan error, 1)
	go func() {
		for {
			if _, err := s.Write(make([]byte, 1<<16)); err != nil {
				failed <- err
				return
			}
		}
	}()
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-failed; !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
		t.Errorf("server: %v", err)
	}
}

// TestDialDataUnused: a transfer that the server refused has had no handshake.
func TestDialDataUnused(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	pin := ftps.NewPin(r.base)
	r.login(pin.Control())
	c, _ := r.dialData(pin)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := c.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("again: %v", err)
	}
	l := listen(t)
	l.Close()
	if _, err := pin.DialData(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("nobody there: %v", err)
	}
}
