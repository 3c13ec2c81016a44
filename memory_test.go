package reprise_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/reprise-tls/reprise"
)

// timeless is an end of a connection in memory without deadlines: their timers
// would hold its buffers for a while.
type timeless struct{ *buffered }

func (timeless) SetDeadline(time.Time) error      { return nil }
func (timeless) SetReadDeadline(time.Time) error  { return nil }
func (timeless) SetWriteDeadline(time.Time) error { return nil }

// dialFrom returns both ends of a connection of a client at ip.
func dialFrom(ip string) (client, server net.Conn) {
	up, down := newStream(), newStream()
	return timeless{&buffered{in: down, out: up}}, timeless{&buffered{in: up, out: down, remote: &net.TCPAddr{IP: net.ParseIP(ip), Port: 1}}}
}

// ends are the levels of use, each a server that ends a connection when its
// handshake is complete.
var ends = map[string]func(m *reprise.Manager, nc net.Conn, config *tls.Config) error{
	"configuration": func(m *reprise.Manager, nc net.Conn, config *tls.Config) error {
		c := tls.Server(nc, m.ServerConfig(config))
		defer c.Close()
		return c.Handshake()
	},
	"listener": func(m *reprise.Manager, nc net.Conn, config *tls.Config) error {
		c, err := m.Accept(context.Background(), nc, config)
		if err == nil {
			c.Close()
		}
		return err
	},
	"connection": func(m *reprise.Manager, nc net.Conn, config *tls.Config) error {
		c := m.Server(nc, config)
		defer c.Free()
		defer c.Close()
		return c.Handshake()
	},
}

// visit makes a connection from ip and returns whether it resumed. o has the
// session to offer, and the next one from then on.
func visit(end func(net.Conn) error, ip string, config *tls.Config, o **offering) (resumed bool, err error) {
	nc, ns := dialFrom(ip)
	ended := make(chan error, 1)
	go func() { ended <- end(ns) }()
	config, now := config.Clone(), offers((*o).offer)
	config.ClientSessionCache = now
	c := tls.Client(nc, config)
	if err = c.Handshake(); err == nil {
		io.Copy(io.Discard, c) // the server ends it
		resumed = c.ConnectionState().DidResume
	}
	nc.Close()
	if failed := <-ended; err == nil {
		err = failed
	}
	if now.next != nil {
		*o = offers(now.next)
	}
	return resumed, err
}

// bigHello is a ClientHello as large as a client can make it.
type bigHello struct {
	name       string
	alpn       int // protocols of 200 bytes
	suites     int
	extension  int // bytes of one that nobody knows
	identities [][]byte
}

// records returns the hello as a client of TLS 1.3 sends it.
func (h bigHello) records(t *testing.T) (records []byte) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var hello cryptobyte.Builder
	hello.AddUint8(1)
	hello.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(tls.VersionTLS12)
		b.AddBytes(make([]byte, 32))
		b.AddUint8LengthPrefixed(func(*cryptobyte.Builder) {})
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			b.AddUint16(tls.TLS_AES_128_GCM_SHA256)
			for i := range h.suites {
				b.AddUint16(0x4000 + uint16(i))
			}
		})
		b.AddBytes([]byte{1, 0})
		b.AddUint16LengthPrefixed(h.extensions(key.PublicKey().Bytes()))
	})
	message, err := hello.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for part := range slices.Chunk(message, 16<<10) {
		records = append(append(records, 22, 3, 1, byte(len(part)>>8), byte(len(part))), part...)
	}
	return records
}

func (h bigHello) extensions(share []byte) func(*cryptobyte.Builder) {
	type builder = cryptobyte.Builder
	return func(b *builder) {
		add := func(id uint16, body func(b *builder)) {
			b.AddUint16(id)
			b.AddUint16LengthPrefixed(body)
		}
		list := func(body func(b *builder)) func(b *builder) {
			return func(b *builder) { b.AddUint16LengthPrefixed(body) }
		}
		value := func(n int) func(b *builder) {
			return func(b *builder) { b.AddBytes(bytes.Repeat([]byte{'a'}, n)) }
		}
		add(0, list(func(b *builder) {
			b.AddUint8(0)
			b.AddUint16LengthPrefixed(func(b *builder) { b.AddBytes([]byte(h.name)) })
		}))
		add(10, list(func(b *builder) { b.AddUint16(uint16(tls.X25519)) }))
		add(13, list(func(b *builder) { b.AddUint16(uint16(tls.ECDSAWithP256AndSHA256)) }))
		if h.alpn > 0 {
			add(16, list(func(b *builder) {
				for range h.alpn {
					b.AddUint8LengthPrefixed(value(200))
				}
			}))
		}
		if h.extension > 0 {
			add(0xfafa, value(h.extension))
		}
		add(43, func(b *builder) { b.AddBytes([]byte{2, 3, 4}) })
		add(45, func(b *builder) { b.AddBytes([]byte{1, 1}) })
		add(51, list(func(b *builder) {
			b.AddUint16(uint16(tls.X25519))
			b.AddUint16LengthPrefixed(func(b *builder) { b.AddBytes(share) })
		}))
		if len(h.identities) == 0 {
			return
		}
		add(extensionPSK, func(b *builder) {
			b.AddUint16LengthPrefixed(func(b *builder) {
				for _, identity := range h.identities {
					b.AddUint16LengthPrefixed(func(b *builder) { b.AddBytes(identity) })
					b.AddUint32(0)
				}
			})
			b.AddUint16LengthPrefixed(func(b *builder) {
				for range h.identities {
					b.AddUint8LengthPrefixed(value(255))
				}
			})
		})
	}
}

