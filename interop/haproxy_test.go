package interop_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// haproxyContext is HAProxy's session id context, whatever its configuration.
const haproxyContext = "haproxy"

// haproxy serves a resumed session without looking for the certificate that it
// requires of others.
var haproxy = &kindOfPeer{
	name:       "haproxy",
	formats:    []keyfile.Format{keyfile.FormatHAProxy48, keyfile.FormatHAProxy80},
	command:    haproxyCommand,
	verified:   "used:0",
	none:       "none:0",
	unverified: "verify=used:1",
	missing:    "resumed=yes verify=none:0",
}

func haproxyCommand(t testing.TB, p *peer, dir string, keys []string) *exec.Cmd {
	t.Helper()
	_, _, both := p.pem(t, dir)
	global, options := "", ""
	if !p.defaults {
		global = "  ssl-default-bind-ciphersuites " + goSuites + "\n"
	}
	if p.clients != noClientCertificates {
		verify := map[clientCertificates]string{optionalClientCertificates: "optional", requiredClientCertificates: "required"}[p.clients]
		options = fmt.Sprintf(" verify %s ca-file %s", verify, p.ca.file)
	}
	config := put(t, dir, "haproxy.cfg", fmt.Appendf(nil, `global
%s
defaults
  mode http
  timeout client 1m
  timeout connect 1m
  timeout server 1m
frontend a.test
  bind fd@3 ssl crt %s tls-ticket-keys %s ssl-min-ver TLSv1.2%s
  http-request return status 200 content-type text/plain lf-string "resumed=%%[ssl_fc_is_resumed,iif(yes,no)] verify=%%[ssl_c_used,iif(used,none)]:%%[ssl_c_verify]\n"
`, global, both, keys[0], options))
	return exec.Command(program(t, "haproxy"), "-db", "-f", config)
}

func TestHAProxySharesTickets(t *testing.T) {
	ca := newPKI(t)
	for _, format := range haproxy.formats {
		t.Run(format.String(), func(t *testing.T) {
			keys := newKeys(t, format)
			there := haproxy.start(t, peer{cert: ca.Leaf(t, "a.test")}, keys)
			if id := contextOf(t, ca, there, keys); string(id) != haproxyContext {
				t.Errorf("HAProxy's session id context is %q", id)
			}
			here := startOurs(t, serverConfig(ca.Leaf(t, "a.test")), keys, reprise.Config{ContextID: []byte(haproxyContext)})
			sharesSessions(t, ca, keys, there, here)
		})
	}
}

func TestHAProxyClientCertificates(t *testing.T) { clientCertificatesWith(t, haproxy) }

// TestHAProxyAndNginx: under the same keys they open each other's tickets, and
// resume none of them, because the session id context is not theirs. A server of
// ours takes both.
func TestHAProxyAndNginx(t *testing.T) {
	ca := newPKI(t)
	keys := must(t)(rotated(t, newKeys(t, keyfile.FormatNginx80)).Rotate(3))
	converted := must(t)(keys.Convert(keyfile.FormatHAProxy80))
	cert := ca.Leaf(t, "a.test")
	one := nginx.start(t, peer{cert: cert}, keys)
	two := haproxy.start(t, peer{cert: cert}, converted)
	digest, fixed := contextOf(t, ca, one, keys), contextOf(t, ca, two, keys)
	if bytes.Equal(digest, fixed) {
		t.Errorf("both have the session id context %x", digest)
	}
	narrow := startOurs(t, serverConfig(cert), keys, reprise.Config{ContextID: digest})
	wide := startOurs(t, serverConfig(cert), keys, reprise.Config{ContextID: digest, AcceptContextIDs: [][]byte{fixed}})
	for _, hosts := range [][2]host{{one, two}, {two, one}} {
		eachClient(t, ca, nil, func(t *testing.T, c client) {
			if _, second := passes(t, c, hosts[0], hosts[1]); second.resumed {
				t.Errorf("they resume each other's sessions: %s", second.page)
			}
		})
	}
	eachClient(t, ca, nil, func(t *testing.T, c client) {
		if _, second := passes(t, c, two, narrow); second.resumed || second.reason != reprise.OtherContext.String() {
			t.Errorf("want %v: %s", reprise.OtherContext, second.page)
		}
	})
	for _, from := range []host{one, two} {
		eachClient(t, ca, nil, func(t *testing.T, c client) {
			if _, second := passes(t, c, from, wide); !second.resumed {
				t.Errorf("where both contexts are accepted: %s", second.page)
			}
		})
	}
}
