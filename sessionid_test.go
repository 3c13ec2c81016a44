package reprise_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/hello"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// crypto/tls's server knows no session ids: what resumes by them is tested in
// interop, against servers that do.

// byID returns a session as a server without tickets would have given it. No
// server knows it.
func (r *rig) byID(config *tls.Config) *reprise.Session {
	r.t.Helper()
	sm, cm := manager(r.t, reprise.Config{}), manager(r.t, reprise.Config{})
	c, _ := r.connect(sm, cm, at(tls.VersionTLS12, r.server), at(tls.VersionTLS12, config), nil)
	ticketed := wait(r.t, c)
	defer ticketed.Free()
	s := ticketed.Dup()
	f, rec := reprise.Fields(s)
	id := make([]byte, reprise.MaxSessionIDLength)
	rand.Read(id)
	fields := *f
	fields.Ticket, fields.ID = nil, id
	reprise.SetFields(s, &fields, rec)
	return s
}

// deadEnd is a transport that keeps what is written and has nothing to read.
type deadEnd struct {
	net.Conn
	mu     sync.Mutex
	sent   bytes.Buffer
	closed bool
}

func (d *deadEnd) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sent.Write(p)
}

func (d *deadEnd) Read([]byte) (int, error) { return 0, io.EOF }

func (d *deadEnd) RemoteAddr() net.Addr { return nil }

func (d *deadEnd) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

// reads is a Rand for which crypto/tls seems to have read some bytes at a point
// where it does not.
type reads struct {
	io.Reader
	at    int // the read before which that happens
	extra int // bytes
	n     int
	got   [][]byte // all that came of it
}

func (r *reads) Read(p []byte) (int, error) {
	if r.n++; r.n == r.at {
		r.take(make([]byte, r.extra))
	}
	n, err := r.Reader.Read(p)
	r.got = append(r.got, slices.Clone(p[:n]))
	return n, err
}

func (r *reads) take(p []byte) {
	io.ReadFull(r.Reader, p)
	r.got = append(r.got, p)
}

// halves reads in two.
type halves struct{ io.Reader }

func (h halves) Read(p []byte) (int, error) {
	n, err := io.ReadFull(h.Reader, p[:len(p)/2])
	if err != nil {
		return n, err
	}
	m, err := io.ReadFull(h.Reader, p[n:])
	return n + m, err
}

// swapped gives the second of two reads first.
type swapped struct {
	io.Reader
	second []byte
	n      int
}

func (s *swapped) Read(p []byte) (int, error) {
	switch s.n++; s.n {
	case 1:
		s.second = make([]byte, len(p))
		if _, err := io.ReadFull(s.Reader, s.second); err != nil {
			return 0, err
		}
	case 2:
		return copy(p, s.second), nil
	}
	return io.ReadFull(s.Reader, p)
}

// TestSessionIDRand is what crypto/tls does with Rand: the id becomes the
// session_id of a ClientHello, and nothing else that was drawn is the id.
func TestSessionIDRand(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{SessionIDs: true})
	id := bytes.Repeat([]byte{0xa5, 1}, 16)
	nc := new(deadEnd)
	config := r.client.Clone()
	wire := reprise.OfferID(m, config, nc, id)
	watched := &reads{Reader: config.Rand}
	config.Rand = watched
	if err := tls.Client(wire, config).Handshake(); err == nil || errors.Is(err, reprise.ErrSessionIDs) {
		t.Fatalf("handshake without a server: %v", err)
	}
	var c hello.ClientReader
	c.Feed(nc.sent.Bytes())
	h := c.Hello()
	if h == nil || !bytes.Equal(h.SessionID, id) || bytes.Count(nc.sent.Bytes(), id) != 1 || h.KeyShare {
		t.Errorf("ClientHello %+v, id %x", h, id)
	}
	if len(watched.got) != 2 || !bytes.Equal(watched.got[0], h.Random[:]) || !bytes.Equal(watched.got[1], id) {
		t.Errorf("%d reads for the ClientHello", len(watched.got))
	}
	if config.Rand == io.Reader(watched) || config.Rand != nil {
		t.Error("the id could still be drawn after the ClientHello")
	}
}

