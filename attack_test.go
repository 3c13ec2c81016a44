package reprise_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/appdata"
	"github.com/reprise-tls/reprise/internal/asn1sess"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/ticket"
)

// eachForm runs f for TLS 1.2 and 1.3, and for the two things that a client
// may hold of a session.
func eachForm(t *testing.T, f func(t *testing.T, version uint16, noTickets bool)) {
	for _, version := range versions[2:] {
		for _, noTickets := range []bool{false, true} {
			form := map[bool]string{false: "ticket", true: "handle"}[noTickets]
			t.Run(tls.VersionName(version)+"/"+form, func(t *testing.T) { f(t, version, noTickets) })
		}
	}
}

// session makes a session by a full handshake, for the caller to free.
func (r *rig) session(sm, cm *reprise.Manager, sc, cc *tls.Config) *reprise.Session {
	r.t.Helper()
	c, s := r.connect(sm, cm, sc, cc, nil)
	defer c.Close()
	defer s.Close()
	return wait(r.t, c)
}

// offer offers session and returns how the server says that it ended.
func (r *rig) offer(sm, cm *reprise.Manager, sc, cc *tls.Config, session *reprise.Session) (bool, reprise.Reason) {
	r.t.Helper()
	c, s := r.connect(sm, cm, sc, cc, session)
	defer c.Close()
	defer s.Close()
	if c.ConnectionState().DidResume != s.ConnectionState().DidResume {
		r.t.Error("only one side resumed")
	}
	return s.SessionReused()
}

// events counts what a Manager announces.
type events struct{ news, removals atomic.Int64 }

func (e *events) watch(c reprise.Config) reprise.Config {
	c.OnNew = func(*reprise.Session) { e.news.Add(1) }
	c.OnRemove = func(*reprise.Session, reprise.Cause) { e.removals.Add(1) }
	return c
}

// clientPolicy is what a server asks of clients.
type clientPolicy struct {
	auth tls.ClientAuthType
	ca   *testpki.Authority
	cert tls.Certificate // of a client that meets it
}

func (p clientPolicy) String() string { return fmt.Sprintf("%v of %p", p.auth, p.ca) }

func clientPolicies(t testing.TB) []clientPolicy {
	policies := []clientPolicy{{auth: tls.NoClientCert}}
	for _, ca := range []*testpki.Authority{
		testpki.New(t, "clients"), testpki.New(t, "other clients"), testpki.New(t, "clients"), // the last: same subject, another key
	} {
		cert := ca.Leaf(t, "client")
		for auth := tls.RequestClientCert; auth <= tls.RequireAndVerifyClientCert; auth++ {
			policies = append(policies, clientPolicy{auth, ca, cert})
		}
	}
	return policies
}

// server returns base under the policy.
func (p clientPolicy) server(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.ClientAuth = p.auth
	if p.ca != nil {
		c.ClientCAs = p.ca.Pool()
	}
	return c
}

// client returns base with the certificate for the policy, whatever the
// server says that it takes.
func (p clientPolicy) client(base *tls.Config) *tls.Config {
	c := base.Clone()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &p.cert, nil }
	return c
}

// TestAttackOtherPolicy takes a session of each client-certificate policy to
// each other one: STEK confusion, CVE-2025-23419, CVE-2025-68121.
func TestAttackOtherPolicy(t *testing.T) {
	t.Parallel()
	policies := clientPolicies(t)
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		for _, hook := range []bool{false, true} {
			t.Run(map[bool]string{false: "one Manager", true: "GetConfigForClient"}[hook], func(t *testing.T) {
				r := newRig(t)
				sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
				configOf := func(p clientPolicy) *tls.Config {
					own := p.server(at(version, r.server))
					if !hook {
						return own
					}
					return &tls.Config{
						MinVersion: version, MaxVersion: version,
						GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return own, nil },
					}
				}
				cc := at(version, r.client)
				for i, from := range policies {
					session := r.session(sm, cm, configOf(from), from.client(cc))
					for j, to := range policies {
						reused, why := r.offer(sm, cm, configOf(to), to.client(cc), session)
						if reused != (i == j) || !reused && why != reprise.OtherPolicy {
							t.Errorf("from %v to %v: resumed %v, %q", from, to, reused, why)
						}
					}
					session.Free()
				}
			})
		}
	})
}

// TestAttackOtherNameOrContext takes a session of each name and context to
// each other one, with and without client certificates.
func TestAttackOtherNameOrContext(t *testing.T) {
	t.Parallel()
	type place struct{ name, context string }
	var places []place
	for _, name := range []string{"a.test", "b.test", ""} {
		for _, context := range []string{"x", "y"} {
			places = append(places, place{name, context})
		}
	}
	policies := clientPolicies(t)
	for _, policy := range []clientPolicy{policies[0], policies[4]} {
		t.Run(policy.auth.String(), func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				r := newRig(t)
				key := ticket.NewAEAD()
				managers := make(map[string]*reprise.Manager)
				for _, context := range []string{"x", "y"} {
					managers[context] = manager(t, reprise.Config{
						NoTickets: noTickets, Tickets: key, ContextID: []byte(context),
					})
				}
				cm := manager(t, reprise.Config{})
				sc, cc := policy.server(at(version, r.server)), policy.client(at(version, r.client))
				cc.InsecureSkipVerify = true // the server's checks are the ones at stake
				for _, from := range places {
					cc := cc.Clone()
					cc.ServerName = from.name
					session := r.session(managers[from.context], cm, sc, cc)
					for _, to := range places {
						cc.ServerName = to.name
						session.SetHostname(to.name)
						if reused, why := r.offer(managers[to.context], cm, sc, cc, session); reused != (from == to) {
							t.Errorf("from %v to %v: resumed %v, %q", from, to, reused, why)
						}
					}
					session.Free()
				}
			})
		})
	}
}

// TestAttackMutualTLSByName: two names behind one GetConfigForClient, client
// certificates asked for by one, the other or both under different CAs.
// A session of one never passes for authentication at the other
// (CVE-2025-23419, CVE-2025-23048, GHSA-gv8r-9rw9-9697).
func TestAttackMutualTLSByName(t *testing.T) {
	none := clientPolicies(t)[0]
	a, b := testpki.New(t, "clients of a"), testpki.New(t, "clients of b")
	onA := clientPolicy{tls.RequireAndVerifyClientCert, a, a.Leaf(t, "client")}
	onB := clientPolicy{tls.RequireAndVerifyClientCert, b, b.Leaf(t, "client")}
	for setup, policies := range map[string]map[string]clientPolicy{
		"on a only": {"a.test": onA, "b.test": none},
		"on b only": {"a.test": none, "b.test": onB},
		"on both":   {"a.test": onA, "b.test": onB},
	} {
		t.Run(setup, func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				r := newRig(t)
				sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
				sc := at(version, r.server)
				inner := sc.Clone()
				sc.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
					return policies[hello.ServerName].server(inner), nil
				}
				for _, way := range [][2]string{{"a.test", "a.test"}, {"a.test", "b.test"}, {"b.test", "a.test"}} {
					cc := policies[way[0]].client(at(version, r.client))
					cc.ServerName = way[0]
					session := r.session(sm, cm, sc, cc)
					cc = policies[way[1]].client(at(version, r.client))
					cc.ServerName = way[1]
					session.SetHostname(way[1])
					if reused, why := r.offer(sm, cm, sc, cc, session); reused != (way[0] == way[1]) {
						t.Errorf("%v: resumed %v, %q", way, reused, why)
					}
					session.Free()
				}
			})
		})
	}
}

