package interop_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/reprise-tls/reprise/ftps"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// startVsftpd serves with vsftpd, which demands that data connections resume.
// As under inetd, each control connection has a process of its own, with ticket
// keys of its own.
func startVsftpd(t testing.TB, ca pki) *ftpServer { return vsftpdAt(t, ca, 0) }

// vsftpdAt is startVsftpd for a number of bytes a second, 0 for any.
func vsftpdAt(t testing.TB, ca pki, rate int) *ftpServer {
	t.Helper()
	path := program(t, "vsftpd")
	dir := t.TempDir()
	s := &ftpServer{user: "anonymous", dir: t.TempDir(), losesUploads: true}
	empty := t.TempDir()
	cert, key := testpki.PEM(t, ca.Leaf(t, "a.test", "127.0.0.1"))
	certFile, keyFile := put(t, dir, "cert.pem", cert), put(t, dir, "key.pem", key)
	showLogs(t, filepath.Join(dir, "*.log"))
	for implicit, where := range map[string]*net.TCPAddr{"NO": &s.explicit, "YES": &s.implicit} {
		config := put(t, dir, "implicit="+implicit+".conf",
			fmt.Appendf(nil, vsftpdConfig, empty, s.dir, implicit, certFile, keyFile, dir, rate))
		*where = inetd(t, path, config)
	}
	return s
}

const vsftpdConfig = `listen=NO
run_as_launching_user=YES
seccomp_sandbox=NO
secure_chroot_dir=%[1]s
anonymous_enable=YES
no_anon_password=YES
anon_root=%[2]s
anon_umask=022
anon_max_rate=%[7]d
anon_world_readable_only=NO
write_enable=YES
anon_upload_enable=YES
anon_other_write_enable=YES
ssl_enable=YES
implicit_ssl=%[3]s
allow_anon_ssl=YES
force_anon_logins_ssl=YES
force_anon_data_ssl=YES
require_ssl_reuse=YES
ssl_ciphers=HIGH
rsa_cert_file=%[4]s
rsa_private_key_file=%[5]s
debug_ssl=YES
log_ftp_protocol=YES
vsftpd_log_file=%[6]s/implicit=%[3]s.log
`

// inetd listens on loopback and starts a program for each connection.
func inetd(t testing.TB, path string, args ...string) net.TCPAddr {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			f, err := nc.(*net.TCPConn).File()
			nc.Close()
			if err != nil {
				t.Error(err)
				return
			}
			cmd := exec.CommandContext(t.Context(), path, args...) // which ends before cleanups run
			cmd.Stdin, cmd.Stdout = f, f
			err = cmd.Start()
			f.Close()
			if err != nil {
				t.Error(err)
				return
			}
			running.Go(func() { cmd.Wait() })
		}
	})
	return *l.Addr().(*net.TCPAddr)
}

var vsftpdRefuses = textproto.Error{Code: 522, Msg: "SSL connection failed: session reuse required"}

func TestVsftpdPinned(t *testing.T) {
	ca := newPKI(t)
	pinned(t, ca, startVsftpd(t, ca))
}

func TestVsftpdWithoutPin(t *testing.T) {
	ca := newPKI(t)
	refusedWithoutPin(t, ca, startVsftpd(t, ca), vsftpdRefuses)
}

func TestVsftpdMixedWithoutPin(t *testing.T) {
	ca := newPKI(t)
	mixedWithoutPin(t, ca, startVsftpd(t, ca), vsftpdRefuses)
}

// TestVsftpdLosesUploads shows why there is Pin.DialData: the library, which
// does not read from the connection of an upload, resets it in TLS 1.3 before
// the server has read it all.
func TestVsftpdLosesUploads(t *testing.T) {
	ca := newPKI(t)
	content := strings.Repeat("x", 2<<20)
	s := vsftpdAt(t, ca, len(content)/2)
	for how, open := range pinnings {
		t.Run(how, func(t *testing.T) {
			pin := ftps.NewPin(&tls.Config{MinVersion: tls.VersionTLS13, RootCAs: ca.Pool(), ServerName: "a.test"})
			err := open(t, s, pin, false).Stor(how, strings.NewReader(content))
			lost := textproto.Error{Code: 426, Msg: "Failure reading network stream."}
			if want := how == "config"; replied(err, lost) != want || !want && err != nil {
				t.Errorf("%v", err)
			}
		})
	}
}
