package interop_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ftps"
)

// TestFTPSDocumentClient runs the client of docs/ftps.md against both servers.
func TestFTPSDocumentClient(t *testing.T) {
	client := documented(t, "ftps.md", "ftpput")
	for name, start := range map[string]func(testing.TB, pki) *ftpServer{"vsftpd": startVsftpd, "ProFTPD": startProFTPD} {
		t.Run(name, func(t *testing.T) {
			ca := newPKI(t)
			s := start(t, ca)
			content := bytes.Repeat([]byte("content\n"), 1<<20)
			out := run(t, "", client, "-ca", ca.file, "-name", "a.test", s.explicit.String(), s.user, ftpPassword, write(t, "notes.txt", content))
			if !strings.Contains(out, fmt.Sprintf("%d notes.txt\n", len(content))) || !strings.HasSuffix(out, "the same again: true\n") {
				t.Errorf("it said %q", out)
			}
			if there := read(t, filepath.Join(s.dir, "notes.txt")); !bytes.Equal(there, content) {
				t.Errorf("the server has %d bytes of %d", len(there), len(content))
			}
		})
	}
}

// startFTPServe starts the server of docs/ftps.md.
func startFTPServe(t testing.TB, ca pki) *ftpServer {
	t.Helper()
	cert, key, _ := (&peer{cert: ca.Leaf(t, "a.test")}).pem(t, t.TempDir())
	s := &ftpServer{user: "anna", dir: t.TempDir(), losesUploads: true}
	at := start(t, documented(t, "ftps.md", "ftpserve"), "-address", "127.0.0.1:0", "-cert", cert, "-key", key, s.dir).
		await(t, `listening on 127\.0\.0\.1:(\d+)\n`)
	port, err := strconv.Atoi(at[1])
	if err != nil {
		t.Fatal(err)
	}
	s.explicit = net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}
	return s
}

// TestFTPSDocumentServerCurl: a server that demands resumption accepts curl in
// TLS 1.3. In TLS 1.2 curl switches tickets off and wants to resume by session
// id, which a server on crypto/tls cannot: it is refused, and told why.
func TestFTPSDocumentServerCurl(t *testing.T) {
	curl := program(t, "curl")
	ca := newPKI(t)
	s := startFTPServe(t, ca)
	content := bytes.Repeat([]byte("content\n"), 1<<18)
	upload := write(t, "upload", content)
	options := []string{"-sS", "--ssl-reqd", "--cacert", ca.file, "--resolve", fmt.Sprintf("a.test:%d:127.0.0.1", s.explicit.Port)}
	url := fmt.Sprintf("ftp://a.test:%d/", s.explicit.Port)
	t.Run("TLS 1.3", func(t *testing.T) {
		options := append(options, "--tlsv1.3")
		run(t, "", curl, append(options, "-T", upload, url)...)
		if there := read(t, filepath.Join(s.dir, "upload")); !bytes.Equal(there, content) {
			t.Errorf("curl stored %d bytes of %d", len(there), len(content))
		}
		// One control connection, three data connections.
		got := run(t, "", curl, append(options, url+"upload", url+"upload", url)...)
		if list, ok := strings.CutPrefix(got, string(content)+string(content)); !ok || !strings.HasSuffix(list, " upload\n") {
			t.Errorf("curl retrieved and listed %d bytes", len(got))
		}
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), curl, append(options, "-v", "--tlsv1.2", "--tls-max", "1.2", url)...)
		out, err := cmd.CombinedOutput()
		if want := "< 522 " + notResumed; err == nil || !bytes.Contains(out, []byte(want)) {
			t.Errorf("want %q, not %v:\n%s", want, err, out)
		}
	})
}

// notResumed is what the server says to clients that offer no session.
var notResumed = ftps.ErrNotResumed.Error() + ": " + reprise.NothingOffered.String()

// TestFTPSDocumentServerGo: Go programs with a pin are accepted, and those
// without a cache refused.
func TestFTPSDocumentServerGo(t *testing.T) {
	ca := newPKI(t)
	s := startFTPServe(t, ca)
	for _, version := range current {
		base := &tls.Config{MinVersion: version, MaxVersion: version, RootCAs: ca.Pool(), ServerName: "a.test"}
		for how, open := range pinnings {
			t.Run(tls.VersionName(version)+"/"+how, func(t *testing.T) {
				pin := ftps.NewPin(base)
				work := transfer
				if how == "config" {
					work = s.unread(t, version)
				}
				c := open(t, s, pin, false)
				for range 3 {
					if err := errors.Join(work(c), pin.Err()); err != nil {
						t.Fatal(err)
					}
				}
			})
		}
		t.Run(tls.VersionName(version)+"/without a cache", func(t *testing.T) {
			_, err := s.dial(t, base, false).List("")
			if want := (textproto.Error{Code: 522, Msg: notResumed}); !replied(err, want) {
				t.Errorf("want %v, not %v", &want, err)
			}
		})
	}
}

// TestFTPSDocumentServerOpenSSL: openssl s_client gets at a data connection with
// the session of its control connection, and not without.
func TestFTPSDocumentServerOpenSSL(t *testing.T) {
	ca := newPKI(t)
	s := startFTPServe(t, ca)
	const secret = "what nobody else may read"
	put(t, s.dir, "secret", []byte(secret))
	for version, flag := range map[uint16]string{tls.VersionTLS12: "-tls1_2", tls.VersionTLS13: "-tls1_3"} {
		for _, resume := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/resume=%t", tls.VersionName(version), resume), func(t *testing.T) {
				openssl := program(t, "openssl")
				options := []string{"s_client", "-CAfile", ca.file, "-servername", "a.test", "-quiet", flag}
				file := filepath.Join(t.TempDir(), "session.pem")
				cmd := exec.Command(openssl, append(options, "-starttls", "ftp", "-sess_out", file, "-connect", s.explicit.String())...)
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				control := launch(t, cmd)
				say := func(command, reply string) []string {
					if _, err := io.WriteString(stdin, command+"\r\n"); err != nil {
						t.Fatal(err)
					}
					return control.await(t, reply)
				}
				say("PBSZ 0", "200 fine")
				port := say("EPSV", `229 .*\|\|\|(\d+)\|`)[1]
				say("RETR secret", "150 ")
				data := append(options, "-connect", "127.0.0.1:"+port)
				if resume {
					data = append(data, "-sess_in", file)
				}
				out, _ := exec.CommandContext(t.Context(), openssl, data...).CombinedOutput() // however it ends
				if got := bytes.Contains(out, []byte(secret)); got != resume {
					t.Errorf("s_client got:\n%s", out)
				}
				if resume {
					control.await(t, "226 done")
				} else {
					control.await(t, "522 "+notResumed)
				}
			})
		}
	}
}
