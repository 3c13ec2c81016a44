package main

import (
	"bytes"
	"crypto/fips140"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/reprise-tls/reprise"
)

// sessionSteps are the rules of SSL_SESSION_new(3) and its page.
var sessionSteps = []step{
	{
		"A1", "SSL_SESSION_new makes a new, empty session and gives it to the caller",
		"s := reprise.NewSession()", newSession,
	}, {
		"A2", "SSL_SESSION_dup copies all of a session; the two share nothing",
		"d := s.Dup()", dupCopies,
	}, {
		"A3", "the copy is in no cache; its source stays in the one it is in",
		"d := s.Dup(); m.Lookup(version, id); m.Remove(s); other.Add(d)", dupIsUncached,
	}, {
		"A4", "SSL_SESSION_up_ref adds one reference: one free more is needed",
		"s.UpRef()", upRefCounts,
	}, {
		"A5", "SSL_SESSION_free gives one back; the last one ends the session",
		"s.Free()", lastFreeWipes,
	}, {
		"A6", "freeing NULL does nothing",
		"(*reprise.Session)(nil).Free()", freeNil,
	}, {
		"A7", "sessions come into being when a handshake completes, on both sides",
		"client.Session(); server.Session()", handshakesMakeSessions,
	}, {
		"A8", "depending on the cache mode the context keeps them in its cache",
		"m, err := reprise.New(reprise.Config{CacheMode: mode}); m.Len()", modesDecide,
	}, {
		"A9", "several connections may use one session at the same time",
		"three clients: c.SetSession(s); two of them: c.Free()", connectionsShare,
	}, {
		"A10", "the count must be right, or pointers into a session dangle",
		"s := server.Session(); s.Free() // not ours to free", overFreeInUse,
	}, {
		"A11", "a free too many may fail late, when a flush meets the cached session",
		"s.Free(); s.Free(); m.Flush(time.Now()) // freed once too often", overFreeThenFlush,
	}, {
		"A12", "free what was counted up, or made without a handshake",
		"s.Free(), once for each reference", makersGiveOne,
	}, {
		"A13", "never free any other session",
		"Free of what Session, OnNew and All only lent", lentIsNotOurs,
	}, {
		"A14", "SSL_SESSION_new and SSL_SESSION_dup give NULL when they fail",
		"reprise.NewSession(); s.Dup()", makersCannotFail,
	}, {
		"A15", "SSL_SESSION_up_ref gives 1, or 0 on an error",
		"err := s.UpRef()", upRefFails,
	}, {
		"A16", "SSL_SESSION_free reports nothing; here misuse is, at the call",
		"s.Free() // panics with reprise.ErrOverFree", misuseIsTold,
	},
}

func newSession(x *trial) {
	s := reprise.NewSession()
	x.see("version %d, %d bytes of id, timeout %v, resumable: %t", s.ProtocolVersion(), len(s.ID()), s.Timeout(), s.Resumable())
	x.want(s.ProtocolVersion() == 0 && len(s.ID()) == 0 && !s.Resumable(), "it is not empty")
	x.want(s.Timeout() == 304*time.Second, "its timeout is not libssl's 304 s")
	x.want(time.Since(s.Time()).Abs() < time.Minute, "its time is %v, not now", s.Time())
	x.want(misuse(s) == nil, "it is not the caller's to free")
	x.want(refused(s), "it could be freed twice")
}

// der is the session as OpenSSL encodes it.
func (x *trial) der(s *reprise.Session) []byte {
	b, err := s.MarshalBinary()
	x.must(err)
	return b
}

