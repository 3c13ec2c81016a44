package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/spf13/cobra"
)

// explanation is what explain --json prints.
type explanation struct {
	File        string           `json:"file"`
	Fingerprint string           `json:"fingerprint,omitempty"`
	ServerName  string           `json:"server_name,omitempty"`
	Address     string           `json:"address,omitempty"`
	Resumes     status           `json:"resumes"`
	Checks      []check          `json:"checks"`
	Connection  *connectionFacts `json:"connection,omitempty"`
}

type explainFlags struct {
	ca, intermediates, serverName, version string
	insecure, json                         bool
}

func newExplain() *cobra.Command {
	var flags explainFlags
	cmd := &cobra.Command{
		Use:   "explain FILE [HOST:PORT] [flags]",
		Short: "explain whether a session would resume, check by check",
		Long: `Check whether a client with crypto/tls would offer the session in a file, PEM
or DER (- is standard input), and whether it could resume. Each check is ok, no
or unknown. With HOST:PORT connect there, offer the session, and say what came
of it: that spends a session of TLS 1.3.

The exit code is 0 if the session resumed or, without HOST:PORT, if no check
says no; 1 if not.`,
		Example: `  reprise explain s.pem --server-name example.com
  reprise explain s.pem example.com:443`,
		Args: fileAndAddress,
		RunE: func(cmd *cobra.Command, args []string) error { return explain(cmd, args, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.serverName, "server-name", "", "the `name` to verify (default HOST, or the session's)")
	f.StringVar(&flags.ca, "ca", "", "trust this PEM `file`, not the system's roots")
	f.StringVar(&flags.intermediates, "intermediates", "", "PEM `file` of certificates below the root")
	f.BoolVar(&flags.insecure, "insecure", false, "do not verify the server's certificate")
	f.StringVar(&flags.version, "tls", "", "use this `version` only: 1.0, 1.1, 1.2 or 1.3")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	return cmd
}

func fileAndAddress(cmd *cobra.Command, args []string) error {
	if n := len(args); n != 1 && n != 2 {
		return usagef("%s takes one FILE and at most one HOST:PORT, not %d arguments (try '%s --help')", cmd.Name(), n, cmd.CommandPath())
	}
	return nil
}

func explain(cmd *cobra.Command, args []string, flags *explainFlags) error {
	e := explanation{File: args[0]}
	if len(args) > 1 {
		e.Address = args[1]
	}
	config, err := flags.config(e.Address)
	if err != nil {
		return err
	}
	data, err := readBytes(cmd, e.File)
	if err != nil {
		return err
	}
	defer clear(data)
	in, err := parseInput(data)
	if err != nil {
		e.Checks = []check{{"decodes", statusNo, plain(err.Error())}}
		return e.tell(cmd, flags.json)
	}
	defer in.Free()
	if flags.intermediates != "" {
		if err := addIntermediates(in.Session, flags.intermediates); err != nil {
			return err
		}
	}
	if config.ServerName == "" {
		config.ServerName = in.Hostname()
	}
	if err := e.examine(cmd, in, config); err != nil {
		return err
	}
	return e.tell(cmd, flags.json)
}

// examine makes the checks and, where there is an address, the connection.
func (e *explanation) examine(cmd *cobra.Command, in *input, config *tls.Config) error {
	e.Fingerprint, e.ServerName = in.Fingerprint(), plain(config.ServerName)
	o := &offer{s: in.Session, config: config, now: time.Now()}
	if e.Address != "" && o.needsIntermediates() {
		if err := fetchIntermediates(cmd, o, e.Address); err != nil {
			return err
		}
	}
	detail := fmt.Sprintf("%s, session %s", in.form, e.Fingerprint)
	if in.more != "" {
		detail += ", " + in.more
	}
	e.Checks = append([]check{{"decodes", statusOK, detail}}, o.checks()...)
	if e.Address == "" {
		return nil
	}
	d, err := newDialer(o, e.Address)
	if err != nil {
		return err
	}
	defer d.m.Close()
	defer d.free()
	if err := in.UpRef(); err != nil {
		return err
	}
	d.give(in.Session)
	facts, err := d.connect(cmd.Context())
	if err != nil {
		return err
	}
	e.Connection = &facts
	e.Checks = append(e.Checks, outcome(&facts, in.Session))
	return nil
}

// connectionWait is how long explain waits for a new session, which is not
// what it is about.
const connectionWait = time.Second

func newDialer(o *offer, address string) (*dialer, error) {
	m, err := reprise.New(reprise.Config{})
	if err != nil {
		return nil, err
	}
	return &dialer{m: m, address: address, config: o.config, wait: connectionWait}, nil
}

// fetchIntermediates makes a full handshake for what a file of libssl lacks:
// the certificates between the peer's and the root.
func fetchIntermediates(cmd *cobra.Command, o *offer, address string) error {
	d, err := newDialer(o, address)
	if err != nil {
		return err
	}
	defer d.m.Close()
	defer d.free()
	if _, err := d.connect(cmd.Context()); err != nil {
		return err
	}
	if d.last == nil {
		return nil
	}
	peer, err := d.last.PeerCertificates()
	if err != nil || len(peer) < 2 {
		return err
	}
	o.s.SetIntermediates(peer[1:])
	return nil
}

// outcome is the check that a connection is.
func outcome(facts *connectionFacts, s *reprise.Session) check {
	c := check{Name: "connection", Status: statusNo}
	switch {
	case facts.Resumed:
		c.Status, c.Detail = statusOK, fmt.Sprintf("resumed, %s, %.2f ms", facts.Version, facts.HandshakeMS)
	case facts.NotOffered != "":
		c.Detail = "not offered: " + facts.NotOffered
	default:
		c.Detail = fmt.Sprintf("full handshake: %v (%s)", facts.Reason, because(facts, s))
	}
	return c
}

// because is what a reason means for a client.
func because(facts *connectionFacts, s *reprise.Session) string {
	switch facts.Reason {
	case reprise.Declined:
		return "the server was offered it and did not take it: expired or used there, or made under a key, a cache or a name that it no longer has"
	case reprise.OtherSuite:
		return fmt.Sprintf("the server chose %s, the session is of %s", facts.Suite, suiteText(s))
	case reprise.OtherVersion:
		return fmt.Sprintf("the server chose %s, the session is of %s", facts.Version, tls.VersionName(s.ProtocolVersion()))
	}
	return "not offered, see above"
}

// tell prints the explanation. A session that does not resume is a finding.
func (e *explanation) tell(cmd *cobra.Command, json bool) error {
	e.Resumes = e.verdict()
	out := newPrinter(cmd.OutOrStdout())
	if json {
		out.err = writeJSON(out.w, e)
	} else {
		e.print(out)
	}
	if out.err != nil {
		return out.err
	}
	if e.Resumes == statusNo {
		return errFinding
	}
	return nil
}

// verdict is the answer of the connection, or else the worst of the checks.
func (e *explanation) verdict() status {
	if e.Connection != nil {
		return e.Checks[len(e.Checks)-1].Status
	}
	worst := statusOK
	for _, c := range e.Checks {
		if c.Status == statusNo || worst == statusOK {
			worst = c.Status
		}
	}
	return worst
}

func (e *explanation) print(out *printer) {
	const indent, width = 26, 80
	for _, c := range e.Checks {
		word := fmt.Sprintf("%-8s", c.Status)
		switch c.Status {
		case statusOK:
			word = out.style(green, word)
		case statusNo:
			word = out.style(red, word)
		}
		out.printf("%s  %-14s", word, c.Name)
		for i, line := range wrap(c.Detail, width-indent) {
			out.printf("%*s%s\n", map[bool]int{true: 2, false: indent}[i == 0], "", line)
		}
	}
	out.printf("%s\n", out.style(bold, e.conclusion()))
}

func (e *explanation) conclusion() string {
	did := e.Connection != nil
	switch {
	case did && e.Resumes == statusOK:
		return "it resumed"
	case did:
		return "it did not resume"
	case e.Resumes == statusNo:
		return "it would not resume"
	}
	return "no check is against it (give HOST:PORT to see whether it resumes)"
}

// config checks the flags and makes the client's configuration of them.
func (f *explainFlags) config(address string) (*tls.Config, error) {
	c := &tls.Config{ServerName: f.serverName, InsecureSkipVerify: f.insecure}
	if address != "" {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" {
			return nil, usagef("%q is not HOST:PORT, such as example.com:443 or [::1]:8443", address)
		}
		if c.ServerName == "" {
			c.ServerName = host
		}
	}
	if f.version != "" {
		v, ok := map[string]uint16{"1.0": tls.VersionTLS10, "1.1": tls.VersionTLS11, "1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[f.version]
		if !ok {
			return nil, usagef("--tls %s is none of 1.0, 1.1, 1.2 and 1.3", f.version)
		}
		c.MinVersion, c.MaxVersion = v, v
	}
	if f.insecure && f.ca != "" {
		return nil, usagef("--insecure verifies nothing, so --ca has no place beside it")
	}
	var err error
	if f.ca != "" {
		c.RootCAs, err = readRoots(f.ca)
	}
	return c, err
}

// addIntermediates adds a file's certificates to those of the session's peer.
func addIntermediates(s *reprise.Session, name string) error {
	data, err := readFile(name)
	if err != nil {
		return err
	}
	peer, err := s.PeerCertificates()
	if err != nil || len(peer) == 0 {
		return err
	}
	chain := peer[1:]
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		chain = append(chain, c)
	}
	if len(chain) == len(peer)-1 {
		return fmt.Errorf("%s: no certificate in PEM form", name)
	}
	s.SetIntermediates(chain)
	return nil
}

func readRoots(name string) (*x509.CertPool, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: no certificate in PEM form", name)
	}
	return roots, nil
}