// TestAttackSessionIDRand: in whatever order crypto/tls comes to read its
// random bytes, an id that is not where it belongs never leaves.
func TestAttackSessionIDRand(t *testing.T) {
	r := newRig(t)
	for name, order := range map[string]func(io.Reader) io.Reader{
		"a key first":               func(r io.Reader) io.Reader { return &reads{Reader: r, at: 1, extra: 32} },
		"a key between":             func(r io.Reader) io.Reader { return &reads{Reader: r, at: 2, extra: 32} },
		"a byte first":              func(r io.Reader) io.Reader { return &reads{Reader: r, at: 1, extra: 1} },
		"a byte between":            func(r io.Reader) io.Reader { return &reads{Reader: r, at: 2, extra: 1} },
		"in halves":                 func(r io.Reader) io.Reader { return halves{r} },
		"session_id before random":  func(r io.Reader) io.Reader { return &swapped{Reader: r} },
		"nothing drawn from it":     func(io.Reader) io.Reader { return rand.Reader },
		"the same bytes over again": func(r io.Reader) io.Reader { return &repeated{Reader: r} },
	} {
		t.Run(name, func(t *testing.T) {
			var log lockedBuffer
			m := manager(t, reprise.Config{SessionIDs: true, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			off := reprise.SwitchSessionIDs(m)
			id := bytes.Repeat([]byte{0xa5, 1}, 16)
			nc := new(deadEnd)
			config := r.client.Clone()
			wire := reprise.OfferID(m, config, nc, id)
			config.Rand = order(config.Rand)
			c := tls.Client(wire, config)
			if err := c.Handshake(); !errors.Is(err, reprise.ErrSessionIDs) {
				t.Errorf("handshake: %v", err)
			}
			c.Close()
			if _, err := wire.Write([]byte("more")); !errors.Is(err, reprise.ErrSessionIDs) {
				t.Errorf("a write after that: %v", err)
			}
			if nc.sent.Len() != 0 || !nc.closed || !off.Load() {
				t.Errorf("%d bytes left, transport closed: %t, switched off: %t", nc.sent.Len(), nc.closed, off.Load())
			}
			if text := log.String(); strings.Count(text, "switched off") != 1 {
				t.Errorf("log: %s", text)
			}
			checkSilent(t, "the log", log.String(), id)
		})
	}
}

// clientHello is a ClientHello in a record of its own.
func clientHello(random, id []byte, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, random, []byte{byte(len(id))}, id, []byte{0, 2, 0xc0, 0x2b, 1, 0, 0, byte(len(extensions))}, extensions)
	return slices.Concat([]byte{22, 3, 1, 0, byte(len(body) + 4), 1, 0, 0, byte(len(body))}, body)
}

// TestSessionIDHello: which ClientHello leaves, and that it leaves whole.
func TestSessionIDHello(t *testing.T) {
	id, random := bytes.Repeat([]byte{0xa5, 1}, 16), bytes.Repeat([]byte{7}, 32)
	for name, c := range map[string]struct {
		hello []byte
		good  bool
	}{
		"as expected":       {clientHello(random, id), true},
		"with versions":     {clientHello(random, id, 0, 43, 0, 5, 4, 3, 3, 3, 2), true},
		"another id":        {clientHello(random, random), false},
		"no id":             {clientHello(random, nil), false},
		"half of the id":    {clientHello(random, id[:16]), false},
		"the id for random": {clientHello(id, id), false},
		"TLS 1.3":           {clientHello(random, id, 0, 43, 0, 5, 4, 3, 4, 3, 3), false},
		"a key share":       {clientHello(random, id, 0, 51, 0, 2, 0, 0), false},
		"not a ClientHello": {serverHello(tls.VersionTLS12, id, 0xc02b), false},
	} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, reprise.Config{SessionIDs: true})
			reprise.SwitchSessionIDs(m)
			nc := new(deadEnd)
			wire := reprise.OfferID(m, new(tls.Config), nc, id)
			var err error
			for i := range c.hello {
				if _, err = wire.Write(c.hello[i : i+1]); err != nil {
					break
				}
				if left := nc.sent.Len(); left > 0 && i < len(c.hello)-1 {
					t.Fatalf("%d bytes left after %d of %d", left, i+1, len(c.hello))
				}
			}
			if c.good && (err != nil || !bytes.Equal(nc.sent.Bytes(), c.hello)) || !c.good && (!errors.Is(err, reprise.ErrSessionIDs) || nc.sent.Len() > 0) {
				t.Errorf("%d of %d bytes left, %v", nc.sent.Len(), len(c.hello), err)
			}
		})
	}
}

