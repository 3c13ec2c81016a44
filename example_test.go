package reprise_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/reprise-tls/reprise"
)

// loopback returns what the examples share: a server's configuration for
// example.com and that of a client which trusts it.
func loopback() (server, client *tls.Config) {
	ts := httptest.NewTLSServer(nil) // for its certificate
	defer ts.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ts.Certificate())
	return &tls.Config{Certificates: ts.TLS.Certificates}, &tls.Config{RootCAs: roots, ServerName: "example.com"}
}

// handshake connects two managers' connections over loopback; the client
// offers session, which may be nil.
func handshake(server, client *reprise.Manager, session *reprise.Session) (*reprise.Conn, *reprise.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	sc, cc := loopback()
	c, err := client.Dial("tcp", l.Addr().String(), cc)
	if err != nil {
		log.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		log.Fatal(err)
	}
	s := server.Server(nc, sc)
	if err := c.SetSession(session); err != nil {
		log.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.CopyN(s, s, 1)
	}()
	if _, err := c.Write([]byte("x")); err != nil {
		log.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		log.Fatal(err)
	}
	<-done
	return c, s
}

func newManager(c reprise.Config) *reprise.Manager {
	m, err := reprise.New(c)
	if err != nil {
		log.Fatal(err)
	}
	return m
}

// A session from nothing, as SSL_SESSION_new makes it.
func ExampleNewSession() {
	s := reprise.NewSession()
	defer s.Free()
	fmt.Println("timeout", s.Timeout())
	fmt.Println("resumable", s.Resumable())
	// Output:
	// timeout 5m4s
	// resumable false
}

// A copy is in no cache, whatever becomes of its source.
func ExampleSession_Dup() {
	m := newManager(reprise.Config{})
	defer m.Close()
	s := reprise.NewSession()
	defer s.Free()
	s.SetID([]byte("an id"))
	m.Add(s)

	d := s.Dup()
	defer d.Free()
	d.SetHostname("example.com")

	fmt.Printf("source %q, copy %q\n", s.Hostname(), d.Hostname())
	m.Remove(s)
	fmt.Println("source resumable", s.Resumable())
	fmt.Println("copy resumable", d.Resumable())
	// Output:
	// source "", copy "example.com"
	// source resumable false
	// copy resumable true
}

// Each UpRef wants one Free more.
func ExampleSession_UpRef() {
	s := reprise.NewSession()
	s.SetMasterKey([]byte("secret"))
	fmt.Println(s.UpRef())
	s.Free()
	key, _ := s.MasterKey()
	fmt.Println(len(key), "bytes of secret")
	s.Free()
	fmt.Println(s.UpRef())
	// Output:
	// <nil>
	// 6 bytes of secret
	// reprise: session was freed
}

// The last Free wipes the secret; one too many is caught at once.
func ExampleSession_Free() {
	s := reprise.NewSession()
	s.SetMasterKey([]byte("secret"))
	s.Free()
	_, err := s.MasterKey()
	fmt.Println(err)

	(*reprise.Session)(nil).Free() // does nothing

	defer func() {
		err := recover().(error)
		fmt.Println("over-free:", errors.Is(err, reprise.ErrOverFree))
	}()
	s.Free()
	// Output:
	// reprise: session was freed
	// over-free: true
}

// What Session lends belongs to the connection.
func ExampleConn_Session() {
	server, client := newManager(reprise.Config{}), newManager(reprise.Config{})
	defer server.Close()
	defer client.Close()

	c, s := handshake(server, client, nil)
	defer s.Free()
	defer c.Free()
	defer c.Close()

	lent := c.Session()
	fmt.Println(tls.VersionName(lent.ProtocolVersion()), "for", lent.Hostname())
	// Output:
	// TLS 1.3 for example.com
}

// What AcquireSession gives outlives the connection, and resumes.
func ExampleConn_AcquireSession() {
	server, client := newManager(reprise.Config{}), newManager(reprise.Config{})
	defer server.Close()
	defer client.Close()

	c, s := handshake(server, client, nil)
	session := c.AcquireSession()
	defer session.Free()
	c.Close()
	c.Free()
	s.Free()

	c, s = handshake(server, client, session)
	defer s.Free()
	defer c.Free()
	defer c.Close()
	reused, _ := c.SessionReused()
	fmt.Println("reused", reused)
	// Output:
	// reused true
}

// A connection freed without Close leaves a session that nobody resumes.
func ExampleConn_Free() {
	server, client := newManager(reprise.Config{}), newManager(reprise.Config{})
	defer server.Close()
	defer client.Close()

	c, s := handshake(server, client, nil)
	defer s.Free()
	session := c.AcquireSession()
	defer session.Free()
	c.Free() // no close_notify: the session is bad
	fmt.Println("resumable", session.Resumable())
	// Output:
	// resumable false
}

