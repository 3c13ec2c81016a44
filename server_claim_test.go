package reprise_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/reprise-tls/reprise"
)

// joined is the client's end of a connection whose last flight of the handshake
// and first bytes of the application leave in one write.
type joined struct {
	net.Conn
	mu     sync.Mutex
	unsent []byte
	state  int
}

const (
	joining     = iota // what is written leaves when something is read
	handshaken         // or, once the handshake is complete, when something more is written
	passThrough        // and at once from then on
)

func (j *joined) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unsent = append(j.unsent, b...)
	if j.state == joining {
		return len(b), nil
	}
	j.state = passThrough
	return len(b), j.flush()
}

func (j *joined) flush() error {
	_, err := j.Conn.Write(j.unsent)
	j.unsent = nil
	return err
}

func (j *joined) Read(b []byte) (int, error) {
	j.mu.Lock()
	if j.state == joining && len(j.unsent) > 0 {
		if err := j.flush(); err != nil {
			j.mu.Unlock()
			return 0, err
		}
	}
	j.mu.Unlock()
	return j.Conn.Read(b)
}

func (j *joined) complete() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.state = handshaken
}

// offering is a ClientSessionCache that offers one session, however often it is
// asked, and keeps the first that comes.
type offering struct {
	offer *tls.ClientSessionState
	once  sync.Once
	came  chan struct{}
	next  *tls.ClientSessionState
}

func offers(s *tls.ClientSessionState) *offering {
	return &offering{offer: s, came: make(chan struct{})}
}

func (o *offering) Get(string) (*tls.ClientSessionState, bool) { return o.offer, o.offer != nil }

func (o *offering) Put(_ string, s *tls.ClientSessionState) {
	if s != nil {
		o.once.Do(func() { o.next = s; close(o.came) })
	}
}

// singleServer is a server whose sessions serve once.
type singleServer struct {
	*rig
	m        *reprise.Manager
	dial     func() (net.Conn, error)
	exchange func(*tls.Conn) (resumed bool, err error) // asks what the server saw
	protocol string
}

// begin makes the client's part of a handshake. What completes it on the server
// is not sent yet if join.
func (s *singleServer) begin(version uint16, o *offering, join bool) (*tls.Conn, error) {
	nc, err := s.dial()
	if err != nil {
		return nil, err
	}
	config := at(version, s.client)
	config.ClientSessionCache = o
	if s.protocol != "" {
		config.NextProtos = []string{s.protocol}
	}
	if !join {
		c := tls.Client(nc, config)
		return c, c.Handshake()
	}
	j := &joined{Conn: nc}
	c := tls.Client(j, config)
	err = c.Handshake()
	j.complete()
	return c, err
}

// oneByte asks a server that answers a byte with 1 if it resumed.
func oneByte(c *tls.Conn) (resumed bool, err error) {
	b := []byte{'x'}
	if _, err = c.Write(b); err == nil {
		_, err = io.ReadFull(c, b)
	}
	return b[0] == 1, err
}

// answerByte is that server's side.
func answerByte(c net.Conn, resumed func() bool) {
	defer c.Close()
	b := make([]byte, 1)
	if _, err := io.ReadFull(c, b); err != nil {
		return
	}
	if b[0] = 0; resumed() {
		b[0] = 1
	}
	c.Write(b)
}

func resumedOf(c *tls.Conn) bool {
	r, _ := reprise.ResumptionOf(c)
	return r.Resumed
}

// overHTTP asks answer.
func overHTTP(c *tls.Conn) (resumed bool, err error) {
	tr := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: func(context.Context, string, string) (net.Conn, error) { return c, nil }}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("https://a.test")
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	var saw request
	if err := json.NewDecoder(resp.Body).Decode(&saw); err != nil {
		return false, err
	}
	if want := map[string]int{"h2": 2, "http/1.1": 1}[c.ConnectionState().NegotiatedProtocol]; saw.Proto != want {
		return false, fmt.Errorf("HTTP/%d", saw.Proto)
	}
	return saw.Resumed, nil
}

