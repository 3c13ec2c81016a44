package main

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// TestChecks changes one thing about a session that resumes, or about its
// client, and expects one check to see it.
func TestChecks(t *testing.T) {
	stranger := testpki.New(t, "stranger")
	both := []string{"1.2", "1.3"}
	made := map[string]*chained{"1.2": newChained(t, "1.2"), "1.3": newChained(t, "1.3")}
	for _, test := range []struct {
		name     string
		versions []string
		change   func(o *offer)
		check    string
		want     status
		say      string
	}{
		{"suite of no one", both, func(o *offer) { o.s.SetCipherSuite(0x00a8) }, "suite", statusNo, "PSK-AES128-GCM-SHA256"},
		{"insecure suite", both, func(o *offer) { o.s.SetCipherSuite(tls.TLS_RSA_WITH_AES_128_CBC_SHA) }, "suite", statusNo, "insecure"},
		{"suite of TLS 1.3", both[:1], func(o *offer) { o.s.SetCipherSuite(tls.TLS_AES_128_GCM_SHA256) }, "suite", statusNo, "no suite of TLS 1.2"},
		{"suite of TLS 1.2", both[1:], func(o *offer) { o.s.SetCipherSuite(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) }, "suite", statusNo, "no suite of TLS 1.3"},
		{"old version", both, func(o *offer) {
			o.config.MinVersion, o.config.MaxVersion = 0, 0
			o.s.SetProtocolVersion(tls.VersionTLS11)
		}, "version", statusNo, "off by default"},
		{"other version", both[1:], func(o *offer) { o.config.MaxVersion = tls.VersionTLS12; o.config.MinVersion = tls.VersionTLS12 }, "version", statusNo, "allows TLS 1.2 only"},
		{"better version", both[:1], func(o *offer) { o.config.MinVersion, o.config.MaxVersion = 0, 0 }, "version", statusUnknown, "TLS 1.3"},
		{"timeout", both, func(o *offer) { o.now = o.now.Add(3 * time.Hour) }, "time", statusNo, "timeout of 2h0m0s"},
		{"hint", both[1:], func(o *offer) { o.s.SetTimeout(1e9 * time.Second); o.now = o.now.AddDate(0, 0, 8) }, "time", statusNo, "lifetime hint of 168h"},
		{"seven days", both[:1], func(o *offer) { o.s.SetTimeout(1e9 * time.Second); o.now = o.now.AddDate(0, 0, 8) }, "time", statusNo, "seven days"},
		{"slow clock", both, func(o *offer) { o.now = o.now.Add(-2 * time.Minute) }, "time", statusUnknown, "clock"},
		{"wrong clock", both, func(o *offer) { o.now = o.now.Add(-30 * time.Minute) }, "time", statusNo, "more than 5m"},
		{"no name", both, func(o *offer) { o.config.ServerName = "" }, "server name", statusUnknown, "--server-name"},
		{"no name", both, func(o *offer) { o.config.ServerName = "" }, "certificate", statusUnknown, "--server-name"},
		{"name in capitals", both, func(o *offer) { o.config.ServerName = "A.Test." }, "server name", statusOK, "a.test"},
		{"name with a Kelvin sign", both, func(o *offer) { o.s.SetHostname("k.test"); o.config.ServerName = "\u212a.test" }, "server name", statusNo, "made for k.test"},
		{"other name", both, func(o *offer) { o.config.ServerName = "b.test" }, "server name", statusNo, "made for a.test, not for b.test"},
		{"other name", both, func(o *offer) { o.config.ServerName = "b.test" }, "certificate", statusNo, "not b.test"},
		{"session without name", both, func(o *offer) { o.s.SetHostname("") }, "server name", statusUnknown, "may refuse"},
		{"address", both, func(o *offer) { o.s.SetHostname(""); o.config.ServerName = "127.0.0.1" }, "server name", statusOK, "address"},
		{"expired certificate", both, func(o *offer) { o.now = o.now.AddDate(0, 0, 2) }, "certificate", statusNo, "expired"},
		{"leaf only", both, func(o *offer) { o.s.SetIntermediates(nil) }, "chain", statusNo, "needs intermediates"},
		{"other root", both, func(o *offer) { o.config.RootCAs = stranger.Pool() }, "chain", statusNo, "issued by CN=root"},
		{"no verification", both, func(o *offer) { o.config.InsecureSkipVerify = true; o.s.SetIntermediates(nil) }, "chain", statusOK, "--insecure"},
		{"SHA-384", both[1:], func(o *offer) { o.s.SetCipherSuite(tls.TLS_AES_256_GCM_SHA384) }, "hash", statusUnknown, "no Go server"},
		{"nothing", both[1:], func(*offer) {}, "hash", statusOK, "SHA-256"},
		{"nothing", both[1:], func(*offer) {}, "single use", statusUnknown, "serves once"},
		{"nothing", both[:1], func(*offer) {}, "single use", statusOK, "until it expires"},
		{"nothing", both[:1], func(*offer) {}, "ext. master", statusOK, ""},
		{"nothing", both, func(*offer) {}, "chain", statusOK, "CN=root"},
		{"nothing", both, func(*offer) {}, "version", statusOK, ""},
	} {
		for _, version := range test.versions {
			t.Run(test.name+"/"+test.check+"/"+version, func(t *testing.T) {
				o := offerOf(t, made[version])
				test.change(o)
				expectCheck(t, o, test.check, test.want, test.say)
			})
		}
	}
}

// offerOf is a copy of c's session, and a client of its version.
func offerOf(t *testing.T, c *chained) *offer {
	s := c.session.Dup()
	t.Cleanup(s.Free)
	version := s.ProtocolVersion()
	return &offer{s, &tls.Config{RootCAs: c.root.Pool(), ServerName: "a.test", MinVersion: version, MaxVersion: version}, time.Now()}
}

func expectCheck(t *testing.T, o *offer, name string, want status, say string) {
	t.Helper()
	for _, c := range o.checks() {
		if c.Name == name {
			if c.Status != want || !strings.Contains(c.Detail, say) {
				t.Errorf("%s: %s, %q, want %s, %q", name, c.Status, c.Detail, want, say)
			}
			return
		}
	}
	t.Errorf("no check %q", name)
}

// TestChecksBare: sessions that lack what crypto/tls needs.
func TestChecksBare(t *testing.T) {
	config := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "a.test"}
	byID := &offer{exportable(t), config, time.Now()}
	expectCheck(t, byID, "ticket", statusNo, "session id and no ticket")
	expectCheck(t, byID, "certificate", statusNo, "the session has none")
	expectCheck(t, byID, "ext. master", statusUnknown, "made without")
	empty := reprise.NewSession()
	defer empty.Free()
	expectCheck(t, &offer{empty, config, time.Now()}, "ticket", statusNo, "neither ticket nor session id")
}
