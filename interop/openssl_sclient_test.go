package interop_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/reprise-tls/reprise"
)

// s_client connects to servers of ours.

// visit is what a server of ours says of a connection.
type visit struct {
	resumed bool
	reason  reprise.Reason
	session *reprise.Session // the visit's; nil at the configuration level
	state   tls.ConnectionState
}

// site is a server of pages that reports each request.
type site struct {
	addr   string
	visits chan visit
}

// level is a way to put a Manager behind an http.Server: what it listens on
// and what it can say of a request.
type level struct {
	name   string
	listen func(*reprise.Manager, *http.Server, net.Listener) net.Listener
	look   func(*http.Request) visit
}

var levels = []level{
	{"configuration", func(m *reprise.Manager, srv *http.Server, l net.Listener) net.Listener {
		return tls.NewListener(l, m.ServerConfig(srv.TLSConfig))
	}, func(r *http.Request) visit {
		return visit{resumed: r.TLS.DidResume, state: *r.TLS}
	}},
	{"listener", func(m *reprise.Manager, srv *http.Server, l net.Listener) net.Listener {
		managed, err := m.NewListener(l, srv.TLSConfig)
		if err != nil {
			panic(err)
		}
		return managed
	}, func(r *http.Request) visit {
		c := r.Context().Value(connKey{}).(*tls.Conn)
		how, _ := reprise.ResumptionOf(c)
		return visit{how.Resumed, how.Reason, own(reprise.SessionOf(c)), *r.TLS}
	}},
	{"http", nil, func(r *http.Request) visit {
		how, _ := reprise.ResumptionFromContext(r.Context())
		return visit{how.Resumed, how.Reason, own(reprise.FromContext(r.Context())), *r.TLS}
	}},
	{"connection", func(m *reprise.Manager, srv *http.Server, l net.Listener) net.Listener {
		return connListener{l, m, srv.TLSConfig}
	}, func(r *http.Request) visit {
		c := r.Context().Value(connKey{}).(*reprise.Conn)
		resumed, reason := c.SessionReused()
		return visit{resumed, reason, c.AcquireSession(), c.ConnectionState()}
	}},
}

// onHTTP is the level that most servers use.
var onHTTP = levels[2]

// own keeps a session that was lent.
func own(s *reprise.Session) *reprise.Session {
	if s == nil || s.UpRef() != nil {
		return nil
	}
	return s
}

// connKey is the context key of the connection.
type connKey struct{}

// connListener gives connections of the highest level.
type connListener struct {
	net.Listener
	m      *reprise.Manager
	config *tls.Config
}

func (l connListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.m.Server(nc, l.config), nil
}

// open serves pages until the test ends.
func open(t testing.TB, m *reprise.Manager, config *tls.Config, at level) site {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := site{l.Addr().String(), make(chan visit, 16)}
	srv := &http.Server{
		TLSConfig:   config,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.visits <- at.look(r)
			io.WriteString(w, "page\n")
		}),
	}
	ended := make(chan error, 1)
	if at.listen == nil {
		go func() { ended <- m.ServeTLS(srv, l, "", "") }()
	} else {
		l = at.listen(m, srv, l)
		go func() { ended <- srv.Serve(l) }()
	}
	t.Cleanup(func() { srv.Close(); <-ended })
	return s
}

// meet is one s_client visiting a site, and both opinions of it.
func (p pki) meet(t testing.TB, s site, options ...string) (said, visit) {
	t.Helper()
	client := p.sClient(t, s.addr, options...)
	server := <-s.visits // the page was sent after it
	if client.reused(t) != server.resumed {
		t.Errorf("s_client says reused %v, the server %v", client.reused(t), server.resumed)
	}
	if server.session != nil {
		t.Cleanup(server.session.Free)
	}
	return client, server
}