// bigHellos have each size at its maximum in turn.
var bigHellos = map[string]bigHello{
	"name of 255 bytes":     {name: strings.Repeat("a", 255)},
	"name of 60 kB":         {name: strings.Repeat("a", 60_000)},
	"300 protocols":         {name: "a.test", alpn: 300},
	"30 000 suites":         {name: "a.test", suites: 30_000},
	"an extension of 60 kB": {name: "a.test", extension: 60_000},
	"identities of 10 kB":   {name: "a.test", identities: slices.Repeat([][]byte{make([]byte, 10_000)}, 5)},
	"some of everything":    {name: strings.Repeat("a", 255), alpn: 50, suites: 5000, extension: 10_000, identities: slices.Repeat([][]byte{make([]byte, 10_000)}, 2)},
}

// selfSigned returns a client's certificate of about n bytes.
func selfSigned(t testing.TB, n int) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, n)}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// lone is the server's end of a connection of a client that sends what is unread
// and is not heard of again.
type lone struct {
	silent
	from net.Addr
}

func (c *lone) RemoteAddr() net.Addr { return c.from }

// TestMemory: strangers who send as much as they can, proven or not, make a
// server keep no more than it may, and take nothing from 100 clients on other
// networks, which resume all the time.
func TestMemory(t *testing.T) { fillMemory(t, 1) }

// TestLongMemory is TestMemory with the limits, and the strangers, that they have
// by default.
func TestLongMemory(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 for ten times as many strangers")
	}
	fillMemory(t, 10)
}

func fillMemory(t *testing.T, scale int) {
	for level, end := range ends {
		for _, noTickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/noTickets=%v", level, noTickets), func(t *testing.T) {
				memoryAt(t, scale, noTickets, end)
			})
		}
	}
}

func memoryAt(t *testing.T, scale int, noTickets bool, end func(*reprise.Manager, net.Conn, *tls.Config) error) {
	const rounds, honest, allowed = 2, 100, 1 << 20
	cacheBytes, unproven := int64(scale)<<20, int64(scale)<<17
	r := newRigAt(t, tls.VersionTLS13)
	m := manager(t, reprise.Config{NoTickets: noTickets, CacheBytes: cacheBytes})
	reprise.LimitUnproven(m, unproven)
	serve := func(nc net.Conn) error { return end(m, nc, r.server) }
	var clients [honest]*offering
	visitAll := func(round int) {
		for i := range clients {
			if round == 0 {
				clients[i] = offers(nil)
			}
			resumed, err := visit(serve, fmt.Sprintf("10.0.%d.1", i), r.client, &clients[i])
			if err != nil || resumed != (round > 0) {
				t.Fatalf("round %d, client %d: resumed %v, %v", round, i, resumed, err)
			}
		}
	}
	var hellos [][]byte
	for _, h := range bigHellos {
		hellos = append(hellos, h.records(t))
	}
	// Of what a client's certificates make too large a session there is none.
	asking := r.server.Clone()
	asking.ClientAuth = tls.RequireAnyClientCert
	crowd := r.client.Clone()
	certs := []tls.Certificate{selfSigned(t, 10_000), selfSigned(t, 30_000), selfSigned(t, 200_000)}

	visitAll(0)
	before := heapBelow(0)
	attacker := &net.TCPAddr{IP: net.ParseIP("203.0.113.9"), Port: 9}
	for round := range rounds {
		for i := range 200 * scale {
			if err := serve(&lone{silent{unread: hellos[i%len(hellos)]}, attacker}); !errors.Is(err, io.EOF) {
				t.Fatalf("a lone hello: %v, the server did not wait for more", err)
			}
		}
		for i := range 45 * scale { // of which the smallest fill less than half of a cache
			crowd.Certificates = certs[i%len(certs) : i%len(certs)+1]
			none := offers(nil)
			if _, err := visit(func(nc net.Conn) error { return end(m, nc, asking) }, "203.0.113.9", crowd, &none); err != nil {
				t.Fatal(err)
			}
		}
		visitAll(round + 1)
	}
	limit := before + uint64(cacheBytes+unproven) + allowed
	if after := heapBelow(limit); after > limit {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
	kept, counted := reprise.Accounts(m)
	if kept != counted || kept.Bytes > cacheBytes {
		t.Errorf("the cache holds %+v, by its own count %+v", counted, kept)
	}
	n, weight := reprise.Unproven(m)
	if weight > unproven {
		t.Errorf("%d bytes are on probation", weight)
	}
	if !noTickets && (n != 0 || kept.Entries != 0) {
		t.Errorf("with tickets %d and %d sessions are kept", n, kept.Entries)
	}
}

// TestNameTooLong: of a name of over 255 bytes nothing is kept, wherever the
// server is used; handshakes are full, and complete.
func TestNameTooLong(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		for level, end := range ends {
			for _, size := range []int{255, 256, 60_000} {
				r, seen := newRig(t), new(events)
				m := manager(t, seen.watch(reprise.Config{NoTickets: noTickets}))
				config := at(version, r.client)
				config.ServerName, config.InsecureSkipVerify = strings.Repeat("a", size), true
				o := offers(nil)
				for i := range 2 {
					resumed, err := visit(func(nc net.Conn) error { return end(m, nc, at(version, r.server)) }, "192.0.2.1", config, &o)
					if err != nil || resumed != (i > 0 && size == 255) {
						t.Errorf("%s, %d bytes, connection %d: resumed %v, %v", level, size, i, resumed, err)
					}
				}
				if n, _ := reprise.Unproven(m); size > 255 && (o.offer != nil || n != 0 || m.Len() != 0 || seen.news.Load() != 0) {
					t.Errorf("%s, %d bytes: a session was made: %v, %d unproven, %d cached, %d announced", level, size, o.offer, n, m.Len(), seen.news.Load())
				}
			}
		}
	})
}

