package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/spf13/cobra"
)

// handshakeLimit bounds the way to a server and the handshake with it, each.
const handshakeLimit = 10 * time.Second

// maxReconnect bounds the connections after the first: what became of each is kept.
const maxReconnect = 1_000_000

// connectReport is what connect --json prints.
type connectReport struct {
	Address     string            `json:"address"`
	ServerName  string            `json:"server_name"`
	Connections []connectionFacts `json:"connections"`
}

type connectionFacts struct {
	Resumed     bool           `json:"resumed"`
	Reason      reprise.Reason `json:"reason"`                // why not; "resumed" if so
	NotOffered  string         `json:"not_offered,omitempty"` // the check that the session to offer failed
	HandshakeMS float64        `json:"handshake_ms"`
	Version     string         `json:"version"`
	Suite       string         `json:"suite"`
	Session     *sessionFacts  `json:"session"`              // what a next connection may offer; null if none came
	NoSession   string         `json:"no_session,omitempty"` // why none came
}

type connectFlags struct {
	ca, serverName, version    string
	insecure, json, sessionIDs bool
	sessIn, sessOut            string
	sessionDir, keyFile        string
	reconnect, parallel        uint
	wait                       time.Duration
}

func newConnect() *cobra.Command {
	var flags connectFlags
	cmd := &cobra.Command{
		Use:   "connect HOST:PORT [flags]",
		Short: "connect to a server, again and again, and tell what resumed",
		Long: `Connect to a TLS server, wait for the session it gives, and tell for each
connection whether it resumed, why not, and how long the handshake took. No
application data is sent.

Sessions that come are offered to the connections that follow: a TLS 1.3
session once, an older one until it expires. With --session-dir they are kept
for other processes, and theirs are offered; see reprise sessions.

Session files are PEM as openssl s_client reads and writes it. One that is
given is verified before it is offered. They hold secrets: keep them as you
would a private key.

The exit code is 0 once every connection was made, resumed or not; 1 if the
session of --sess-in did not resume; 3 if a connection could not be made.`,
		Example: `  reprise connect example.com:443 --reconnect 2
  reprise connect example.com:443 --session-dir ~/.sessions
  reprise connect example.com:443 --sess-out s.pem
  reprise connect example.com:443 --sess-in s.pem`,
		Args: arguments(1, "one HOST:PORT"),
		RunE: func(cmd *cobra.Command, args []string) error { return connect(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.ca, "ca", "", "trust the certificates of this PEM `file`, not the system's")
	f.BoolVar(&flags.insecure, "insecure", false, "do not verify the server's certificate")
	f.StringVar(&flags.serverName, "server-name", "", "the `name` to ask for and to verify (default HOST)")
	f.StringVar(&flags.version, "tls", "", "use this `version` only: 1.2 or 1.3")
	f.StringVar(&flags.sessIn, "sess-in", "", "offer the session in this PEM `file` first")
	f.StringVar(&flags.sessOut, "sess-out", "", "write the last session that came to this `file`")
	f.StringVar(&flags.sessionDir, "session-dir", "", "keep sessions in this `directory`, which processes may share")
	f.StringVar(&flags.keyFile, "key-file", "", "seal what is in the directory with the key in this `file`")
	f.BoolVar(&flags.sessionIDs, "session-ids", false, "resume by session id where TLS 1.2 gives no tickets")
	f.UintVar(&flags.reconnect, "reconnect", 0, "connect `n` more times")
	f.UintVar(&flags.parallel, "parallel", 1, "make `n` connections at a time, each again")
	f.DurationVar(&flags.wait, "wait", 2*time.Second, "how long to wait for each session")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	return cmd
}

func connect(cmd *cobra.Command, address string, flags *connectFlags) error {
	config, err := flags.config(address)
	if err != nil {
		return err
	}
	m, err := flags.manager()
	if err != nil {
		return err
	}
	defer m.Close()
	d := &dialer{m: m, address: address, config: config, wait: flags.wait}
	defer d.free()
	if flags.sessIn != "" {
		s, err := readSession(flags.sessIn)
		if err != nil {
			return err
		}
		d.give(s)
	}
	result := connectReport{Address: address, ServerName: config.ServerName}
	out := newPrinter(cmd.OutOrStdout())
	if flags.parallel == 1 {
		result.Connections, err = flags.inTurn(cmd, d, out)
	} else {
		result.Connections, err = flags.atOnce(cmd, d, out)
	}
	if flags.json && len(result.Connections) > 0 {
		out.err = errors.Join(out.err, writeJSON(out.w, result))
	}
	if flags.sessOut != "" && len(result.Connections) > 0 {
		err = errors.Join(err, d.save(flags.sessOut))
	}
	if err = errors.Join(err, out.err); err != nil {
		return err
	}
	if first := result.Connections[0]; flags.sessIn != "" && !first.Resumed {
		complain(cmd.ErrOrStderr(), notResumed(flags.sessIn, d.given, &first))
		return errFinding
	}
	return nil
}

// inTurn makes one connection after the other and prints each.
func (f *connectFlags) inTurn(cmd *cobra.Command, d *dialer, out *printer) (all []connectionFacts, err error) {
	for n := range f.reconnect + 1 {
		facts, err := d.connect(cmd.Context())
		if err != nil {
			if n > 0 {
				err = fmt.Errorf("connection %d: %w", n+1, err)
			}
			return all, err
		}
		all = append(all, facts)
		if !f.json {
			printConnection(out, n+1, &facts)
		}
	}
	return all, nil
}

// config checks the flags and makes the client's configuration of them.
func (f *connectFlags) config(address string) (*tls.Config, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return nil, usagef("%q is not HOST:PORT, such as example.com:443 or [::1]:8443", address)
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return nil, usagef("%q has no port to connect to, such as 443", address)
	}
	c := &tls.Config{ServerName: f.serverName, InsecureSkipVerify: f.insecure}
	if c.ServerName == "" {
		c.ServerName = host
	}
	switch f.version {
	case "":
	case "1.2":
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	case "1.3":
		c.MinVersion, c.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	default:
		return nil, usagef("--tls %s is neither 1.2 nor 1.3", f.version)
	}
	switch {
	case f.parallel == 0 || f.parallel > maxParallel:
		return nil, usagef("--parallel %d is not between 1 and %d", f.parallel, maxParallel)
	case f.reconnect > maxReconnect:
		return nil, usagef("--reconnect %d is more than %d", f.reconnect, maxReconnect)
	case f.sessIn != "" && (f.parallel > 1 || f.sessionDir != ""):
		return nil, usagef("--sess-in gives the one session to offer, so neither --parallel nor --session-dir has a place beside it")
	case f.keyFile != "" && f.sessionDir == "":
		return nil, usagef("--key-file seals what is in --session-dir: give that too")
	case f.wait <= 0:
		return nil, usagef("--wait %v is no time to wait", f.wait)
	case f.insecure && f.ca != "":
		return nil, usagef("--insecure verifies nothing, so --ca has no place beside it")
	}
	if f.ca != "" {
		c.RootCAs, err = readRoots(f.ca)
	}
	return c, err
}

// manager makes the Manager that the flags describe.
func (f *connectFlags) manager() (*reprise.Manager, error) {
	c := reprise.Config{SessionIDs: f.sessionIDs}
	if f.sessionDir != "" {
		store, err := openSessionDir(f.sessionDir, f.keyFile)
		if err != nil {
			return nil, err
		}
		c.ClientStore = store
	}
	return reprise.New(c)
}

// dialer makes connections. A session that was given is offered by the first,
// what came of that by the next, and so on; else the Manager offers and keeps
// sessions by itself.
type dialer struct {
	m       *reprise.Manager
	address string
	config  *tls.Config
	wait    time.Duration
	offer   *reprise.Session // for the next connection; owned
	given   *reprise.Session // owned

	mu   sync.Mutex
	last *reprise.Session // the last that came; owned
}

func (d *dialer) connect(ctx context.Context) (facts connectionFacts, err error) {
	limited, cancel := context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	c, err := d.m.DialContext(limited, "tcp", d.address, d.config)
	if err != nil {
		return facts, interrupted(ctx, err)
	}
	defer c.Free()
	if d.given != nil {
		if err := c.SetSession(d.offer); err != nil {
			facts.NotOffered = plain(err.Error())
		}
	}
	limited, cancel = context.WithTimeout(ctx, handshakeLimit)
	defer cancel()
	start := time.Now()
	if err := c.HandshakeContext(limited); err != nil {
		return facts, interrupted(ctx, handshakeHint(err))
	}
	facts.HandshakeMS = float64(time.Since(start).Microseconds()) / 1000
	facts.Resumed, facts.Reason = c.SessionReused()
	cs := c.ConnectionState()
	facts.Version, facts.Suite = tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite)

	next, err := d.session(ctx, c)
	if ctx.Err() != nil {
		return facts, interrupted(ctx, err)
	}
	if err != nil {
		facts.NoSession = plain(err.Error())
	}
	defer next.Free()
	facts.Session = factsOf(next)
	c.Close() // cleanly, else the session counts as bad
	d.take(next)
	return facts, nil
}

