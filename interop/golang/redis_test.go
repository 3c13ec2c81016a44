package golang_test

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// TestRedisClient: the clients of go-redis resume the sessions of earlier ones,
// with a Manager's configuration and with connections that a Manager dialled.
func TestRedisClient(t *testing.T) {
	const clients = 5
	authority := testpki.New(t, "redis test")
	addr := redisServer(t, authority)
	for _, version := range versions {
		var full, resumed atomic.Uint64
		config := &tls.Config{
			RootCAs: authority.Pool(), MinVersion: version, MaxVersion: version,
			VerifyConnection: func(cs tls.ConnectionState) error {
				if cs.DidResume {
					resumed.Add(1)
				} else {
					full.Add(1)
				}
				return nil
			},
		}
		check := func(t *testing.T) {
			t.Helper()
			if f, r := full.Swap(0), resumed.Swap(0); f != 1 || r != clients-1 {
				t.Errorf("%d full handshakes and %d resumptions, want 1 and %d", f, r, clients-1)
			}
		}
		t.Run(tls.VersionName(version)+"/ClientConfig", func(t *testing.T) {
			ours := newManager(t, reprise.Config{}).ClientConfig(config)
			for range clients {
				ping(t, &redis.Options{Addr: addr, TLSConfig: ours})
			}
			check(t)
		})
		t.Run(tls.VersionName(version)+"/Dial", func(t *testing.T) {
			m := newManager(t, reprise.Config{})
			dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
				return m.DialContext(ctx, network, addr, config)
			}
			for range clients {
				ping(t, &redis.Options{Addr: addr, Dialer: dial})
			}
			check(t)
			if s := m.Stats(); s.ConnectGood != clients || s.Hits != clients-1 {
				t.Errorf("%d connections and %d hits, want %d and %d", s.ConnectGood, s.Hits, clients, clients-1)
			}
		})
	}
}

// ping uses a new client for one command and a value that comes back.
func ping(t *testing.T, options *redis.Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := redis.NewClient(options)
	defer client.Close()
	if err := client.Set(ctx, "key", t.Name(), 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := client.Get(ctx, "key").Result(); err != nil || got != t.Name() {
		t.Fatalf("%q, %v", got, err)
	}
}

// redisServer starts redis-server, which speaks TLS on the address returned.
func redisServer(t *testing.T, authority *testpki.Authority) (addr string) {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		if os.Getenv("REPRISE_REQUIRE_INTEROP") == "1" {
			t.Fatal("redis-server is not installed, and REPRISE_REQUIRE_INTEROP=1")
		}
		t.Skip("redis-server is not installed")
	}
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	cert, key := testpki.PEM(t, authority.Leaf(t, "127.0.0.1"))
	addr = freeAddress(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(path, "--port", "0", "--bind", "127.0.0.1", "--tls-port", port,
		"--tls-cert-file", write("cert.pem", cert), "--tls-key-file", write("key.pem", key),
		"--tls-ca-cert-file", write("ca.pem", authority.PEM()), "--tls-auth-clients", "no",
		"--save", "", "--dir", dir)
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		output.Close()
		if text, _ := os.ReadFile(output.Name()); t.Failed() {
			t.Logf("%s", text)
		}
	})
	untilServed(t, addr)
	return addr
}

// freeAddress returns an address on loopback where nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// untilServed waits for a server that is about to listen.
func untilServed(t *testing.T, addr string) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