// TestAttackClonedConfig: a clone whose CAs changed shares nothing with its
// original (CVE-2025-68121).
func TestAttackClonedConfig(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		one, two := testpki.New(t, "clients"), testpki.New(t, "clients")
		sc := at(version, r.server)
		sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, one.Pool()
		clone := sc.Clone()
		clone.ClientCAs = two.Pool()
		clone.ClientCAs.AddCert(one.Cert) // a full handshake of the same client succeeds
		cc := at(version, r.client)
		cc.Certificates = []tls.Certificate{one.Leaf(t, "client")}
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		if reused, why := r.offer(sm, cm, clone, cc, session); reused || why != reprise.OtherPolicy {
			t.Errorf("clone: resumed %v, %q", reused, why)
		}
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
			t.Errorf("original: %q", why)
		}
	})
}

// recorder keeps what a client writes, as anybody on the path could.
type recorder struct {
	net.Conn
	mu   sync.Mutex
	sent []byte
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.sent = append(r.sent, b...)
	r.mu.Unlock()
	return r.Conn.Write(b)
}

// hello returns the record with the ClientHello.
func (r *recorder) hello() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.sent[:5+int(binary.BigEndian.Uint16(r.sent[3:]))])
}

// The extensions of a ClientHello that these tests look at (IANA).
const (
	extensionEMS    = 23
	extensionTicket = 35
	extensionPSK    = 41
)

// extension returns where an extension's header begins in a recorded
// ClientHello, and its body; -1 if it has none.
func extension(hello []byte, id uint16) (start int, body []byte) {
	i := 5 + 4 + 2 + 32 // record, handshake, version, random
	i += 1 + int(hello[i])
	i += 2 + int(binary.BigEndian.Uint16(hello[i:]))
	i += 1 + int(hello[i])
	for i += 2; i < len(hello); {
		end := i + 4 + int(binary.BigEndian.Uint16(hello[i+2:]))
		if binary.BigEndian.Uint16(hello[i:]) == id {
			return i, hello[i+4 : end]
		}
		i = end
	}
	return -1, nil
}

// identity returns what a recorded ClientHello offers, nil if nothing.
func identity(hello []byte) []byte {
	if _, psk := extension(hello, extensionPSK); psk != nil {
		return psk[4 : 4+int(binary.BigEndian.Uint16(psk[2:]))]
	}
	if _, t := extension(hello, extensionTicket); len(t) > 0 {
		return t
	}
	return nil
}

// sniff offers session (nil: none) over a recorded connection and returns the ClientHello.
func (r *rig) sniff(sm, cm *reprise.Manager, sc, cc *tls.Config, session *reprise.Session) []byte {
	r.t.Helper()
	nc, ns := pipe(r.t)
	rec := &recorder{Conn: nc}
	c, s := cm.Client(rec, cc), sm.Server(ns, sc)
	defer s.Close()
	defer c.Close()
	if err := c.SetSession(session); err != nil {
		r.t.Fatal(err)
	}
	talk(r.t, c, s)
	if reused, _ := s.SessionReused(); reused != (session != nil) {
		r.t.Fatalf("sniffed handshake: resumed %v", reused)
	}
	return rec.hello()
}

// levels are the ways to serve a connection; each returns how its handshake ended.
var levels = map[string]func(m *reprise.Manager, nc net.Conn, config *tls.Config) error{
	"connection": func(m *reprise.Manager, nc net.Conn, config *tls.Config) error {
		c := m.Server(nc, config)
		defer c.Free()
		return c.Handshake()
	},
	"listener": func(m *reprise.Manager, nc net.Conn, config *tls.Config) error {
		c, err := m.Accept(context.Background(), nc, config)
		if err != nil {
			return err
		}
		return c.Close()
	},
	"configuration": func(m *reprise.Manager, nc net.Conn, config *tls.Config) error {
		c := tls.Server(nc, m.ServerConfig(config))
		defer c.Close()
		return c.Handshake()
	},
}

// replay sends flights as a client would, waiting for an answer before each
// but the first, then ends, and returns how the server's handshake ended.
func replay(t testing.TB, serve func(net.Conn) error, flights ...[]byte) error {
	t.Helper()
	nc, ns := pipe(t)
	defer nc.Close()
	ended := make(chan error, 1)
	go func() { ended <- serve(ns) }()
	buf := make([]byte, 1)
	for i, flight := range flights {
		if i > 0 {
			if _, err := nc.Read(buf); err != nil {
				t.Fatalf("no answer: %v, server: %v", err, <-ended)
			}
		}
		if _, err := nc.Write(flight); err != nil {
			t.Fatal(err)
		}
	}
	nc.(*net.TCPConn).CloseWrite()
	io.Copy(io.Discard, nc)
	return <-ended
}

// TestAttackReplay: identities and tickets travel in clear. Whoever replays one
// without the secret fails, at every level, and the victim does not notice:
// nothing leaves the cache, nothing is announced, the session still resumes.
func TestAttackReplay(t *testing.T) {
	changeCipherSpec := []byte{20, 3, 3, 0, 1, 1}
	garbage := append([]byte{22, 3, 3, 0, 40}, make([]byte, 40)...)
	rand.Read(garbage[5:])
	attacks := []struct {
		name    string
		version uint16
		flights func(hello []byte) [][]byte
	}{
		{"wrong binder", tls.VersionTLS13, func(hello []byte) [][]byte {
			hello[len(hello)-1] ^= 1
			return [][]byte{hello}
		}},
		{"binder of another hello", tls.VersionTLS13, func(hello []byte) [][]byte {
			hello[5+4+2] ^= 1 // the client random
			return [][]byte{hello}
		}},
		{"never finished", tls.VersionTLS13, func(hello []byte) [][]byte { return [][]byte{hello} }},
		{"never finished", tls.VersionTLS12, func(hello []byte) [][]byte { return [][]byte{hello} }},
		{"garbage Finished", tls.VersionTLS13, func(hello []byte) [][]byte {
			return [][]byte{hello, append(slices.Clone(changeCipherSpec), garbage...)}
		}},
		{"garbage Finished", tls.VersionTLS12, func(hello []byte) [][]byte {
			return [][]byte{hello, append(slices.Clone(changeCipherSpec), garbage...)}
		}},
		{"fatal alert", tls.VersionTLS12, func(hello []byte) [][]byte {
			return [][]byte{hello, {21, 3, 3, 0, 2, 2, 40}}
		}},
		{"no extended master secret", tls.VersionTLS12, func(hello []byte) [][]byte {
			i, _ := extension(hello, extensionEMS)
			hello[i] = 0xfa // an extension that nobody knows
			return [][]byte{hello}
		}},
	}
	for _, attack := range attacks {
		for _, noTickets := range []bool{false, true} {
			for level, serve := range levels {
				name := fmt.Sprintf("%s/%s/noTickets=%v/%s", attack.name, tls.VersionName(attack.version), noTickets, level)
				t.Run(name, func(t *testing.T) {
					r, seen := newRig(t), new(events)
					sm, cm := manager(t, seen.watch(reprise.Config{NoTickets: noTickets})), manager(t, reprise.Config{})
					sc, cc := at(attack.version, r.server), at(attack.version, r.client)
					session := r.session(sm, cm, sc, cc)
					defer session.Free()
					hello := r.sniff(sm, cm, sc, cc, session)
					if !bytes.Equal(identity(hello), session.Ticket()) {
						t.Fatal("sniffed something else")
					}
					news, number := seen.news.Load(), sm.Len()
					for range 5 {
						flights := attack.flights(slices.Clone(hello))
						err := replay(t, func(nc net.Conn) error { return serve(sm, nc, sc) }, flights...)
						if err == nil {
							t.Fatal("the attacker's handshake succeeded")
						}
					}
					if seen.news.Load() != news || seen.removals.Load() != 0 || sm.Len() != number {
						t.Errorf("%d new, %d removed, %d cached before, %d after",
							seen.news.Load()-news, seen.removals.Load(), number, sm.Len())
					}
					if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
						t.Errorf("the victim does not resume: %q", why)
					}
				})
			}
		}
	}
}