func dupCopies(x *trial) {
	_, s := x.met(x.keeper(), x.manager(reprise.Config{}), tls.VersionTLS13)
	defer s.Free()
	d := s.Dup()
	defer d.Free()
	before := x.der(s)
	x.want(bytes.Equal(before, x.der(d)), "the copy is not equal to its source")

	d.SetHostname("other.test")
	x.must(d.SetTimeout(time.Minute))
	x.must(d.SetMasterKey(make([]byte, 32)))
	x.want(bytes.Equal(before, x.der(s)), "changing the copy changed its source")
	changed := x.der(d)
	x.must(s.SetTimeout(2 * time.Minute))
	x.must(s.SetMasterKey(bytes.Repeat([]byte{1}, 32)))
	x.want(bytes.Equal(changed, x.der(d)), "changing the source changed the copy")
	x.see("equal: %d bytes of DER; what is set in one never shows in the other", len(before))
}

func dupIsUncached(x *trial) {
	m, other := x.keeper(), x.manager(reprise.Config{})
	_, s := x.met(m, x.manager(reprise.Config{}), tls.VersionTLS13)
	defer s.Free()
	d := s.Dup()
	defer d.Free()
	found := m.Lookup(s.ProtocolVersion(), s.ID())
	defer found.Free()
	x.want(found == s, "the cache does not have the source, or has the copy")
	x.see("cached: %d, the source", m.Len())
	x.want(m.Len() == 1 && m.Remove(s) && m.Len() == 0, "the source did not leave the cache")
	added, err := other.Add(d)
	x.must(err)
	x.want(added && other.Len() == 1, "another Manager did not take the copy")
	x.want(!s.Resumable() && d.Resumable(), "removing the source touched the copy")
	x.see("source removed: is it resumable: %t, is the copy: %t", s.Resumable(), d.Resumable())
	x.see("another Manager takes the copy: %t", added)
}

func upRefCounts(x *trial) {
	const n = 1000
	s := reprise.NewSession()
	x.must(s.SetMasterKey(make([]byte, 48)))
	up := inParallel(n, func() bool { return s.UpRef() == nil })
	down := inParallel(n, func() bool { return misuse(s) == nil })
	x.want(up == n && down == n && secret(s), "a reference was lost: %d up, %d down", up, down)
	x.see("%d goroutines count up, %d give back; secret readable: %t", up, down, secret(s))
	s.Free()
	x.want(wiped(s), "a reference was left over")
	x.see("one Free more; secret wiped: %t", wiped(s))
}

// inParallel runs f n times at once and returns how often it was true.
func inParallel(n int, f func() bool) int64 {
	var done sync.WaitGroup
	var good atomic.Int64
	for range n {
		done.Go(func() {
			if f() {
				good.Add(1)
			}
		})
	}
	done.Wait()
	return good.Load()
}

func lastFreeWipes(x *trial) {
	m := x.keeper()
	_, s := x.met(m, x.manager(reprise.Config{}), tls.VersionTLS13)
	s.Free()
	x.want(secret(s), "the cache holds the session, but its secret is gone")
	x.see("ours given back, the cache has one; secret readable: %t", secret(s))
	x.want(m.Remove(s), "it was not cached")
	_, err := s.MasterKey()
	x.want(errors.Is(err, reprise.ErrFreed), "MasterKey gives %v", err)
	x.see("removed from the cache: s.MasterKey() gives %q", plain(fmt.Sprint(err)))
}

func freeNil(x *trial) {
	err := misuse(nil)
	x.want(err == nil, "it panicked: %v", err)
	x.see("panics: %t", err != nil)
}

func handshakesMakeSessions(x *trial) {
	versions := []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12, tls.VersionTLS13}
	if fips140.Enabled() {
		versions = versions[2:]
	}
	sm, cm := x.manager(reprise.Config{}), x.manager(reprise.Config{})
	for _, version := range versions {
		name := tls.VersionName(version)
		c, s := x.connect(sm, cm, version, nil)
		client, server := c.Session(), s.Session()
		for side, s := range map[string]*reprise.Session{"client": client, "server": server} {
			x.want(s != nil && s.ProtocolVersion() == version, "%s: the %s has no session of that version", name, side)
		}
		x.see("%s: client %s, server %s", name, client.Fingerprint(), server.Fingerprint())
	}
}

