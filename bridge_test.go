package reprise

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/gotls"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
)

// newLayout is a Go release whose session layout reprise does not know.
type newLayout struct{}

func (newLayout) FromTLS(*tls.SessionState) (*gotls.State, error) { return nil, ErrLayout }
func (newLayout) ToTLS(*gotls.State) (*tls.SessionState, error)   { return nil, ErrLayout }

// bridge is a server and a client, each with a Manager, under one clock.
type bridge struct {
	t              *testing.T
	sm, cm         *Manager
	server, client *tls.Config
	ahead          atomic.Int64 // of the clock, seconds
}

func newBridge(t *testing.T, version uint16, config Config) *bridge {
	ca := testpki.New(t, "root")
	b := &bridge{
		t:      t,
		server: &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MinVersion: version, MaxVersion: version},
		client: &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", MinVersion: version, MaxVersion: version},
	}
	config.Time = func() time.Time { return time.Now().Add(time.Duration(b.ahead.Load()) * time.Second) }
	b.sm = b.manager(config)
	b.cm = b.manager(Config{Time: config.Time, Timeout: config.Timeout})
	return b
}

func (b *bridge) manager(c Config) *Manager {
	m, err := New(c)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { m.Close() })
	return m
}

// connect offers s, if there is one, and returns the session that came of it,
// for the caller to free, the server's connection and how the handshake ended.
func (b *bridge) connect(s *Session) (next *Session, server *Conn, why Reason) {
	b.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.t.Fatal(err)
	}
	ns, err := l.Accept()
	if err != nil {
		b.t.Fatal(err)
	}
	server = b.sm.Server(ns, b.server)
	client := b.cm.Client(nc, b.client)
	b.t.Cleanup(func() { client.Close(); server.Close() })
	if err := client.SetSession(s); err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err != nil {
			server.Close()
		}
		ended <- err
	}()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	next, err = client.WaitSession(ctx)
	if err != nil {
		client.Close()
		b.t.Fatalf("client: %v, server: %v", err, <-ended)
	}
	if err := <-ended; err != nil {
		b.t.Fatal(err)
	}
	_, why = server.SessionReused()
	client.Close()
	return next, server, why
}

func eachBridge(t *testing.T, config Config, f func(t *testing.T, b *bridge)) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, noTickets := range []bool{false, true} {
			form := map[bool]string{false: "ticket", true: "handle"}[noTickets]
			t.Run(tls.VersionName(version)+"/"+form, func(t *testing.T) {
				config.NoTickets = noTickets
				f(t, newBridge(t, version, config))
			})
		}
	}
}

// TestUnknownLayout: with a Go release whose layout is not known sessions are
// still cached, sealed and resumed, on either side. Only their export is refused.
func TestUnknownLayout(t *testing.T) {
	for name, side := range map[string]struct{ server, client bool }{
		"server": {server: true}, "client": {client: true}, "both": {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			eachBridge(t, Config{}, func(t *testing.T, b *bridge) {
				if side.server {
					b.sm.layout = newLayout{}
				}
				if side.client {
					b.cm.layout = newLayout{}
				}
				var session *Session
				for i := range 3 {
					next, server, why := b.connect(session)
					if (why == Resumed) != (i > 0) {
						t.Errorf("connection %d: %v", i, why)
					}
					_, err := next.MarshalBinary()
					if errors.Is(err, ErrLayout) != side.client {
						t.Errorf("client: MarshalBinary: %v", err)
					}
					_, err = next.MarshalPEM()
					if errors.Is(err, ErrLayout) != side.client {
						t.Errorf("client: MarshalPEM: %v", err)
					}
					if _, err := server.Session().MarshalBinary(); errors.Is(err, ErrLayout) != side.server {
						t.Errorf("server: MarshalBinary: %v", err)
					}
					session.Free()
					session = next
				}
				session.Free()
				if cached := b.sm.Len() > 0; cached != b.sm.config.NoTickets {
					t.Errorf("%d sessions cached", b.sm.Len())
				}
			})
		})
	}
}

