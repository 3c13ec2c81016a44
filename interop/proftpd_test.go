package interop_test

import (
	"fmt"
	"net"
	"net/textproto"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/internal/testpki"
)

// startProFTPD starts ProFTPD as it is by default, which demands that data
// connections resume.
func startProFTPD(t testing.TB, ca pki) *ftpServer {
	t.Helper()
	path := program(t, "proftpd")
	dir := t.TempDir()
	s := &ftpServer{user: "anna", dir: t.TempDir()}
	cert, key := testpki.PEM(t, ca.Leaf(t, "a.test", "127.0.0.1"))
	certFile, keyFile := put(t, dir, "cert.pem", cert), put(t, dir, "key.pem", key)
	me, group := whoami(t)
	hash := strings.TrimSpace(run(t, "", program(t, "openssl"), "passwd", "-6", ftpPassword))
	users := put(t, dir, "users", fmt.Appendf(nil, "%s:%s:%s:%s::%s:/bin/sh\n", s.user, hash, me.Uid, me.Gid, s.dir))
	for name, mode := range map[string]struct {
		where   *net.TCPAddr
		options string
	}{"explicit": {&s.explicit, ""}, "implicit": {&s.implicit, "TLSOptions UseImplicitSSL"}} {
		files := filepath.Join(dir, name)
		showLogs(t, files+".*log")
		for said := ""; !strings.HasSuffix(said, "STARTUP"); { // another program may take the port first
			*mode.where = freePort(t)
			config := put(t, dir, name+".conf", fmt.Appendf(nil, proftpdConfig,
				mode.where.Port, me.Username, group, files, users, certFile, keyFile, mode.options))
			said = start(t, path, "-n", "-c", config).await(t, "standalone mode STARTUP|Address already in use")[0]
		}
		untilServed(t, mode.where) // it says so before it listens
	}
	return s
}

const proftpdConfig = `ServerType standalone
ServerName ProFTPD
DefaultAddress 127.0.0.1
SocketBindTight on
Port %[1]d
User %[2]s
Group %[3]s
RootLogin on
RequireValidShell off
UseFtpUsers off
UseReverseDNS off
DelayEngine off
ControlsEngine off
WtmpLog off
PidFile %[4]s.pid
ScoreboardFile %[4]s.scoreboard
TransferLog none
SystemLog %[4]s.log
LoadModule mod_tls.c
AuthOrder mod_auth_file.c
AuthUserFile %[5]s
TLSEngine on
TLSRequired on
TLSProtocol TLSv1.2 TLSv1.3
TLSLog %[4]s.tlslog
TLSECCertificateFile %[6]s
TLSECCertificateKeyFile %[7]s
%[8]s
`

// freePort returns an address on loopback where nobody listens.
func freePort(t testing.TB) net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return *l.Addr().(*net.TCPAddr)
}

// untilServed waits for a server that is about to listen.
func untilServed(t testing.TB, address *net.TCPAddr) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; {
		c, err := net.DialTCP("tcp", nil, address)
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func whoami(t testing.TB) (me *user.User, group string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(me.Gid)
	if err != nil {
		t.Fatal(err)
	}
	return me, g.Name
}

var proftpdRefuses = textproto.Error{Code: 425, Msg: "Unable to build data connection: Operation not permitted"}

func TestProFTPDPinned(t *testing.T) {
	ca := newPKI(t)
	pinned(t, ca, startProFTPD(t, ca))
}

func TestProFTPDWithoutPin(t *testing.T) {
	ca := newPKI(t)
	refusedWithoutPin(t, ca, startProFTPD(t, ca), proftpdRefuses)
}

func TestProFTPDMixedWithoutPin(t *testing.T) {
	ca := newPKI(t)
	mixedWithoutPin(t, ca, startProFTPD(t, ca), proftpdRefuses)
}
