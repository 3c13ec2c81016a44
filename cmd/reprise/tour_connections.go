package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/reprise-tls/reprise"
)

// connectionSteps are the rules of SSL_get_session(3) and its page.
var connectionSteps = []step{
	{
		"B1 B2", "SSL_get_session, alias SSL_get0_session, lends: it adds no reference",
		"s := c.Session()", lends,
	}, {
		"B3", "SSL_get1_session is the same with one reference more",
		"s := c.AcquireSession()", acquires,
	}, {
		"B4", "a session is all it takes to connect again without a full handshake",
		"c.SetSession(s); s.MarshalPEM(); reprise.ParseSessionPEM(pem)", resumption,
	}, {
		"B5", "after clear or free a bad session is gone; closed cleanly it stays",
		"c.Clear(next); c.Free(); c.Close() and then c.Free()", badSessionGoes,
	}, {
		"B6", "a session leaves the cache at any time, when a flush finds it expired",
		"m.Flush(t) // reprise.Config{Timeout: time.Hour}", flushedInUse,
	}, {
		"B7 B8", "to keep a session take get1: it stays until it is freed, once",
		"s := c.AcquireSession(); c.Clear(next); m.FlushAll(); s.Free()", keptUntilFreed,
	}, {
		"B9", "a session belongs to one context and must not be used with another",
		"other.Add(s); c.SetSession(s); s.Dup()", oneManager,
	}, {
		"B10", "NULL before the handshake is complete, and after one that failed",
		"c.Session(); c.AcquireSession()", noSession,
	}, {
		"B11", "otherwise the session's data, as the handshake settled it",
		"s := c.Session(); c.ConnectionState()", accessorsAgree,
	},
}

func lends(x *trial) {
	c, s := x.connect(x.manager(reprise.Config{}), x.manager(reprise.Config{}), tls.VersionTLS13, nil)
	lent := c.Session()
	x.want(lent != nil && lent == c.Session(), "asking twice gives two sessions")
	caught := refused(lent)
	x.want(caught, "it could be freed")
	hangUp(c, s)
	readable := secret(lent)
	x.want(readable, "it was gone once the connection was closed")
	c.Free()
	x.want(wiped(lent), "it outlived its connection")
	x.see("the same *Session each time; a Free of it is caught: %t", caught)
	x.see("connection closed: readable: %t; freed: secret wiped: %t", readable, wiped(lent))
}

func acquires(x *trial) {
	c, _ := x.connect(x.manager(reprise.Config{}), x.manager(reprise.Config{}), tls.VersionTLS13, nil)
	s := c.AcquireSession()
	x.want(s != nil && s == c.Session(), "it is not the connection's session")
	first, second := misuse(s), refused(s)
	x.want(first == nil && second && secret(s), "it did not give exactly one reference")
	x.see("the same *Session; one Free is ours: %t, a second is caught: %t", first == nil, second)
}

func resumption(x *trial) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		sm, cm := x.manager(reprise.Config{}), x.manager(reprise.Config{})
		s, made := x.met(sm, cm, version)
		made.Free()
		resumed, why := x.resumes(sm, cm, s)
		x.want(resumed, "%s: %v", tls.VersionName(version), why)

		pem, err := s.MarshalPEM()
		x.must(err)
		parsed, _, err := reprise.ParseSessionPEM(pem)
		clear(pem)
		x.must(err)
		defer parsed.Free()
		again, why := x.resumes(sm, x.manager(reprise.Config{}), parsed)
		x.want(again, "%s, imported: %v", tls.VersionName(version), why)
		x.see("%s: resumed from the object: %t; from its PEM elsewhere: %t", tls.VersionName(version), resumed, again)
	}
}

func badSessionGoes(x *trial) {
	ends := []struct {
		how string
		bad bool
		end func(*reprise.Conn)
	}{
		{"Clear", true, func(c *reprise.Conn) { _, next := x.pipe(); x.must(c.Clear(next)) }},
		{"Free", true, (*reprise.Conn).Free},
		{"Close, Free", false, func(c *reprise.Conn) { c.Close(); c.Free() }},
	}
	for _, e := range ends {
		sm, cm := x.keeper(), x.manager(reprise.Config{})
		client, server := x.connect(sm, cm, tls.VersionTLS12, nil)
		offer, s := x.session(client), server.AcquireSession()
		client.Close()
		e.end(server)
		cached, resumable := sm.Len(), s.Resumable()
		s.Free()
		gone := wiped(s)
		resumed, why := x.resumes(sm, cm, offer)
		x.want(resumed != e.bad && cached == 0 == e.bad && gone == e.bad && resumable != e.bad,
			"%s: cached %d, resumable %t, wiped %t, resumed %t (%v)", e.how, cached, resumable, gone, resumed, why)
		x.see("%-12s cached %d, resumable %t, offered: %v", e.how+":", cached, resumable, why)
	}
}

