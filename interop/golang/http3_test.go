package golang_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"
)

var overHTTP3 = framework{
	name: "http3", versions: []uint16{tls.VersionTLS13}, protocol: "h3",
	serve: serveHTTP3, exchange: exchangeHTTP3, rewraps: rewrappedByQUIC(),
}

func serveHTTP3(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	config.NextProtos = []string{"not h3"} // http3 puts its own in place
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http3.Server{
		TLSConfig: config,
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, answer) }),
	}
	serveUntilEnd(t, func() error { return server.Serve(l) }, func() { server.Close(); l.Close() })
	return l.LocalAddr().String()
}

func exchangeHTTP3(ctx context.Context, addr string, config *tls.Config) (end func(), err error) {
	transport := &http3.Transport{TLSClientConfig: config}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+addr, nil)
	if err != nil {
		return nil, err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return func() { transport.Close() }, err
	}
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	if err == nil && (response.StatusCode != http.StatusOK || string(got) != answer) {
		err = fmt.Errorf("%s: %q", response.Status, got)
	}
	return func() { transport.Close() }, err
}
