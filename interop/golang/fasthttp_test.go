package golang_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

var overFastHTTP = framework{name: "fasthttp", versions: versions, serve: serveFastHTTP, exchange: exchangeFastHTTP}

func serveFastHTTP(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	return startFastHTTP(t, &fasthttp.Server{TLSConfig: config}, "", "")
}

func startFastHTTP(t *testing.T, server *fasthttp.Server, certFile, keyFile string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server.Handler = func(ctx *fasthttp.RequestCtx) { ctx.WriteString(answer) }
	server.CloseOnShutdown = true
	server.Logger = quiet{}
	serveUntilEnd(t, func() error { return server.ServeTLS(l, certFile, keyFile) }, func() { server.Shutdown() })
	return l.Addr().String()
}

// quiet hides what a server has to say about handshakes that are meant to fail.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func exchangeFastHTTP(ctx context.Context, addr string, config *tls.Config) (end func(), err error) {
	client := &fasthttp.HostClient{Addr: addr, IsTLS: true, TLSConfig: config}
	deadline, _ := ctx.Deadline()
	status, body, err := client.GetDeadline(nil, "https://"+serverName+"/", deadline)
	if err == nil && (status != fasthttp.StatusOK || string(body) != answer) {
		err = fmt.Errorf("status %d: %q", status, body)
	}
	return client.CloseIdleConnections, err
}

// TestFastHTTPFilesAndProtocols: certificates from files and protocols with
// handlers of their own reach the connections, and they resume.
func TestFastHTTPFilesAndProtocols(t *testing.T) {
	authority := testpki.New(t, "fasthttp files test")
	cert, key := testpki.PEM(t, authority.Leaf(t, serverName))
	certFile, keyFile := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, data := range map[string][]byte{certFile: cert, keyFile: key} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m := newManager(t, reprise.Config{})
	server := &fasthttp.Server{TLSConfig: m.ServerConfig(new(tls.Config))}
	server.NextProto("greeting", func(c net.Conn) error {
		_, err := c.Write([]byte(answer))
		return err
	})
	greet := func(ctx context.Context, addr string, config *tls.Config) (end func(), err error) {
		config.NextProtos = []string{"greeting"}
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		conn.SetDeadline(time.Now().Add(patience))
		got, err := io.ReadAll(conn)
		if err == nil && string(got) != answer {
			err = fmt.Errorf("read %q", got)
		}
		return func() { conn.Close() }, err
	}
	f := framework{name: "fasthttp", protocol: "greeting", exchange: greet}
	c := newClient(f, startFastHTTP(t, server, certFile, keyFile), authority, tls.VersionTLS13)
	for i := range 3 {
		if cs := c.mustConnect(t); cs.DidResume != (i > 0) {
			t.Errorf("connection %d: resumed: %t", i, cs.DidResume)
		}
	}
}