// repeated gives the second read's bytes for the first one too.
type repeated struct {
	io.Reader
	all []byte
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.all == nil {
		r.all = make([]byte, len(p))
		io.ReadFull(r.Reader, make([]byte, len(p)))
		io.ReadFull(r.Reader, r.all)
	}
	return copy(p, r.all), nil
}

// counted counts what is read.
type counted struct {
	net.Conn
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.n += n
	return n, err
}

// listen serves m's connections, as an echo, and tells how many bytes each brought.
func (r *rig) listen(m *reprise.Manager, config *tls.Config) (addr string, brought <-chan int) {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { l.Close() })
	seen := make(chan int, 16)
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				tape := &counted{Conn: nc}
				c := m.Server(tape, config)
				defer c.Close()
				io.Copy(c, c)
				seen <- tape.n
			}()
		}
	}()
	return l.Addr().String(), seen
}

// TestSessionIDDialAgain: after a surprise a connection that we dialled is
// dialled again, and nobody offers an id any more.
func TestSessionIDDialAgain(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{SessionIDs: true})
	off := reprise.SwitchSessionIDs(m)
	addr, brought := r.listen(manager(t, reprise.Config{}), r.server)
	session := r.byID(r.client)
	defer session.Free()
	config := r.client.Clone()
	config.Rand = io.MultiReader(bytes.NewReader(session.ID()), rand.Reader) // so that the ClientHello's random is the id
	c, err := m.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetSession(session); err != nil {
		t.Fatal(err)
	}
	var handshakes sync.WaitGroup
	for range 4 {
		handshakes.Go(func() {
			if err := c.Handshake(); err != nil {
				t.Errorf("handshake: %v", err)
			}
		})
	}
	handshakes.Wait()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if v := c.ConnectionState().Version; v != tls.VersionTLS13 || !off.Load() {
		t.Fatalf("negotiated %s, switched off: %t", tls.VersionName(v), off.Load())
	}
	c.Close()
	if a, b := <-brought, <-brought; min(a, b) != 0 || max(a, b) == 0 {
		t.Errorf("connections brought %d and %d bytes: one should be without any", a, b)
	}
	if err := c.SetSession(session); !errors.Is(err, reprise.ErrNotResumable) {
		t.Errorf("SetSession after that: %v", err)
	}
}

// closing closes a connection when it is first read from.
type closing struct {
	io.Reader
	close func()
}

func (c *closing) Read(p []byte) (int, error) {
	if c.close != nil {
		c.close()
		c.close = nil
	}
	return c.Reader.Read(p)
}

// TestSessionIDClosed: a connection that was closed meanwhile stays closed.
func TestSessionIDClosed(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{SessionIDs: true})
	off := reprise.SwitchSessionIDs(m)
	addr, _ := r.listen(manager(t, reprise.Config{}), r.server)
	session := r.byID(r.client)
	defer session.Free()
	config := r.client.Clone()
	rand := &closing{Reader: io.MultiReader(bytes.NewReader(session.ID()), rand.Reader)}
	config.Rand = rand
	c, err := m.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Free()
	rand.close = func() { c.Close() }
	if err := c.SetSession(session); err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(); !errors.Is(err, net.ErrClosed) || !off.Load() {
		t.Errorf("handshake: %v, switched off: %t", err, off.Load())
	}
}