// TestUnknownLayoutBinds: what is checked is kept beside the state, so binding
// does not need the layout.
func TestUnknownLayoutBinds(t *testing.T) {
	eachBridge(t, Config{Timeout: time.Hour}, func(t *testing.T, b *bridge) {
		b.sm.layout = newLayout{}
		session, _, _ := b.connect(nil)
		defer session.Free()
		plain := b.server
		b.server = plain.Clone()
		b.server.ClientAuth = tls.RequestClientCert
		next, _, why := b.connect(session)
		if why != OtherPolicy {
			t.Errorf("another policy: %v", why)
		}
		next.Free()
		b.server = plain
		session.SetTimeout(24 * time.Hour)
		b.ahead.Store(3602)
		next, _, why = b.connect(session)
		if why != Expired {
			t.Errorf("after the timeout: %v", why)
		}
		next.Free()
	})
}

// TestExtraTravels: entries of other layers in SessionState.Extra go through
// cache and tickets as they are, and ours do not show.
func TestExtraTravels(t *testing.T) {
	entries := [][]byte{[]byte("quic \x00 parameters"), []byte("another layer")}
	eachBridge(t, Config{}, func(t *testing.T, b *bridge) {
		s := b.fromExtra(entries)
		defer s.release()
		packed, err := s.pack(nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := unpack(packed, libraryRef)
		if err != nil {
			t.Fatal(err)
		}
		defer again.release()
		state, err := b.sm.toTLS(again, again.verified())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(state.Extra, entries, bytes.Equal) {
			t.Errorf("Extra became %q", state.Extra)
		}
	})
}

// fromExtra is a session of a real handshake whose state got entries from
// another layer.
func (b *bridge) fromExtra(entries [][]byte) *Session {
	b.t.Helper()
	session, server, _ := b.connect(nil)
	defer session.Free()
	state, err := b.sm.toTLS(server.Session(), server.Session().verified())
	if err != nil {
		b.t.Fatal(err)
	}
	state.Extra = append(state.Extra, entries...)
	cs := server.ConnectionState()
	s, err := b.sm.fromTLS(state, &cs, &origin{})
	if err != nil {
		b.t.Fatal(err)
	}
	return s.start(libraryRef)
}

// TestExtraOfUserHooks: where the application's hooks seal, entries that it
// adds come back to it beside ours.
func TestExtraOfUserHooks(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		b := newBridge(t, version, Config{})
		keys, mine := new(tls.Config), []byte("the application's")
		keys.SetSessionTicketKeys([][32]byte{{3, 1, 4}})
		b.server.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
			if len(ss.Extra) == 0 || !bytes.HasPrefix(ss.Extra[len(ss.Extra)-1], extraPrefix) {
				t.Errorf("nothing of the Manager in Extra: %q", ss.Extra)
			}
			ss.Extra = append(ss.Extra, mine)
			return keys.EncryptTicket(cs, ss)
		}
		var opened atomic.Int64
		b.server.UnwrapSession = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
			ss, err := keys.DecryptTicket(id, cs)
			if ss != nil && slices.ContainsFunc(ss.Extra, func(e []byte) bool { return bytes.Equal(e, mine) }) {
				opened.Add(1)
			}
			return ss, err
		}
		session, _, _ := b.connect(nil)
		next, _, why := b.connect(session)
		if why != Resumed || opened.Load() != 1 {
			t.Errorf("%v, entry seen %d times", why, opened.Load())
		}
		session.Free()
		next.Free()
	}
}