// session waits for what the server gives, for the caller to free.
func (d *dialer) session(ctx context.Context, c *reprise.Conn) (*reprise.Session, error) {
	limited, cancel := context.WithTimeout(ctx, d.wait)
	defer cancel()
	s, err := c.WaitSession(limited)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("none came within %v", d.wait)
	}
	return s, err
}

// give makes s, which is the dialer's from then on, what the first connection offers.
func (d *dialer) give(s *reprise.Session) { d.given, d.offer = s, acquire(s) }

// take keeps s, which may be nil: after one that was given the next connection
// offers it, and it may be the last that came.
func (d *dialer) take(s *reprise.Session) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.given != nil {
		d.offer.Free()
		d.offer = acquire(s)
	}
	if s != nil {
		d.last.Free()
		d.last = acquire(s)
	}
}

// acquire takes a reference more, where there is a session.
func acquire(s *reprise.Session) *reprise.Session {
	if s != nil && s.UpRef() != nil {
		return nil
	}
	return s
}

func (d *dialer) free() {
	d.given.Free()
	d.offer.Free()
	d.last.Free()
}

func (d *dialer) save(name string) error {
	if d.last == nil {
		return fmt.Errorf("%s not written: the server gave no session (a longer --wait may help)", name)
	}
	if err := writeSession(name, d.last); err != nil {
		return fmt.Errorf("%s not written: %w", name, err)
	}
	return nil
}