// TestSessionTooLarge: what a client's certificates make too large no server
// keeps, be it in place of a ticket that is too long. Handshakes are complete.
func TestSessionTooLarge(t *testing.T) {
	big := selfSigned(t, 70_000)
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		for level, end := range ends {
			for _, hooks := range []bool{false, true} {
				r, seen := newRig(t), new(events)
				m := manager(t, seen.watch(reprise.Config{NoTickets: noTickets}))
				sc, cc := at(version, r.server), at(version, r.client)
				sc.ClientAuth, cc.Certificates = tls.RequestClientCert, []tls.Certificate{big}
				if hooks {
					sc = sealedByHooks(sc, asIs, asIs)
				}
				o := offers(nil)
				for range 2 {
					resumed, err := visit(func(nc net.Conn) error { return end(m, nc, sc) }, "192.0.2.1", cc, &o)
					if err != nil || resumed {
						t.Errorf("%s: resumed %v, %v", level, resumed, err)
					}
				}
				if n, _ := reprise.Unproven(m); n != 0 || m.Len() != 0 || seen.news.Load() != 0 {
					t.Errorf("%s: %d unproven, %d cached, %d announced", level, n, m.Len(), seen.news.Load())
				}
				if st := m.Stats(); st.WrapFailures != 2 {
					t.Errorf("%s: %d tickets could not be made, want 2", level, st.WrapFailures)
				}
			}
		}
	})
}

// TestManySuites: what a client offers does not stay as long as its connection.
func TestManySuites(t *testing.T) {
	r := newRig(t)
	config := manager(t, reprise.Config{}).ServerConfig(r.server)
	hello := &tls.ClientHelloInfo{ServerName: "a.test", SupportedVersions: []uint16{tls.VersionTLS12}}
	kept := make([]*tls.Config, 200)
	before := heapBelow(0)
	for i := range kept {
		hello.CipherSuites = make([]uint16, 30_000)
		var err error
		if kept[i], err = config.GetConfigForClient(hello); err != nil {
			t.Fatal(err)
		}
	}
	hello.CipherSuites = nil
	if after := heapBelow(before + heapAllowed); after > before+heapAllowed {
		t.Errorf("the heap grew by %d bytes for each of %d connections", (after-before)/uint64(len(kept)), len(kept))
	}
	for _, c := range kept {
		if c.UnwrapSession == nil {
			t.Fatal("not managed: the test would prove nothing")
		}
	}
}

// record returns the hello of a client that offers session, over a connection
// that ends before the server's answer.
func (r *rig) record(session *tls.ClientSessionState) []byte {
	nc, _ := dialFrom("192.0.2.1")
	rec := &recorder{Conn: nc}
	config := r.client.Clone()
	config.ClientSessionCache = offers(session)
	if tls.Client(deaf{rec}, config).Handshake() == nil {
		r.t.Fatal("a handshake was complete")
	}
	return rec.hello()
}
