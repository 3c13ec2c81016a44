package reprise_test

import (
	"crypto/rand"
	"crypto/tls"
	"io"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
)

// sealing returns a configuration whose own hooks seal, and are called with what
// they made.
func sealing(base *tls.Config, change func(ticket []byte) []byte, restore func(ticket []byte) []byte) *tls.Config {
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
			sc, cc := sealing(at(version, r.server), asIs, asIs), at(version, r.client)
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
		sc := sealing(at(version, r.server), func(ticket []byte) []byte { return append(ticket, make([]byte, 60_000)...) },
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
		keys, err := ticket.NewKeyRing(ticket.GenerateKey(ticket.FormAEAD))
		if err != nil {
			t.Fatal(err)
		}
		sm := manager(t, reprise.Config{NoTickets: noTickets, Tickets: keys})
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
