package reprise

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/internal/fair"
	"github.com/reprise-tls/reprise/internal/testpki"
)

func probationKey(i int) cache.Key {
	key, _ := cache.MakeKey(tls.VersionTLS13, binary.BigEndian.AppendUint32(nil, uint32(i)))
	return key
}

// from returns the network of a client.
func from(ip string) fair.Name { return fair.Network(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}) }

// TestProbationBound: what is on probation stays within its bytes. The network
// that has the most loses its oldest; nothing else is touched.
func TestProbationBound(t *testing.T) {
	m, calls := watched(t, 0)
	if _, err := m.Add(numbered(1, 10)); err != nil {
		t.Fatal(err)
	}
	const honest = 3
	for i := range honest {
		if err := m.probation.add(probationKey(i), numbered(2, 10), from("192.0.2.1")); err != nil {
			t.Fatal(err)
		}
	}
	n := honest
	for ; m.probation.shares.Len() == n; n++ { // one that is not there any more ends it
		if err := m.probation.add(probationKey(n), numbered(2, 1000-n%100), from("198.51.100.9")); err != nil {
			t.Fatal(err)
		}
	}
	if w := m.probation.shares.Weight(); w > maxProbation || w < maxProbation*9/10 {
		t.Errorf("%d bytes on probation, the limit is %d", w, maxProbation)
	}
	for i, want := range map[int]bool{0: true, honest - 1: true, honest: false, honest + 1: true, n - 1: true} {
		s := m.probation.lookup(probationKey(i), m)
		if (s != nil) != want {
			t.Errorf("session %d of %d: %v", i, n, s)
		}
		s.release()
	}
	if m.Len() != 1 || len(*calls) != 0 {
		t.Errorf("the cache holds %d and let go %v", m.Len(), *calls)
	}
}

// TestProbationTooLarge: of a session whose size its client chose too large there
// is none.
func TestProbationTooLarge(t *testing.T) {
	m, _ := watched(t, 0)
	s := numbered(1, 10)
	s.SetHostname(string(make([]byte, maxServerName)))
	if err := m.probation.add(probationKey(1), s, fair.Name{}); err != nil {
		t.Errorf("a session with a name of the greatest length: %v", err)
	}
	s.SetTicketAppData(make([]byte, maxUnproven))
	if err := m.probation.add(probationKey(2), s, fair.Name{}); !errors.Is(err, errTooLarge) || m.probation.has(probationKey(2)) {
		t.Errorf("a session of more than %d bytes: %v", maxUnproven, err)
	}
}

// TestProbationEnds: what FlushAll and Close find is wiped, and nothing comes after Close.
func TestProbationEnds(t *testing.T) {
	m, _ := watched(t, 0)
	for _, end := range []func(){func() { m.FlushAll() }, func() { m.Close() }} {
		if err := m.probation.add(probationKey(1), numbered(1, 10), fair.Name{}); err != nil {
			t.Fatal(err)
		}
		packed := m.probation.entries[probationKey(1)].Value.packed
		if end(); m.probation.has(probationKey(1)) || m.probation.shares.Weight() != 0 {
			t.Error("a session stayed")
		}
		if !bytes.Equal(packed, make([]byte, len(packed))) {
			t.Error("a session was let go of with its secret")
		}
	}
	if err := m.probation.add(probationKey(1), numbered(1, 10), fair.Name{}); !errors.Is(err, ErrClosed) || m.probation.has(probationKey(1)) {
		t.Errorf("after Close: %v", err)
	}
}

// TestProbationLookup: each lookup gives a session of its own and leaves the stored one.
func TestProbationLookup(t *testing.T) {
	m, _ := watched(t, 0)
	m.probation.add(probationKey(1), numbered(1, 10), fair.Name{})
	a, b := m.probation.lookup(probationKey(1), m), m.probation.lookup(probationKey(1), m)
	if a == nil || b == nil || a == b || a.owner.Load() != m || contentOf(a) != contentOf(b) {
		t.Fatalf("two lookups gave %v and %v", a, b)
	}
	a.release()
	if key, err := b.MasterKey(); err != nil || len(key) == 0 {
		t.Errorf("the end of one session wiped the other: %v", err)
	}
	b.release()
	if !m.probation.remove(probationKey(1)) || m.probation.remove(probationKey(1)) || m.probation.lookup(probationKey(1), m) != nil {
		t.Error("remove")
	}
}

// cut is a connection that ends when it is read from: its client goes away
// after its hello.
type cut struct{ net.Conn }

func (c cut) Read([]byte) (int, error) {
	c.Close()
	return 0, io.EOF
}

// TestProbationUnfinished: of a handshake that does not finish nothing stays,
// though TLS 1.3 made a session for it; one that does finish moves it to the cache.
func TestProbationUnfinished(t *testing.T) {
	for _, finished := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			made := 0
			m, err := New(Config{NoTickets: true, GenerateID: func() ([]byte, error) { made++; return []byte{1}, nil }})
			if err != nil {
				t.Fatal(err)
			}
			ca := testpki.New(t, "root")
			config := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			nc, ns := net.Pipe()
			server := &tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}}
			if finished {
				go io.Copy(io.Discard, tls.Client(nc, config))
			} else {
				go tls.Client(cut{nc}, config).Handshake()
			}
			c := m.serverSide(ns, m.ServerConfig(server))
			err = m.shakeHands(t.Context(), c, time.Minute)
			synctest.Wait()
			if (err == nil) != finished {
				t.Fatalf("handshake: %v", err)
			}
			st := handshakeOf(c)
			if made != 1 {
				t.Fatalf("%d sessions were on probation, want 1: the test would prove nothing", made)
			}
			if n := m.probation.shares.Len(); n != 0 {
				t.Errorf("finished %v: %d sessions left on probation", finished, n)
			}
			if cached := m.Len() == 1; cached != finished {
				t.Errorf("finished %v: %d sessions cached", finished, m.Len())
			}
			if finished != (st.session != nil) || st.candidate != nil {
				t.Errorf("finished %v: the handshake holds %v and %v", finished, st.session, st.candidate)
			}
			nc.Close()
			ns.Close()
		})
	}
}
