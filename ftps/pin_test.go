package ftps_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ftps"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// current are the TLS versions that FTP servers speak.
var current = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// rig is a server and what its client needs.
type rig struct {
	t       testing.TB
	m       *reprise.Manager
	server  *tls.Config
	base    *tls.Config // of a client that verifies
	control net.Listener
}

func newRig(t testing.TB, version uint16) *rig {
	t.Helper()
	ca := testpki.New(t, "root")
	r := &rig{
		t:      t,
		server: &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}},
		base:   &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", MinVersion: version, MaxVersion: version},
	}
	r.manage(reprise.Config{})
	r.control = listen(t)
	return r
}

// manage gives the server another Manager.
func (r *rig) manage(c reprise.Config) {
	r.t.Helper()
	m, err := reprise.New(c)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { m.Close() })
	r.m = m
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// unnamed is a client that neither verifies nor names the server.
func (r *rig) unnamed() *tls.Config {
	c := r.base.Clone()
	c.InsecureSkipVerify, c.ServerName = true, ""
	return c
}

// dial connects to l; the handshakes are still to run.
func (r *rig) dial(l net.Listener, config *tls.Config) (*tls.Conn, *reprise.Conn) {
	r.t.Helper()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	ns, err := l.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	c, s := tls.Client(nc, config), r.m.Server(ns, r.server)
	r.t.Cleanup(func() { c.Close(); s.Close() })
	return c, s
}

// shake runs both handshakes and returns the client's error.
func (r *rig) shake(c *tls.Conn, s *reprise.Conn) error {
	r.t.Helper()
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	err := c.Handshake()
	if err != nil {
		c.Close()
	}
	if theirs := <-done; err == nil && theirs != nil {
		r.t.Fatalf("server: %v", theirs)
	}
	return err
}

// reply lets the client read a byte, and what is before it.
func (r *rig) reply(c *tls.Conn, s *reprise.Conn) {
	r.t.Helper()
	if _, err := s.Write([]byte{'2'}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		r.t.Fatal(err)
	}
}

// login makes a control connection.
func (r *rig) login(config *tls.Config) *reprise.Conn {
	r.t.Helper()
	c, s := r.dial(r.control, config)
	if err := r.shake(c, s); err != nil {
		r.t.Fatal(err)
	}
	r.reply(c, s)
	return s
}

// transfer makes a data connection, on a port of its own.
func (r *rig) transfer(config *tls.Config) *reprise.Conn {
	r.t.Helper()
	c, s := r.dial(listen(r.t), config)
	if err := r.shake(c, s); err != nil {
		r.t.Fatal(err)
	}
	r.reply(c, s) // brings the tickets of data connections too
	return s
}

// eachWay runs f at both versions, with and without verification, with one
// configuration for all connections and with two.
func eachWay(t *testing.T, f func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config)) {
	for _, version := range current {
		for _, named := range []bool{true, false} {
			for _, one := range []bool{true, false} {
				name := tls.VersionName(version) + map[bool]string{true: "/named", false: "/unnamed"}[named] +
					map[bool]string{true: "/one configuration", false: "/two configurations"}[one]
				t.Run(name, func(t *testing.T) {
					r := newRig(t, version)
					base := r.base
					if !named {
						base = r.unnamed()
					}
					pin := ftps.NewPin(base)
					control, data := pin.Control(), pin.Data()
					if one {
						control = pin.Config()
						data = control
					}
					f(t, r, pin, control, data)
				})
			}
		}
	}
}

func TestPin(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
		c := r.login(control)
		if err := pin.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := ftps.SameSession(c, r.transfer(data)); err != nil {
				t.Error(err)
			}
		}
		if err := pin.Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestPinOffersTheControlSession: data connections offer the session of the
