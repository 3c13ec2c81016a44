package hello

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"slices"
	"testing"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// tape records what passes a connection, each direction for itself.
type tape struct {
	net.Conn
	sent, got bytes.Buffer
}

func (t *tape) Read(p []byte) (int, error) {
	n, err := t.Conn.Read(p)
	t.got.Write(p[:n])
	return n, err
}

func (t *tape) Write(p []byte) (int, error) {
	t.sent.Write(p)
	return t.Conn.Write(p)
}

// lru is a ClientSessionCache without bounds.
func lru() tls.ClientSessionCache { return tls.NewLRUClientSessionCache(0) }

// record runs a handshake of crypto/tls and returns what either side sent, and
// the client's view of it.
func record(t testing.TB, client, server *tls.Config) (sent, got []byte, state tls.ConnectionState) {
	t.Helper()
	nc, ns := net.Pipe()
	defer nc.Close()
	served := make(chan error, 1)
	go func() {
		s := tls.Server(ns, server)
		err := s.Handshake()
		if err == nil {
			_, err = s.Write([]byte("x"))
		}
		served <- err
		io.Copy(io.Discard, ns)
	}()
	wire := &tape{Conn: nc}
	c := tls.Client(wire, client)
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatalf("client: %v", err)
	}
	if err := <-served; err != nil {
		t.Fatalf("server: %v", err)
	}
	return wire.sent.Bytes(), wire.got.Bytes(), c.ConnectionState()
}

// both returns configurations of a client and a server at one version.
func both(t testing.TB, version uint16) (client, server *tls.Config) {
	ca := testpki.New(t, "root")
	client = &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", MinVersion: version, MaxVersion: version, ClientSessionCache: lru()}
	server = &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MinVersion: tls.VersionTLS10}
	return client, server
}

// sessionIDLen is the length of crypto/tls's session_id.
const sessionIDLen = 32

// TestCryptoTLS proves that the hellos of crypto/tls say what its connection
// says of itself.
func TestCryptoTLS(t *testing.T) {
	for version := uint16(tls.VersionTLS10); version <= tls.VersionTLS13; version++ {
		for _, noTickets := range []bool{false, true} {
			name := tls.VersionName(version) + map[bool]string{false: "/tickets", true: "/no tickets"}[noTickets]
			t.Run(name, func(t *testing.T) {
				client, server := both(t, version)
				server.SessionTicketsDisabled = noTickets
				for _, resumed := range []bool{false, !noTickets} {
					sent, got, state := record(t, client, server)
					if state.DidResume != resumed {
						t.Fatalf("resumed %t, want %t", state.DidResume, resumed)
					}
					checkHellos(t, sent, got, &state, !noTickets)
				}
			})
		}
	}
}

func checkHellos(t *testing.T, sent, got []byte, state *tls.ConnectionState, tickets bool) {
	t.Helper()
	var c ClientReader
	if !c.Feed(sent) || c.Hello() == nil {
		t.Fatal("no ClientHello was read")
	}
	ch := c.Hello()
	before13 := state.Version < tls.VersionTLS13
	if len(ch.SessionID) != sessionIDLen || bytes.Count(sent, ch.SessionID) == 0 || ch.Random == [32]byte{} {
		t.Errorf("ClientHello: %+v", ch)
	}
	if !slices.Equal(ch.Versions, []uint16{state.Version}) || !ch.SessionTicket || !ch.ExtendedMasterSecret || ch.KeyShare == before13 {
		t.Errorf("ClientHello of %s: %+v", tls.VersionName(state.Version), ch)
	}
	var s ServerReader
	if !s.Feed(got) || s.Hello() == nil {
		t.Fatal("no ServerHello was read")
	}
	sh := s.Hello()
	if sh.Version != state.Version || sh.CipherSuite != state.CipherSuite || sh.Random == [32]byte{} {
		t.Errorf("ServerHello: %+v, connection: %s, %s", sh, tls.VersionName(state.Version), tls.CipherSuiteName(state.CipherSuite))
	}
	if echoed := bytes.Equal(sh.SessionID, ch.SessionID); echoed != (state.DidResume || !before13) {
		t.Errorf("the session id was echoed: %t", echoed)
	}
	if sh.ExtendedMasterSecret != before13 || sh.SessionTicket != (before13 && tickets) {
		t.Errorf("ServerHello of %s: %+v", tls.VersionName(state.Version), sh)
	}
	if _, ok := s.LifetimeHint(); ok != sh.SessionTicket {
		t.Errorf("NewSessionTicket was read: %t, promised: %t", ok, sh.SessionTicket)
	}
}

