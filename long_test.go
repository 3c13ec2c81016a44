package reprise_test

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// heapAllowed is by how many bytes the heap may differ between two points of a
// test: what is kept for each of many things shows as a multiple of it.
const heapAllowed = 1 << 20

// TestStrangers: whoever sends a ClientHello and nothing more, be it one that
// was sniffed, takes nothing from anybody.
func TestStrangers(t *testing.T) { strangers(t, 1800, 1800) }

// TestLongStrangers is TestStrangers with a million of them.
func TestLongStrangers(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 to send a million ClientHellos")
	}
	strangers(t, 24_000, 1_000_008)
}

// strangers lets so many hellos come, some of them before the heap is looked at
// for the first time: more than probation holds.
func strangers(t *testing.T, first, n int) {
	const size = 10
	r, seen := newRigAt(t, tls.VersionTLS13), new(events)
	r.client.CurvePreferences = []tls.CurveID{tls.CurveP256}
	cm := manager(t, reprise.Config{})
	keeping := manager(t, seen.watch(reprise.Config{NoTickets: true, CacheSize: size}))
	giving := manager(t, seen.watch(reprise.Config{}))
	for range size {
		r.session(keeping, cm, r.server, r.client).Free()
	}
	handle, ticket := r.session(keeping, cm, r.server, r.client), r.session(giving, cm, r.server, r.client)
	defer handle.Free()
	defer ticket.Free()
	crowd := []func(n int){}
	for m, session := range map[*reprise.Manager]*reprise.Session{keeping: handle, giving: ticket} {
		crowd = append(crowd, r.crowd(m, r.sniff(m, cm, r.server, r.client, session))...)
	}
	crowd = append(crowd, r.crowd(keeping, r.sniff(giving, cm, r.server, r.client, nil))...)

	var others [][]byte
	for s := range keeping.All() {
		others = append(others, s.ID())
	}
	news, removals := seen.news.Load(), seen.removals.Load()
	kept, given := keeping.Stats(), giving.Stats()
	each := func(n int) {
		for _, come := range crowd {
			come(n / len(crowd))
		}
	}
	each(first) // numbers that divide among the crowd and its workers
	before := heapBelow(0)
	each(n)
	if after := heapBelow(before + heapAllowed); after > before+heapAllowed {
		t.Errorf("the heap grew from %d to %d bytes over %d hellos", before, after, n)
	}
	for _, id := range others {
		if !keeping.Has(tls.VersionTLS13, id) {
			t.Errorf("session %x is gone", id)
		}
	}
	if len(others) != size || keeping.Len() != size || giving.Len() != 0 {
		t.Errorf("%d and %d sessions cached, %d before", keeping.Len(), giving.Len(), len(others))
	}
	if seen.news.Load() != news || seen.removals.Load() != removals {
		t.Errorf("%d new, %d removed", seen.news.Load()-news, seen.removals.Load()-removals)
	}
	// Where nobody sees handshakes complete, all that came as far as a ticket are counted.
	far := uint64(first/len(crowd) + n/len(crowd))
	if hits := keeping.Stats().Hits - kept.Hits; hits != far {
		t.Errorf("%d replayed handles were resumed, of %d", hits, far)
	}
	if hits := giving.Stats().Hits - given.Hits; hits != far {
		t.Errorf("%d replayed tickets were resumed, of %d", hits, far)
	}
	if full := outcomes(keeping.Stats()) - outcomes(kept) - far; full != far {
		t.Errorf("%d lone hellos got a ticket, of %d", full, far)
	}
	if !r.again(keeping, cm, handle) || !r.again(giving, cm, ticket) {
		t.Error("who was replayed does not resume any more")
	}
}

// crowd returns what sends a hello many times, at the levels where a server
// knows its connections the least.
func (r *rig) crowd(m *reprise.Manager, hello []byte) []func(n int) {
	config := m.ServerConfig(r.server)
	come := func(handshake func() error) func(n int) {
		return func(n int) {
			var wg sync.WaitGroup
			const workers = 2
			for range workers {
				wg.Go(func() {
					for range n / workers {
						if handshake() == nil {
							r.t.Error("a lone hello completed a handshake")
						}
					}
				})
			}
			wg.Wait()
		}
	}
	return []func(n int){
		come(func() error { return tls.Server(&silent{unread: hello}, config).Handshake() }),
		come(func() error {
			_, err := m.Accept(r.t.Context(), &silent{unread: hello}, r.server)
			return err
		}),
	}
}

