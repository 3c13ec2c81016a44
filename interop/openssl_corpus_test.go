package interop_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise/internal/oracle"
)

// The verbs show and convert against sess_id, on every kind of session that
// openssl makes.

const psk = "6f4c7a1e5d0b9382"

// kind is what a session may come from besides its version.
type kind struct {
	name           string
	server, client []string // options of s_server and of s_client
	oldest         uint16   // the first version that has it
	shows          string   // what show --json says of such a session
}

func (p pki) kinds(t *testing.T) []kind {
	client := identity(t, p.Intermediate(t, "intermediate").Leaf(t, "client.test"))
	named := identity(t, p.Leaf(t, "a.test"))
	return []kind{
		{name: "ticket", shows: `"ticket_bytes": [1-9]`},
		{name: "no ticket", server: []string{"-no_ticket"}, shows: `"id": "[0-9a-f]{64}"`},
		{name: "client certificate", server: []string{"-Verify", "2", "-CAfile", p.file}, client: client, shows: `"verify_result": 0`},
		// the name is kept where the server acknowledges it
		{name: "server name", server: []string{"-servername", "a.test", "-cert2", named[1], "-key2", named[3]}, shows: `"hostname": "a.test"`},
		{name: "protocol", server: []string{"-alpn", "h2,http/1.1"}, client: []string{"-alpn", "http/1.1"}, shows: `"alpn": "http/1.1"`},
		{name: "early data", server: []string{"-max_early_data", "16384"}, oldest: tls.VersionTLS13, shows: `"max_early_data": 16384`},
		{name: "early data without ticket", server: []string{"-max_early_data", "1", "-no_ticket"}, oldest: tls.VersionTLS13, shows: `"max_early_data": 1,`},
		{name: "fragments", client: []string{"-maxfraglen", "512"}},
		{name: "other group", client: []string{"-groups", "P-256"}, oldest: tls.VersionTLS13, shows: `"key_exchange": "CurveP256"`},
	}
}

// keyed are the options of sessions under a key that both sides know.
func keyed(version uint16) []string {
	options := []string{"-psk", psk, "-psk_identity", "anna"}
	if version < tls.VersionTLS13 {
		options = append(options, "-cipher", "PSK-AES128-CBC-SHA:@SECLEVEL=0")
	}
	return options
}

func TestCorpus(t *testing.T) {
	command := build(t)
	ca := newPKI(t)
	server := identity(t, ca.Intermediate(t, "intermediate").Leaf(t, "a.test"))
	for _, version := range versions {
		for _, kind := range ca.kinds(t) {
			if version < kind.oldest {
				continue
			}
			t.Run(tls.VersionName(version)+"/"+kind.name, func(t *testing.T) {
				srv := startSServer(t, args(server, opensslAt(version), kind.server)...)
				file := ca.made(t, srv, args(opensslAt(version), kind.client)...)
				sameAsSessID(t, command, file)
				if facts := run(t, "", command, "show", "--json", file); !regexp.MustCompile(kind.shows).MatchString(facts) {
					t.Errorf("the session shows no %s:\n%s", kind.shows, facts)
				}
			})
		}
		t.Run(tls.VersionName(version)+"/PSK", func(t *testing.T) {
			srv := startSServer(t, args(opensslAt(version), keyed(version), []string{"-nocert", "-psk_hint", "hint"})...)
			file := filepath.Join(t.TempDir(), "session.pem")
			run(t, request, program(t, "openssl"), args([]string{"s_client", "-connect", srv.addr, "-ign_eof", "-sess_out", file},
				opensslAt(version), keyed(version))...)
			sameAsSessID(t, command, file)
			shows := "PSK identity: anna\n"
			if version == tls.VersionTLS13 {
				shows = "Verify return code: 1 " // there the session does not keep the identity; nobody showed a certificate
			}
			if text := sessID(t, file, "-noout", "-text"); !strings.Contains(text, shows) {
				t.Errorf("the session is not under the key:\n%s", text)
			}
		})
	}
}