func flushedInUse(x *trial) {
	var ahead atomic.Int64 // of the real time
	sm := x.manager(reprise.Config{NoTickets: true, Timeout: time.Hour,
		Time: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	cm := x.manager(reprise.Config{})
	client, server := x.connect(sm, cm, tls.VersionTLS12, nil)
	offer, lent := x.session(client), server.Session()
	ahead.Store(int64(59 * time.Minute))
	resumed, why := x.resumes(sm, cm, offer)
	x.want(resumed, "after 59 minutes: %v", why)
	kept := sm.Flush(time.Now().Add(59 * time.Minute))
	x.see("after 59 minutes: offered: %v, flush removes %d", why, kept)

	ahead.Store(int64(61 * time.Minute))
	readers := make(chan int64)
	go func() { readers <- inParallel(100, func() bool { return secret(lent) }) }()
	flushed := sm.Flush(time.Now().Add(61 * time.Minute))
	x.want(kept == 0 && flushed == 1 && sm.Len() == 0, "the flushes removed %d and %d", kept, flushed)
	x.want(<-readers == 100 && secret(lent), "the flush took the session from a connection that uses it")
	resumed, why = x.resumes(sm, cm, offer)
	x.want(!resumed, "it was resumed once it had expired")
	x.see("after 61 minutes: flush removes %d, offered: %v", flushed, why)
	x.see("the connection that uses it reads on, during and after: %t", secret(lent))
}

func keptUntilFreed(x *trial) {
	m := x.keeper()
	_, server := x.connect(m, x.manager(reprise.Config{}), tls.VersionTLS13, nil)
	s := server.AcquireSession()
	_, next := x.pipe()
	ends := []struct {
		name string
		end  func()
	}{
		{"Clear", func() { x.must(server.Clear(next)) }},
		{"Conn.Free", server.Free},
		{"Flush", func() { m.Flush(time.Now().AddDate(1, 0, 0)) }},
		{"FlushAll", func() { m.FlushAll() }},
		{"Manager.Close", func() { m.Close() }},
	}
	for _, e := range ends {
		e.end()
		x.want(secret(s), "%s took its secret", e.name)
	}
	x.see("whole after Clear, Conn.Free, Flush, FlushAll, Manager.Close: %t", secret(s))
	first := misuse(s)
	gone, err := wiped(s), misuse(s)
	x.want(first == nil && gone && errors.Is(err, reprise.ErrOverFree), "the frees gave %v and %v", first, err)
	x.see("freed: secret wiped: %t; freed again: caught: %t", gone, err != nil)
}

func oneManager(x *trial) {
	sm, cm, other := x.keeper(), x.manager(reprise.Config{}), x.manager(reprise.Config{})
	offer, s := x.met(sm, cm, tls.VersionTLS12)
	defer s.Free()
	_, addErr := other.Add(s)
	nc, _ := x.pipe()
	stranger := other.Client(nc, x.client)
	defer stranger.Free()
	setErr := stranger.SetSession(offer)
	x.want(errors.Is(addErr, reprise.ErrOtherManager) && errors.Is(setErr, reprise.ErrOtherManager),
		"they give %v and %v", addErr, setErr)
	resumed, why := x.resumes(sm, cm, offer)
	x.want(resumed && other.Len() == 0, "it does not resume with its own: %v", why)
	x.see("with another Manager: %q", plain(fmt.Sprint(setErr)))
	d := offer.Dup()
	defer d.Free()
	copied, copyWhy := x.resumes(sm, other, d)
	x.want(copied, "the copy does not resume elsewhere: %v", copyWhy)
	x.see("with its own: %v; a Dup of it with the other: %v", why, copyWhy)
}

func noSession(x *trial) {
	sm, cm := x.manager(reprise.Config{}), x.manager(reprise.Config{})
	client, server := x.pair(sm, cm, tls.VersionTLS13, nil)
	before := client.Session() == nil && server.Session() == nil && client.AcquireSession() == nil
	x.want(before, "there is a session before the handshake")
	nc, ns := x.pipe()
	distrustful := at(tls.VersionTLS13, x.client)
	distrustful.ServerName = "other.test"
	client, server = cm.Client(nc, distrustful), sm.Server(ns, x.server)
	defer client.Free()
	defer server.Free()
	err := x.talk(client, server)
	x.want(err != nil, "the handshake did not fail")
	after := client.Session() == nil && server.Session() == nil && server.AcquireSession() == nil
	x.want(after, "there is a session after a failed handshake")
	x.see("before: nil on both sides: %t; failed: nil on both sides: %t", before, after)
}

func accessorsAgree(x *trial) {
	x.see("equal to c.ConnectionState():")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		client, _ := x.connect(x.manager(reprise.Config{}), x.manager(reprise.Config{}), version, nil)
		s, cs := client.Session(), client.ConnectionState()
		peer, err := s.PeerCertificate()
		x.must(err)
		x.want(peer != nil && bytes.Equal(peer.Raw, cs.PeerCertificates[0].Raw), "the peer's certificate differs")
		x.want(s.ProtocolVersion() == cs.Version && s.CipherSuite() == cs.CipherSuite && s.Hostname() == cs.ServerName &&
			s.CurveID() == cs.CurveID, "%v differs from crypto/tls's %s, %s", s, tls.VersionName(cs.Version), tls.CipherSuiteName(cs.CipherSuite))
		x.see("%s, %s, %v", tls.VersionName(s.ProtocolVersion()), tls.CipherSuiteName(s.CipherSuite()), peer.Subject)
	}
}