// TestAttackGarbageKeyExchange: a full TLS 1.2 handshake that breaks off
// leaves nothing.
func TestAttackGarbageKeyExchange(t *testing.T) {
	garbage := append([]byte{22, 3, 3, 0, 70, 16, 0, 0, 66, 65, 4}, make([]byte, 64)...)
	for level, serve := range levels {
		t.Run(level, func(t *testing.T) {
			r, seen := newRig(t), new(events)
			sm, cm := manager(t, seen.watch(reprise.Config{NoTickets: true})), manager(t, reprise.Config{})
			sc, cc := at(tls.VersionTLS12, r.server), at(tls.VersionTLS12, r.client)
			hello := r.sniff(sm, cm, sc, cc, nil)
			news, number := seen.news.Load(), sm.Len()
			if err := replay(t, func(nc net.Conn) error { return serve(sm, nc, sc) }, hello, garbage); err == nil {
				t.Fatal("the attacker's handshake succeeded")
			}
			if seen.news.Load() != news || seen.removals.Load() != 0 || sm.Len() != number {
				t.Errorf("%d new, %d removed, %d cached", seen.news.Load()-news, seen.removals.Load(), sm.Len())
			}
		})
	}
}

// TestAttackLoneHellos: a TLS 1.3 server makes a session for whoever sends a
// ClientHello. Thousands of them push out nobody who has proven anything.
func TestAttackLoneHellos(t *testing.T) {
	hellos := 1000 // at each level; more than probation holds in all
	if testing.Short() {
		hellos = 400
	}
	r, seen := newRig(t), new(events)
	sm, cm := manager(t, seen.watch(reprise.Config{NoTickets: true, CacheSize: 10})), manager(t, reprise.Config{})
	sc, cc := at(tls.VersionTLS13, r.server), at(tls.VersionTLS13, r.client)
	var sessions []*reprise.Session
	for range 10 {
		sessions = append(sessions, r.session(sm, cm, sc, cc))
	}
	hello := r.sniff(sm, manager(t, reprise.Config{}), sc, cc, nil)
	for range 2 { // the sniffed handshake and this one pushed out one session each: fill up again
		sessions = append(sessions[1:], r.session(sm, cm, sc, cc))
	}
	news, removals := seen.news.Load(), seen.removals.Load()
	for _, serve := range levels {
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for range hellos / 2 {
					if err := replay(t, func(nc net.Conn) error { return serve(sm, nc, sc) }, hello); err == nil {
						t.Error("a lone hello completed a handshake")
					}
				}
			})
		}
		wg.Wait()
	}
	if seen.news.Load() != news || seen.removals.Load() != removals || sm.Len() != 10 {
		t.Errorf("%d new, %d removed, %d cached", seen.news.Load()-news, seen.removals.Load()-removals, sm.Len())
	}
	// Newest first: each resumption makes a session, which evicts the oldest.
	for i, session := range slices.Backward(sessions[5:]) {
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
			t.Errorf("session %d: %q", i, why)
		}
	}
	for _, session := range sessions {
		session.Free()
	}
}

// spy is a Sealer that keeps what it seals.
type spy struct {
	ticket.Sealer
	mu     sync.Mutex
	sealed [][]byte
}

func (s *spy) Seal(der []byte) ([]byte, error) {
	s.mu.Lock()
	s.sealed = append(s.sealed, slices.Clone(der))
	s.mu.Unlock()
	return s.Sealer.Seal(der)
}

// TestAttackVerifyResult: 0 says that the peer's chain was verified, or that
// there is no peer. Beside a certificate that nobody verified it would be a
// way around authentication wherever the session or the ticket is accepted.
func TestAttackVerifyResult(t *testing.T) {
	clients := testpki.New(t, "clients")
	genuine := clients.Leaf(t, "client")
	selfMade := testpki.New(t, "client").Leaf(t, "client")
	for _, c := range []struct {
		name   string
		auth   tls.ClientAuthType
		cert   *tls.Certificate
		honest bool // 0 would be true
	}{
		{"no client certificate", tls.NoClientCert, nil, true},
		{"requested, self-made", tls.RequestClientCert, &selfMade, false},
		{"required, self-made", tls.RequireAnyClientCert, &selfMade, false},
		{"required, genuine but unverified", tls.RequireAnyClientCert, &genuine, false},
		{"requested, none", tls.RequestClientCert, nil, true},
		{"verified", tls.RequireAndVerifyClientCert, &genuine, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				r, sealer := newRig(t), &spy{Sealer: ticket.NewAEAD()}
				sm, cm := manager(t, reprise.Config{NoTickets: noTickets, Tickets: sealer}), manager(t, reprise.Config{})
				sc, cc := at(version, r.server), at(version, r.client)
				sc.ClientAuth, sc.ClientCAs = c.auth, clients.Pool()
				if c.cert != nil {
					cc.Certificates = []tls.Certificate{*c.cert}
					cc.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.cert, nil }
				}
				var offer *reprise.Session
				for range 3 { // what a resumption makes is as honest
					client, server := r.connect(sm, cm, sc, cc, offer)
					if reused, why := server.SessionReused(); reused != (offer != nil) {
						t.Fatalf("resumed %v, %q", reused, why)
					}
					checkVerifyResult(t, server.Session(), c.honest)
					offer.Free()
					offer = wait(t, client)
					client.Close()
					server.Close()
				}
				offer.Free()
				if len(sealer.sealed) == 0 && !noTickets {
					t.Error("nothing was sealed")
				}
				for _, der := range sealer.sealed {
					checkVerifyResultDER(t, der, c.honest)
				}
			})
		})
	}
	t.Run("client", func(t *testing.T) {
		for _, version := range versions {
			r := newRig(t)
			for _, insecure := range []bool{false, true} {
				cc := at(version, r.client)
				cc.InsecureSkipVerify = insecure
				session := r.session(manager(t, reprise.Config{}), manager(t, reprise.Config{}), at(version, r.server), cc)
				checkVerifyResult(t, session, !insecure)
				session.Free()
			}
		}
	})
}