// TestCorpusOracle does the same with the sessions that the tests of the
// encoding are made of.
func TestCorpusOracle(t *testing.T) {
	command := build(t)
	for name, der := range oracle.RealSessions(t) {
		t.Run(name, func(t *testing.T) {
			file := write(t, "session.der", der)
			sameAsSessID(t, command, write(t, "session.pem", []byte(sessID(t, file, "-inform", "DER"))))
		})
	}
}

// sameAsSessID compares what the command makes of a PEM file with what sess_id does.
func sameAsSessID(t *testing.T, command, file string) {
	t.Helper()
	pem, der := sessID(t, file), sessID(t, file, "-outform", "DER")
	derFile := write(t, "session.der", []byte(der))
	for _, in := range []string{file, derFile} {
		if got := run(t, "", command, "convert", "--to", "pem", in); got != pem {
			t.Errorf("%s to PEM:\n%s\nsess_id:\n%s", filepath.Ext(in), got, pem)
		}
		if got := run(t, "", command, "convert", "--to", "der", in); got != der {
			t.Errorf("%s to DER:\n%x\nsess_id:\n%x", filepath.Ext(in), got, der)
		}
	}
	text := sessID(t, file, "-noout", "-text")
	if got := run(t, "", command, "show", "--openssl", "--secrets", derFile); got != text {
		t.Errorf("show:\n%s\nsess_id:\n%s", got, text)
	}
	key := regexp.MustCompile(`(Master-Key|Resumption PSK): ([0-9A-F]+)\n`).FindStringSubmatch(text)
	if key == nil {
		t.Fatalf("sess_id shows no key:\n%s", text)
	}
	hidden := strings.Replace(text, key[2], "(hidden)", 1)
	if got := run(t, "", command, "show", "--openssl", file); got != hidden {
		t.Errorf("show without secrets:\n%s\nwant:\n%s", got, hidden)
	}
	var facts struct {
		MasterKey string `json:"master_key"`
	}
	if err := json.Unmarshal([]byte(run(t, "", command, "convert", "--to", "json", file)), &facts); err != nil {
		t.Fatal(err)
	}
	if got := strings.ToUpper(facts.MasterKey); got != key[2] {
		t.Errorf("master_key %s, sess_id %s", got, key[2])
	}
	onInput := run(t, fmt.Sprintf("text before\n%s", pem), command, "convert", "--to", "der", "-")
	if onInput != der {
		t.Errorf("PEM on standard input to DER: %x\nsess_id: %x", onInput, der)
	}
}

// TestCorpusExplain: openssl keeps no intermediates and prefers SHA-384, the
// two reasons why its sessions do not resume from crypto/tls.
func TestCorpusExplain(t *testing.T) {
	command := build(t)
	ca := newPKI(t)
	server := identity(t, ca.Intermediate(t, "intermediate").Leaf(t, "a.test"))
	for _, test := range []struct {
		name           string
		server, client []string
		version        string
		resumes        bool
		says           string
	}{
		{"TLS 1.2", nil, []string{"-tls1_2"}, "1.2", true, "resumed, TLS 1.2"},
		{"TLS 1.3", nil, sha256, "1.3", true, "resumed, TLS 1.3"},
		{"SHA-384, the client's order", nil, nil, "1.3", false, "other suite"},
		{"SHA-384, the server's order", []string{"-serverpref"}, nil, "1.3", true, "resumed, TLS 1.3"},
	} {
		t.Run(test.name, func(t *testing.T) {
			srv := startSServer(t, args(server, test.server)...)
			file := ca.made(t, srv, test.client...)
			explain := []string{"explain", file, "--ca", ca.file, "--server-name", "a.test", "--tls", test.version}
			code, text := explained(t, command, explain...)
			if code != 1 || !strings.Contains(text, "needs intermediates") {
				t.Errorf("without the server: exit code %d\n%s", code, text)
			}
			code, text = explained(t, command, append(explain, srv.addr)...)
			if (code == 0) != test.resumes || !strings.Contains(text, test.says) {
				t.Errorf("with the server: exit code %d\n%s", code, text)
			}
		})
	}
}

// explained runs explain, which has an answer.
func explained(t *testing.T, command string, args ...string) (code int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	out, err := cmd.CombinedOutput()
	if code = cmd.ProcessState.ExitCode(); code != 0 && code != 1 {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
	return code, strings.Join(strings.Fields(string(out)), " ")
}