// The cache finds sessions by version and id and drops them by time.
func ExampleManager_Flush() {
	m := newManager(reprise.Config{OnRemove: func(s *reprise.Session, why reprise.Cause) {
		fmt.Println("left the cache:", why)
	}})
	defer m.Close()

	s := reprise.NewSession()
	defer s.Free()
	s.SetProtocolVersion(tls.VersionTLS13)
	s.SetID([]byte("an id"))
	m.Add(s)
	fmt.Println("cached", m.Len())

	expires, _ := s.ExpiresAt()
	fmt.Println("flushed", m.Flush(expires))
	fmt.Println("flushed", m.Flush(expires.Add(time.Second)))
	// Output:
	// cached 1
	// flushed 0
	// left the cache: expired
	// flushed 1
}

// A session travels as OpenSSL's PEM.
func ExampleParseSessionPEM() {
	server, client := newManager(reprise.Config{}), newManager(reprise.Config{})
	defer server.Close()
	defer client.Close()

	c, s := handshake(server, client, nil)
	file, err := c.Session().MarshalPEM()
	if err != nil {
		log.Fatal(err)
	}
	c.Close()
	c.Free()
	s.Free()

	// Another process, another Manager: the session is verified before it is offered.
	other := newManager(reprise.Config{})
	defer other.Close()
	session, _, err := reprise.ParseSessionPEM(file)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Free()
	c, s = handshake(server, other, session)
	defer s.Free()
	defer c.Free()
	defer c.Close()
	reused, _ := c.SessionReused()
	fmt.Println("reused", reused)
	// Output:
	// reused true
}

// An HTTPS server whose handlers see the session of their request.
func ExampleManager_ServeTLS() {
	m := newManager(reprise.Config{ContextID: []byte("shop")})
	defer m.Close()
	sc, cc := loopback()

	srv := &http.Server{
		TLSConfig: sc,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			how, _ := reprise.ResumptionFromContext(r.Context())
			fmt.Fprintf(w, "%s, %v, context %s", r.Proto, how.Reason, reprise.FromContext(r.Context()).IDContext())
		}),
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go m.ServeTLS(srv, l, "", "")
	defer srv.Close()

	transport := &http.Transport{TLSClientConfig: m.ClientConfig(cc), ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport}
	for range 2 {
		resp, err := client.Get("https://" + l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		fmt.Println(string(body))
		transport.CloseIdleConnections()
	}
	// Output:
	// HTTP/2.0, nothing offered, context shop
	// HTTP/2.0, resumed, context shop
}

// Any code that takes a *tls.Config resumes through ServerConfig.
func ExampleManager_ServerConfig() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	l, err := tls.Listen("tcp", "127.0.0.1:0", m.ServerConfig(sc))
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.Copy(c, c); c.Close() }()
		}
	}()

	config := m.ClientConfig(cc)
	for range 2 {
		c, err := tls.Dial("tcp", l.Addr().String(), config)
		if err != nil {
			log.Fatal(err)
		}
		c.Write([]byte("x"))
		io.ReadFull(c, make([]byte, 1))
		fmt.Println("resumed", c.ConnectionState().DidResume)
		c.Close()
	}
	// Output:
	// resumed false
	// resumed true
}

// A protocol with STARTTLS: the connection becomes TLS when the client asks.
// Accept returns when the handshake is complete and the client is proven.
func ExampleManager_Accept() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	serve := func(nc net.Conn) {
		if line, err := bufio.NewReader(nc).ReadString('\n'); err != nil || line != "STARTTLS\n" {
			nc.Close()
			return
		}
		io.WriteString(nc, "go ahead\n") // the client waits for this, so nothing of TLS is in the reader above
		c, err := m.Accept(context.Background(), nc, sc)
		if err != nil {
			return // nc is closed
		}
		defer c.Close()
		how, _ := reprise.ResumptionOf(c)
		fmt.Fprintln(c, how.Reason)
	}
	go func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			go serve(nc)
		}
	}()

	for range 2 {
		nc, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		io.WriteString(nc, "STARTTLS\n")
		io.ReadFull(nc, make([]byte, len("go ahead\n")))
		c := m.Client(nc, cc)
		answer, _ := io.ReadAll(c)
		fmt.Print(string(answer))
		c.Close()
		c.Free()
	}
	// Output:
	// nothing offered
	// resumed
}