// control connection each time, not one that another data connection brought.
func TestPinOffersTheControlSession(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
		var offered sync.Map
		r.manage(reprise.Config{OnOpen: func(s *reprise.Session) reprise.TicketDecision {
			offered.Store(s.Fingerprint(), true)
			return reprise.TicketUseRenew
		}})
		r.login(control)
		for range 5 {
			r.transfer(data)
		}
		n := 0
		offered.Range(func(_, _ any) bool { n++; return true })
		if n != 1 {
			t.Errorf("offered %d sessions", n)
		}
	})
}

// TestPinNeverMixesControlConnections: of two control connections to one
// server, under one name and at once, and one to another server, each data
// connection resumes its own.
func TestPinNeverMixesControlConnections(t *testing.T) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r, other := newRig(t, version), newRig(t, version)
			other.base.RootCAs = r.base.RootCAs
			other.server = r.server
			rigs := []*rig{r, r, other}
			var pins []*ftps.Pin
			var controls []*reprise.Conn
			for _, r := range rigs {
				pin := ftps.NewPin(r.base)
				pins, controls = append(pins, pin), append(controls, r.login(pin.Config()))
			}
			for range 3 {
				for i, r := range rigs {
					data := r.transfer(pins[i].Config())
					for j, control := range controls {
						err := ftps.SameSession(control, data)
						if i == j && err != nil {
							t.Errorf("%d: %v", i, err)
						}
						if i != j && !errors.Is(err, ftps.ErrOtherSession) {
							t.Errorf("data connection of %d with control connection %d: %v", i, j, err)
						}
					}
				}
			}
			if n := r.m.Stats().NotResumed[reprise.NothingOffered]; n != 2 {
				t.Errorf("%d full handshakes, want one for each control connection", n)
			}
		})
	}
}

func TestPinParallelData(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
		c := r.login(control)
		type ends struct {
			c *tls.Conn
			s *reprise.Conn
		}
		var conns []ends
		for range 16 {
			c, s := r.dial(listen(t), data)
			conns = append(conns, ends{c, s})
		}
		var all sync.WaitGroup
		for _, d := range conns {
			all.Go(func() { d.s.Handshake() })
			all.Go(func() { d.c.Handshake() })
		}
		all.Wait()
		for _, d := range conns {
			if err := ftps.SameSession(c, d.s); err != nil {
				t.Error(err)
			}
		}
		if err := pin.Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestPinLateTicket: a TLS 1.3 session is there once somebody has read from the
// control connection. A data connection before that does not resume.
func TestPinLateTicket(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	pin := ftps.NewPin(r.base)
	c, s := r.dial(r.control, pin.Control())
	if err := r.shake(c, s); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pin.Wait(over); !errors.Is(err, ftps.ErrNoSession) || !errors.Is(err, context.Canceled) {
		t.Errorf("before the client has read: %v", err)
	}
	if err := ftps.SameSession(s, r.transfer(pin.Data())); !errors.Is(err, ftps.ErrNotResumed) {
		t.Errorf("before the client has read: %v", err)
	}
	if err := pin.Err(); !errors.Is(err, ftps.ErrNoSession) {
		t.Errorf("pin: %v", err)
	}
	waited := make(chan error)
	go func() { waited <- pin.Wait(t.Context()) }()
	r.reply(c, s)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	if err := ftps.SameSession(s, r.transfer(pin.Data())); err != nil {
		t.Error(err)
	}
}

// TestPinNeverTakesADataSession: with one configuration, once a data connection
// began before there was a session, nobody can tell whose session comes.
func TestPinNeverTakesADataSession(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	pin := ftps.NewPin(r.base)
	c, s := r.dial(r.control, pin.Config())
	if err := r.shake(c, s); err != nil {
		t.Fatal(err)
	}
	r.transfer(pin.Config()) // brings its session first
	r.reply(c, s)
	if err := ftps.SameSession(s, r.transfer(pin.Config())); !errors.Is(err, ftps.ErrNotResumed) {
		t.Error(err)
	}
	if err := pin.Err(); !errors.Is(err, ftps.ErrNoSession) {
		t.Errorf("pin: %v", err)
	}
}

// TestPinTellsByAddress: without a name crypto/tls knows a session by address,
// so the control connection's is found whenever it comes.
func TestPinTellsByAddress(t *testing.T) {
	r := newRig(t, tls.VersionTLS13)
	pin := ftps.NewPin(r.unnamed())
	c, s := r.dial(r.control, pin.Config())
	if err := r.shake(c, s); err != nil {
		t.Fatal(err)
	}
	r.transfer(pin.Config())
	r.reply(c, s)
	if err := ftps.SameSession(s, r.transfer(pin.Config())); err != nil {
		t.Error(err)
	}
}

// TestPinDeclined: a session that expired for the client, for the server, or that
// the server forgot means full handshakes and an error that says so.
func TestPinDeclined(t *testing.T) {
	for name, age := range map[string]func(r *rig, client, server *time.Duration){
		"expired for the client": func(r *rig, client, server *time.Duration) { *client = 8 * 24 * time.Hour },
		"expired for the server": func(r *rig, client, server *time.Duration) { *server = 3 * time.Hour },
		"forgotten":              func(r *rig, client, server *time.Duration) { r.m.FlushAll() },
	} {
		t.Run(name, func(t *testing.T) {
			eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
				var client, server time.Duration
				r.manage(reprise.Config{Time: func() time.Time { return time.Now().Add(server) }})
				for _, c := range []*tls.Config{control, data} {
					c.Time = func() time.Time { return time.Now().Add(client) }
					c.InsecureSkipVerify = true // the certificate expires too
				}
				c := r.login(control)
				age(r, &client, &server)
				for range 2 {
					if err := ftps.SameSession(c, r.transfer(data)); !errors.Is(err, ftps.ErrNotResumed) {
						t.Errorf("server: %v", err)
					}
					if err := pin.Err(); !errors.Is(err, ftps.ErrNotResumed) {
						t.Errorf("pin: %v", err)
					}
				}
			})
		})
	}
}