// TestSessionIDClient: who brings the transport has to dial again.
func TestSessionIDClient(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{SessionIDs: true})
	reprise.SwitchSessionIDs(m)
	session := r.byID(r.client)
	defer session.Free()
	config := r.client.Clone()
	config.Rand = io.MultiReader(bytes.NewReader(session.ID()), rand.Reader)
	nc := new(deadEnd)
	c := m.Client(nc, config)
	if err := c.SetSession(session); err != nil {
		t.Fatal(err)
	}
	if err := c.Handshake(); !errors.Is(err, reprise.ErrSessionIDs) {
		t.Errorf("handshake: %v", err)
	}
	if nc.sent.Len() != 0 || !nc.closed {
		t.Errorf("%d bytes left, transport closed: %t", nc.sent.Len(), nc.closed)
	}
	c, _ = r.connect(manager(t, reprise.Config{}), m, r.server, r.client, nil)
	if v := c.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("the next connection negotiated %s", tls.VersionName(v))
	}
}

// answers is a server by hand: it reads a ClientHello and writes what answer
// makes of it, then reads on until the client ends the connection.
func answers(t *testing.T, answer func(h *hello.ClientHello) []byte) net.Conn {
	t.Helper()
	nc, ns := pipe(t)
	go func() {
		defer ns.Close()
		var c hello.ClientReader
		for buf := make([]byte, 1<<12); ; {
			n, err := ns.Read(buf)
			if err != nil {
				return
			}
			if c.Feed(buf[:n]) {
				break
			}
		}
		ns.Write(answer(c.Hello()))
		io.Copy(io.Discard, ns)
	}()
	return nc
}

// serverHello is a ServerHello in a record of its own.
func serverHello(version uint16, id []byte, suite uint16, extensions ...byte) []byte {
	body := slices.Concat([]byte{byte(version >> 8), byte(version)}, make([]byte, 32), []byte{byte(len(id))}, id, []byte{byte(suite >> 8), byte(suite), 0})
	if len(extensions) > 0 {
		body = append(append(body, 0, byte(len(extensions))), extensions...)
	}
	message := append([]byte{2, 0, 0, byte(len(body))}, body...)
	return append([]byte{22, 3, 3, 0, byte(len(message))}, message...)
}

// TestAttackSessionIDEcho: a server takes the id, and something is wrong. The
// handshake fails, and nothing else comes of it.
func TestAttackSessionIDEcho(t *testing.T) {
	r := newRig(t)
	session := r.byID(r.client)
	defer session.Free()
	suite := session.CipherSuite()
	other := uint16(tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA)
	ems := []byte{0, 23, 0, 0}
	tls13 := []byte{0, 43, 0, 2, 3, 4, 0, 23, 0, 0}
	flood := func(h *hello.ClientHello) []byte {
		head := []byte{22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff}
		return append(append(head, make([]byte, 1<<14-4)...), bytes.Repeat(append([]byte{22, 3, 3, 0x40, 0}, make([]byte, 1<<14)...), 256)...)
	}
	for name, answer := range map[string]func(h *hello.ClientHello) []byte{
		"another suite":   func(h *hello.ClientHello) []byte { return serverHello(tls.VersionTLS12, h.SessionID, other, ems...) },
		"no EMS":          func(h *hello.ClientHello) []byte { return serverHello(tls.VersionTLS12, h.SessionID, suite) },
		"another version": func(h *hello.ClientHello) []byte { return serverHello(tls.VersionTLS11, h.SessionID, other, ems...) },
		"TLS 1.3": func(h *hello.ClientHello) []byte {
			return serverHello(tls.VersionTLS12, h.SessionID, tls.TLS_AES_128_GCM_SHA256, tls13...)
		},
		"an unknown suite": func(h *hello.ClientHello) []byte { return serverHello(tls.VersionTLS12, h.SessionID, 0xfefe, ems...) },
		"a wrong Finished": func(h *hello.ClientHello) []byte {
			return slices.Concat(serverHello(tls.VersionTLS12, h.SessionID, suite, ems...), []byte{20, 3, 3, 0, 1, 1}, []byte{22, 3, 3, 0, 40}, make([]byte, 40))
		},
		"a full handshake": func(h *hello.ClientHello) []byte {
			return slices.Concat(serverHello(tls.VersionTLS12, h.SessionID, suite, ems...), []byte{22, 3, 3, 0, 4, 14, 0, 0, 0})
		},
		"an alert":           func(*hello.ClientHello) []byte { return []byte{21, 3, 3, 0, 2, 2, 70} },
		"nothing TLS":        func(*hello.ClientHello) []byte { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n") },
		"16 MiB without end": flood,
		"an empty session_id": func(*hello.ClientHello) []byte {
			return append(serverHello(tls.VersionTLS12, nil, suite, ems...), 22, 3, 3, 0, 4, 14, 0, 0, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, reprise.Config{SessionIDs: true})
			off := reprise.SwitchSessionIDs(m)
			offered := session.Dup()
			defer offered.Free()
			c := m.Client(answers(t, answer), r.client)
			defer c.Free()
			if err := c.SetSession(offered); err != nil {
				t.Fatal(err)
			}
			if err := c.Handshake(); err == nil || errors.Is(err, reprise.ErrSessionIDs) {
				t.Errorf("handshake: %v", err)
			}
			if off.Load() || c.Session() != nil || !offered.Resumable() {
				t.Errorf("switched off: %t, session %v, resumable: %t", off.Load(), c.Session(), offered.Resumable())
			}
			if next, _ := r.connect(manager(t, reprise.Config{}), m, r.server, r.client, nil); next.ConnectionState().DidResume {
				t.Error("the next connection resumed")
			}
		})
	}
}