// A server that chooses the configuration by name, in a GetConfigForClient of
// its own.
func ExampleManager_ConfigForClient() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	tenants := map[string]*tls.Config{"example.com": sc}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			config, ok := tenants[hello.ServerName]
			if !ok {
				return nil, fmt.Errorf("no server %q", hello.ServerName)
			}
			return m.ConfigForClient(hello, config), nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { io.WriteString(c, "hello\n"); c.Close() }()
		}
	}()

	config := m.ClientConfig(cc)
	for range 2 {
		c, err := tls.Dial("tcp", l.Addr().String(), config)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, c)
		fmt.Println("resumed", c.ConnectionState().DidResume)
		c.Close()
	}
	// Output:
	// resumed false
	// resumed true
}

// VerifyPeerCertificate is a part of the policy that sessions are bound to, and
// this one is made anew for each handshake. PolicyName says that all of them
// decide alike, so that sessions resume. A name stands for the function: change
// it whenever the function decides otherwise.
func ExampleManager_policyName() {
	m := newManager(reprise.Config{
		PolicyName: func(config *tls.Config) string {
			if config.VerifyPeerCertificate != nil {
				return "staff 2"
			}
			return ""
		},
	})
	defer m.Close()
	sc, cc := loopback()
	cc.Certificates = sc.Certificates // for want of one for clients
	sc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		config := &tls.Config{Certificates: sc.Certificates, ClientAuth: tls.RequireAnyClientCert}
		config.VerifyPeerCertificate = func(rawCerts [][]byte, _ [][]*x509.Certificate) error {
			if !bytes.Equal(rawCerts[0], sc.Certificates[0].Certificate[0]) {
				return fmt.Errorf("%v: not of the staff", hello.Conn.RemoteAddr())
			}
			return nil
		}
		return config, nil
	}
	l := greet(m, sc)
	defer l.Close()

	for range 2 {
		c, err := m.Dial("tcp", l.Addr().String(), cc)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, c)
		_, reason := c.SessionReused()
		fmt.Println(reason)
		c.Close()
		c.Free()
	}
	// Output:
	// nothing offered
	// resumed
}

// TLS 1.3 servers send the session after the handshake: wait for it.
func ExampleConn_WaitSession() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	go func() {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		c := m.Server(nc, sc)
		io.Copy(io.Discard, c)
		c.Close()
	}()

	c, err := m.Dial("tcp", l.Addr().String(), cc)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Free()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	session, err := c.WaitSession(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer session.Free()
	fmt.Println("resumable", session.Resumable())
	// Output:
	// resumable true
}

// greet serves TLS on loopback, a line for each connection.
func greet(m *reprise.Manager, config *tls.Config) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	tl, err := m.NewListener(l, config)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for {
			c, err := tl.Accept()
			if err != nil {
				return
			}
			go func() { io.WriteString(c, "hello\n"); c.Close() }()
		}
	}()
	return tl
}

// Connections of Dial resume by themselves. Sessions of TLS 1.3 come while the
// client reads, and each is offered once.
func ExampleManager_Dial() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	l := greet(m, sc)
	defer l.Close()

	for range 3 {
		c, err := m.Dial("tcp", l.Addr().String(), cc)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, c)
		_, reason := c.SessionReused()
		fmt.Println(reason)
		c.Close()
		c.Free()
	}
	// Output:
	// nothing offered
	// resumed
	// resumed
}

// A server cannot tell from a session that two partitions are one program.
func ExampleManager_Partition() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	l := greet(m, sc)
	defer l.Close()

	for _, user := range []string{"anna", "anna", "boris"} {
		c, err := m.Partition(user).Dial("tcp", l.Addr().String(), cc)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, c)
		_, reason := c.SessionReused()
		fmt.Println(user+":", reason)
		c.Close()
		c.Free()
	}
	// Output:
	// anna: nothing offered
	// anna: resumed
	// boris: nothing offered
}

// An HTTP client that resumes whenever it has to connect again.
func ExampleManager_DialTLSContext() {
	m := newManager(reprise.Config{})
	defer m.Close()
	sc, cc := loopback()
	srv := &http.Server{TLSConfig: sc, Handler: http.NotFoundHandler()}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go m.ServeTLS(srv, l, "", "")
	defer srv.Close()

	cc.NextProtos = []string{"h2", "http/1.1"}
	transport := &http.Transport{DialTLSContext: m.DialTLSContext(cc), ForceAttemptHTTP2: true}
	client := &http.Client{Transport: transport}
	for range 3 {
		resp, err := client.Get("https://" + l.Addr().String())
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Proto, "resumed", resp.TLS.DidResume)
		transport.CloseIdleConnections()
	}
	// Output:
	// HTTP/2.0 resumed false
	// HTTP/2.0 resumed true
	// HTTP/2.0 resumed true
}
