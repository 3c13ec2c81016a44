package ftps_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ftps"
)

// loopback returns a server's configuration for example.com and that of a
// client which trusts it.
func loopback() (server, client *tls.Config) {
	ts := httptest.NewTLSServer(nil) // for its certificate
	defer ts.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	return &tls.Config{Certificates: ts.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// connect makes a connection on a port of its own and returns the server's
// side, once the client has read a reply.
func connect(m *reprise.Manager, server, client *tls.Config) *reprise.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	read := make(chan error)
	go func() {
		c, err := tls.Dial("tcp", l.Addr().String(), client)
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
		}
		read <- err
	}()
	nc, err := l.Accept()
	if err != nil {
		log.Fatal(err)
	}
	c := m.Server(nc, server)
	if _, err := c.Write([]byte("2")); err != nil {
		log.Fatal(err)
	}
	if err := <-read; err != nil {
		log.Fatal(err)
	}
	return c
}

// A client with a pin, and a server that demands one.
func Example() {
	m, err := reprise.New(reprise.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	server, client := loopback()

	pin := ftps.NewPin(client)
	config := pin.Config() // for all connections of one FTP client
	control := connect(m, server, config)
	for range 3 {
		data := connect(m, server, config)
		fmt.Println("with the pin:", ftps.SameSession(control, data))
	}
	fmt.Println("without:", ftps.SameSession(control, connect(m, server, client)))

	other := ftps.NewPin(client)
	connect(m, server, other.Config())
	fmt.Println("with another's:", ftps.SameSession(control, connect(m, server, other.Config())))
	// Output:
	// with the pin: <nil>
	// with the pin: <nil>
	// with the pin: <nil>
	// without: ftps: data connection did not resume the control connection's session: nothing offered
	// with another's: ftps: data connection resumed a session that is not the control connection's
}

// A library that lets the program dial: uploads are safe in TLS 1.3, too.
func ExamplePin_DialData() {
	const server = "ftp.example.com:21"
	pin := ftps.NewPin(&tls.Config{ServerName: "ftp.example.com"})
	dial := func(network, address string) (net.Conn, error) {
		if address == server { // the control connection, before AUTH TLS
			return net.Dial(network, address)
		}
		return pin.DialData(context.Background(), network, address)
	}
	_ = dial // ftp.Dial(server, ftp.DialWithDialFunc(dial), ftp.DialWithExplicitTLS(pin.Control()))
}
