package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/reprise-tls/reprise"
)

// status is what a check found.
type status string

const (
	statusOK      status = "ok"
	statusNo      status = "no"
	statusUnknown status = "unknown"
)

// check is one condition of a resumption.
type check struct {
	Name   string `json:"check"`
	Status status `json:"status"`
	Detail string `json:"detail"`
}

func yes(format string, args ...any) (status, string) {
	return statusOK, fmt.Sprintf(format, args...)
}

func no(format string, args ...any) (status, string) {
	return statusNo, fmt.Sprintf(format, args...)
}

func unknown(format string, args ...any) (status, string) {
	return statusUnknown, fmt.Sprintf(format, args...)
}

// offer is a session and the client that would offer it.
type offer struct {
	s      *reprise.Session
	config *tls.Config
	now    time.Time
}

// conditions are the checks of a session, in the order in which they are told.
var conditions = []struct {
	name string
	find func(*offer) (status, string)
}{
	{"ticket", (*offer).ticket},
	{"suite", (*offer).suite},
	{"version", (*offer).version},
	{"time", (*offer).time},
	{"server name", (*offer).name},
	{"certificate", (*offer).certificate},
	{"chain", (*offer).chain},
	{"hash", (*offer).hash},
	{"ext. master", (*offer).extendedMaster},
	{"single use", (*offer).singleUse},
}

// checks finds what speaks for and against a resumption. What does not concern
// the session's version is left out.
func (o *offer) checks() []check {
	var list []check
	for _, c := range conditions {
		if status, detail := c.find(o); status != "" {
			list = append(list, check{c.name, status, plain(detail)})
		}
	}
	return list
}

func (o *offer) tls13() bool { return o.s.ProtocolVersion() == tls.VersionTLS13 }

func (o *offer) ticket() (status, string) {
	switch {
	case o.s.HasTicket():
		return yes("%d bytes", len(o.s.Ticket()))
	case len(o.s.ID()) > 0:
		return no("a session id and no ticket: either a server's session, or one that crypto/tls cannot offer")
	}
	return no("neither ticket nor session id")
}

func (o *offer) suite() (status, string) {
	id, version := o.s.CipherSuite(), o.s.ProtocolVersion()
	offered := tls.CipherSuites() // those that need no leave
	named := func(c *tls.CipherSuite) bool { return c.ID == id }
	i := slices.IndexFunc(offered, named)
	switch {
	case i >= 0 && slices.Contains(offered[i].SupportedVersions, version):
		return yes("%s", offered[i].Name)
	case i >= 0:
		return no("%s is no suite of %s", offered[i].Name, tls.VersionName(version))
	case slices.ContainsFunc(tls.InsecureCipherSuites(), named):
		return no("%s is insecure: crypto/tls does not offer it by itself", tls.CipherSuiteName(id))
	}
	return no("crypto/tls has no %s", suiteText(o.s))
}

// suiteText is libssl's name of a suite that crypto/tls may not have.
func suiteText(s *reprise.Session) string {
	d := s.Describe()
	if d.OpenSSLCipher != "" {
		return d.OpenSSLCipher
	}
	return d.CipherSuite
}

func (o *offer) version() (status, string) {
	version := o.s.ProtocolVersion()
	name := tls.VersionName(version)
	switch low, high := o.config.MinVersion, o.config.MaxVersion; {
	case low == 0 && version < tls.VersionTLS12:
		return no("%s is off by default in crypto/tls (--tls turns it on)", name)
	case low != 0 && (version < low || version > high):
		return no("the session is of %s, --tls allows %s only", name, tls.VersionName(low))
	}
	if highest := cmp.Or(o.config.MaxVersion, tls.VersionTLS13); version < highest {
		return unknown("%s: a server that has %s chooses that (--tls forbids it)", name, tls.VersionName(highest))
	}
	return yes("%s", name)
}

func (o *offer) time() (status, string) {
	switch made := o.s.Time(); {
	case made.Sub(o.now) > reprise.DefaultClockSkew, o.s.FirstAuthentication().Sub(o.now) > reprise.DefaultClockSkew:
		return no("made %s: a clock is wrong by more than %v", moment(made, o.now), reprise.DefaultClockSkew)
	case made.Unix() > o.now.Unix():
		return unknown("made %s: a clock is wrong", moment(made, o.now))
	}
	last, why, ends := lastSecond(o.s)
	switch {
	case !ends:
		return yes("it never ends")
	case o.now.Unix() > last.Unix():
		return no("ended %s, with %s", moment(last, o.now), why)
	}
	return yes("good until %s, %s", moment(last, o.now), why)
}

