package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/reprise-tls/reprise"
)

// stepLimit bounds what a connection of the tour waits for: nothing leaves
// this host, so it is never reached unless something is broken.
const stepLimit = 5 * time.Second

// rig is the server and the client that the tour connects.
type rig struct {
	server, client *tls.Config
	handshakes     int
}

func newRig() (*rig, error) {
	certificate, roots, err := selfSigned("localhost")
	if err != nil {
		return nil, err
	}
	return &rig{
		server: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS10},
		client: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS10},
	}, nil
}

// trial is one step under way: what it saw, and the first thing that was wrong.
type trial struct {
	*rig
	seen []string
	err  error
	ends []func()
}

// see notes what was measured.
func (x *trial) see(format string, args ...any) {
	x.seen = append(x.seen, fmt.Sprintf(format, args...))
}

// want notes a failure unless it holds.
func (x *trial) want(holds bool, format string, args ...any) {
	if !holds && x.err == nil {
		x.err = fmt.Errorf(format, args...)
	}
}

// must ends the step on an error: step.try catches it.
func (x *trial) must(err error) {
	if err != nil {
		panic(err)
	}
}

// later runs f when the step is over, last in first out.
func (x *trial) later(f func()) { x.ends = append(x.ends, f) }

func (x *trial) close() {
	for i := len(x.ends) - 1; i >= 0; i-- {
		x.ends[i]()
	}
}

// manager makes a Manager that is closed with the step.
func (x *trial) manager(c reprise.Config) *reprise.Manager {
	m, err := reprise.New(c)
	x.must(err)
	x.later(func() { m.Close() })
	return m
}

// keeper is a server's Manager that keeps its sessions in the cache.
func (x *trial) keeper() *reprise.Manager { return x.manager(reprise.Config{NoTickets: true}) }

// at is a configuration for one version of TLS only.
func at(version uint16, c *tls.Config) *tls.Config {
	c = c.Clone()
	c.MinVersion, c.MaxVersion = version, version
	return c
}

// pipe is both ends of a TCP connection over loopback.
func (x *trial) pipe() (client, server net.Conn) {
	l, err := net.Listen("tcp", "localhost:0")
	x.must(err)
	defer l.Close()
	client, err = net.DialTimeout("tcp", l.Addr().String(), stepLimit)
	x.must(err)
	x.later(func() { client.Close() })
	server, err = l.Accept()
	x.must(err)
	x.later(func() { server.Close() })
	for _, c := range []net.Conn{client, server} {
		x.must(c.SetDeadline(time.Now().Add(stepLimit)))
	}
	return client, server
}

// pair makes both sides of a connection, the handshake still to come.
func (x *trial) pair(sm, cm *reprise.Manager, version uint16, offer *reprise.Session) (client, server *reprise.Conn) {
	nc, ns := x.pipe()
	server, client = sm.Server(ns, at(version, x.server)), cm.Client(nc, at(version, x.client))
	x.later(server.Free)
	x.later(client.Free)
	x.must(client.SetSession(offer))
	return client, server
}

// connect runs a handshake, the client offering offer if it is not nil.
func (x *trial) connect(sm, cm *reprise.Manager, version uint16, offer *reprise.Session) (client, server *reprise.Conn) {
	client, server = x.pair(sm, cm, version, offer)
	x.must(x.talk(client, server))
	x.handshakes++
	return client, server
}

// talk sends a byte each way, after the handshake where it is still to come;
// whatever session the server sends has arrived then.
func (x *trial) talk(client, server *reprise.Conn) error {
	failed := make(chan error, 1)
	go func() {
		b := make([]byte, 1)
		_, err := io.ReadFull(server, b)
		if err == nil {
			_, err = server.Write(b)
		}
		failed <- err
	}()
	b := []byte{'x'}
	_, err := client.Write(b)
	if err == nil {
		_, err = io.ReadFull(client, b)
	}
	return errors.Join(err, <-failed)
}

// hangUp ends a connection cleanly on both sides.
func hangUp(client, server *reprise.Conn) {
	client.Close()
	server.Close()
}

// wait returns what a client may offer next, for the caller to free.
func (x *trial) wait(client *reprise.Conn) (*reprise.Session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), stepLimit)
	defer cancel()
	return client.WaitSession(ctx)
}

// session is wait with a session that is freed with the step.
func (x *trial) session(client *reprise.Conn) *reprise.Session {
	s, err := x.wait(client)
	x.must(err)
	x.later(s.Free)
	return s
}

// met runs a full handshake, ends it cleanly and returns what the client may
// offer next, and the server's session with a reference to be freed.
func (x *trial) met(sm, cm *reprise.Manager, version uint16) (client, server *reprise.Session) {
	c, s := x.connect(sm, cm, version, nil)
	client, server = x.session(c), s.AcquireSession()
	hangUp(c, s)
	c.Free()
	s.Free()
	return client, server
}

// resumes reports how a handshake that offers s ends.
func (x *trial) resumes(sm, cm *reprise.Manager, s *reprise.Session) (bool, reprise.Reason) {
	client, server := x.connect(sm, cm, s.ProtocolVersion(), s)
	defer hangUp(client, server)
	return server.SessionReused()
}

// misuse frees s and returns what Free had to say against it, nil if nothing.
func misuse(s *reprise.Session) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
			if e, ok := r.(error); ok {
				err = e
			}
		}
	}()
	s.Free()
	return nil
}

// refused reports whether Free of s is caught as a misuse.
func refused(s *reprise.Session) bool { return errors.Is(misuse(s), reprise.ErrOverFree) }

// secret reports whether the session's secret is there to be read.
func secret(s *reprise.Session) bool {
	key, err := s.MasterKey()
	defer clear(key)
	return err == nil && len(key) > 0
}

// wiped reports whether the session's secret is gone for good.
func wiped(s *reprise.Session) bool {
	_, err := s.MasterKey()
	return errors.Is(err, reprise.ErrFreed)
}