func TestSClientResumes(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test"))
	for _, level := range levels {
		for _, version := range versions {
			for _, noTickets := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/NoTickets=%v", level.name, tls.VersionName(version), noTickets), func(t *testing.T) {
					m := manager(t, reprise.Config{NoTickets: noTickets})
					s := open(t, m, config, level)
					resumes(t, ca, s, version)
					if got := m.Stats(); got.Hits != 1 || got.NotResumed[reprise.NothingOffered] != 1 {
						t.Errorf("Stats: %d hits, not resumed %v", got.Hits, got.NotResumed)
					}
				})
			}
		}
	}
}

// resumes visits s twice and expects the second to resume the first's session.
func resumes(t *testing.T, ca pki, s site, version uint16, options ...string) (first, second visit) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "session.pem")
	options = args(opensslAt(version), options)
	_, first = ca.meet(t, s, args(options, []string{"-sess_out", file})...)
	if first.resumed {
		t.Fatal("the first connection resumed")
	}
	if first.state.Version != version {
		t.Fatalf("negotiated %s", tls.VersionName(first.state.Version))
	}
	client := load(t, file)
	defer client.Free()
	if first.session != nil {
		if first.reason != reprise.NothingOffered {
			t.Errorf("first connection: %v", first.reason)
		}
		if !bytes.Equal(masterKey(t, first.session), masterKey(t, client)) {
			t.Error("the client's session has another secret than the server's")
		}
	}
	_, second = ca.meet(t, s, args(options, []string{"-sess_in", file})...)
	if !second.resumed {
		t.Fatalf("not resumed: %v", second.reason)
	}
	if second.session != nil && second.session.Hostname() != "a.test" {
		t.Errorf("the resumed session is for %q", second.session.Hostname())
	}
	return first, second
}

func TestSClientRSA(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.LeafRSA(t, "a.test"))
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			resumes(t, ca, open(t, manager(t, reprise.Config{}), config, onHTTP), version)
		})
	}
}

func TestSClientCertificate(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test"))
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	leaf := ca.LeafRSA(t, "client.test")
	client := identity(t, leaf)
	for _, version := range versions {
		for _, noTickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/NoTickets=%v", tls.VersionName(version), noTickets), func(t *testing.T) {
				s := open(t, manager(t, reprise.Config{NoTickets: noTickets}), config, onHTTP)
				first, second := resumes(t, ca, s, version, client...)
				for which, v := range map[string]visit{"first": first, "second": second} {
					if r := v.session.VerifyResult(); r != 0 {
						t.Errorf("%s connection: verify result %d", which, r)
					}
					peer, err := v.session.PeerCertificate()
					if err != nil || peer == nil || !peer.Equal(leaf.Leaf) {
						t.Errorf("%s connection: the session's peer is %v, %v", which, peer, err)
					}
					if len(v.state.VerifiedChains) == 0 {
						t.Errorf("%s connection: no verified chain", which)
					}
				}
			})
		}
	}
}

func TestSClientHelloRetryRequest(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test"))
	config.CurvePreferences = []tls.CurveID{tls.CurveP384}
	for _, noTickets := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoTickets=%v", noTickets), func(t *testing.T) {
			s := open(t, manager(t, reprise.Config{NoTickets: noTickets}), config, onHTTP)
			file := filepath.Join(t.TempDir(), "session.pem")
			for i, option := range []string{"-sess_out", "-sess_in"} {
				client, server := ca.meet(t, s, "-tls1_3", "-groups", "X25519:P-384", "-msg", option, file)
				if server.resumed != (i == 1) {
					t.Errorf("connection %d: resumed %v, %v", i, server.resumed, server.reason)
				}
				if n := hellos(string(client)); n != 2 {
					t.Errorf("connection %d: %d ClientHellos: the server did not ask for another group", i, n)
				}
				if id := server.session.CurveID(); id != tls.CurveP384 {
					t.Errorf("connection %d: the session's group is %v", i, id)
				}
			}
		})
	}
}

