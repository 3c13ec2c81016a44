package interop_test

import (
	"fmt"
	"net"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

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
	for _, implicit := range []bool{false, true} {
		where, options := &s.explicit, ""
		if implicit {
			where, options = &s.implicit, "TLSOptions UseImplicitSSL"
		}
		*where = freePort(t)
		name := fmt.Sprintf("implicit=%t", implicit)
		config := put(t, dir, name+".conf", fmt.Appendf(nil, `ServerType standalone
ServerName ProFTPD
DefaultServer on
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
`, where.Port, me.Username, group, filepath.Join(dir, name), users, certFile, keyFile, options))
		start(t, path, "-n", "-c", config).await(t, "standalone mode STARTUP")
		showLogs(t, filepath.Join(dir, name)+".*log")
	}
	return s
}

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

const proftpdRefuses = `425 "Unable to build data connection: Operation not permitted"`

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
