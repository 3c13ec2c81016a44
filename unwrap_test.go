package reprise_test

import (
	"crypto/rand"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/internal/testpki"
)

// sealedByHooks returns a configuration whose own hooks seal, and are called with what
// they made.
func sealedByHooks(base *tls.Config, change func(ticket []byte) []byte, restore func(ticket []byte) []byte) *tls.Config {
	keys, c := new(tls.Config), base.Clone()
	keys.SetSessionTicketKeys([][32]byte{{1}})
	c.WrapSession = func(cs tls.ConnectionState, s *tls.SessionState) ([]byte, error) {
		ticket, err := keys.EncryptTicket(cs, s)
		return change(ticket), err
	}
	c.UnwrapSession = func(ticket []byte, cs tls.ConnectionState) (*tls.SessionState, error) {
		return keys.DecryptTicket(restore(ticket), cs)
	}
	return c
}

func asIs(ticket []byte) []byte { return ticket }

// TestSingleUseUserHooks: what the application's own hooks seal nobody can take,
// so nothing of it resumes under SingleUse.
func TestSingleUseUserHooks(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		for single, want := range map[bool]reprise.Reason{true: reprise.NotResumable, false: reprise.Resumed} {
			sm, cm := manager(t, reprise.Config{NoTickets: true, SingleUse: single}), manager(t, reprise.Config{})
			sc, cc := sealedByHooks(at(version, r.server), asIs, asIs), at(version, r.client)
			session := r.session(sm, cm, sc, cc)
			for range 2 {
				if _, why := r.offer(sm, cm, sc, cc, session); why != want {
					t.Errorf("%s, single use %v: %v, want %v", tls.VersionName(version), single, why, want)
				}
			}
			session.Free()
		}
	}
}

// TestUserHooksLongTicket: where a ticket of the application's hooks is too long
// the server keeps the session, and finds it.
func TestUserHooksLongTicket(t *testing.T) {
	r := newRig(t)
	for _, version := range later {
		sm, cm := manager(t, reprise.Config{}), manager(t, reprise.Config{})
		sc := sealedByHooks(at(version, r.server), func(ticket []byte) []byte { return append(ticket, make([]byte, 60_000)...) },
			func(ticket []byte) []byte {
				t.Errorf("the hook was asked for %d bytes", len(ticket))
				return ticket
			})
		cc := at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		if len(session.Ticket()) != 32 {
			t.Errorf("a ticket of %d bytes", len(session.Ticket()))
		}
		if _, why := r.offer(sm, cm, sc, cc, session); why != reprise.Resumed {
			t.Errorf("%s: %v", tls.VersionName(version), why)
		}
	}
}

// lastRandom closes a Manager when it is read from.
type lastRandom struct {
	io.Reader
	m *reprise.Manager
}

func (c lastRandom) Read(b []byte) (int, error) {
	c.m.Close()
	return c.Reader.Read(b)
}

// TestClosedMeanwhile: a Manager that is closed during a handshake resumes
// nothing, and tells of no failure.
func TestClosedMeanwhile(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r := newRig(t)
		sm := manager(t, reprise.Config{NoTickets: noTickets, Tickets: newRing(t)})
		cm := manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		session := r.session(sm, cm, sc, cc)
		defer session.Free()
		slow := sc.Clone()
		slow.Rand = lastRandom{rand.Reader, sm} // read for the ServerHello, before the client's session is looked at
		_, why := r.offer(sm, cm, slow, cc, session)
		if why != reprise.NotResumable {
			t.Errorf("resumed after Close: %v", why)
		}
		if st := sm.Stats(); st.WrapFailures != 0 || st.Number != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// TestDeclineLogged: the line of a decline says whose session it was, for which
// name, and which.
func TestDeclineLogged(t *testing.T) {
	eachForm(t, func(t *testing.T, version uint16, noTickets bool) {
		r, log := newRig(t), new(lockedBuffer)
		sm, cm := manager(t, reprise.Config{NoTickets: noTickets, Logger: slog.New(slog.NewTextHandler(log,
			&slog.HandlerOptions{Level: slog.LevelDebug}))}), manager(t, reprise.Config{})
		sc, cc := at(version, r.server), at(version, r.client)
		c, s := r.connect(sm, cm, sc, cc, nil)
		session := wait(t, c)
		defer session.Free()
		fingerprint := s.Session().Fingerprint()
		if noTickets {
			for cached := range sm.All() {
				fingerprint = cached.Fingerprint()
			}
		}
		sm.Revoke(reprise.ByLineage(s.Session()))
		c, s = r.connect(sm, cm, sc, cc, session)
		if _, why := s.SessionReused(); why != reprise.Revoked {
			t.Fatal(why)
		}
		want := []string{"session declined", "reason=revoked", "peer=" + c.LocalAddr().String(), "name=a.test", "session=" + fingerprint}
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, want[0]) {
				for _, w := range want {
					if !strings.Contains(line, w) {
						t.Errorf("no %s in %s", w, line)
					}
				}
				return
			}
		}
		t.Errorf("no line in %s", log)
	})
}

// TestLabelReturns: what a client got where no ticket could be made stands for
// nothing that was offered.
func TestLabelReturns(t *testing.T) {
	r := newRigAt(t, tls.VersionTLS13)
	sm, cm := manager(t, reprise.Config{Tickets: brokenSealer{}}), manager(t, reprise.Config{})
	session := r.session(sm, cm, r.server, r.client)
	defer session.Free()
	if _, why := r.offer(sm, cm, r.server, r.client, session); why != reprise.NothingOffered {
		t.Errorf("%v", why)
	}
	if st := sm.Stats(); st.NotResumed[reprise.NothingOffered] != 2 || st.Misses != 0 {
		t.Errorf("%+v", st)
	}
}

// TestImportedUnproven: a hello changes nothing of an imported session that it
// finds, whatever the connection that it comes over makes of the session's chain.
func TestImportedUnproven(t *testing.T) {
	r := newRigAt(t, tls.VersionTLS12)
	m := manager(t, reprise.Config{NoTickets: true})
	sc, cc := r.mutual(tls.VersionTLS12, r.ca.Leaf(t, "client"))
	o := offers(nil)
	serve := func(nc net.Conn) error { return ends["listener"](m, nc, sc) }
	if _, err := visit(serve, "192.0.2.1", cc, &o); err != nil {
		t.Fatal(err)
	}
	var imported *reprise.Session
	for s := range m.All() {
		der, err := s.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if imported, _, err = reprise.ParseSession(der); err != nil {
			t.Fatal(err)
		}
		m.Remove(s)
	}
	defer imported.Free()
	mustAdd(t, m, imported)
	_, rec := reprise.Fields(imported)
	before := len(rec.Verified)
	hello := r.record(o.offer)
	other := sc.Clone()
	other.ClientCAs = testpki.New(t, "another root").Pool()
	for _, config := range []*tls.Config{r.server, other} {
		if ends["configuration"](m, &lone{silent{unread: hello}, memoryAddr{}}, config) == nil {
			t.Error("a lone hello completed a handshake")
		}
		if _, rec = reprise.Fields(imported); len(rec.Verified) != before || before == 0 {
			t.Errorf("it has %d verified chains, and had %d", len(rec.Verified), before)
		}
	}
	if resumed, err := visit(serve, "192.0.2.1", cc, &o); err != nil || !resumed {
		t.Errorf("resumed %v, %v: %v", resumed, err, m.Stats().NotResumed)
	}
}