func TestSClientALPN(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test"))
	for _, version := range current {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			s := open(t, manager(t, reprise.Config{}), config, onHTTP)
			first, second := resumes(t, ca, s, version, "-alpn", "x/1,http/1.1")
			for which, v := range map[string]visit{"first": first, "second": second} {
				if p := v.session.ALPN(); p != "http/1.1" {
					t.Errorf("%s connection: the session's protocol is %q", which, p)
				}
				if p := v.state.NegotiatedProtocol; p != "http/1.1" {
					t.Errorf("%s connection: negotiated %q", which, p)
				}
			}
		})
	}
}

// TestSClientOtherName: a session is for the name that it was made for, even
// where the same certificate serves both.
func TestSClientOtherName(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test", "b.test"))
	for _, version := range current {
		for _, noTickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/NoTickets=%v", tls.VersionName(version), noTickets), func(t *testing.T) {
				s := open(t, manager(t, reprise.Config{NoTickets: noTickets}), config, onHTTP)
				file := filepath.Join(t.TempDir(), "session.pem")
				options := opensslAt(version)
				ca.meet(t, s, args(options, []string{"-sess_out", file})...)
				_, other := ca.meet(t, s, args(options, []string{"-sess_in", file, "-servername", "b.test"})...)
				if other.resumed || other.reason != reprise.OtherName {
					t.Errorf("resumed %v, %v; want %v", other.resumed, other.reason, reprise.OtherName)
				}
			})
		}
	}
}

// TestSClientOtherSuite: a TLS 1.3 session is good for one hash, and crypto/tls
// chooses a suite before it looks at the session.
func TestSClientOtherSuite(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test"))
	for _, noTickets := range []bool{false, true} {
		t.Run(fmt.Sprintf("NoTickets=%v", noTickets), func(t *testing.T) {
			s := open(t, manager(t, reprise.Config{NoTickets: noTickets}), config, onHTTP)
			file := filepath.Join(t.TempDir(), "session.pem")
			ca.meet(t, s, "-tls1_3", "-ciphersuites", "TLS_AES_256_GCM_SHA384", "-sess_out", file)
			_, other := ca.meet(t, s, "-tls1_3", "-sess_in", file)
			if other.resumed || other.reason != reprise.OtherSuite {
				t.Errorf("resumed %v, %v; want %v", other.resumed, other.reason, reprise.OtherSuite)
			}
		})
	}
}

// TestSClientReconnect: a TLS 1.2 session made without tickets has nothing that
// a server on crypto/tls could find it by. s_client keeps no such session, but
// would offer it when it connects again by itself.
func TestSClientReconnect(t *testing.T) {
	ca := newPKI(t)
	config := serverConfig(ca.Leaf(t, "a.test"))
	for _, tickets := range []bool{false, true} {
		for _, noTickets := range []bool{false, true} {
			t.Run(fmt.Sprintf("tickets=%v/NoTickets=%v", tickets, noTickets), func(t *testing.T) {
				s := open(t, manager(t, reprise.Config{NoTickets: noTickets}), config, onHTTP)
				options, verdicts, reason := []string{"-tls1_2", "-reconnect"}, "NRRRRR", reprise.Resumed
				if !tickets {
					options, verdicts, reason = append(options, "-no_ticket"), "NNNNNN", reprise.NothingOffered
				}
				client := ca.sClient(t, s.addr, options...)
				got := ""
				for _, m := range verdict.FindAllString(string(client), -1) {
					got += m[:1]
				}
				if got != verdicts {
					t.Errorf("New or Reused: %s, want %s", got, verdicts)
				}
				last := <-s.visits // the only one that asks for a page
				defer last.session.Free()
				if last.reason != reason {
					t.Errorf("last connection: %v, want %v", last.reason, reason)
				}
				if !tickets && last.session.Resumable() {
					t.Errorf("%v has an id or a ticket", last.session)
				}
			})
		}
	}
}