func checkVerifyResult(t *testing.T, s *reprise.Session, honest bool) {
	t.Helper()
	if (s.VerifyResult() == 0) != honest {
		t.Errorf("Session.VerifyResult = %d, is 0 true: %v", s.VerifyResult(), honest)
	}
	der, err := s.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	checkVerifyResultDER(t, der, honest)
}

func checkVerifyResultDER(t *testing.T, der []byte, honest bool) {
	t.Helper()
	f, _, err := asn1sess.Parse(der, 0)
	if err != nil {
		t.Fatal(err)
	}
	if (f.VerifyResult == 0) != honest {
		t.Errorf("verify_result written: %d, is 0 true: %v", f.VerifyResult, honest)
	}
}

// TestAttackForgedImport: a session file is trusted for its secret, never for
// whom it names.
func TestAttackForgedImport(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	for _, version := range versions {
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		refused := func(what string, edit func(*asn1sess.Session)) {
			t.Helper()
			forged := rebuilt(t, session, edit)
			defer forged.Free()
			c := cm.Client(nil, cc)
			if err := c.SetSession(forged); err == nil {
				t.Errorf("%s: %s: SetSession took it", tls.VersionName(version), what)
			}
		}
		refused("another's certificate, chains still claimed", func(f *asn1sess.Session) {
			f.Peer = testpki.New(t, "root").Leaf(t, "a.test").Certificate[0]
		})
		refused("a certificate for another name", func(f *asn1sess.Session) {
			f.Peer = r.ca.Leaf(t, "c.test").Certificate[0]
		})
		refused("a certificate for another name, the name changed as well", func(f *asn1sess.Session) {
			f.Peer, f.Hostname = r.ca.Leaf(t, "c.test").Certificate[0], []byte("c.test")
		})
		refused("no certificate", func(f *asn1sess.Session) { f.Peer, f.TicketAppData = nil, nil })
		refused("no certificate that parses", func(f *asn1sess.Session) { f.Peer = []byte{0x30, 0} })

		// The same edit that changes nothing is taken: it is the forgery that is refused.
		same := rebuilt(t, session, func(*asn1sess.Session) {})
		if reused, why := r.offer(sm, cm, sc, cc, same); !reused {
			t.Errorf("unchanged: %q", why)
		}
		same.Free()
	}
}

// TestAttackForgedChains: chains that a file claims are never shown as
// verified where nobody verifies.
func TestAttackForgedChains(t *testing.T) {
	t.Run("client", func(t *testing.T) {
		for _, version := range versions {
			r := newRig(t)
			sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
			sc, cc := at(version, r.server), at(version, r.client)
			session := r.session(sm, cm, sc, cc)
			forged := rebuilt(t, session, func(f *asn1sess.Session) {
				f.Peer = testpki.New(t, "root").Leaf(t, "a.test").Certificate[0]
			})
			cc.InsecureSkipVerify = true
			c, s := r.connect(sm, cm, sc, cc, forged)
			if reused, why := s.SessionReused(); !reused {
				t.Errorf("%q", why) // nobody asked for more
			}
			if chains := c.ConnectionState().VerifiedChains; len(chains) != 0 {
				t.Errorf("%s: shown as verified: %v", tls.VersionName(version), chains[0][0].Subject)
			}
			checkVerifyResultOf(t, c)
			forged.Free()
			session.Free()
		}
	})
	t.Run("server", func(t *testing.T) {
		for _, version := range versions {
			r := newRig(t)
			sm := manager(t, reprise.Config{NoTickets: true})
			cm := manager(t, reprise.Config{})
			sc, cc := at(version, r.server), at(version, r.client)
			sc.ClientAuth, sc.ClientCAs = tls.RequireAnyClientCert, r.ca.Pool()
			cc.Certificates = []tls.Certificate{testpki.New(t, "root").Leaf(t, "nobody")}
			session := r.session(sm, cm, sc, cc)
			for cached := range sm.All() {
				forged := rebuilt(t, cached, func(f *asn1sess.Session) {
					rec, err := appdata.Parse(f.TicketAppData)
					if err != nil {
						t.Fatal(err)
					}
					rec.Verified = [][][]byte{{r.ca.Cert.Raw}}
					if f.TicketAppData, err = rec.Append(nil); err != nil {
						t.Fatal(err)
					}
					f.VerifyResult = 0
				})
				if _, err := sm.Add(forged); err != nil {
					t.Fatal(err)
				}
				forged.Free()
			}
			_, s := r.connect(sm, cm, sc, cc, session)
			if reused, why := s.SessionReused(); !reused {
				t.Errorf("%q", why)
			}
			if chains := s.ConnectionState().VerifiedChains; len(chains) != 0 {
				t.Errorf("%s: shown as verified: %v", tls.VersionName(version), chains[0][0].Subject)
			}
			session.Free()
		}
	})
}

// checkVerifyResultOf: what a resumption of a forged session makes does not
// say verified either.
func checkVerifyResultOf(t *testing.T, c *reprise.Conn) {
	t.Helper()
	if s := c.Session(); s.ProtocolVersion() == tls.VersionTLS13 && s.VerifyResult() == 0 {
		t.Error("the next session claims a verified peer")
	}
}

// TestAttackImportedClientCertificate: a server that verifies clients takes an
// imported session only if the client's certificate holds.
func TestAttackImportedClientCertificate(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			sm := manager(t, reprise.Config{NoTickets: true})
			cm := manager(t, reprise.Config{})
			sc, cc := at(version, r.server), at(version, r.client)
			sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
			cc.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
			mallory := testpki.New(t, "root").Leaf(t, "admin").Certificate[0]
			for _, c := range []struct {
				what string
				want reprise.Reason
				edit func(*asn1sess.Session)
			}{
				{"unchanged", reprise.Resumed, func(*asn1sess.Session) {}},
				{"does not chain", reprise.ChainIncomplete, func(f *asn1sess.Session) { f.Peer = mallory }},
				{"says itself that it was not verified", reprise.ChainIncomplete, func(f *asn1sess.Session) { f.VerifyResult = 18 }},
				{"names no policy", reprise.OtherPolicy, func(f *asn1sess.Session) { f.TicketAppData = nil }},
				{"no certificate", reprise.Declined, func(f *asn1sess.Session) { f.Peer = nil }},
			} {
				session := r.session(sm, cm, sc, cc)
				cached := sm.Lookup(version, session.Ticket())
				edited := rebuilt(t, cached, c.edit)
				cached.Free()
				if _, err := sm.Add(edited); err != nil {
					t.Fatal(err)
				}
				edited.Free()
				reused, why := r.offer(sm, cm, sc, cc, session)
				if reused != (c.want == reprise.Resumed) {
					t.Errorf("%s: resumed %v, %q", c.what, reused, why)
				}
				if c.want != reprise.Declined && why != c.want {
					t.Errorf("%s: %q, want %q", c.what, why, c.want)
				}
				session.Free()
			}
		})
	}
}