// TestSessionIDForeseen: a session that crypto/tls would keep to itself is not
// offered by id, and the handshake is a full one, as configured.
func TestSessionIDForeseen(t *testing.T) {
	r := newRig(t)
	elsewhere := testpki.New(t, "elsewhere")
	session := r.byID(r.client)
	defer session.Free()
	later := func() time.Time { return time.Now().Add(300 * 24 * time.Hour) }
	for name, c := range map[string]struct {
		session *reprise.Session
		config  func(*tls.Config)
		manager reprise.Config
		want    reprise.Reason
	}{
		"nothing wrong":        {session, func(*tls.Config) {}, reprise.Config{}, reprise.Declined},
		"no verification":      {session, func(c *tls.Config) { c.InsecureSkipVerify = true }, reprise.Config{}, reprise.Declined},
		"suite not configured": {session, func(c *tls.Config) { c.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256} }, reprise.Config{}, reprise.OtherSuite},
		"TLS 1.3 only":         {session, func(c *tls.Config) { c.MinVersion = tls.VersionTLS13 }, reprise.Config{}, reprise.OtherVersion},
		"another name":         {session, func(c *tls.Config) { c.ServerName = "b.test" }, reprise.Config{}, reprise.OtherName},
		"expired":              {session, func(*tls.Config) {}, reprise.Config{Time: later}, reprise.Expired},
		"more roots": {session, func(c *tls.Config) {
			c.RootCAs = c.RootCAs.Clone()
			c.RootCAs.AppendCertsFromPEM(elsewhere.PEM())
		}, reprise.Config{}, reprise.Declined},
	} {
		t.Run(name, func(t *testing.T) {
			c.manager.SessionIDs = true
			m := manager(t, c.manager)
			s := c.session.Dup()
			defer s.Free()
			config := r.client.Clone()
			c.config(config)
			config.Time = time.Now
			client, _ := r.connect(manager(t, reprise.Config{}), m, r.server, config, s)
			if reused, why := client.SessionReused(); reused || why != c.want {
				t.Errorf("reused %t, %q, want %q", reused, why, c.want)
			}
			if v := client.ConnectionState().Version; (v == tls.VersionTLS12) != (c.want == reprise.Declined) {
				t.Errorf("negotiated %s", tls.VersionName(v))
			}
		})
	}
}

// TestSessionIDKept: sessions that crypto/tls would keep to itself for other
// reasons than ours, after its session_id had been drawn.
func TestSessionIDKept(t *testing.T) {
	r, elsewhere := newRig(t), newRig(t)
	s := r.byID(r.client)
	defer s.Free()
	m := manager(t, reprise.Config{SessionIDs: true})
	c, _ := elsewhere.connect(manager(t, reprise.Config{}), m, elsewhere.server, elsewhere.client, s)
	checkNotOffered(t, "other roots", c, reprise.ChainIncomplete)
	old := func() time.Time { return time.Now().Add(100 * 365 * 24 * time.Hour) }
	config := elsewhere.client.Clone()
	config.InsecureSkipVerify, config.Time = true, old // the certificate has expired
	c, _ = elsewhere.connect(manager(t, reprise.Config{}), m, elsewhere.server, config, s)
	checkNotOffered(t, "expired certificate", c, reprise.ChainIncomplete)

	s.SetCipherSuite(tls.TLS_RSA_WITH_AES_128_CBC_SHA) // off by default
	other := s.Dup()
	defer other.Free()
	c, _ = r.connect(manager(t, reprise.Config{}), manager(t, reprise.Config{SessionIDs: true}), r.server, r.client, other)
	checkNotOffered(t, "suite", c, reprise.OtherSuite)
}

