package reprise_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reprise-tls/reprise"
)

// brokenSealer makes no tickets.
type brokenSealer struct{}

func (brokenSealer) Seal([]byte) ([]byte, error)       { return nil, errors.New("broken") }
func (brokenSealer) Open([]byte) ([]byte, bool, error) { return nil, false, errors.New("broken") }

// TestWarningsBounded: however many hellos cause a warning, it is logged once in
// a while, with the number of those that were left out.
func TestWarningsBounded(t *testing.T) { warningsBounded(t, 1000) }

// TestLongWarningsBounded is TestWarningsBounded with more of them.
func TestLongWarningsBounded(t *testing.T) {
	if os.Getenv("REPRISE_LONG") == "" {
		t.Skip("set REPRISE_LONG=1 for 10 000 hellos")
	}
	warningsBounded(t, 10_000)
}

func warningsBounded(t *testing.T, hellos int) {
	useless := func(uint16, []byte) *reprise.Session { return reprise.NewSession() }
	for message, config := range map[string]reprise.Config{
		"OnLookup gave a session of no use": {NoTickets: true, OnLookup: useless},
		"no ticket could be made":           {Tickets: brokenSealer{}},
		"ticket not opened":                 {Tickets: brokenSealer{}},
	} {
		t.Run(message, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := new(lockedBuffer)
				config.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
				m, r := manager(t, config), newRigAt(t, tls.VersionTLS13)
				serve := func(nc net.Conn) error { return ends["configuration"](m, nc, r.server) }
				o := offers(nil)
				if _, err := visit(serve, "192.0.2.1", r.client, &o); err != nil {
					t.Fatal(err)
				}
				m.FlushAll()
				hello := r.record(o.offer)
				if message == "ticket not opened" {
					other := manager(t, reprise.Config{})
					o = offers(nil)
					if _, err := visit(func(nc net.Conn) error { return ends["configuration"](other, nc, r.server) }, "192.0.2.1", r.client, &o); err != nil {
						t.Fatal(err)
					}
					hello = r.record(o.offer)
				}
				time.Sleep(time.Minute)
				for range 2 {
					for range hellos {
						serve(&lone{silent{unread: hello}, memoryAddr{}})
					}
					time.Sleep(10 * time.Second)
				}
				var said []string
				for line := range strings.Lines(log.String()) {
					if strings.Contains(line, message) {
						said = append(said, line)
					}
				}
				n := len(said)
				if n < 2 || n > 3 || !strings.Contains(said[n-1], fmt.Sprintf("suppressed=%d", hellos-1)) {
					t.Errorf("%d lines of %d: %q", n, 2*hellos, said[:min(n, 3)])
				}
			})
		})
	}
}