// TestAttackLostIntermediate: OpenSSL's files hold the leaf alone. Behind an
// intermediate such a session is refused until the intermediate is given.
func TestAttackLostIntermediate(t *testing.T) {
	for _, version := range versions {
		r := newRig(t)
		below := r.ca.Intermediate(t, "intermediate")
		r.server.Certificates = []tls.Certificate{below.Leaf(t, "a.test")}
		sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		bare := rebuilt(t, session, func(f *asn1sess.Session) { f.TicketAppData = nil })
		if err := cm.Client(nil, cc).SetSession(bare); err == nil {
			t.Error("taken without a chain")
		}
		bare.SetIntermediates([]*x509.Certificate{testpki.New(t, "intermediate").Cert})
		if err := cm.Client(nil, cc).SetSession(bare); err == nil {
			t.Error("taken with a chain of another key")
		}
		bare.SetIntermediates([]*x509.Certificate{below.Cert})
		if reused, why := r.offer(sm, cm, sc, cc, bare); !reused {
			t.Errorf("%s: with the intermediate: %q", tls.VersionName(version), why)
		}
		bare.Free()
		session.Free()
	}
}

// needles are the forms in which a secret could show.
func needles(secret []byte) map[string]string {
	part := secret[:16]
	return map[string]string{
		"raw": string(part), "hex": hex.EncodeToString(part), "HEX": strings.ToUpper(hex.EncodeToString(part)),
		"base64": base64.StdEncoding.EncodeToString(part)[:20], "base64url": base64.URLEncoding.EncodeToString(part)[:20],
		"decimal": strings.Trim(fmt.Sprint(part), "[]"), "Go": strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}"),
		"spaced": fmt.Sprintf("% x", part), "quoted": strings.Trim(fmt.Sprintf("%q", part), `"`), "colons": colons(part),
	}
}

func colons(b []byte) string { return strings.ReplaceAll(fmt.Sprintf("% x", b), " ", ":") }

func checkSilent(t *testing.T, what, text string, secrets ...[]byte) {
	t.Helper()
	for i, secret := range secrets {
		for form, needle := range needles(secret) {
			if strings.Contains(text, needle) {
				t.Errorf("%s shows secret %d (%s)", what, i, form)
			}
		}
	}
}

// naked is a Sealer held by value that does nothing to hide its key.
type naked struct {
	key  [ticket.AEADKeySize]byte
	aead *ticket.AEAD
}

func (n naked) Seal(der []byte) ([]byte, error)     { return n.aead.Seal(der) }
func (n naked) Open(t []byte) ([]byte, bool, error) { return n.aead.Open(t) }

// TestAttackPrintedSecrets prints everything in every way.
func TestAttackPrintedSecrets(t *testing.T) {
	var key [ticket.AEADKeySize]byte
	rand.Read(key[:])
	aead, err := ticket.NewAEADKey(key[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range versions[2:] {
		r := newRig(t)
		config := reprise.Config{Tickets: naked{key, aead}, CacheMode: reprise.CacheBoth}
		sm, cm := manager(t, config), manager(t, config)
		c, s := r.connect(sm, cm, at(version, r.server), at(version, r.client), nil)
		session := wait(t, c)
		secret, err := session.MasterKey()
		if err != nil {
			t.Fatal(err)
		}
		things := map[string]any{
			"Session": session, "*Session in a struct": struct{ S *reprise.Session }{session},
			"Sessions": []*reprise.Session{session}, "server Session": s.Session(),
			"client Conn": c, "server Conn": s, "Manager": sm, "client Manager": cm,
			"Config": reprise.Config{Tickets: aead}, "*Config": &reprise.Config{Tickets: aead},
			"AEAD": aead, "Sealer": ticket.Sealer(aead), "Stats": sm.Stats(),
		}
		for name, thing := range things {
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "% x", "%q", "%d", "%o", "%U", "%c", "%b", "%T"} {
				checkSilent(t, name+" "+verb, fmt.Sprintf(verb, thing), secret, key[16:])
			}
			var text, structured bytes.Buffer
			slog.New(slog.NewTextHandler(&text, nil)).Info("m", "it", thing)
			slog.New(slog.NewJSONHandler(&structured, nil)).Info("m", "it", thing)
			checkSilent(t, name+" slog text", text.String(), secret, key[16:])
			checkSilent(t, name+" slog JSON", structured.String(), secret, key[16:])
		}
		session.Free()
	}
}

// TestAttackLoggedSecrets comes to all reasons with a Logger, and makes errors.
func TestAttackLoggedSecrets(t *testing.T) {
	var lines lockedBuffer
	logger := slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var secrets [][]byte
	for _, row := range reasonRows {
		for _, version := range row.versions {
			s := newScene(t, row, version)
			s.server.Logger, s.client.Logger = logger, logger
			if s.server2 != nil {
				s.server2.Logger = logger
			}
			s.play()
			secrets = append(secrets, s.secret)
		}
	}
	text := lines.String()
	if !strings.Contains(text, "session declined") {
		t.Fatal("nothing was logged")
	}
	checkSilent(t, "log", text, secrets...)

	r := newRig(t)
	cm := manager(t, reprise.Config{})
	session := r.session(manager(t, reprise.Config{}), cm, r.server, r.client)
	secret, err := session.MasterKey()
	if err != nil {
		t.Fatal(err)
	}
	der, err := session.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var failures []error
	for n := range der {
		_, _, err := reprise.ParseSession(der[:n])
		failures = append(failures, err)
	}
	forged := rebuilt(t, session, func(f *asn1sess.Session) { f.Peer = testpki.New(t, "x").Leaf(t, "x").Certificate[0] })
	failures = append(failures, cm.Client(nil, r.client).SetSession(forged))
	failures = append(failures, manager(t, reprise.Config{}).Client(nil, r.client).SetSession(session))
	session.Free()
	freed := forged.Dup()
	freed.Free()
	_, err = freed.MarshalBinary()
	failures = append(failures, err, freed.UpRef(), freeTwice(freed))
	for _, err := range failures {
		if err == nil {
			t.Error("no error where one was to be had")
			continue
		}
		checkSilent(t, err.Error(), fmt.Sprintf("%v %+v %#v", err, err, err), secret)
	}
}

func freeTwice(s *reprise.Session) (err error) {
	defer func() { err, _ = recover().(error) }()
	s.Free()
	return nil
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestAttackFlippedBits: whatever bit of a ticket or handle is flipped, the
// handshake is a full one that succeeds.
func TestAttackFlippedBits(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		bits, step := 8*len(session.Ticket()), 1
		if testing.Short() || bits > 256 {
			step = bits/150 | 1 // odd: every position in a byte comes up
		}
		for bit := 0; bit < bits; bit += step {
			flipped := rebuilt(t, session, func(f *asn1sess.Session) { f.Ticket[bit/8] ^= 1 << (bit % 8) })
			reused, why := r.offer(sm, cm, sc, cc, flipped)
			if reused || why != reprise.Forged && why != reprise.UnknownKey {
				t.Errorf("bit %d: resumed %v, %q", bit, reused, why)
			}
			flipped.Free()
		}
		for _, length := range []int{1, 31, 33, len(session.Ticket()) - 1, 60000} {
			cut := rebuilt(t, session, func(f *asn1sess.Session) {
				f.Ticket = append(slices.Clone(f.Ticket), make([]byte, 60000)...)[:length]
			})
			if reused, why := r.offer(sm, cm, sc, cc, cut); reused {
				t.Errorf("%d bytes: resumed, %q", length, why)
			}
			cut.Free()
		}
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
			t.Errorf("unchanged: %q", why)
		}
	})
}

// sealed is a Sealer that seals as it is told to.
type sealed struct {
	ticket.Sealer
	seal func([]byte) ([]byte, error)
}