// name compares with the name that the session was made for: a server that
// binds sessions to names, as libssl in TLS 1.3, takes it under no other.
func (o *offer) name() (status, string) {
	name, made := o.config.ServerName, o.s.Hostname()
	switch {
	case name == "":
		return unknown("the session has none (--server-name tells which to ask for)")
	case made == "" && net.ParseIP(name) != nil:
		return yes("none, as is right for an address")
	case made == "":
		return unknown("the session names none: a server that binds sessions to names may refuse it for %s", name)
	case sentName(made) != sentName(name):
		return no("the session was made for %s, not for %s", made, name)
	}
	return yes("%s", made)
}

// sentName is the name that crypto/tls sends, in the form in which reprise
// compares it: without dots at the end, ASCII letters in lower case, and every
// other byte as it is.
func sentName(name string) string {
	folded := []byte(strings.TrimRight(name, "."))
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return string(folded)
}

func (o *offer) certificate() (status, string) {
	leaf, err := o.s.PeerCertificate()
	switch {
	case err != nil:
		return no("%v", err)
	case leaf == nil:
		return no("the session has none (made with a PSK, or by a server): crypto/tls offers no such session")
	case o.now.After(leaf.NotAfter):
		return no("expired %s", moment(leaf.NotAfter, o.now))
	case o.config.InsecureSkipVerify:
		return yes("of %s, not compared with a name (--insecure)", leaf.Subject)
	case o.config.ServerName == "":
		return unknown("no name to compare with (--server-name)")
	}
	if err := leaf.VerifyHostname(o.config.ServerName); err != nil {
		return no("%v", err)
	}
	return yes("good for %s", o.config.ServerName)
}

// chain says whether the peer's certificates lead to a root. For that crypto/tls
// has only what the session holds.
func (o *offer) chain() (status, string) {
	chain, err := o.verify()
	var authority x509.UnknownAuthorityError
	switch {
	case errors.Is(err, errNoCertificate):
		return "", "" // said before
	case o.config.InsecureSkipVerify:
		return yes("not verified (--insecure)")
	case err == nil:
		return yes("leads to %s", chain[len(chain)-1].Subject)
	case errors.As(err, &authority):
		return no("%s", o.whyUnknown())
	}
	return no("%v", err)
}

var errNoCertificate = errors.New("no certificate")

func (o *offer) verify() ([]*x509.Certificate, error) {
	peer, err := o.s.PeerCertificates()
	if err != nil || len(peer) == 0 {
		return nil, errNoCertificate
	}
	opts := x509.VerifyOptions{Roots: o.config.RootCAs, Intermediates: x509.NewCertPool(), CurrentTime: o.now}
	for _, c := range peer[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := peer[0].Verify(opts)
	if err != nil {
		return nil, err
	}
	return chains[0], nil
}

// whyUnknown tells an authority that is not trusted from one that is not at hand.
func (o *offer) whyUnknown() string {
	peer, _ := o.s.PeerCertificates()
	last := peer[len(peer)-1]
	switch {
	case last.Issuer.String() == last.Subject.String():
		return fmt.Sprintf("%s, which signed itself, is no trusted root (--ca trusts it)", last.Subject)
	case len(peer) == 1:
		return fmt.Sprintf("needs intermediates, or another root: the session has one certificate only, and its issuer %s is no trusted root (--intermediates, --ca)", last.Issuer)
	}
	return fmt.Sprintf("its last certificate was issued by %s, which is no trusted root (--ca)", last.Issuer)
}

// needsIntermediates reports whether the chain may only lack what the server
// sends in a full handshake.
func (o *offer) needsIntermediates() bool {
	peer, _ := o.s.PeerCertificates()
	_, err := o.verify()
	var authority x509.UnknownAuthorityError
	return len(peer) == 1 && !o.config.InsecureSkipVerify && errors.As(err, &authority)
}

// hash is about TLS 1.3, where a session fits the suites of its hash only, and
// crypto/tls has its own order of suites.
func (o *offer) hash() (status, string) {
	switch {
	case !o.tls13():
		return "", ""
	case o.s.CipherSuite() == tls.TLS_AES_256_GCM_SHA384:
		return unknown("SHA-384: crypto/tls prefers suites with SHA-256, so only a server that goes by its own order resumes it, and no Go server")
	}
	return yes("SHA-256, as of the suites that crypto/tls prefers")
}

// extendedMaster is about the versions before TLS 1.3 (RFC 7627, section 5.3).
func (o *offer) extendedMaster() (status, string) {
	switch {
	case o.tls13():
		return "", ""
	case !o.s.ExtendedMasterSecret():
		return unknown("made without: a server that has it by now makes a full handshake")
	}
	return yes("made with it")
}

func (o *offer) singleUse() (status, string) {
	if o.tls13() {
		return unknown("a session of TLS 1.3 serves once, and a file does not tell whether it did (RFC 8446, appendix C.4)")
	}
	return yes("a session of %s serves until it expires", tls.VersionName(o.s.ProtocolVersion()))
}
