package interop_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// nginx makes its session id context of its certificate and its CAs.
var nginx = &kindOfPeer{
	name:       "nginx",
	formats:    []keyfile.Format{keyfile.FormatNginx48, keyfile.FormatNginx80},
	command:    nginxCommand,
	verified:   "SUCCESS",
	none:       "NONE",
	unverified: "The SSL certificate error",
	missing:    "No required SSL certificate was sent",
}

func nginxCommand(t testing.TB, p *peer, dir string, keys []string) *exec.Cmd {
	t.Helper()
	directives := ""
	for _, path := range keys {
		directives += fmt.Sprintf("    ssl_session_ticket_key %s;\n", path)
	}
	if !p.defaults {
		directives += "    ssl_prefer_server_ciphers on;\n    ssl_conf_command Ciphersuites " + goSuites + ";\n"
	}
	if p.clients != noClientCertificates {
		verify := map[clientCertificates]string{optionalClientCertificates: "optional", requiredClientCertificates: "on"}[p.clients]
		directives += fmt.Sprintf("    ssl_verify_client %s;\n    ssl_client_certificate %s;\n", verify, p.ca.file)
	}
	return nginxWith(t, p, dir, "    ssl_protocols TLSv1.2 TLSv1.3;\n"+directives)
}

// nginxWith is nginx with directives for its server.
func nginxWith(t testing.TB, p *peer, dir, directives string) *exec.Cmd {
	t.Helper()
	cert, key, _ := p.pem(t, dir)
	temp := ""
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp += fmt.Sprintf("  %s_temp_path %s/%s;\n", name, dir, name)
	}
	config := put(t, dir, "nginx.conf", fmt.Appendf(nil, `daemon off;
worker_processes 1;
error_log stderr notice;
pid %[1]s/nginx.pid;
events {}
http {
  access_log off;
%[2]s  map $ssl_session_reused $resumed { r yes; default no; }
  server {
    listen %[3]s ssl;
    server_name a.test;
    ssl_certificate %[4]s;
    ssl_certificate_key %[5]s;
%[6]s    return 200 "resumed=$resumed verify=$ssl_client_verify\n";
  }
}
`, dir, temp, p.address(), cert, key, directives))
	cmd := exec.Command(program(t, "nginx"), "-p", dir, "-c", config)
	cmd.Env = append(os.Environ(), "NGINX=3;") // the sockets that it inherits
	return cmd
}

func TestNginxSharesTickets(t *testing.T) {
	ca := newPKI(t)
	for _, format := range nginx.formats {
		t.Run(format.String(), func(t *testing.T) {
			keys := newKeys(t, format)
			there := nginx.start(t, peer{cert: ca.Leaf(t, "a.test")}, keys)
			here := startOurs(t, serverConfig(ca.Leaf(t, "a.test")), keys, reprise.Config{ContextID: contextOf(t, ca, there, keys)})
			sharesSessions(t, ca, keys, there, here)
			if n := here.stats().NotResumed[reprise.UnknownKey]; n != uint64(len(current)*len(clients)) {
				t.Errorf("%d tickets under unknown keys, want one after each retirement", n)
			}
		})
	}
}

func TestNginxClientCertificates(t *testing.T) { clientCertificatesWith(t, nginx) }

// TestNginxSuite: where nginx is left to its defaults, TLS 1.3 sessions do not
// cross, because both choose a suite before they look at the session.
func TestNginxSuite(t *testing.T) {
	ca := newPKI(t)
	keys := newKeys(t, keyfile.FormatNginx80)
	there := nginx.start(t, peer{cert: ca.Leaf(t, "a.test"), defaults: true}, keys)
	here := startOurs(t, serverConfig(ca.Leaf(t, "a.test")), keys, reprise.Config{ContextID: contextOf(t, ca, there, keys)})
	c := newSClient(t, ca, tls.VersionTLS13, nil)
	if _, second := passes(t, c, there, here); second.resumed || second.reason != reprise.OtherSuite.String() {
		t.Errorf("here: want %v: %s", reprise.OtherSuite, second.page)
	}
	if n := here.stats().NotResumed[reprise.OtherSuite]; n != 1 {
		t.Errorf("counted %d times", n)
	}
	if back := c(t, there); back.resumed {
		t.Errorf("there: %s", back.page)
	}
	if _, second := passes(t, newSClient(t, ca, tls.VersionTLS12, nil), there, here); !second.resumed {
		t.Errorf("TLS 1.2, which has no such rule: %s", second.page)
	}
}

// TestNginxTwoCertificates: two nginx under the same keys take each other's
// sessions only with the same certificate, which is part of their session id
// context. A server of ours takes both.
func TestNginxTwoCertificates(t *testing.T) {
	ca := newPKI(t)
	keys := newKeys(t, keyfile.FormatNginx80)
	cert := ca.Leaf(t, "a.test")
	first := nginx.start(t, peer{cert: cert}, keys)
	same := nginx.start(t, peer{cert: cert}, keys)
	other := nginx.start(t, peer{cert: ca.Leaf(t, "a.test")}, keys)
	here := startOurs(t, serverConfig(cert), keys, reprise.Config{
		ContextID: contextOf(t, ca, first, keys), AcceptContextIDs: [][]byte{contextOf(t, ca, other, keys)},
	})
	if id := contextOf(t, ca, same, keys); !bytes.Equal(id, contextOf(t, ca, first, keys)) || bytes.Equal(id, contextOf(t, ca, other, keys)) {
		t.Error("the session id context is not a matter of the certificate")
	}
	eachClient(t, ca, nil, func(t *testing.T, c client) {
		if _, second := passes(t, c, first, same); !second.resumed {
			t.Errorf("same certificate: %s", second.page)
		}
		if third := c(t, other); third.resumed {
			t.Errorf("other certificate: %s", third.page)
		}
		if fourth := c(t, here); !fourth.resumed {
			t.Errorf("here: %s", fourth.page)
		}
	})
}