// TestPinSurvivesAFailedDataConnection: crypto/tls withdraws a session whose
// handshake failed, for whatever reason.
func TestPinSurvivesAFailedDataConnection(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
		c := r.login(control)
		dc, ds := r.dial(listen(t), data)
		ds.Close()
		if err := dc.Handshake(); err == nil {
			t.Fatal("the handshake with nobody succeeded")
		}
		if err := ftps.SameSession(c, r.transfer(data)); err != nil {
			t.Error(err)
		}
	})
}

// TestPinRetry: a control connection whose handshake failed is none.
func TestPinRetry(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
		fc, fs := r.dial(r.control, control)
		fs.Close()
		if err := fc.Handshake(); err == nil {
			t.Fatal("the handshake with nobody succeeded")
		}
		if err := ftps.SameSession(r.login(control), r.transfer(data)); err != nil {
			t.Error(err)
		}
	})
}

// TestPinSecondControl: a second control connection with one pin is an error,
// wherever it can be told.
func TestPinSecondControl(t *testing.T) {
	for _, version := range current {
		for name, want := range map[string]struct {
			named, one bool
		}{
			"named/two configurations":   {named: true},
			"unnamed/two configurations": {},
			"unnamed/one configuration":  {one: true},
		} {
			t.Run(tls.VersionName(version)+"/"+name, func(t *testing.T) {
				r := newRig(t, version)
				base := r.base
				if !want.named {
					base = r.unnamed()
				}
				pin := ftps.NewPin(base)
				config := pin.Control()
				if want.one {
					config = pin.Config()
				}
				r.login(config)
				if err := r.shake(r.dial(r.control, config)); !errors.Is(err, ftps.ErrSecondControl) {
					t.Errorf("handshake: %v", err)
				}
				if err := pin.Err(); !errors.Is(err, ftps.ErrSecondControl) {
					t.Errorf("pin: %v", err)
				}
				again := ftps.NewPin(base)
				if err := ftps.SameSession(r.login(again.Config()), r.transfer(again.Config())); err != nil {
					t.Errorf("with a new pin: %v", err)
				}
			})
		}
	}
}