// singleServers starts a server at each level of use; wait waits for what serves.
var singleServers = map[string]func(t *testing.T, s *singleServer){
	"NewListener": func(t *testing.T, s *singleServer) {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l := listenerOf(t, s.m, inner, s.server)
		s.serve(t, inner, func() (net.Conn, error) { return l.Accept() }, func(nc net.Conn) {
			c := nc.(*tls.Conn)
			answerByte(c, func() bool { return resumedOf(c) })
		})
	},
	"Accept": func(t *testing.T, s *singleServer) {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.serve(t, inner, inner.Accept, func(nc net.Conn) {
			if c, err := s.m.Accept(context.Background(), nc, s.server); err == nil {
				answerByte(c, func() bool { return resumedOf(c) })
			}
		})
	},
	"Server": func(t *testing.T, s *singleServer) {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.serve(t, inner, inner.Accept, func(nc net.Conn) {
			c := s.m.Server(nc, s.server)
			defer c.Free()
			answerByte(c, func() bool { return reused(c) })
		})
	},
	"ServeTLS/h1": func(t *testing.T, s *singleServer) { s.serveHTTP(t, "http/1.1") },
	"ServeTLS/h2": func(t *testing.T, s *singleServer) { s.serveHTTP(t, "h2") },
}

// serve has each connection answered. At the end of the test nothing is left.
func (s *singleServer) serve(t *testing.T, l net.Listener, accept func() (net.Conn, error), serve func(net.Conn)) {
	s.exchange = oneByte
	s.dial = func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := accept()
			if err != nil {
				return
			}
			wg.Go(func() { serve(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
		if n := reprise.Claims(s.m); n != 0 {
			t.Errorf("%d claims are left", n)
		}
	})
}

func (s *singleServer) serveHTTP(t *testing.T, protocol string) {
	r := *s.rig
	r.t = t
	w := newWeb(&r, s.m, new(http.Server), serveTLS)
	s.protocol, s.exchange = protocol, overHTTP
	s.dial = func() (net.Conn, error) { return net.Dial("tcp", w.addr) }
}

// both connects twice with a session, at once, and returns how many resumed and
// a session for the next time, that of the one which did. Where the flights are joined both clients have
// offered the session before either completes: of these exactly one resumes.
func (s *singleServer) both(version uint16, session *tls.ClientSessionState, join bool, between func()) (resumed int, next *tls.ClientSessionState, err error) {
	var wg, offered sync.WaitGroup
	var once sync.Once
	var results [2]bool
	var errs [2]error
	var caches [2]*offering
	offered.Add(2)
	for i := range 2 {
		caches[i] = offers(session)
		wg.Go(func() {
			c, err := s.begin(version, caches[i], join)
			offered.Done()
			if errs[i] = err; err != nil {
				return
			}
			defer c.Close()
			if join {
				offered.Wait()
				once.Do(between)
			}
			results[i], errs[i] = s.exchange(c)
			if errs[i] == nil && results[i] != c.ConnectionState().DidResume {
				errs[i] = errors.New("only one side resumed")
			}
		})
	}
	wg.Wait()
	for i := range 2 {
		if results[i] {
			resumed++
		}
		if next == nil || results[i] {
			next = caches[i].next
		}
	}
	return resumed, next, errors.Join(errs[:]...)
}

// first makes a session by a full handshake.
func (s *singleServer) first(version uint16) *tls.ClientSessionState {
	s.t.Helper()
	o := offers(nil)
	c, err := s.begin(version, o, false)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	if _, err := s.exchange(c); err != nil {
		s.t.Fatal(err)
	}
	return o.next
}

// eachSingle runs f for every level and version.
func eachSingle(t *testing.T, config reprise.Config, f func(t *testing.T, s *singleServer, version uint16)) {
	config.NoTickets, config.SingleUse = true, true
	for level, start := range singleServers {
		for _, version := range later {
			t.Run(level+"/"+tls.VersionName(version), func(t *testing.T) {
				s := &singleServer{rig: newRig(t), m: manager(t, config)}
				start(t, s)
				f(t, s, version)
			})
		}
	}
}

// TestSingleUsePairs: of two connections with one session at once one resumes,
// both are answered.
func TestSingleUsePairs(t *testing.T) { singleUsePairs(t, 50) }

// TestLongSingleUsePairs is TestSingleUsePairs with more of them.
func TestLongSingleUsePairs(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 for 500 pairs at each level")
	}
	singleUsePairs(t, 500)
}

