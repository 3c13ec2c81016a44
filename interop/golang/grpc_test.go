package golang_test

import (
	"context"
	"crypto/tls"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

var overGRPC = framework{name: "grpc", versions: versions, protocol: "h2", serve: serveGRPC, exchange: exchangeGRPC}

func serveGRPC(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(config)))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	serveUntilEnd(t, func() error { return server.Serve(l) }, server.Stop)
	return l.Addr().String()
}

func exchangeGRPC(ctx context.Context, addr string, config *tls.Config) (end func(), err error) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return nil, err
	}
	_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, new(grpc_health_v1.HealthCheckRequest))
	return func() { conn.Close() }, err
}

// TestGRPCSuites: gRPC takes the suites that HTTP/2 forbids from a server that
// has no list of its own. It does so on a clone of the Manager's configuration.
func TestGRPCSuites(t *testing.T) {
	authority := testpki.New(t, "grpc suites test")
	for suite, welcome := range map[uint16]bool{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA:    false,
	} {
		t.Run(tls.CipherSuiteName(suite), func(t *testing.T) {
			m := newManager(t, reprise.Config{})
			addr := serveGRPC(t, m.ServerConfig(&tls.Config{Certificates: []tls.Certificate{authority.Leaf(t, serverName)}}))
			c := newClient(overGRPC, addr, authority, tls.VersionTLS12)
			c.config.CipherSuites = []uint16{suite}
			if _, err := c.connect(t); (err == nil) != welcome {
				t.Errorf("got %v, want success: %t", err, welcome)
			}
		})
	}
}