func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// handshakeHint tells the way out where a handshake failed for what a flag decides.
func handshakeHint(err error) error {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
	)
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("%w (give its CA with --ca, or verify nothing with --insecure)", err)
	case errors.As(err, &name):
		return fmt.Errorf("%w (ask for another name with --server-name)", err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no handshake within %v", handshakeLimit)
	}
	return err
}

// notResumed says what became of the session of --sess-in.
func notResumed(file string, s *reprise.Session, facts *connectionFacts) error {
	if facts.NotOffered != "" {
		return fmt.Errorf("%s: %s", file, facts.NotOffered)
	}
	hint := ""
	switch facts.Reason {
	case reprise.OtherVersion:
		hint = fmt.Sprintf(" (it is of %s, the connection %s: see --tls)", tls.VersionName(s.ProtocolVersion()), facts.Version)
	case reprise.OtherName:
		hint = fmt.Sprintf(" (it was made for %q: see --server-name)", s.Hostname())
	case reprise.OtherSuite:
		hint = fmt.Sprintf(" (it goes with %s, the server chose %s)", tls.CipherSuiteName(s.CipherSuite()), facts.Suite)
	case reprise.Expired:
		if e, ok := s.ExpiresAt(); ok {
			hint = fmt.Sprintf(" (it was good until %s)", e.Format(time.DateTime))
		}
	}
	return fmt.Errorf("%s: session %s not resumed: %v%s", file, s.Fingerprint(), facts.Reason, hint)
}

func printConnection(out *printer, n uint, f *connectionFacts) {
	outcome := "full handshake, " + f.Reason.String()
	switch {
	case f.Resumed:
		outcome = out.style(green, "resumed")
	case f.NotOffered != "":
		outcome = "full handshake, session refused"
	}
	out.printf("%-3d%s, %.2f ms\n", n, outcome, f.HandshakeMS)
	out.printf("   %s, %s\n", f.Version, f.Suite)
	if f.Session == nil {
		out.printf("   no session: %s\n", f.NoSession)
		return
	}
	until := "for ever"
	if e := f.Session.Expires; !e.IsZero() {
		until = "until " + e.Local().Format(time.DateTime)
	}
	out.printf("   session %s, good %s\n", f.Session.Fingerprint, until)
}
