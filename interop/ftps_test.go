package interop_test

import (
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jlaffaye/ftp"
	"github.com/reprise-tls/reprise/ftps"
)

const ftpPassword = "one two three"

// ftpServer is a server of files that demands that data connections resume.
type ftpServer struct {
	explicit, implicit net.TCPAddr
	user               string
	dir                string // what it serves
	// losesUploads: in TLS 1.3 it sends tickets into data connections, so that a
	// client that never reads from one resets it.
	losesUploads bool
}

// showLogs shows the files that match the pattern if the test fails.
func showLogs(t testing.TB, pattern string) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		names, _ := filepath.Glob(pattern)
		for _, name := range names {
			text, _ := os.ReadFile(name)
			t.Logf("%s:\n%s", filepath.Base(name), text)
		}
	})
}

// address returns where the server is.
func (s *ftpServer) address(implicit bool) string {
	if implicit {
		return s.implicit.String()
	}
	return s.explicit.String()
}

// dial logs in with one configuration for all connections, as the library has it.
func (s *ftpServer) dial(t testing.TB, config *tls.Config, implicit bool, options ...ftp.DialOption) *ftp.ServerConn {
	t.Helper()
	how := ftp.DialWithExplicitTLS(config)
	if implicit {
		how = ftp.DialWithTLS(config)
	}
	c, err := ftp.Dial(s.address(implicit), append(options, how, ftp.DialWithTimeout(patience))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Quit() })
	if err := c.Login(s.user, ftpPassword); err != nil {
		t.Fatal(err)
	}
	return c
}

// ways of giving a library a pin.
var pinnings = map[string]func(t testing.TB, s *ftpServer, pin *ftps.Pin, implicit bool) *ftp.ServerConn{
	"config": func(t testing.TB, s *ftpServer, pin *ftps.Pin, implicit bool) *ftp.ServerConn {
		return s.dial(t, pin.Config(), implicit)
	},
	"dial": func(t testing.TB, s *ftpServer, pin *ftps.Pin, implicit bool) *ftp.ServerConn {
		return s.dial(t, pin.Control(), implicit, ftp.DialWithDialFunc(func(network, address string) (net.Conn, error) {
			switch {
			case address != s.address(implicit):
				return pin.DialData(t.Context(), network, address)
			case implicit:
				return tls.Dial(network, address, pin.Control())
			}
			return net.Dial(network, address)
		}))
	},
}

// transfer stores, lists, retrieves and removes a file.
func transfer(c *ftp.ServerConn) error {
	name := rand.Text()
	content := strings.Repeat(name+"\n", 10_000)
	if err := c.Stor(name, strings.NewReader(content)); err != nil {
		return fmt.Errorf("STOR: %w", err)
	}
	if err := fetch(c, name, content); err != nil {
		return err
	}
	return c.Delete(name)
}

// unread is what a client can do that does not read from the connection of an
// upload, as the library does by itself.
func (s *ftpServer) unread(t testing.TB, version uint16) func(*ftp.ServerConn) error {
	if !s.losesUploads || version < tls.VersionTLS13 {
		return transfer
	}
	content := "content"
	put(t, s.dir, "there", []byte(content))
	return func(c *ftp.ServerConn) error { return fetch(c, "there", content) }
}

// fetch lists and retrieves a file.
func fetch(c *ftp.ServerConn, name, content string) error {
	entries, err := c.List("")
	if err != nil {
		return fmt.Errorf("LIST: %w", err)
	}
	if !slices.ContainsFunc(entries, func(e *ftp.Entry) bool { return e.Name == name }) {
		return fmt.Errorf("LIST: %s is not among %d entries", name, len(entries))
	}
	r, err := c.Retr(name)
	if err != nil {
		return fmt.Errorf("RETR: %w", err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return fmt.Errorf("RETR: %w", err)
	}
	if string(got) != content {
		return fmt.Errorf("RETR: %d bytes of %d, or others", len(got), len(content))
	}
	return nil
}

// replied reports whether the first reply among the errors is the one wanted.
func replied(err error, want textproto.Error) bool {
	var reply *textproto.Error
	return errors.As(err, &reply) && *reply == want
}

// ftpWays are the ways in which a client comes to a server.
func ftpWays(t *testing.T, ca pki, f func(t *testing.T, base *tls.Config, implicit bool)) {
	for _, version := range current {
		for _, implicit := range []bool{false, true} {
			for _, verify := range []bool{false, true} {
				base := &tls.Config{MinVersion: version, MaxVersion: version}
				if verify {
					base.RootCAs, base.ServerName = ca.Pool(), "a.test"
				} else {
					base.InsecureSkipVerify = true
				}
				name := fmt.Sprintf("%s/implicit=%t/verify=%t", tls.VersionName(version), implicit, verify)
				t.Run(name, func(t *testing.T) { f(t, base, implicit) })
			}
		}
	}
}

// pinned transfers files through an unmodified library, over two control
// connections at once, with a pin for each.
func pinned(t *testing.T, ca pki, s *ftpServer) {
	for how, open := range pinnings {
		t.Run(how, func(t *testing.T) {
			ftpWays(t, ca, func(t *testing.T, base *tls.Config, implicit bool) {
				work := transfer
				if how == "config" {
					work = s.unread(t, base.MinVersion)
				}
				var pins [2]*ftps.Pin
				var conns [2]*ftp.ServerConn
				for i := range pins {
					pins[i] = ftps.NewPin(base)
					conns[i] = open(t, s, pins[i], implicit)
				}
				for round := range 3 {
					for i, c := range conns {
						if err := errors.Join(work(c), pins[i].Err()); err != nil {
							t.Fatalf("round %d, control connection %d: %v", round, i, err)
						}
					}
				}
			})
		})
	}
}

// refusedWithoutPin shows what the same program meets with crypto/tls's own
// cache: without a name nothing resumes, and the server says so.
func refusedWithoutPin(t *testing.T, ca pki, s *ftpServer, refusal textproto.Error) {
	ftpWays(t, ca, func(t *testing.T, base *tls.Config, implicit bool) {
		base.ClientSessionCache = tls.NewLRUClientSessionCache(0)
		err := s.unread(t, base.MinVersion)(s.dial(t, base, implicit))
		switch {
		case base.ServerName != "" && err != nil:
			t.Errorf("one control connection, with a name: %v", err)
		case base.ServerName == "" && !replied(err, refusal):
			t.Errorf("want %v, not %v", &refusal, err)
		}
	})
}

// mixedWithoutPin shows what becomes of two control connections at once that
// share crypto/tls's own cache, with a name.
func mixedWithoutPin(t *testing.T, ca pki, s *ftpServer, refusal textproto.Error) {
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			base := &tls.Config{MinVersion: version, MaxVersion: version, RootCAs: ca.Pool(), ServerName: "a.test"}
			base.ClientSessionCache = tls.NewLRUClientSessionCache(0)
			one, two := s.dial(t, base, false), s.dial(t, base, false)
			_, err1 := one.List("")
			_, err2 := two.List("")
			if err := errors.Join(err1, err2); !replied(err, refusal) {
				t.Errorf("want %v, not %v", &refusal, err)
			}
		})
	}
}
