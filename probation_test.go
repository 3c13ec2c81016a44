package reprise

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/reprise-tls/reprise/internal/cache"
	"github.com/reprise-tls/reprise/internal/testpki"
)

func probationKey(i int) cache.Key {
	key, _ := cache.MakeKey(tls.VersionTLS13, binary.BigEndian.AppendUint32(nil, uint32(i)))
	return key
}

// TestProbationBound: the oldest goes, and nothing else is touched.
func TestProbationBound(t *testing.T) {
	m, calls := watched(t, 0)
	if _, err := m.Add(numbered(1, 10)); err != nil {
		t.Fatal(err)
	}
	for i := range maxProbation + 10 {
		m.probation.add(probationKey(i), numbered(2, 1000-i)) // expiry plays no part
	}
	if n := m.probation.packed.Len(); n != maxProbation {
		t.Errorf("%d sessions on probation, want %d", n, maxProbation)
	}
	for i, want := range map[int]bool{0: false, 9: false, 10: true, maxProbation + 9: true} {
		s := m.probation.lookup(probationKey(i), m)
		if (s != nil) != want {
			t.Errorf("session %d of %d: %v", i, maxProbation+10, s)
		}
		s.release()
	}
	if m.Len() != 1 || len(*calls) != 0 {
		t.Errorf("the cache holds %d and let go %v", m.Len(), *calls)
	}
}

// TestProbationLookup: each lookup gives a session of its own and leaves the stored one.
func TestProbationLookup(t *testing.T) {
	m, _ := watched(t, 0)
	m.probation.add(probationKey(1), numbered(1, 10))
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
			m, err := New(Config{NoTickets: true})
			if err != nil {
				t.Fatal(err)
			}
			ca := testpki.New(t, "root")
			config := &tls.Config{RootCAs: ca.Pool(), ServerName: "a.test", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
			nc, ns := net.Pipe()
			st := &serverHandshake{m: m, watched: true}
			server := tls.Server(&wire{Conn: ns, server: st}, m.ServerConfig(&tls.Config{Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}}))
			st.conn = server
			if finished {
				go io.Copy(io.Discard, tls.Client(nc, config))
			} else {
				go tls.Client(cut{nc}, config).Handshake()
			}
			err = server.Handshake()
			synctest.Wait()
			if (err == nil) != finished {
				t.Fatalf("handshake: %v", err)
			}
			if m.probation.arrival != 1 {
				t.Fatalf("%d sessions were on probation, want 1: the test would prove nothing", m.probation.arrival)
			}
			if n := m.probation.packed.Len(); n != 0 {
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
