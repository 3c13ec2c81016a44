package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/reprise-tls/reprise"
)

// The works on handshakes compare a server of reprise's with one of crypto/tls
// alone. The clients are crypto/tls's, in the same process.

func resumeHandle12(m *meter) error { return m.resume(tls.VersionTLS12, true) }
func resumeHandle13(m *meter) error { return m.resume(tls.VersionTLS13, true) }
func resumeTicket12(m *meter) error { return m.resume(tls.VersionTLS12, false) }
func resumeTicket13(m *meter) error { return m.resume(tls.VersionTLS13, false) }

const block = 50 // handshakes in a row

// resume compares the CPU time of both sides: the client costs the same in both.
func (m *meter) resume(version uint16, noTickets bool) error {
	server, client, err := configurations(version)
	if err != nil {
		return err
	}
	mgr, err := reprise.New(reprise.Config{NoTickets: noTickets})
	if err != nil {
		return err
	}
	defer mgr.Close()
	ours, bare := &arm{mgr.ServerConfig(server), client.Clone()}, &arm{server, client.Clone()}
	for _, a := range []*arm{ours, bare} {
		a.client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return m.compare(ours.handshake, bare.handshake)
}

// handshake makes a connection and reports whether it resumed a session.
type handshake func() (resumed bool, err error)

// compare does blocks of either handshake in turn. What counts is the median of
// the differences between two blocks next to each other.
func (m *meter) compare(ours, base handshake) error {
	both := []handshake{ours, base}
	for _, h := range both { // the first does not resume
		if _, err := h(); err != nil {
			return err
		}
	}
	var added, bare []float64
	for done := 0; done < m.ops; done += block {
		var took [2]float64
		for i := range both {
			i = (i + done/block) % 2 // who is first alternates
			var err error
			if took[i], err = both[i].run(block); err != nil {
				return err
			}
		}
		added, bare = append(added, took[0]-took[1]), append(bare, took[1])
	}
	median := newSpread(bare).Median
	m.measured = []float64{median + newSpread(added).Median, median}
	return nil
}

// run does n handshakes and returns the microseconds of CPU of one. Each block
// collects its own garbage on its own time, and only that: otherwise one side
// would pay for the other's.
func (h handshake) run(n int) (us float64, err error) {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	before, err := cpuTime()
	if err != nil {
		return 0, err
	}
	for range n {
		resumed, err := h()
		if err != nil {
			return 0, err
		}
		if !resumed {
			return 0, errors.New("a handshake did not resume")
		}
	}
	runtime.GC()
	after, err := cpuTime()
	return micros(after-before) / float64(n), err
}

// arm is a server and a client that comes again and again.
type arm struct{ server, client *tls.Config }

// handshake connects, hears one byte from the server, for a TLS 1.3 session
// arrives with that, and closes.
func (a *arm) handshake() (resumed bool, err error) {
	near, far := newPipe()
	server := tls.Server(far, a.server)
	failed := make(chan error, 1)
	go func() {
		_, err := server.Write([]byte{0})
		failed <- errors.Join(err, server.Close())
	}()
	client := tls.Client(near, a.client)
	_, err = io.ReadFull(client, make([]byte, 1))
	client.Close()
	return client.ConnectionState().DidResume, errors.Join(err, <-failed)
}

func configurations(version uint16) (server, client *tls.Config, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(1, 0, 0),
		DNSNames:     []string{"server.example.com"},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	base := &tls.Config{
		Certificates:     []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}},
		CurvePreferences: []tls.CurveID{tls.CurveP256}, // the fastest: what is not measured is only noise
		MinVersion:       version, MaxVersion: version,
	}
	client = base.Clone()
	client.Certificates = nil
	client.RootCAs, client.ServerName = roots, cert.DNSNames[0]
	return base, client, nil
}

// end is one end of a connection in memory, without the system calls that
// would drown what is measured.
type end struct {
	net.Conn // nil: what is not below is not called
	from     <-chan []byte
	to       chan<- []byte
	rest     []byte
}

// newPipe returns both ends. What a handshake writes in one direction fits.
func newPipe() (near, far *end) {
	a, b := make(chan []byte, 16), make(chan []byte, 16)
	return &end{from: a, to: b}, &end{from: b, to: a}
}

func (e *end) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		var ok bool
		if e.rest, ok = <-e.from; !ok {
			return 0, io.EOF
		}
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (e *end) Write(b []byte) (int, error) {
	e.to <- append([]byte(nil), b...)
	return len(b), nil
}

func (e *end) Close() error {
	close(e.to)
	return nil
}

func (e *end) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (e *end) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (e *end) SetDeadline(time.Time) error      { return nil }
func (e *end) SetReadDeadline(time.Time) error  { return nil }
func (e *end) SetWriteDeadline(time.Time) error { return nil }
