package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/spf13/cobra"
)

// shown is what show --json prints.
type shown struct {
	reprise.Description
	*secretFacts          // only where secrets were asked for
	Warnings     []string `json:"warnings"`
}

// secretFacts are the secrets of a session, in hex.
type secretFacts struct {
	MasterKey string `json:"master_key"` // in TLS 1.3 the resumption PSK
	Ticket    string `json:"ticket"`
}

type showFlags struct{ json, openssl, secrets bool }

func newShow() *cobra.Command {
	var flags showFlags
	cmd := &cobra.Command{
		Use:   "show FILE [flags]",
		Short: "show what a session file holds",
		Long: `Show the session in a file, PEM or DER, as openssl s_client -sess_out and
reprise write it; - is standard input. Of several sessions the first is shown.
What is wrong with the session is said on standard error, and does not change
the exit code. The secret stays hidden unless --secrets is given.`,
		Example: `  reprise show s.pem
  reprise show --openssl --secrets s.pem   # as openssl sess_id -noout -text
  openssl sess_id -in s.pem | reprise show --json -`,
		Args: arguments(1, "one FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return show(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&flags.json, "json", false, "print JSON")
	f.BoolVar(&flags.openssl, "openssl", false, "print what openssl sess_id -noout -text prints")
	f.BoolVar(&flags.secrets, "secrets", false, "print the master key too (and in JSON the ticket)")
	return cmd
}

func show(cmd *cobra.Command, name string, flags *showFlags) error {
	if flags.json && flags.openssl {
		return usagef("--json and --openssl are two forms: choose one")
	}
	s, err := readInput(cmd, name)
	if err != nil {
		return err
	}
	defer s.Free()
	if flags.openssl {
		return s.WriteText(cmd.OutOrStdout(), flags.secrets)
	}
	facts, err := describe(s.Session, flags.secrets, time.Now())
	if err != nil {
		return err
	}
	if flags.json {
		return writeJSON(cmd.OutOrStdout(), facts)
	}
	out := newPrinter(cmd.OutOrStdout())
	facts.print(out, time.Now())
	for _, w := range facts.Warnings {
		complain(cmd.ErrOrStderr(), fmt.Errorf("%s: %s", name, w))
	}
	return out.err
}

// describe gathers what is shown of a session.
func describe(s *reprise.Session, secrets bool, now time.Time) (*shown, error) {
	d := &shown{Description: s.Describe(), Warnings: warnings(s, now)}
	if !secrets {
		return d, nil
	}
	key, err := s.MasterKey()
	if err != nil {
		return nil, err
	}
	defer clear(key)
	d.secretFacts = &secretFacts{hex.EncodeToString(key), hex.EncodeToString(s.Ticket())}
	return d, nil
}

// warnings says what is wrong with a session.
func warnings(s *reprise.Session, now time.Time) []string {
	list := []string{} // in JSON: never null
	warn := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if !s.Resumable() {
		warn("the session has neither id nor ticket: nothing can resume it")
	}
	if last, why, ok := lastSecond(s); ok && now.Unix() > last.Unix() {
		warn("the session ended %s, with %s", moment(last, now), why)
	}
	if s.Time().After(now) {
		warn("the session was made %s: a clock is wrong", moment(s.Time(), now))
	}
	d := s.Describe()
	if d.VerifyResult != 0 && len(d.Peer) > 0 {
		warn("the peer was not verified when the session was made: %d (%s)", d.VerifyResult, d.VerifyText)
	}
	peer, err := s.PeerCertificates()
	switch {
	case err != nil:
		warn("%v", err)
	case len(peer) > 0 && now.After(peer[0].NotAfter):
		warn("the peer's certificate expired %s", moment(peer[0].NotAfter, now))
	case len(peer) == 1 && s.HasTicket() && peer[0].Issuer.String() != peer[0].Subject.String():
		warn("of the peer's certificates only the first is in it: if an intermediate issued that, it verifies only with the intermediate at hand")
	}
	return list
}

// maxClientLifetime is how long clients offer a session at most (RFC 8446, section 4.6.1).
const maxClientLifetime = 7 * 24 * time.Hour

// lastSecond is the last second in which a client may offer the session and
// what ends it; ok is false if nothing does.
func lastSecond(s *reprise.Session) (last time.Time, why string, ok bool) {
	last, why, ok = s.Time().Add(maxClientLifetime), "the seven days that a client may offer it", s.HasTicket()
	earlier := func(t time.Time, cause string) {
		if !ok || !t.After(last) {
			last, why, ok = t, cause, true
		}
	}
	if hint := s.TicketLifetimeHint(); hint > 0 {
		earlier(s.Time().Add(hint), fmt.Sprintf("the server's lifetime hint of %v", hint))
	}
	if t, expires := s.ExpiresAt(); expires {
		earlier(t, fmt.Sprintf("its timeout of %v", s.Timeout()))
	}
	return last, why, ok
}

// moment is a time in words: on the clock, and from now.
func moment(t, now time.Time) string {
	at := t.Local().Format(time.DateTime)
	if d := t.Sub(now); d > 0 {
		return fmt.Sprintf("%s (in %s)", at, span(d))
	}
	return fmt.Sprintf("%s (%s ago)", at, span(now.Sub(t)))
}

// span is a duration without digits that nobody reads.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= time.Hour:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}

// print writes the facts as one screen of text.
func (d *shown) print(out *printer, now time.Time) {
	line := func(label, format string, args ...any) {
		out.printf("  %-14s %s\n", label, plain(fmt.Sprintf(format, args...)))
	}
	out.printf("%s\n", out.style(bold, "session "+d.Fingerprint))
	suite := d.CipherSuite
	if d.OpenSSLCipher != "" && d.OpenSSLCipher != suite {
		suite += " (" + d.OpenSSLCipher + ")"
	}
	line("version", "%s", d.Version)
	line("suite", "%s", suite)
	line("key exchange", "%s", orNone(d.KeyExchange))
	line("server name", "%s", orNone(d.Hostname))
	line("protocol", "%s", orNone(d.ALPN))
	d.printTimes(line, now)
	line("id", "%s", orNone(d.ID))
	line("id context", "%s", contextText(d.IDContext))
	line("ticket", "%s", d.ticket())
	line("early data", "%s", map[bool]string{true: "none", false: fmt.Sprintf("at most %d bytes", d.MaxEarlyData)}[d.MaxEarlyData == 0])
	if !strings.HasSuffix(d.Version, "1.3") {
		line("ext. master", "%s", map[bool]string{true: "yes", false: "no"}[d.ExtendedMasterSecret])
	}
	if d.AppDataBytes > 0 {
		line("application", "%d bytes of data", d.AppDataBytes)
	}
	line("verify result", "%d (%s)", d.VerifyResult, d.VerifyText)
	d.printPeer(line, now)
	key := "(hidden: --secrets shows it)"
	if d.secretFacts != nil {
		key = orNone(d.MasterKey)
	}
	line("master key", "%s", key)
}

func (d *shown) printTimes(line func(label, format string, args ...any), now time.Time) {
	at := func(t *time.Time) string {
		if t == nil {
			return "in a year that no calendar has"
		}
		return moment(*t, now)
	}
	line("made", "%s", at(d.Time))
	if d.NeverExpires {
		line("expires", "never")
	} else {
		line("expires", "%s", at(d.ExpiresAt))
	}
	if d.FirstAuthentication != nil {
		line("authenticated", "%s", at(d.FirstAuthentication))
	}
}

// maxPeers is how many certificates a screen has room for.
const maxPeers = 3

func (d *shown) printPeer(line func(label, format string, args ...any), now time.Time) {
	if len(d.Peer) == 0 {
		line("peer", "none")
	}
	for i, p := range d.Peer {
		label := map[bool]string{true: "peer", false: ""}[i == 0]
		switch {
		case i == maxPeers:
			line("", "and %d more", len(d.Peer)-i)
			return
		case p.Issuer == "":
			line(label, "%s", p.Subject)
		default:
			line(label, "%s, issued by %s", p.Subject, p.Issuer)
			line("", "until %s", moment(p.NotAfter, now))
		}
	}
}

func (d *shown) ticket() string {
	if d.TicketBytes == 0 {
		return "none"
	}
	hint := "no lifetime hint"
	if d.LifetimeHintSeconds > 0 {
		hint = fmt.Sprintf("lifetime hint %d s", d.LifetimeHintSeconds)
	}
	return fmt.Sprintf("%d bytes, %s", d.TicketBytes, hint)
}

// contextText is a session id context in hex and, where it is text, as text.
func contextText(id string) string {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) == 0 {
		return "none"
	}
	for _, b := range raw {
		if b < ' ' || b > '~' {
			return id
		}
	}
	return fmt.Sprintf("%s (%q)", id, raw)
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}