func (s sealed) Seal(der []byte) ([]byte, error) { return s.seal(der) }

// renewing is a Sealer that wants every ticket replaced.
type renewing struct{ ticket.Sealer }

func (s renewing) Open(t []byte) ([]byte, bool, error) {
	der, _, err := s.Sealer.Open(t)
	return der, true, err
}

var badSealers = map[string]func([]byte) ([]byte, error){
	"fails": func([]byte) ([]byte, error) { return nil, errors.New("no key") },
	"huge":  func([]byte) ([]byte, error) { return make([]byte, 1<<16), nil },
	"empty": func([]byte) ([]byte, error) { return nil, nil },
}

// TestAttackBadSealer: a Sealer that fails costs resumption, never a handshake.
func TestAttackBadSealer(t *testing.T) {
	for name, seal := range badSealers {
		for _, version := range versions {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				r := newRig(t)
				sc, cc := at(version, r.server), at(version, r.client)
				sm := manager(t, reprise.Config{CacheMode: reprise.CacheOff, Tickets: sealed{ticket.NewAEAD(), seal}})
				cm := manager(t, reprise.Config{})
				for range 2 {
					c, _ := r.connect(sm, cm, sc, cc, nil)
					if version < tls.VersionTLS13 {
						if c.Session().HasTicket() {
							t.Error("the client has a ticket that stands for nothing")
						}
						continue
					}
					session := wait(t, c)
					if reused, why := r.offer(sm, cm, sc, cc, session); reused || why != reprise.NothingOffered {
						t.Errorf("a label: resumed %v, %q", reused, why)
					}
					session.Free()
				}
				if n := sm.Stats().WrapFailures; n != 2 && version < tls.VersionTLS13 || n != 4 && version == tls.VersionTLS13 {
					t.Errorf("%d wrap failures", n)
				}
			})
		}
	}
}

// TestAttackBadSealerOnRenewal: the same where a ticket was to be replaced.
func TestAttackBadSealerOnRenewal(t *testing.T) {
	for name, seal := range badSealers {
		for _, version := range versions {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				r, key := newRig(t), ticket.NewAEAD()
				sc, cc := at(version, r.server), at(version, r.client)
				sm := manager(t, reprise.Config{CacheMode: reprise.CacheOff, Tickets: key})
				cm := manager(t, reprise.Config{})
				session := r.session(sm, cm, sc, cc)
				defer session.Free()
				sm2 := manager(t, reprise.Config{CacheMode: reprise.CacheOff, Tickets: sealed{renewing{key}, seal}})
				if reused, why := r.offer(sm2, cm, sc, cc, session); !reused {
					t.Errorf("%q", why)
				}
				if n := sm2.Stats().WrapFailures; n != 1 {
					t.Errorf("%d wrap failures, want 1", n)
				}
			})
		}
	}
}

// TestAttackLongTickets: what is issued as a ticket also fits into the hello
// that offers it; what does not is kept, and the client gets a handle.
func TestAttackLongTickets(t *testing.T) {
	for _, version := range versions {
		for _, length := range []int{59999, 60000, 60001, 65500, 65535} {
			r, key := newRig(t), ticket.NewAEAD()
			padded := padding{key, length}
			sc, cc := at(version, r.server), at(version, r.client)
			sm, cm := manager(t, reprise.Config{Tickets: padded}), manager(t, reprise.Config{})
			session := r.session(sm, cm, sc, cc)
			if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
				t.Errorf("%s: %d bytes: %q", tls.VersionName(version), length, why)
			}
			if got := len(session.Ticket()); got != length && got != reprise.MaxSessionIDLength {
				t.Errorf("%s: a ticket of %d bytes became one of %d", tls.VersionName(version), length, got)
			}
			session.Free()
		}
	}
}

// padding is a Sealer whose tickets have one length.
type padding struct {
	key    ticket.Sealer
	length int
}

func (p padding) Seal(der []byte) ([]byte, error) {
	t, err := p.key.Seal(der)
	if err != nil {
		return nil, err
	}
	n := len(t)
	t = append(t, make([]byte, p.length-n-2)...)
	return binary.BigEndian.AppendUint16(t, uint16(n)), nil
}

func (p padding) Open(t []byte) ([]byte, bool, error) {
	if len(t) != p.length {
		return nil, false, ticket.ErrForged
	}
	return p.key.Open(t[:binary.BigEndian.Uint16(t[len(t)-2:])])
}

// TestAttackHugeTicketIsKept: a session too big for a ticket is kept, and the
// client gets a handle.
func TestAttackHugeTicketIsKept(t *testing.T) {
	for _, version := range versions {
		r := newRig(t)
		sc, cc := at(version, r.server), at(version, r.client)
		sm := manager(t, reprise.Config{Tickets: sealed{ticket.NewAEAD(), badSealers["huge"]}})
		cm := manager(t, reprise.Config{})
		session := r.session(sm, cm, sc, cc)
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
			t.Errorf("%s: %q", tls.VersionName(version), why)
		}
		session.Free()
	}
}

// TestAttackClientOtherName: a client shows a session to nobody but the server
// that gave it.
func TestAttackClientOtherName(t *testing.T) {
	for _, version := range versions {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
			sc, cc := at(version, r.server), at(version, r.client)
			session := r.session(sm, cm, sc, cc)
			defer session.Free()
			for _, insecure := range []bool{false, true} {
				nc, ns := pipe(t)
				rec, other := &recorder{Conn: nc}, cc.Clone()
				other.ServerName, other.InsecureSkipVerify = "b.test", insecure
				c, s := cm.Client(rec, other), sm.Server(ns, sc)
				if err := c.SetSession(session); err != nil {
					t.Fatal(err)
				}
				talk(t, c, s)
				if _, why := c.SessionReused(); why != reprise.OtherName {
					t.Errorf("Conn: %q", why)
				}
				if shown := identity(rec.hello()); shown != nil {
					t.Errorf("Conn: showed a.test's session to b.test")
				}
			}

			config := cm.ClientConfig(cc)
			for i, name := range []string{"a.test", "b.test", "a.test"} {
				nc, ns := pipe(t)
				rec, own := &recorder{Conn: nc}, config.Clone()
				own.ServerName = name
				c := tls.Client(rec, own)
				talk(t, c, sm.Server(ns, sc))
				if shown := identity(rec.hello()) != nil; shown != (i == 2) {
					t.Errorf("ClientConfig: connection %d, to %s: showed a session: %v", i, name, shown)
				}
			}
		})
	}
}