// checkNotOffered reports a connection that offered an id: it would have
// negotiated TLS 1.2.
func checkNotOffered(t *testing.T, name string, c *reprise.Conn, want reprise.Reason) {
	t.Helper()
	reused, why := c.SessionReused()
	if v := c.ConnectionState().Version; reused || why != want || v != tls.VersionTLS13 {
		t.Errorf("%s: reused %t, %q, %s", name, reused, why, tls.VersionName(v))
	}
}

// TestSessionIDRefused: what cannot be offered by its id is not resumable.
func TestSessionIDRefused(t *testing.T) {
	r := newRig(t)
	for name, c := range map[string]struct {
		option bool
		config func(*tls.Config)
		fields func(s *reprise.Session)
		want   error
	}{
		"with the option":    {option: true},
		"without the option": {want: reprise.ErrNotResumable},
		"tickets disabled":   {option: true, config: func(c *tls.Config) { c.SessionTicketsDisabled = true }, want: reprise.ErrNotResumable},
		"ECH":                {option: true, config: func(c *tls.Config) { c.EncryptedClientHelloConfigList = []byte{0, 1, 0} }, want: reprise.ErrNotResumable},
		"an id of 31 bytes":  {option: true, fields: func(s *reprise.Session) { s.SetID(make([]byte, 31)) }, want: reprise.ErrNotResumable},
		"an id of 16 bytes":  {option: true, fields: func(s *reprise.Session) { s.SetID(make([]byte, 16)) }, want: reprise.ErrNotResumable},
		"TLS 1.1":            {option: true, fields: func(s *reprise.Session) { s.SetProtocolVersion(tls.VersionTLS11) }, want: reprise.ErrNotResumable},
		"TLS 1.3":            {option: true, fields: func(s *reprise.Session) { s.SetProtocolVersion(tls.VersionTLS13) }, want: reprise.ErrNotResumable},
		"no secret":          {option: true, fields: func(s *reprise.Session) { s.SetMasterKey(nil) }, want: reprise.ErrNotResumable},
		"no peer":            {option: true, fields: withoutPeer, want: reprise.ErrNotResumable},
	} {
		t.Run(name, func(t *testing.T) {
			s := r.byID(r.client)
			defer s.Free()
			if c.fields != nil {
				c.fields(s)
			}
			config := r.client.Clone()
			if c.config != nil {
				c.config(config)
			}
			conn := manager(t, reprise.Config{SessionIDs: c.option}).Client(new(deadEnd), config)
			if err := conn.SetSession(s); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("SetSession: %v", err)
			}
		})
	}
}

func withoutPeer(s *reprise.Session) {
	f, rec := reprise.Fields(s)
	fields := *f
	fields.Peer = nil
	reprise.SetFields(s, &fields, rec)
}

// TestSessionIDKeyLog: the application's KeyLogWriter gets what it would get
// without the option, and its failure ends the handshake as it does then.
func TestSessionIDKeyLog(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{SessionIDs: true})
	for _, version := range versions {
		var ours, theirs lockedBuffer
		cc, sc := at(version, r.client), at(version, r.server)
		cc.KeyLogWriter, sc.KeyLogWriter = &ours, &theirs
		r.connect(manager(t, reprise.Config{}), m, sc, cc, nil)
		lines := func(b *lockedBuffer) []string {
			l := strings.Split(b.String(), "\n")
			slices.Sort(l)
			return l
		}
		if got, want := lines(&ours), lines(&theirs); len(got) < 2 || !slices.Equal(got, want) {
			t.Errorf("%s: the client logged\n%s\nthe server\n%s", tls.VersionName(version), got, want)
		}
		cc.KeyLogWriter = fullDisk{}
		nc, ns := pipe(t)
		go manager(t, reprise.Config{}).Server(ns, sc).Handshake()
		if err := m.Client(nc, cc).Handshake(); err == nil || !strings.Contains(err.Error(), "disk full") {
			t.Errorf("%s: a writer that fails: %v", tls.VersionName(version), err)
		}
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("disk full") }

