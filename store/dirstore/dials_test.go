package dirstore_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
	"github.com/reprise-tls/reprise/store/dirstore"
)

// patience is for a store on a machine that is busy.
const patience = time.Minute

// dials is how many connections a process makes at once.
const dials = 64

// dialAll is told an address and the roots. For each order it makes
// connections, none of which gets a session before all have offered theirs,
// and reports how many resumed; then, told to go on, it reads and closes.
func dialAll(dir string, in io.Reader, out io.Writer) error {
	store, err := dirstore.Open(dir, dirstore.Options{PerPeer: -1})
	if err != nil {
		return err
	}
	orders := bufio.NewScanner(in)
	orders.Buffer(nil, 1<<20)
	next := func() string { orders.Scan(); return orders.Text() }
	address := next()
	roots, err := base64.StdEncoding.DecodeString(next())
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)) // of what became a full handshake
	m, err := reprise.New(reprise.Config{ClientStore: store, StoreTimeout: patience, Logger: log})
	if err != nil {
		return err
	}
	for next() == "dial" {
		var conns [dials]*reprise.Conn
		errs := make(chan error, dials)
		for i := range conns {
			go func() {
				var err error
				if conns[i], err = m.Dial("tcp", address, &tls.Config{RootCAs: pool, ServerName: "a.test"}); err == nil {
					err = conns[i].Handshake()
				}
				errs <- err
			}()
		}
		for range conns {
			if err := <-errs; err != nil {
				return err
			}
		}
		resumed := 0
		for _, c := range conns {
			if ok, _ := c.SessionReused(); ok {
				resumed++
			}
		}
		fmt.Fprintln(out, resumed)
		if next() != "go on" {
			break
		}
		for _, c := range conns {
			if _, err := io.ReadAll(c); err != nil { // and the ticket with it
				return err
			}
			c.Close()
		}
		fmt.Fprintln(out, "closed")
	}
	return m.Close()
}

// TestTwoProcessesDial: two processes, 64 parallel dials each, one directory.
// Every TLS 1.3 session is offered at most once, which the server sees to: it
// fails the handshake of a second use. Resumptions equal the sessions that were
// there.
func TestTwoProcessesDial(t *testing.T) {
	ca := testpki.New(t, "root")
	server, err := reprise.New(reprise.Config{NoTickets: true, SingleUse: true})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var seen outcomes
	tl, err := server.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{ca.Leaf(t, "a.test")}, MinVersion: tls.VersionTLS13,
	})
	if err != nil {
		t.Fatal(err)
	}
	go seen.serve(tl)
	dir := filepath.Join(t.TempDir(), "sessions")
	processes := []*process{start(t, "dial", dir), start(t, "dial", dir)}
	for _, p := range processes {
		fmt.Fprintf(p.in, "%s\n%s\n", l.Addr(), base64.StdEncoding.EncodeToString(ca.PEM()))
	}
	for round, want := range []int{0, dials, 2 * dials, 2 * dials} {
		ordered := processes
		if round == 0 { // one process alone, so that there are half as many sessions as the second round wants
			ordered = processes[:1]
		}
		resumed := 0
		tell(ordered, "dial")
		for _, p := range ordered {
			line, _ := p.report()
			n := 0
			if _, err := fmt.Sscan(line, &n); err != nil {
				t.Fatalf("round %d: report %q", round, line)
			}
			resumed += n
		}
		if resumed != want {
			t.Errorf("round %d: %d resumed, %d sessions were there", round, resumed, want)
		}
		tell(ordered, "go on")
		for _, p := range ordered {
			if line, _ := p.report(); line != "closed" {
				t.Fatalf("round %d: report %q", round, line)
			}
		}
	}
	for _, p := range processes {
		p.in.Close()
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	}
	if got := seen.String(); got != fmt.Sprintf("resumed: %d, nothing offered: %d", 5*dials, 2*dials) {
		t.Errorf("the server saw %s", got)
	}
}

func tell(processes []*process, order string) {
	for _, p := range processes {
		fmt.Fprintln(p.in, order)
	}
}

// outcomes is what a server saw.
type outcomes struct {
	mu sync.Mutex
	of map[reprise.Reason]int
}

// serve answers each connection with a line.
func (o *outcomes) serve(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			t := c.(*tls.Conn)
			if t.Handshake() != nil {
				return
			}
			r, _ := reprise.ResumptionOf(t)
			o.mu.Lock()
			if o.of == nil {
				o.of = make(map[reprise.Reason]int)
			}
			o.of[r.Reason]++
			o.mu.Unlock()
			io.WriteString(t, "hello")
		}()
	}
}

func (o *outcomes) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	var words []string
	for _, r := range reprise.Reasons() {
		if n := o.of[r]; n > 0 {
			words = append(words, fmt.Sprintf("%v: %d", r, n))
		}
	}
	return strings.Join(words, ", ")
}