// TestAttackSpentOnce: a TLS 1.3 session that a client shows twice links its
// connections (RFC 8446, appendix C.4). Three sessions, ten dials at once:
// three are shown, each once.
func TestAttackSpentOnce(t *testing.T) {
	r := newRig(t)
	sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	sc := at(tls.VersionTLS13, r.server)
	config := cm.ClientConfig(at(tls.VersionTLS13, r.client))

	// dial shakes hands n times at once; sessions arrive when the returned
	// function has every client read.
	dial := func(n int) (hellos [][]byte, collect func()) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var reads []func()
		for range n {
			nc, ns := pipe(t)
			rec := &recorder{Conn: nc}
			c, s := tls.Client(rec, config), sm.Server(ns, sc)
			wg.Go(func() {
				if _, err := s.Write([]byte{'x'}); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				if err := c.Handshake(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				hellos = append(hellos, rec.hello())
				reads = append(reads, func() {
					if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
						t.Error(err)
					}
				})
			})
		}
		wg.Wait()
		return hellos, func() {
			for _, read := range reads {
				read()
			}
		}
	}
	_, collect := dial(3)
	collect()
	hellos, collect := dial(10)
	shown := make(map[string]int)
	for _, hello := range hellos {
		if id := identity(hello); id != nil {
			shown[string(id)]++
		}
	}
	if len(shown) != 3 {
		t.Errorf("%d sessions shown, want 3", len(shown))
	}
	for _, times := range shown {
		if times != 1 {
			t.Errorf("a session was shown %d times", times)
		}
	}
	if hits := sm.Stats().Hits; hits != 3 {
		t.Errorf("%d resumed, want 3", hits)
	}
	collect()
	more, _ := dial(3)
	for _, hello := range more {
		if id := identity(hello); id == nil || shown[string(id)] != 0 {
			t.Error("after the renewal: no session shown, or an old one")
		}
	}
}

// TestAttackUserGetConfigForClient: what the application's own hook returns is
// a policy of its own; its errors end the handshake, its nil means the base.
func TestAttackUserGetConfigForClient(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		var own atomic.Pointer[tls.Config]
		var refuse atomic.Bool
		sc.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if refuse.Load() {
				return nil, errors.New("not you")
			}
			return own.Load(), nil
		}
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
			t.Errorf("base: %q", why)
		}
		strict := at(version, r.server)
		strict.ClientAuth, strict.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
		strict.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		own.Store(strict)
		cc.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
		if reused, why := r.offer(sm, cm, sc, cc, session); reused || why != reprise.OtherPolicy {
			t.Errorf("strict: resumed %v, %q", reused, why)
		}
		mutual := r.session(sm, cm, sc, cc)
		defer mutual.Free()
		if reused, why := r.offer(sm, cm, sc, cc, mutual); !reused {
			t.Errorf("strict again: %q", why)
		}
		stricter := strict.Clone()
		stricter.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return nil }
		own.Store(stricter)
		if reused, why := r.offer(sm, cm, sc, cc, mutual); reused || why != reprise.OtherPolicy {
			t.Errorf("another function: resumed %v, %q", reused, why)
		}
		refuse.Store(true)
		nc, ns := pipe(t)
		go sm.Server(ns, sc).Handshake()
		if err := cm.Client(nc, cc).Handshake(); err == nil {
			t.Error("the hook's error did not end the handshake")
		}
	})
}

// TestAttackUserTicketHooks: with both hooks of the application its keys seal,
// and the Manager's bindings still hold.
func TestAttackUserTicketHooks(t *testing.T) {
	for _, version := range versions[2:] {
		t.Run(tls.VersionName(version), func(t *testing.T) {
			r := newRig(t)
			var wrapped, opened atomic.Int64
			keys := &tls.Config{} // the application's, for EncryptTicket
			keys.SetSessionTicketKeys([][32]byte{{7, 7, 1}})
			sc, cc := at(version, r.server), at(version, r.client)
			sc.WrapSession = func(cs tls.ConnectionState, ss *tls.SessionState) ([]byte, error) {
				wrapped.Add(1)
				return keys.EncryptTicket(cs, ss)
			}
			sc.UnwrapSession = func(id []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
				opened.Add(1)
				return keys.DecryptTicket(id, cs)
			}
			sm, cm := manager(t, reprise.Config{Tickets: sealed{nil, nil}}), manager(t, reprise.Config{})
			session := r.session(sm, cm, sc, cc)
			defer session.Free()
			if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
				t.Errorf("%q", why)
			}
			if wrapped.Load() == 0 || opened.Load() == 0 {
				t.Errorf("the hooks ran %d and %d times", wrapped.Load(), opened.Load())
			}
			otherName := cc.Clone()
			otherName.ServerName = "b.test"
			moved := rebuilt(t, session, func(f *asn1sess.Session) { f.Hostname = []byte("b.test") })
			defer moved.Free()
			if reused, why := r.offer(sm, cm, sc, otherName, moved); reused || why != reprise.OtherName {
				t.Errorf("another name: resumed %v, %q", reused, why)
			}
			strict := sc.Clone()
			strict.ClientAuth, strict.ClientCAs = tls.VerifyClientCertIfGiven, r.ca.Pool()
			if reused, why := r.offer(sm, cm, strict, cc, session); reused || why != reprise.OtherPolicy {
				t.Errorf("another policy: resumed %v, %q", reused, why)
			}

			// A ticket of the application's without a Manager says nothing of its bindings.
			plain := at(version, r.server)
			plain.WrapSession, plain.UnwrapSession = sc.WrapSession, sc.UnwrapSession
			nc, ns := pipe(t)
			c := cm.Client(nc, cc)
			talk(t, c, tls.Server(ns, plain))
			unbound := wait(t, c)
			defer unbound.Free()
			if reused, why := r.offer(sm, cm, sc, cc, unbound); reused || why != reprise.Undecodable {
				t.Errorf("unbound: resumed %v, %q", reused, why)
			}

			// One hook alone cannot seal and open, and is not ignored either.
			half := sc.Clone()
			half.UnwrapSession = nil
			own, before := manager(t, reprise.Config{}), wrapped.Load()
			if reused, why := r.offer(own, cm, half, cc, session); reused || why != reprise.Unmanaged || wrapped.Load() != before {
				t.Errorf("one hook: resumed %v, %q, %d calls", reused, why, wrapped.Load()-before)
			}
		})
	}
}

// TestAttackUserTicketHooksFail: an error of the application's hooks never
// ends a handshake.
func TestAttackUserTicketHooksFail(t *testing.T) {
	for _, version := range versions[2:] {
		r := newRig(t)
		sc, cc := at(version, r.server), at(version, r.client)
		bad := errors.New("store is down")
		sc.WrapSession = func(tls.ConnectionState, *tls.SessionState) ([]byte, error) { return nil, bad }
		sc.UnwrapSession = func([]byte, tls.ConnectionState) (*tls.SessionState, error) { return nil, bad }
		good := r.session(manager(t, reprise.Config{}), manager(t, reprise.Config{}), at(version, r.server), cc)
		sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
		session := good.Dup()
		if reused, why := r.offer(sm, cm, sc, cc, session); reused || why != reprise.Undecodable {
			t.Errorf("resumed %v, %q", reused, why)
		}
		if n := sm.Stats().WrapFailures; n != 1 {
			t.Errorf("%d wrap failures, want 1", n)
		}
		good.Free()
		session.Free()
	}
}

// TestAttackUserTicketKeys: keys given to SetSessionTicketKeys open nothing:
// two configurations with one key are how tickets cross policies. The
// configuration is not managed.
func TestAttackUserTicketKeys(t *testing.T) {
	for _, version := range versions {
		r := newRig(t)
		sc, cc := at(version, r.server), at(version, r.client)
		sc.SetSessionTicketKeys([][32]byte{{1, 2, 3}})
		cm := manager(t, reprise.Config{})
		nc, ns := pipe(t)
		c := cm.Client(nc, cc)
		talk(t, c, tls.Server(ns, sc))
		session := wait(t, c)
		if reused, why := r.offer(manager(t, reprise.Config{}), cm, sc, cc, session); reused || why != reprise.Unmanaged {
			t.Errorf("%s: resumed %v, %q", tls.VersionName(version), reused, why)
		}
		session.Free()
	}
}