// TestSessionIDNone: a server with neither tickets nor ids gives no session
// that could be resumed.
func TestSessionIDNone(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{SessionIDs: true})
	nc, ns := pipe(t)
	config := at(tls.VersionTLS12, r.server)
	config.SessionTicketsDisabled = true
	server := tls.Server(ns, config)
	c := m.Client(nc, r.client)
	talk(t, c, server)
	if s := c.Session(); s.Resumable() || s.ID() != nil {
		t.Errorf("session %v", s)
	}
	if _, err := c.WaitSession(t.Context()); !errors.Is(err, reprise.ErrNoSession) {
		t.Errorf("WaitSession: %v", err)
	}
}

// oneSession is a ClientStore with one session, of whoever asks: of clients of
// TLS 1.2, which ask once.
type oneSession struct {
	mu  sync.Mutex
	der []byte
}

func (s *oneSession) Put(_ context.Context, _ string, der []byte, _ time.Time, _ bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.der = slices.Clone(der)
	return nil
}

func (s *oneSession) Take(context.Context, string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.der), nil
}

func (s *oneSession) Forget(_ context.Context, _ string, der []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if der == nil || bytes.Equal(der, s.der) {
		s.der = nil
	}
	return nil
}

func (s *oneSession) has() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.der != nil
}

// nameless is a transport that does not say where it leads: crypto/tls has no
// key for its session cache then, and does not ask it.
type nameless struct{ net.Conn }

func (nameless) RemoteAddr() net.Addr { return new(net.UnixAddr) }

// TestSessionIDDropped: a session that is kept is dropped when a handshake
// failed that offered its id, whether or not crypto/tls blames it.
func TestSessionIDDropped(t *testing.T) {
	r := newRig(t)
	config := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	session := r.byID(config)
	defer session.Free()
	der, err := session.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	store := &oneSession{der: der}
	m := manager(t, reprise.Config{SessionIDs: true, ClientStore: store})
	c := m.Client(nameless{answers(t, func(h *hello.ClientHello) []byte {
		if !bytes.Equal(h.SessionID, session.ID()) {
			t.Error("the id was not offered")
		}
		return serverHello(tls.VersionTLS12, h.SessionID, session.CipherSuite(), 0, 23, 0, 0)
	})}, config)
	defer c.Free()
	if err := c.Handshake(); err == nil || store.has() {
		t.Errorf("handshake: %v; session kept: %t", err, store.has())
	}
}

// TestSessionIDNotOurs: who may not offer an id leaves the session to others
// that may.
func TestSessionIDNotOurs(t *testing.T) {
	r := newRig(t)
	session := r.byID(r.client)
	defer session.Free()
	der, err := session.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	store := &oneSession{der: der}
	m := manager(t, reprise.Config{ClientStore: store})
	server := at(tls.VersionTLS12, r.server)
	server.SessionTicketsDisabled = true
	config := at(tls.VersionTLS12, r.client)
	for name, connect := range map[string]func(nc net.Conn) net.Conn{
		"Conn":         func(nc net.Conn) net.Conn { return m.Client(nc, config) },
		"ClientConfig": func(nc net.Conn) net.Conn { return tls.Client(nc, m.ClientConfig(config)) },
	} {
		nc, ns := pipe(t)
		talk(t, connect(nc), tls.Server(ns, server))
		if !store.has() {
			t.Errorf("%s: the session is gone", name)
		}
	}
	refused := tls.Client(answers(t, func(*hello.ClientHello) []byte { return []byte{21, 3, 3, 0, 2, 2, 40} }), m.ClientConfig(config))
	if err := refused.Handshake(); err == nil || !store.has() {
		t.Errorf("refused: %v; session kept: %t", err, store.has())
	}
}