// nothingElsewhere is an external cache that is empty.
func nothingElsewhere(uint16, []byte) *reprise.Session { return nil }

func modesDecide(x *trial) {
	for _, mode := range []reprise.CacheMode{reprise.CacheOff, reprise.CacheServer, reprise.CacheClient, reprise.CacheBoth} {
		sm := x.manager(reprise.Config{CacheMode: mode, NoTickets: true, OnLookup: nothingElsewhere})
		x.connect(sm, x.manager(reprise.Config{}), tls.VersionTLS13, nil)
		cm := x.manager(reprise.Config{CacheMode: mode})
		x.connect(x.manager(reprise.Config{}), cm, tls.VersionTLS13, nil)
		server, client := sm.Len(), cm.Len()
		x.see("%-21s = %d: cached by a server %d, by a client %d",
			"SSL_SESS_CACHE_"+strings.ToUpper(mode.String()), mode.OpenSSL(), server, client)
		x.want(server == mode.OpenSSL()>>1&1 && client == mode.OpenSSL()&1, "mode %v does not decide", mode)
	}
}

func connectionsShare(x *trial) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		sm, cm := x.keeper(), x.manager(reprise.Config{})
		offer, made := x.met(sm, cm, version)
		made.Free()
		var clients, servers []*reprise.Conn
		objects := make(map[*reprise.Session]bool)
		for range 3 {
			c, s := x.connect(sm, cm, version, offer)
			reused, why := s.SessionReused()
			x.want(reused, "%s: not resumed: %v", tls.VersionName(version), why)
			clients, servers = append(clients, c), append(servers, s)
			objects[s.Session()] = true
		}
		for i := range 2 {
			hangUp(clients[i], servers[i])
			servers[i].Free()
			clients[i].Free()
		}
		x.must(x.talk(clients[2], servers[2]))
		x.want(secret(servers[2].Session()), "%s: the third connection lost its session", tls.VersionName(version))
		x.see("%s: 3 connections resumed it; 2 freed, the third goes on", tls.VersionName(version))
		x.see("         *Session objects on the server: %d", len(objects))
		if version == tls.VersionTLS12 {
			x.want(len(objects) == 1, "TLS 1.2: they do not share one object")
		}
	}
	x.see("(in TLS 1.3 every connection gets a new session, of the same line)")
}

func overFreeInUse(x *trial) {
	sm, cm := x.keeper(), x.manager(reprise.Config{})
	offer, made := x.met(sm, cm, tls.VersionTLS12)
	made.Free()
	client, server := x.connect(sm, cm, tls.VersionTLS12, offer)
	s := server.Session()
	x.want(refused(s), "the Free was not caught")
	x.want(secret(s), "the connection's session was wiped")
	x.must(x.talk(client, server))
	resumed, why := x.resumes(sm, cm, offer)
	x.want(resumed && sm.Len() == 1, "the cached session is damaged: %v", why)
	x.see("caught at the call; still cached: %d, resumes: %t", sm.Len(), resumed)
}

func overFreeThenFlush(x *trial) {
	sm, cm := x.keeper(), x.manager(reprise.Config{})
	offer, s := x.met(sm, cm, tls.VersionTLS12)
	s.Free()
	err := misuse(s)
	x.want(errors.Is(err, reprise.ErrOverFree), "the second Free was not caught")
	x.see("second Free: caught at the call: %t", err != nil)

	old := reprise.NewSession()
	defer old.Free()
	x.must(old.SetID([]byte("expired")))
	old.SetTime(time.Now().Add(-time.Hour))
	_, err = sm.Add(old)
	x.must(err)
	flushed := sm.Flush(time.Now())
	x.want(flushed == 1 && sm.Len() == 1, "the flush removed %d and left %d", flushed, sm.Len())
	found := sm.Lookup(s.ProtocolVersion(), s.ID())
	x.want(found != nil && secret(found), "the session is gone")
	found.Free()
	resumed, why := x.resumes(sm, cm, offer)
	x.want(resumed, "it does not resume: %v", why)
	x.see("flush: removes the %d expired, leaves the other, which resumes: %t", flushed, resumed)
}

