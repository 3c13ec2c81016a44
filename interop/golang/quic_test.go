package golang_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
)

var overQUIC = framework{
	name: "quic-go", versions: []uint16{tls.VersionTLS13}, protocol: "echo",
	serve: serveQUIC, exchange: exchangeQUIC, rewraps: rewrappedByQUIC(),
}

// rewrappedByQUIC are the functions that quic-go wraps in what GetConfigForClient
// returns, as it did in what it was given: Go before 1.27 does not tell hooks
// the addresses of a connection.
func rewrappedByQUIC() []string {
	if strings.HasPrefix(runtime.Version(), "go1.26") {
		return []string{"GetCertificate"}
	}
	return nil
}

// serveQUIC answers every stream with what came.
func serveQUIC(t *testing.T, config *tls.Config) (addr string) {
	t.Helper()
	config.NextProtos = []string{"echo"}
	l, err := quic.ListenAddr("127.0.0.1:0", config, nil)
	if err != nil {
		t.Fatal(err)
	}
	serveUntilEnd(t, func() error {
		for {
			conn, err := l.Accept(context.Background())
			if err != nil {
				return err
			}
			go echo(conn)
		}
	}, func() { l.Close() })
	return l.Addr().String()
}

func echo(conn *quic.Conn) {
	for {
		stream, err := conn.AcceptStream(context.Background())
		if err != nil {
			return
		}
		io.Copy(stream, stream)
		stream.Close()
	}
}

func exchangeQUIC(ctx context.Context, addr string, config *tls.Config) (end func(), err error) {
	config.NextProtos = []string{"echo"}
	conn, err := quic.DialAddr(ctx, addr, config, nil)
	if err != nil {
		return nil, err
	}
	return func() { conn.CloseWithError(0, "") }, echoed(ctx, conn)
}

// echoed sends the answer, to get it.
func echoed(ctx context.Context, conn *quic.Conn) error {
	stream, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	if _, err := io.WriteString(stream, answer); err != nil {
		return err
	}
	stream.Close()
	if got, err := io.ReadAll(stream); err != nil {
		return err
	} else if string(got) != answer {
		return fmt.Errorf("read %q", got)
	}
	return nil
}