func singleUsePairs(t *testing.T, pairs int) {
	eachSingle(t, reprise.Config{}, func(t *testing.T, s *singleServer, version uint16) {
		session := s.first(version)
		for i := range pairs {
			resumed, next, err := s.both(version, session, i%2 == 0, func() {})
			if err != nil || resumed != 1 {
				t.Fatalf("pair %d: %d resumed, %v", i, resumed, err)
			}
			session = next
		}
		if st := s.m.Stats(); st.NotResumed[reprise.InUse] == 0 {
			t.Errorf("nothing was in use: %+v", st)
		}
	})
}

// TestSingleUseEvicted: a session that leaves the cache while two offer it serves
// the one that offered it first.
func TestSingleUseEvicted(t *testing.T) {
	const size = 8
	eachSingle(t, reprise.Config{CacheSize: size}, func(t *testing.T, s *singleServer, version uint16) {
		session := s.first(version)
		for i := range 3 {
			var added []*reprise.Session
			resumed, next, err := s.both(version, session, true, func() {
				for i := range size {
					added = append(added, cachedFor(version, i))
				}
				mustAdd(t, s.m, added...)
				if id, _, err := session.ResumptionState(); err != nil || s.m.Has(version, id) {
					t.Errorf("%x was not evicted: the test would prove nothing (%v)", id, err)
				}
				for _, a := range added {
					s.m.Remove(a)
				}
			})
			if err != nil || resumed != 1 {
				t.Fatalf("pair %d: %d resumed, %v", i, resumed, err)
			}
			session = next
		}
	})
}

// TestSingleUseEviction: with a small cache and others who fill it all the time
// no client is refused, and no session serves twice.
func TestSingleUseEviction(t *testing.T) {
	eachSingle(t, reprise.Config{CacheSize: 8}, func(t *testing.T, s *singleServer, version uint16) {
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				c, err := s.begin(version, offers(nil), false)
				if err == nil {
					_, err = s.exchange(c)
					c.Close()
				}
				if err != nil {
					t.Errorf("another client: %v", err)
					return
				}
			}
		})
		defer wg.Wait()
		defer close(done)
		session := s.first(version)
		for i := range 10 {
			resumed, next, err := s.both(version, session, i%2 == 0, func() {})
			if err != nil || resumed > 1 {
				t.Fatalf("pair %d: %d resumed, %v", i, resumed, err)
			}
			session = next
		}
	})
}

// cachedFor returns a session that expires after all that handshakes make.
func cachedFor(version uint16, id int) *reprise.Session {
	s := reprise.NewSession()
	s.SetProtocolVersion(version)
	s.SetID(fmt.Append(nil, "added ", id))
	s.SetTimeout(3 * reprise.DefaultTimeout)
	return s
}