// silent is the server's end of the connection to a client that sends a hello
// and is not heard of again.
type silent struct {
	net.Conn
	unread []byte
}

func (c *silent) Read(b []byte) (int, error) {
	if len(c.unread) == 0 {
		return 0, io.EOF
	}
	n := copy(b, c.unread)
	c.unread = c.unread[n:]
	return n, nil
}

func (*silent) Write(b []byte) (int, error)      { return len(b), nil }
func (*silent) Close() error                     { return nil }
func (*silent) SetWriteDeadline(time.Time) error { return nil }
func (*silent) SetDeadline(time.Time) error      { return nil }
func (*silent) RemoteAddr() net.Addr             { return memoryAddr{} }

// TestManySessions: however many sessions come, the cache holds what it may
// and the process no more than that.
func TestManySessions(t *testing.T) { manySessions(t, 1024, 16_000, 160) }

// TestLongManySessions is TestManySessions with two million, a hundredth of
// them by handshakes, through a cache of the default size.
func TestLongManySessions(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 to make two million sessions")
	}
	manySessions(t, reprise.DefaultCacheSize, 2_000_000, 20_000)
}

// manySessions takes n sessions through a cache, of which some are made by
// handshakes at the same time. The heap is looked at once the cache is full,
// and at the end.
func manySessions(t *testing.T, size, n, handshakes int) {
	r := newRigAt(t, tls.VersionTLS13)
	var news, removed atomic.Int64
	now := time.Now().Add(-time.Minute) // for the sessions of handshakes to be the last to expire
	m := manager(t, reprise.Config{
		NoTickets: true, CacheSize: size,
		OnNew:    func(*reprise.Session) { news.Add(1) },
		OnRemove: func(*reprise.Session, reprise.Cause) { removed.Add(1) },
	})
	_, server := r.connect(m, manager(t, reprise.Config{}), r.server, r.client, nil)
	sample := server.Session().Dup()
	fill := 2 * size
	for i := range fill {
		addCopy(t, m, sample, i, now)
	}
	before := heapBelow(0)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range handshakes {
			if err := r.shake(m); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := fill; i < n-handshakes; i++ {
		addCopy(t, m, sample, i, now)
	}
	wg.Wait()
	if after := heapBelow(before + heapAllowed); after > before+heapAllowed {
		t.Errorf("the heap grew from %d to %d bytes over %d sessions", before, after, n-fill)
	}
	if got := news.Load(); got != int64(handshakes)+1 {
		t.Errorf("told of %d new sessions, want %d", got, handshakes+1)
	}
	if m.Len() != size || removed.Load() != int64(n+1-size) {
		t.Errorf("%d sessions cached and %d removed of %d, want %d cached", m.Len(), removed.Load(), n+1, size)
	}
}

// addCopy adds a session like sample under an id of its own.
func addCopy(t *testing.T, m *reprise.Manager, sample *reprise.Session, i int, now time.Time) {
	s := sample.Dup()
	s.SetID(binary.BigEndian.AppendUint64([]byte("copy"), uint64(i)))
	s.SetTime(now)
	if added, err := m.Add(s); !added || err != nil {
		t.Fatalf("Add: %v, %v", added, err)
	}
	s.Free()
}

// shake makes a full handshake in memory, with a client of crypto/tls.
func (r *rig) shake(m *reprise.Manager) error {
	nc, ns := net.Pipe()
	config := r.client.Clone()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(1) // or it takes no ticket
	config.CurvePreferences = []tls.CurveID{tls.CurveP256}
	read := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, tls.Client(untimed{nc}, config))
		read <- err
	}()
	server := m.Server(untimed{ns}, r.server)
	err := server.Handshake()
	server.Close()
	server.Free()
	if err == nil {
		err = <-read
	}
	return err
}