// TestAttackUserVerifyConnection: VerifyConnection sees every handshake, and
// its no ends a resumption too.
func TestAttackUserVerifyConnection(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		sc.ClientAuth, sc.ClientCAs = tls.RequireAndVerifyClientCert, r.ca.Pool()
		cc.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
		var revoked atomic.Bool
		var resumed atomic.Int64
		sc.VerifyConnection = func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 || len(cs.VerifiedChains) == 0 {
				t.Error("VerifyConnection sees no verified peer")
			}
			if cs.DidResume {
				resumed.Add(1)
			}
			if revoked.Load() {
				return errors.New("revoked")
			}
			return nil
		}
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused || resumed.Load() != 1 {
			t.Errorf("resumed %v, %q, seen %d times", reused, why, resumed.Load())
		}
		revoked.Store(true)
		nc, ns := pipe(t)
		c, s := cm.Client(nc, cc), sm.Server(ns, sc)
		if err := c.SetSession(session); err != nil {
			t.Fatal(err)
		}
		go func() {
			io.Copy(io.Discard, c)
			c.Close()
		}()
		if err := s.Handshake(); err == nil {
			t.Error("a revoked client resumed")
		}
		s.Close()
	})
}

// TestAttackUserVerifyPeerCertificate: a function decides and crypto/tls does
// not call it again on resumption. A session resumes under that very function,
// or under one that the application gives the same name.
func TestAttackUserVerifyPeerCertificate(t *testing.T) {
	named := func(*tls.Config) string { return "named" }
	made := func(calls *int) func([][]byte, [][]*x509.Certificate) error {
		return func([][]byte, [][]*x509.Certificate) error { *calls++; return nil }
	}
	for name, policyName := range map[string]func(*tls.Config) string{"without a name": nil, "named": named} {
		t.Run(name, func(t *testing.T) {
			eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
				r := newRig(t)
				sm, cm := manager(t, reprise.Config{NoTickets: noTickets, PolicyName: policyName}), manager(t, reprise.Config{})
				sc, cc := at(version, r.server), at(version, r.client)
				sc.ClientAuth = tls.RequireAnyClientCert
				var calls, others int
				sc.VerifyPeerCertificate = made(&calls)
				cc.Certificates = []tls.Certificate{r.ca.Leaf(t, "client")}
				session := r.session(sm, cm, sc, cc)
				defer session.Free()
				if reused, why := r.offer(sm, cm, sc, cc, session); !reused || calls != 1 {
					t.Errorf("the same function: resumed %v, %q, called %d times", reused, why, calls)
				}
				other := sc.Clone()
				other.VerifyPeerCertificate = made(&others)
				if reused, why := r.offer(sm, cm, other, cc, session); reused != (policyName != nil) || reused == (others == 1) {
					t.Errorf("another function: resumed %v, %q, called %d times", reused, why, others)
				}
				// Without client certificates in play the function is never asked.
				sc.ClientAuth = tls.NoClientCert
				plain := r.session(sm, cm, sc, cc)
				defer plain.Free()
				if reused, why := r.offer(sm, cm, sc, cc, plain); !reused {
					t.Errorf("no client certificates: %q", why)
				}
			})
		})
	}
}

// TestAttackUserECH: ECH keys are taken from the base, and what a session is
// bound to is the name inside.
func TestAttackUserECH(t *testing.T) {
	for _, noTickets := range []bool{false, true} {
		r := newRig(t)
		key, list := echKey(t, "public.test")
		sc, cc := at(tls.VersionTLS13, r.server), at(tls.VersionTLS13, r.client)
		sc.EncryptedClientHelloKeys = []tls.EncryptedClientHelloKey{key}
		cc.EncryptedClientHelloConfigList = list
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		c, s := r.connect(sm, cm, sc, cc, nil)
		if !c.ConnectionState().ECHAccepted || s.Session().Hostname() != "a.test" {
			t.Fatalf("ECH accepted: %v; name %q", c.ConnectionState().ECHAccepted, s.Session().Hostname())
		}
		session := wait(t, c)
		c2, s2 := r.connect(sm, cm, sc, cc, session)
		if reused, why := s2.SessionReused(); !reused || !c2.ConnectionState().ECHAccepted {
			t.Errorf("resumed %v, %q", reused, why)
		}
		other := cc.Clone()
		other.ServerName = "b.test"
		session.SetHostname("b.test")
		if reused, why := r.offer(sm, cm, sc, other, session); reused || why != reprise.OtherName {
			t.Errorf("another name inside: resumed %v, %q", reused, why)
		}
		session.Free()
	}
}

// echKey makes a key for encrypted ClientHellos and the list of
// configurations that clients get (RFC 9849, section 4).
func echKey(t *testing.T, publicName string) (key tls.EncryptedClientHelloKey, list []byte) {
	t.Helper()
	private, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	contents := []byte{1, 0, 0x20, 0, 32} // config id, DHKEM(X25519, HKDF-SHA256), length
	contents = append(contents, private.PublicKey().Bytes()...)
	contents = append(contents, 0, 4, 0, 1, 0, 1) // HKDF-SHA256, AES-128-GCM
	contents = append(contents, 32, byte(len(publicName)))
	contents = append(contents, publicName...)
	contents = append(contents, 0, 0)
	config := binary.BigEndian.AppendUint16([]byte{0xfe, 0x0d}, uint16(len(contents)))
	config = append(config, contents...)
	key = tls.EncryptedClientHelloKey{Config: config, PrivateKey: private.Bytes(), SendAsRetry: true}
	return key, append(binary.BigEndian.AppendUint16(nil, uint16(len(config))), config...)
}

// TestAttackFailedHandshakeKeepsSession: a handshake that fails on the way does
// not make the session that was offered a bad one.
func TestAttackFailedHandshakeKeepsSession(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		nc, ns := pipe(t)
		ns.Close()
		c := cm.Client(nc, cc)
		if err := c.SetSession(session); err != nil {
			t.Fatal(err)
		}
		if err := c.HandshakeContext(context.Background()); err == nil {
			t.Fatal("a handshake with nobody succeeded")
		}
		c.Free()
		if reused, why := r.offer(sm, cm, sc, cc, session); !reused {
			t.Errorf("%q", why)
		}
	})
}

// holder keeps a session where fmt calls none of its methods.
type holder struct{ s *reprise.Session }

// TestPrintedUnseen: a session in an unexported field of somebody's struct
// shows no secret either.
func TestPrintedUnseen(t *testing.T) {
	s := reprise.NewSession()
	defer s.Free()
	secret := []byte("the secret of the session")
	s.SetMasterKey(secret)
	s.SetTicketAppData(secret)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U"} {
		for _, v := range []any{holder{s}, &holder{s}, []holder{{s}}} {
			out := fmt.Sprintf(verb, v)
			for _, form := range []string{"%s", "%x", "%X", "%d"} {
				if shown := strings.Trim(fmt.Sprintf(form, secret), "[]"); strings.Contains(out, shown) {
					t.Errorf("%s shows the secret: %.80s", verb, out)
				}
			}
		}
	}
}
