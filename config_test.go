package reprise_test

import (
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// nothing is an OnLookup that knows no session.
func nothing(uint16, []byte) *reprise.Session { return nil }

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestConfigRefused(t *testing.T) {
	for field, c := range map[string]reprise.Config{
		"CacheMode":    {CacheMode: 0x10},
		"FlushEvery":   {FlushEvery: -1},
		"SingleUse":    {SingleUse: true},
		"HandleKey":    {HandleKey: make([]byte, 31)},
		"Timeout":      {Timeout: -time.Second},
		"ContextID":    {ContextID: make([]byte, 33)},
		"Peers":        {Peers: -1},
		"StoreTimeout": {StoreTimeout: -1},
		"ClockSkew":    {ClockSkew: -1},
	} {
		if _, err := reprise.New(c); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v, want an error that names it", field, err)
		}
	}
	for name, c := range map[string]reprise.Config{
		"HandleKey":        {HandleKey: make([]byte, 32)},
		"SingleUse":        {SingleUse: true, NoTickets: true, OnLookup: nothing},
		"NoTickets":        {NoTickets: true, CacheMode: reprise.CacheOff},
		"HandshakeTimeout": {HandshakeTimeout: -1},
		"MaxHandshakes":    {MaxHandshakes: -1},
	} {
		if _, err := reprise.New(c); err == nil || !strings.Contains(err.Error(), "Config."+name) {
			t.Errorf("%s: %v, want an error that names it", name, err)
		}
	}
	for _, mode := range []reprise.CacheMode{reprise.CacheClient, reprise.NoInternalLookup} {
		if _, err := reprise.New(reprise.Config{NoTickets: true, CacheMode: mode}); err == nil {
			t.Errorf("NoTickets with %v was taken: nothing would resume", mode)
		}
	}
	for _, timeout := range []time.Duration{time.Second - 1, 7*24*time.Hour + 1} {
		if _, err := reprise.New(reprise.Config{Timeout: timeout}); err == nil {
			t.Errorf("a timeout of %v was taken", timeout)
		}
	}
	for _, c := range []reprise.Config{
		{}, {Timeout: time.Second}, {Timeout: 7 * 24 * time.Hour}, {ContextID: make([]byte, 32)},
		{MaxAge: -1}, {CacheSize: -1}, {CacheMode: reprise.CacheBoth | reprise.NoInternal | reprise.NoAutoClear | reprise.UpdateTime},
		{SingleUse: true, NoTickets: true}, {HandleKey: randomBytes(32)}, {CacheBytes: -1},
		{NoTickets: true, CacheMode: reprise.CacheOff, OnLookup: nothing}, {NoTickets: true, CacheMode: reprise.NoInternal, OnLookup: nothing},
	} {
		m, err := reprise.New(c)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		m.Close()
	}
}

// TestConfigDefaults: a session made under the zero Config lives as libssl's.
func TestConfigDefaults(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{NoTickets: true})
	_, s := r.connect(m, manager(t, reprise.Config{}), r.server, r.client, nil)
	if got := s.Session().Timeout(); got != reprise.DefaultTimeout {
		t.Errorf("timeout is %v, want %v", got, reprise.DefaultTimeout)
	}
	if m.Len() != 1 {
		t.Errorf("%d sessions cached, want 1: the default mode is a server's", m.Len())
	}
}

// TestConfigCopied: what the caller does to its bytes afterwards does not matter.
func TestConfigCopied(t *testing.T) {
	context := []byte("context")
	m := manager(t, reprise.Config{ContextID: context})
	clear(context)
	r := newRig(t)
	_, s := r.connect(m, manager(t, reprise.Config{}), r.server, r.client, nil)
	if got := s.Session().IDContext(); string(got) != "context" {
		t.Errorf("the session's context is %q", got)
	}
}

func TestCacheMode(t *testing.T) {
	for mode, want := range map[reprise.CacheMode]struct {
		number int
		name   string
		server bool
		client bool
	}{
		reprise.CacheOff:    {0, "off", false, false},
		reprise.CacheClient: {1, "client", false, true},
		reprise.CacheServer: {2, "server", true, false},
		reprise.CacheBoth:   {3, "both", true, true},
	} {
		if mode.OpenSSL() != want.number || mode.String() != want.name {
			t.Errorf("%d is %q, %d to libssl, want %q, %d", mode, mode, mode.OpenSSL(), want.name, want.number)
		}
		r := newRig(t)
		news := 0
		m := manager(t, reprise.Config{CacheMode: mode, NoTickets: true, OnLookup: nothing, OnNew: func(*reprise.Session) { news++ }})
		other := manager(t, reprise.Config{CacheMode: reprise.CacheOff})
		c, _ := r.connect(m, other, r.server, r.client, nil)
		c.Close()
		if cached := m.Len() == 1; cached != want.server || (news == 1) != want.server {
			t.Errorf("%v: a server cached %d, announced %d", mode, m.Len(), news)
		}
		m.FlushAll()
		news = 0
		r.connect(other, m, r.server, r.client, nil)
		if want := want.client && other.Len() == 0; (m.Len() > 0) != want || (news > 0) != want {
			t.Errorf("%v: a client cached %d, announced %d", mode, m.Len(), news)
		}
	}
	for mode, want := range map[reprise.CacheMode]struct {
		number int
		name   string
	}{
		reprise.CacheServer | reprise.NoAutoClear:                        {0x082, "server, no auto clear"},
		reprise.CacheBoth | reprise.NoInternal:                           {0x303, "both, no internal lookup, no internal store"},
		reprise.CacheClient | reprise.NoInternalStore:                    {0x201, "client, no internal store"},
		reprise.CacheOff | reprise.NoInternalLookup | reprise.UpdateTime: {0x500, "off, no internal lookup, update time"},
		0x10: {2, "server, 0x10"},
	} {
		if mode.OpenSSL() != want.number || mode.String() != want.name {
			t.Errorf("%#x is %q, %#x to libssl, want %q, %#x", uint16(mode), mode, mode.OpenSSL(), want.name, want.number)
		}
	}
}