// TestForeignAppData: what another program put into ticket_appdata is kept byte
// for byte, and stays the application's data through resumptions.
func TestForeignAppData(t *testing.T) {
	foreign := [][]byte{[]byte("x"), []byte("\x01repris"), []byte("\x02reprise and more"), bytes.Repeat([]byte{0xff}, 5000)}
	for _, data := range foreign {
		s := NewSession()
		s.f.Version, s.f.Cipher = tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
		s.f.TicketAppData = data
		der, err := s.f.Append(nil) // as libssl would write it
		if err != nil {
			t.Fatal(err)
		}
		read, _, err := ParseSession(der)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := read.TicketAppData(); err != nil || !bytes.Equal(got, data) {
			t.Errorf("read %q, %v, want %q", got, err, data)
		}
		if again, err := read.MarshalBinary(); err != nil || !bytes.Equal(again, der) {
			t.Errorf("%q: written otherwise than it was read: %v", data, err)
		}
	}
	eachBridge(t, Config{}, func(t *testing.T, b *bridge) {
		s, server, _ := b.connect(nil)
		defer s.Free()
		if !b.sm.config.NoTickets {
			// What a ticket carries was fixed when it was made: edit it as a peer of the fleet would.
			b.sm.config.Tickets = stamping{b.sm.config.Tickets, foreign[0]}
		} else if err := server.Session().SetTicketAppData(foreign[0]); err != nil {
			t.Fatal(err)
		}
		next, server, why := b.connect(s)
		defer next.Free()
		if got, err := server.Session().TicketAppData(); why != Resumed || err != nil || !bytes.Equal(got, foreign[0]) {
			t.Errorf("%v: application data %q, %v", why, got, err)
		}
	})
}

// stamping opens tickets with application data put into them.
type stamping struct {
	ticket.Sealer
	data []byte
}

func (s stamping) Open(label []byte) ([]byte, bool, error) {
	der, renew, err := s.Sealer.Open(label)
	if err != nil {
		return nil, false, err
	}
	session, _, err := ParseSession(der)
	if err != nil {
		return nil, false, err
	}
	if err := session.SetTicketAppData(s.data); err != nil {
		return nil, false, err
	}
	der, err = session.MarshalBinary()
	return der, renew, err
}

// TestFirstAuthentication: TLS 1.3 gives each session of a line a new time, and
// none a new first authentication: MaxAge ends the line.
func TestFirstAuthentication(t *testing.T) {
	const maxAge = 12 * time.Hour // certificates live for a day
	eachBridge(t, Config{MaxAge: maxAge, Timeout: 7 * 24 * time.Hour}, func(t *testing.T, b *bridge) {
		session, server, _ := b.connect(nil)
		first := server.Session().FirstAuthentication()
		if d := time.Since(first); d < 0 || d > time.Minute {
			t.Fatalf("first authentication at %v", first)
		}
		lineage := slices.Clone(server.Session().rec.Lineage)
		step := int64(maxAge / time.Second / 10)
		for i := int64(1); i < 10; i++ {
			b.ahead.Store(i * step)
			next, server, why := b.connect(session)
			if why != Resumed {
				t.Fatalf("renewal %d: %v", i, why)
			}
			s := server.Session()
			if !s.FirstAuthentication().Equal(first) || !bytes.Equal(s.rec.Lineage, lineage) {
				t.Errorf("renewal %d: first authentication %v, not %v, or another lineage", i, s.FirstAuthentication(), first)
			}
			if age := s.Time().Sub(first.Truncate(time.Second)); s.ProtocolVersion() == tls.VersionTLS13 && age < time.Duration(i*step)*time.Second {
				t.Errorf("renewal %d: session of %v: the renewal did not renew", i, age)
			}
			session.Free()
			session = next
		}
		// Time has gone on since the first handshake, a little: two seconds after the last moment.
		b.ahead.Store(int64(maxAge/time.Second) + 2)
		next, server, why := b.connect(session)
		if why != TooOld {
			t.Errorf("after MaxAge: %v", why)
		}
		if !server.Session().FirstAuthentication().After(first) || bytes.Equal(server.Session().rec.Lineage, lineage) {
			t.Error("the full handshake after MaxAge did not begin a new line")
		}
		session.Free()
		next.Free()
	})
}