// TestVersions proves that all offered versions are read.
func TestVersions(t *testing.T) {
	client, server := both(t, tls.VersionTLS12)
	client.MinVersion, client.MaxVersion = tls.VersionTLS10, tls.VersionTLS13
	sent, _, _ := record(t, client, server)
	var c ClientReader
	c.Feed(sent)
	want := []uint16{tls.VersionTLS13, tls.VersionTLS12, tls.VersionTLS11, tls.VersionTLS10}
	if got := c.Hello().Versions; !slices.Equal(got, want) {
		t.Errorf("versions %x, want %x", got, want)
	}
}

// TestHello reads hellos made by hand: what crypto/tls never sends.
func TestHello(t *testing.T) {
	random := bytes.Repeat([]byte{7}, 32)
	client := slices.Concat([]byte{3, 3}, random, []byte{2, 0xa, 0xb}, []byte{0, 2, 0xc0, 0x2f}, []byte{1, 0})
	server := slices.Concat([]byte{3, 3}, random, []byte{2, 0xa, 0xb}, []byte{0xc0, 0x2f}, []byte{0})

	c, s := parseClientHello(client), parseServerHello(server)
	if c == nil || !bytes.Equal(c.Random[:], random) || !bytes.Equal(c.SessionID, []byte{0xa, 0xb}) ||
		!slices.Equal(c.Versions, []uint16{tls.VersionTLS12}) || c.SessionTicket || c.ExtendedMasterSecret || c.KeyShare {
		t.Errorf("ClientHello without extensions: %+v", c)
	}
	if s == nil || !bytes.Equal(s.Random[:], random) || !bytes.Equal(s.SessionID, []byte{0xa, 0xb}) || s.CipherSuite != 0xc02f ||
		s.Version != tls.VersionTLS12 || s.SessionTicket || s.ExtendedMasterSecret {
		t.Errorf("ServerHello without extensions: %+v", s)
	}

	for name, extensions := range map[string][]byte{
		"twice the same":      {0, 8, 0, 23, 0, 0, 0, 23, 0, 0},
		"cut":                 {0, 4, 0, 23, 0},
		"more after them":     {0, 4, 0, 23, 0, 0, 1},
		"odd versions":        {0, 7, 0, 43, 0, 3, 1, 3, 0},
		"no versions":         {0, 5, 0, 43, 0, 1, 0},
		"a longer vector":     {0, 5, 0, 23, 0, 0},
		"a header and a half": {0, 6, 0, 23, 0, 0, 0, 23},
	} {
		if parseClientHello(slices.Concat(client, extensions)) != nil {
			t.Errorf("ClientHello: extensions with %s were read", name)
		}
		if parseServerHello(slices.Concat(server, extensions)) != nil {
			t.Errorf("ServerHello: extensions with %s were read", name)
		}
	}
	for n := range client {
		if parseClientHello(client[:n]) != nil {
			t.Errorf("ClientHello was read from its first %d bytes", n)
		}
	}
	for n := range server {
		if parseServerHello(server[:n]) != nil {
			t.Errorf("ServerHello was read from its first %d bytes", n)
		}
	}
	long := slices.Concat([]byte{3, 3}, random, []byte{33}, make([]byte, 33), []byte{0, 2, 0xc0, 0x2f}, []byte{1, 0})
	if parseClientHello(long) != nil || parseServerHello(long) != nil {
		t.Error("a session id of 33 bytes was read")
	}
}