// TestSingleUseHolderLeaves: who offers a session and goes away, be it an
// observer who replays the hello many times over, takes nothing: while that goes
// on the session's owner is full at most, and resumes when it is over.
func TestSingleUseHolderLeaves(t *testing.T) {
	for _, version := range later {
		for name, served := range map[string]func(*reprise.Manager, net.Conn, *tls.Config) error{"listener": levels["listener"], "connection": levels["connection"]} {
			t.Run(name+"/"+tls.VersionName(version), func(t *testing.T) {
				r := newRig(t)
				sm, cm := manager(t, reprise.Config{NoTickets: true, SingleUse: true}), manager(t, reprise.Config{})
				sc, cc := at(version, r.server), at(version, r.client)
				spent := r.session(sm, cm, sc, cc)
				defer spent.Free()
				session := r.session(sm, cm, sc, cc)
				defer session.Free()

				// The hello of a connection that is cut: its owner could not use the session.
				nc, ns := pipe(t)
				rec := &recorder{Conn: nc}
				cut := make(chan error, 1)
				go func() { cut <- served(sm, ns, sc) }()
				state, err := session.Dup(), error(nil)
				defer state.Free()
				client := cm.Client(deaf{rec}, cc)
				if err = client.SetSession(state); err == nil {
					err = client.Handshake()
				}
				if err == nil || <-cut == nil {
					t.Fatal("a handshake was complete")
				}
				hello := rec.hello()

				const replays = 20
				var conns []net.Conn
				ended := make(chan error, replays)
				answer := make([]byte, 1)
				for range replays {
					nc, ns := pipe(t)
					conns = append(conns, nc)
					go func() { ended <- served(sm, ns, sc) }()
					if _, err := nc.Write(hello); err != nil {
						t.Fatal(err)
					}
					if _, err := nc.Read(answer); err != nil { // the server has looked at it
						t.Fatal(err)
					}
				}
				if n := reprise.Claims(sm); n != 1 {
					t.Errorf("%d claims", n)
				}
				if _, why := r.offer(sm, cm, sc, cc, session.Dup()); why != reprise.InUse {
					t.Errorf("meanwhile: %v", why)
				}
				for _, c := range conns {
					c.Close()
				}
				for range replays {
					if <-ended == nil {
						t.Error("a replayed hello completed a handshake")
					}
				}
				if n := reprise.Claims(sm); n != 0 {
					t.Errorf("%d claims are left", n)
				}
				if _, why := r.offer(sm, cm, sc, cc, session); why != reprise.Resumed {
					t.Errorf("afterwards: %v", why)
				}
				if n := reprise.Claims(sm); n != 0 {
					t.Errorf("%d claims are left", n)
				}
			})
		}
	}
}

// TestSingleUseIdentities: of the sessions in one hello the first that nobody
// else offers is taken, and it is the only one that its handshake claims.
func TestSingleUseIdentities(t *testing.T) {
	r := newRigAt(t, tls.VersionTLS13)
	m := manager(t, reprise.Config{NoTickets: true, SingleUse: true})
	const n = 5 // as many as crypto/tls looks at
	var states []*tls.ClientSessionState
	var handles [][]byte
	for range n {
		o := offers(nil)
		if _, err := visit(func(nc net.Conn) error { return ends["listener"](m, nc, r.server) }, "192.0.2.1", r.client, &o); err != nil {
			t.Fatal(err)
		}
		states = append(states, o.offer)
		handle, _, err := o.offer.ResumptionState()
		if err != nil {
			t.Fatal(err)
		}
		handles = append(handles, handle)
	}
	serve := func(nc net.Conn) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- ends["listener"](m, nc, r.server) }()
		return ended
	}
	var clients []net.Conn
	var servers []<-chan error
	for held := range n + 1 {
		for i := len(clients); i < held; i++ {
			client, server := dialFrom("192.0.2.1")
			clients, servers = append(clients, client), append(servers, serve(server))
			client.Write(r.record(states[i]))
			if _, err := client.Read(make([]byte, 1)); err != nil { // it waits for Finished
				t.Fatal(err)
			}
		}
		err := <-serve(&lone{silent{unread: bigHello{name: "a.test", identities: handles}.records(t)}, memoryAddr{}})
		if taken := err != nil && strings.Contains(err.Error(), "binder"); taken != (held < n) {
			t.Errorf("%d of %d in use: one was taken: %v (%v)", held, n, taken, err)
		}
		if claims := reprise.Claims(m); claims != held {
			t.Errorf("%d in use: %d claims", held, claims)
		}
	}
	for i := range clients {
		clients[i].Close()
		if <-servers[i] == nil {
			t.Error("a lone hello completed a handshake")
		}
	}
	if claims := reprise.Claims(m); claims != 0 {
		t.Errorf("%d claims are left", claims)
	}
	for _, state := range states {
		o := offers(state)
		if resumed, err := visit(func(nc net.Conn) error { return ends["listener"](m, nc, r.server) }, "192.0.2.1", r.client, &o); err != nil || !resumed {
			t.Errorf("afterwards: resumed %v, %v", resumed, err)
		}
	}
}