// TestPinReconnectsWithAName: with one configuration and a name a reconnection
// looks like a data connection. Where the server does not know the old session,
// the pin says so.
func TestPinReconnectsWithAName(t *testing.T) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t, version)
			pin := ftps.NewPin(r.base)
			r.login(pin.Config())
			r.m.FlushAll()
			c := r.login(pin.Config())
			if err := ftps.SameSession(c, r.transfer(pin.Config())); !errors.Is(err, ftps.ErrNotResumed) {
				t.Errorf("server: %v", err)
			}
			if err := pin.Err(); !errors.Is(err, ftps.ErrNotResumed) {
				t.Errorf("pin: %v", err)
			}
		})
	}
}

func TestPinClose(t *testing.T) {
	eachWay(t, func(t *testing.T, r *rig, pin *ftps.Pin, control, data *tls.Config) {
		c := r.login(control)
		for range 2 {
			if err := pin.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := pin.Wait(t.Context()); !errors.Is(err, ftps.ErrClosed) {
			t.Errorf("Wait: %v", err)
		}
		if err := ftps.SameSession(c, r.transfer(data)); !errors.Is(err, ftps.ErrNotResumed) {
			t.Errorf("server: %v", err)
		}
		if err := pin.Err(); !errors.Is(err, ftps.ErrClosed) {
			t.Errorf("pin: %v", err)
		}
	})
}

// TestPinCloseEndsWait: of a session that never comes.
func TestPinCloseEndsWait(t *testing.T) {
	pin := ftps.NewPin(nil)
	waited := make(chan error)
	go func() { waited <- pin.Wait(t.Context()) }()
	pin.Close()
	if err := <-waited; !errors.Is(err, ftps.ErrClosed) {
		t.Error(err)
	}
}

// TestPinKeepsTheBase: what the base configuration demands holds for every
// connection, and the base stays as it is.
func TestPinKeepsTheBase(t *testing.T) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t, version)
			refused := errors.New("refused")
			var asked int
			var refuse bool
			r.base.SessionTicketsDisabled = true
			r.base.VerifyConnection = func(cs tls.ConnectionState) error {
				asked++
				if refuse {
					return refused
				}
				return nil
			}
			pin := ftps.NewPin(r.base)
			c := r.login(pin.Config())
			if err := ftps.SameSession(c, r.transfer(pin.Config())); err != nil {
				t.Error(err)
			}
			refuse = true
			if err := r.shake(r.dial(listen(t), pin.Config())); !errors.Is(err, refused) || asked != 3 {
				t.Errorf("asked %d times: %v", asked, err)
			}
			if !r.base.SessionTicketsDisabled || r.base.ClientSessionCache != nil {
				t.Error("the base configuration was changed")
			}
		})
	}
}

// TestPinVerifies: a session that was made without verification is not offered
// to skip one, and other roots are not believed.
func TestPinVerifies(t *testing.T) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t, version)
			pin := ftps.NewPin(r.base)
			r.login(pin.Control())
			data := pin.Data()
			data.RootCAs = x509.NewCertPool()
			var unknown x509.UnknownAuthorityError
			if err := r.shake(r.dial(listen(t), data)); !errors.As(err, &unknown) {
				t.Errorf("other roots: %v", err)
			}
			pin = ftps.NewPin(r.unnamed())
			r.login(pin.Control())
			data = pin.Data()
			data.InsecureSkipVerify, data.ServerName = false, "b.test"
			var name x509.HostnameError
			if err := r.shake(r.dial(listen(t), data)); !errors.As(err, &name) {
				t.Errorf("not verified before: %v", err)
			}
		})
	}
}
