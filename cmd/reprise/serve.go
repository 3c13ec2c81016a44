package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/spf13/cobra"
)

// shutdownLimit bounds how long requests may go on after a signal.
const shutdownLimit = time.Second

type serveFlags struct {
	listen    string
	cert, key string
	noTickets bool
	cacheSize int
	timeout   time.Duration

	keyFiles         []string
	keyFormat        string
	contextID        string
	acceptContextIDs []string
}

func newServe() *cobra.Command {
	var flags serveFlags
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "serve HTTPS and show each connection its session",
		Long: `Serve HTTPS, HTTP/1.1 and HTTP/2, and show each connection its session: resumed
or the reason why not, version, suite, times; never a secret. Each answer ends
its connection, so that the next request, a reload, makes a new handshake.

  GET /       the session of the connection that asks
  GET /stats  the statistics of all

Both are HTML, or JSON with ?format=json or Accept: application/json. Without
--cert a certificate for localhost is made in memory. SIGINT and SIGTERM end it.

With --ticket-keys sessions resume at other servers under the same keys too, if
the session id context is theirs, and theirs here. The files are read again when
they change and on SIGHUP; if one is broken the last good keys stay in use.`,
		Example: `  reprise serve
  reprise serve --listen :8443 --cert cert.pem --key key.pem --no-tickets
  reprise serve --ticket-keys keys --ticket-format haproxy80 --context-id haproxy`,
		Args: arguments(0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.listen, "listen", "127.0.0.1:8443", "`address` to listen on")
	f.StringVar(&flags.cert, "cert", "", "PEM `file` of the certificate and its chain")
	f.StringVar(&flags.key, "key", "", "PEM `file` of its key")
	f.BoolVar(&flags.noTickets, "no-tickets", false, "keep sessions in the cache; clients get a handle")
	f.IntVar(&flags.cacheSize, "cache-size", reprise.DefaultCacheSize, "cache `n` sessions at most, -1 for no limit")
	f.DurationVar(&flags.timeout, "timeout", reprise.DefaultTimeout, "how long a session may be resumed")
	f.StringSliceVar(&flags.keyFiles, "ticket-keys", nil, "`file` of ticket keys, or several; the first encrypts")
	f.StringVar(&flags.keyFormat, "ticket-format", "", "`form` of these files, such as nginx80 or haproxy48")
	f.StringVar(&flags.contextID, "context-id", "", "session id context: up to 32 bytes of `text`, or hex:DIGITS")
	f.StringSliceVar(&flags.acceptContextIDs, "accept-context-id", nil, "accept sessions of this context too: `text` likewise")
	return cmd
}

func serve(cmd *cobra.Command, flags *serveFlags) error {
	if err := flags.check(); err != nil {
		return err
	}
	certificate, err := flags.certificate()
	if err != nil {
		return err
	}
	keys, err := flags.ticketKeys(cmd.Context())
	if err != nil {
		return err
	}
	defer keys.close()
	config, err := flags.config()
	if err != nil {
		return err
	}
	config.Tickets = keys.sealer()
	m, err := reprise.New(config)
	if err != nil {
		return err
	}
	defer m.Close()
	defer keys.follow(cmd)()
	srv := &http.Server{
		Handler:           newPages(m),
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{certificate}},
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(complaints{cmd}, "", 0),
	}
	l, err := net.Listen("tcp", flags.listen)
	if err != nil {
		return fmt.Errorf("%w (--listen takes another address)", err)
	}
	out := newPrinter(cmd.OutOrStdout())
	address := dialable(l.Addr())
	out.printf("serving https://%s/\n", address)
	name := "localhost"
	if flags.cert != "" {
		name = nameOf(&certificate)
	}
	newPrinter(cmd.ErrOrStderr()).printf("%s", try(address, name))
	if err := serveUntil(cmd.Context(), m, srv, l); err != nil {
		return err
	}
	stats := m.Stats()
	out.printf("served %d handshakes, %d resumed, %d sessions cached\n", stats.AcceptGood, stats.Hits, stats.Number)
	return out.err
}

// complaints is standard error for what net/http logs.
type complaints struct{ cmd *cobra.Command }

func (c complaints) Write(line []byte) (int, error) {
	complain(c.cmd.ErrOrStderr(), errors.New(strings.TrimSpace(string(line))))
	return len(line), nil
}

// serveUntil serves until ctx is done, then lets requests end.
func serveUntil(ctx context.Context, m *reprise.Manager, srv *http.Server, l net.Listener) error {
	failed := make(chan error, 1)
	go func() { failed <- m.ServeTLS(srv, l, "", "") }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer cancel()
	if srv.Shutdown(limited) != nil {
		srv.Close()
	}
	return nil
}

func (f *serveFlags) check() error {
	_, port, err := net.SplitHostPort(f.listen)
	if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	switch {
	case err != nil:
		return usagef("--listen %q is not HOST:PORT, such as 127.0.0.1:8443", f.listen)
	case (f.cert == "") != (f.key == ""):
		return usagef("--cert and --key go together")
	case f.cacheSize == 0 || f.cacheSize < -1:
		return usagef("--cache-size %d is neither a number of sessions nor -1 for no limit", f.cacheSize)
	case f.timeout < time.Second || f.timeout > 7*24*time.Hour:
		return usagef("--timeout %v is not between a second and seven days", f.timeout)
	}
	return f.checkTickets()
}

// config is the configuration of a Manager, but for its ticket keys.
func (f *serveFlags) config() (c reprise.Config, err error) {
	c = reprise.Config{CacheSize: f.cacheSize, Timeout: f.timeout, NoTickets: f.noTickets}
	if c.ContextID, err = parseContextID("--context-id", f.contextID); err != nil {
		return c, err
	}
	c.AcceptContextIDs, err = f.acceptedContextIDs()
	return c, err
}

// certificate loads the certificate, or makes one.
func (f *serveFlags) certificate() (tls.Certificate, error) {
	if f.cert == "" {
		c, _, err := selfSigned("localhost", "127.0.0.1", "::1")
		return c, err
	}
	cert, err := readFile(f.cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readFile(f.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	defer clear(key)
	c, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w", f.cert, f.key, err)
	}
	return c, nil
}

// dialable is the address of a listener as a client on this host dials it.
func dialable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("localhost", fmt.Sprint(tcp.Port))
}

// nameOf is a server name that the certificate is good for, "" if it has none.
func nameOf(c *tls.Certificate) string {
	if len(c.Leaf.DNSNames) > 0 {
		return strings.Replace(c.Leaf.DNSNames[0], "*", "www", 1)
	}
	return ""
}

// try tells how to see a resumption. A session resumes only under the server
// name that it was made for, and s_client sends none for an address by itself:
// both commands name the same one.
func try(address, name string) string {
	sni, own := "-noservername", ""
	if name != "" {
		sni, own = "-servername "+name, " --server-name "+name
	}
	ask := fmt.Sprintf(`  printf 'GET /?format=json HTTP/1.0\r\n\r\n' | openssl s_client -connect %s %s -quiet`, address, sni)
	return "try, with openssl or with reprise:\n" +
		ask + " -sess_out s.pem\n" +
		ask + " -sess_in s.pem\n" +
		fmt.Sprintf("  reprise connect %s%s --insecure --reconnect 2\n", address, own)
}