func makersGiveOne(x *trial) {
	m := x.keeper()
	client, server := x.connect(m, x.manager(reprise.Config{}), tls.VersionTLS13, nil)
	pem, err := server.Session().MarshalPEM()
	x.must(err)
	defer clear(pem)
	makers := []struct {
		name string
		make func() (*reprise.Session, error)
	}{
		{"NewSession", func() (*reprise.Session, error) { return reprise.NewSession(), nil }},
		{"Dup", func() (*reprise.Session, error) { return server.Session().Dup(), nil }},
		{"ParseSessionPEM", func() (*reprise.Session, error) { s, _, err := reprise.ParseSessionPEM(pem); return s, err }},
		{"UpRef", func() (*reprise.Session, error) { s := server.Session(); return s, s.UpRef() }},
		{"AcquireSession", func() (*reprise.Session, error) { return server.AcquireSession(), nil }},
		{"WaitSession", func() (*reprise.Session, error) { return x.wait(client) }},
		{"Lookup", func() (*reprise.Session, error) {
			return m.Lookup(server.Session().ProtocolVersion(), server.Session().ID()), nil
		}},
	}
	var names []string
	for _, maker := range makers {
		s, err := maker.make()
		x.must(err)
		x.want(s != nil && misuse(s) == nil, "%s gives no reference to free", maker.name)
		x.want(refused(s), "%s gives more than one reference", maker.name)
		names = append(names, maker.name)
	}
	x.see("%s: one Free each, a second is caught", strings.Join(names, ", "))
}

func lentIsNotOurs(x *trial) {
	caught := make(map[string]bool)
	m := x.manager(reprise.Config{NoTickets: true, OnNew: func(s *reprise.Session) { caught["OnNew"] = refused(s) }})
	client, server := x.connect(m, x.manager(reprise.Config{}), tls.VersionTLS13, nil)
	for s := range m.All() {
		caught["All"] = refused(s)
	}
	lent := client.Session()
	caught["Session"] = refused(lent)
	hangUp(client, server)
	caught["Session, connection closed"] = refused(lent)
	client.Free()
	caught["Session, connection freed"] = refused(lent)
	for _, lender := range []string{"OnNew", "All", "Session", "Session, connection closed", "Session, connection freed"} {
		x.want(caught[lender], "%s: the Free was not caught", lender)
		x.see("%-27s caught: %t", lender+":", caught[lender])
	}
	x.want(m.Len() == 1, "the cache lost its session")
}

func makersCannotFail(x *trial) {
	s := reprise.NewSession()
	s.Free()
	d := s.Dup()
	defer d.Free()
	x.want(s != nil && d != nil && !d.Resumable(), "there is a nil, or a copy that resumes what was freed")
	x.see("neither can fail; even a freed session has a copy, resumable: %t", d.Resumable())
}

func upRefFails(x *trial) {
	s := reprise.NewSession()
	held := s.UpRef()
	s.Free()
	s.Free()
	dead := s.UpRef()
	x.want(held == nil && errors.Is(dead, reprise.ErrFreed), "it gives %v and %v", held, dead)
	x.see("owned: %v; after the last Free: %q", held, plain(fmt.Sprint(dead)))
}

func misuseIsTold(x *trial) {
	m := x.keeper()
	_, s := x.met(m, x.manager(reprise.Config{}), tls.VersionTLS13)
	s.Free()
	err := misuse(s)
	x.want(errors.Is(err, reprise.ErrOverFree) && strings.Contains(err.Error(), s.Fingerprint()), "Free says %v", err)
	if err != nil {
		x.see("%s", plain(err.Error()))
	}
}
