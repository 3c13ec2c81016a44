package reprise_test

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
	"pgregory.net/rapid"
)

// keyOf is the secret of the session with that id in these tests.
func keyOf(id []byte) []byte { return bytes.Repeat(id, 48/len(id)) }

// numbered returns a session whose id, secret and expiry follow from n.
func numbered(t testing.TB, n int) *reprise.Session {
	t.Helper()
	s := reprise.NewSession()
	id := fmt.Appendf(nil, "id%06d", n)
	for _, err := range []error{s.SetID(id), s.SetMasterKey(keyOf(id)), s.SetTimeout(0)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.SetTime(time.Unix(int64(n), 0))
	return s
}

func lookupNumbered(m *reprise.Manager, n int) *reprise.Session {
	return m.Lookup(0, fmt.Appendf(nil, "id%06d", n))
}

// TestLifeStress has one session and a cache used by many goroutines at once.
// With every session held on to, in the end each is held by the cache if it is
// found there, and by nobody else; with none, the collector takes them in and
// out of the cache, and what is found is whole.
func TestLifeStress(t *testing.T) {
	for name, collected := range map[string]bool{"held": false, "collected": true} {
		t.Run(name, func(t *testing.T) { lifeStress(t, collected) })
	}
}

func lifeStress(t *testing.T, collected bool) {
	const rounds, ids = 300, 16
	m := manager(t, reprise.Config{CacheSize: ids / 2})
	shared := numbered(t, 999)
	var mu sync.Mutex
	var made []*reprise.Session

	use := func(s *reprise.Session) {
		if err := s.UpRef(); err != nil {
			t.Errorf("UpRef of a session that is held: %v", err)
		}
		if key, err := s.MasterKey(); err != nil || !bytes.Equal(key, keyOf(s.ID())) {
			t.Errorf("session %s has a key of %d bytes, %v", s.ID(), len(key), err)
		}
		d := s.Dup()
		d.SetHostname("a copy")
		if d.Free(); s.Hostname() != "" {
			t.Error("a copy shares its name")
		}
		s.Free()
	}
	work := map[string]func(i int){
		"share": func(int) { use(shared) },
		"add": func(i int) {
			s := numbered(t, i%ids)
			if _, err := m.Add(s); err != nil {
				t.Errorf("Add: %v", err)
			}
			if !collected {
				mu.Lock()
				made = append(made, s)
				mu.Unlock()
			}
			s.Free()
		},
		"look up": func(i int) {
			if s := lookupNumbered(m, i%ids); s != nil {
				use(s)
				s.SetMaxEarlyData(uint32(i))
				s.Free()
			}
		},
		"all": func(int) {
			for s := range m.All() {
				use(s)
			}
		},
		"flush": func(i int) { m.Flush(time.Unix(int64(i%ids), 0)) },
		"remove": func(i int) {
			if s := lookupNumbered(m, i%ids); s != nil {
				m.Remove(s)
				s.Free()
			}
		},
	}
	var wg sync.WaitGroup
	for _, f := range work {
		for range 2 {
			wg.Go(func() {
				for i := range rounds {
					f(i)
				}
			})
		}
	}
	if collected {
		wg.Go(func() {
			for range 10 {
				runtime.GC()
			}
		})
	}
	wg.Wait()

	wantHeld(t, shared, 1, 0)
	found := 0
	for _, s := range made {
		library := 0
		if cached(m, s) {
			library, found = 1, found+1
		}
		wantHeld(t, s, 0, library)
	}
	if n := m.Len(); n > ids/2 || !collected && n != found {
		t.Errorf("%d sessions are cached, of those made %d", n, found)
	}
	m.FlushAll()
	for _, s := range made {
		wantHeld(t, s, 0, 0)
		if !reprise.SecretsOf(s).Wiped() {
			t.Error("a session that nobody holds was not wiped")
		}
	}
	if n := m.Len(); n != 0 {
		t.Errorf("%d sessions are left after FlushAll", n)
	}
}

// TestAddWhileClosing: what is added while the Manager closes is refused or
// removed, never left behind.
func TestAddWhileClosing(t *testing.T) {
	for range 200 {
		m := manager(t, reprise.Config{})
		var made [8]*reprise.Session
		start := make(chan struct{})
		var wg sync.WaitGroup
		for i := range made {
			made[i] = numbered(t, i)
			wg.Go(func() {
				<-start
				if _, err := m.Add(made[i]); err != nil && !errors.Is(err, reprise.ErrClosed) {
					t.Errorf("Add: %v", err)
				}
			})
		}
		wg.Go(func() {
			<-start
			m.Close()
		})
		close(start)
		wg.Wait()
		for _, s := range made {
			wantHeld(t, s, 1, 0)
		}
		if n := m.Len(); n != 0 {
			t.Fatalf("%d sessions are left in a closed Manager", n)
		}
	}
}

// lifeModel is what TestLifeModel expects of one session.
type lifeModel struct {
	s       *reprise.Session
	n       int // its number, so its id and expiry
	caller  int
	cached  bool
	removed bool // and so not resumable
}

func (l *lifeModel) dead() bool { return l.caller == 0 && !l.cached }

// TestLifeModel compares sessions and a cache of two with a plain model, over
// any sequence of calls: who holds what, what is cached, what is wiped.
func TestLifeModel(t *testing.T) {
	const size, numbers = 2, 4
	rapid.Check(t, func(rt *rapid.T) {
		m := manager(t, reprise.Config{CacheSize: size})
		defer m.Close()
		start := func(n int) *lifeModel { return &lifeModel{s: numbered(t, n), n: n, caller: 1} }
		all := []*lifeModel{start(1)}
		pick := func(t *rapid.T) *lifeModel { return rapid.SampledFrom(all).Draw(t, "session") }
		entry := func(n int) *lifeModel {
			for _, l := range all {
				if l.cached && l.n == n {
					return l
				}
			}
			return nil
		}
		in := func() (n int) {
			for _, l := range all {
				if l.cached {
					n++
				}
			}
			return n
		}
		uncache := func(l *lifeModel, mark bool) { l.cached, l.removed = false, l.removed || mark }
		rt.Repeat(map[string]func(*rapid.T){
			"new": func(t *rapid.T) {
				all = append(all, start(rapid.IntRange(1, numbers).Draw(t, "number")))
			},
			"dup": func(t *rapid.T) {
				l := pick(t)
				all = append(all, &lifeModel{s: l.s.Dup(), n: l.n, caller: 1, removed: l.removed || l.dead()})
			},
			"up ref": func(t *rapid.T) {
				l := pick(t)
				if err := l.s.UpRef(); (err == nil) == l.dead() {
					t.Fatalf("UpRef: %v, dead %v", err, l.dead())
				}
				if !l.dead() {
					l.caller++
				}
			},
			"free": func(t *rapid.T) {
				l := pick(t)
				if got := freed(l.s); got != (l.caller > 0) {
					t.Fatalf("Free: %v with %d references", got, l.caller)
				}
				l.caller = max(l.caller-1, 0)
			},
			"add": func(t *rapid.T) {
				l := pick(t)
				wantAdded := !l.removed && !l.cached && !l.dead()
				if added, _ := m.Add(l.s); added != wantAdded {
					t.Fatalf("Add: %v, want %v", added, wantAdded)
				}
				if !wantAdded {
					return
				}
				if twin := entry(l.n); twin != nil {
					uncache(twin, false)
				}
				for n := 1; in() >= size; n++ { // the one that expires first goes first
					if e := entry(n); e != nil {
						uncache(e, true)
					}
				}
				l.cached = true
			},
			"remove": func(t *rapid.T) {
				l := pick(t)
				if got := m.Remove(l.s); got != (entry(l.n) != nil) {
					t.Fatalf("Remove: %v", got)
				}
				l.removed = true
				if e := entry(l.n); e != nil {
					uncache(e, true)
				}
			},
			"look up": func(t *rapid.T) {
				n := rapid.IntRange(1, numbers).Draw(t, "number")
				s, e := lookupNumbered(m, n), entry(n)
				if (s == nil) != (e == nil) || e != nil && s != e.s {
					t.Fatalf("Lookup of %d: %v", n, s)
				}
				if e != nil {
					e.caller++
				}
			},
			"flush": func(t *rapid.T) {
				now := rapid.IntRange(1, numbers+1).Draw(t, "now")
				want := 0
				for n := 1; n < now; n++ {
					if e := entry(n); e != nil {
						uncache(e, true)
						want++
					}
				}
				if got := m.Flush(time.Unix(int64(now), 0)); got != want {
					t.Fatalf("Flush: %d, want %d", got, want)
				}
			},
			"": func(t *rapid.T) {
				for i, l := range all {
					library := 0
					if l.cached {
						library = 1
					}
					if c, b := reprise.Held(l.s); c != l.caller || b != library {
						t.Fatalf("session %d (number %d) is held %d and %d times, want %d and %d", i, l.n, c, b, l.caller, library)
					}
					secrets := reprise.SecretsOf(l.s) // none in the copy of a freed session
					if _, err := l.s.MasterKey(); errors.Is(err, reprise.ErrFreed) != l.dead() || secrets.Len() > 0 && secrets.Wiped() != l.dead() {
						t.Fatalf("session %d: %v, wiped %v, dead %v", i, err, secrets.Wiped(), l.dead())
					}
					if l.s.Resumable() != (!l.removed && !l.dead()) {
						t.Fatalf("session %d: resumable %v, removed %v, dead %v", i, l.s.Resumable(), l.removed, l.dead())
					}
				}
				if n := m.Len(); n != in() {
					t.Fatalf("%d sessions are cached, want %d", n, in())
				}
			},
		})
	})
}

// freed reports whether the caller had a reference to give back.
func freed(s *reprise.Session) (ok bool) {
	defer func() { ok = recover() == nil }()
	s.Free()
	return
}

// TestNil: what takes nil, and does nothing with it.
func TestNil(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
	(*reprise.Session)(nil).Free()
	(*reprise.Conn)(nil).Free()
	if m.Remove(nil) {
		t.Error("Remove(nil) removed something")
	}
	if got := fmt.Sprint((*reprise.Session)(nil)); got != "Session(nil)" {
		t.Errorf("nil prints as %q", got)
	}
	if s := reprise.SessionOf(nil); s != nil {
		t.Errorf("SessionOf(nil) is %v", s)
	}
	if s := reprise.FromContext(t.Context()); s != nil {
		t.Errorf("FromContext of a plain context is %v", s)
	}
	if s := m.Lookup(0, nil); s != nil {
		t.Errorf("Lookup of no id is %v", s)
	}

	client, _ := r.connect(m, m, r.server, r.client, nil)
	s := wait(t, client)
	defer s.Free()
	client.Close()
	nc, ns := pipe(t)
	next, server := m.Client(nc, r.client), m.Server(ns, r.server)
	for _, set := range []*reprise.Session{s, nil} {
		if err := next.SetSession(set); err != nil {
			t.Fatalf("SetSession(%v): %v", set, err)
		}
	}
	talk(t, next, server)
	if reused, why := next.SessionReused(); reused || why != reprise.NothingOffered {
		t.Errorf("SetSession(nil) took nothing back: resumed %v, %v", reused, why)
	}
}

// TestRefusedTouchesNothing: a session that a Manager does not take stays free
// for another.
func TestRefusedTouchesNothing(t *testing.T) {
	m, other := manager(t, reprise.Config{}), manager(t, reprise.Config{})
	s := reprise.NewSession()
	defer s.Free()
	if m.Remove(s) {
		t.Error("Remove of a session without id")
	}
	if added, err := m.Add(s); added || !errors.Is(err, reprise.ErrNotResumable) {
		t.Errorf("Add of a session without id: %v, %v", added, err)
	}
	if err := s.SetID([]byte("an id")); err != nil {
		t.Fatal(err)
	}
	add(t, other, s)
}

// TestUpRefAfterTheCache: the end may come from the cache as well.
func TestUpRefAfterTheCache(t *testing.T) {
	m := manager(t, reprise.Config{})
	s := numbered(t, 1)
	add(t, m, s)
	s.Free()
	if err := s.UpRef(); err != nil {
		t.Fatalf("UpRef of a cached session: %v", err)
	}
	s.Free()
	m.FlushAll()
	if err := s.UpRef(); !errors.Is(err, reprise.ErrFreed) {
		t.Errorf("UpRef after the last owner, the cache: %v", err)
	}
	for what, err := range map[string]error{
		"SetMasterKey": s.SetMasterKey([]byte("late")), "SetTicketAppData": s.SetTicketAppData([]byte("late")),
	} {
		if !errors.Is(err, reprise.ErrFreed) {
			t.Errorf("%s of a freed session: %v", what, err)
		}
	}
	if added, err := m.Add(s); added || err == nil {
		t.Errorf("Add of a freed session: %v, %v", added, err)
	}
}

// TestLookupIdentity: while somebody holds it, a cached session is one object,
// and a whole new one afterwards.
func TestLookupIdentity(t *testing.T) {
	m := manager(t, reprise.Config{})
	s := numbered(t, 7)
	add(t, m, s)
	runtime.GC()
	for lent := range m.All() {
		if lent != s {
			t.Error("All gives another object")
		}
	}
	again := lookupNumbered(m, 7)
	if again != s {
		t.Error("Lookup gives another object while the first is held")
	}
	again.Free()
	s.SetHostname("late.test")
	collectWiped(t, s) // never freed: the collector takes it

	s = lookupNumbered(m, 7)
	if s == nil {
		t.Fatal("the cache lost a session that was collected")
	}
	wantHeld(t, s, 1, 1)
	if key := masterKey(t, s); !bytes.Equal(key, keyOf(s.ID())) || s.Hostname() != "late.test" {
		t.Error("the cache's session is not what it was")
	}
	again = lookupNumbered(m, 7)
	if again != s {
		t.Error("two lookups give two objects")
	}
	again.Free()
	s.Free()
}

type valueKey struct{}

// TestValuesInCache: attached values live while the session is cached, whoever
// holds it, and go with the last owner.
func TestValuesInCache(t *testing.T) {
	for name, first := range map[string]bool{"set before": true, "set after": false} {
		t.Run(name, func(t *testing.T) {
			m := manager(t, reprise.Config{})
			attach(t, m, first)
			for range 3 {
				runtime.GC()
			}
			s := lookupNumbered(m, 7)
			if s == nil || s.Value(valueKey{}) != "attached" {
				t.Fatalf("session %v lost its value in the cache", s)
			}
			m.FlushAll()
			if s.Value(valueKey{}) != "attached" {
				t.Error("the value is gone while the session is held")
			}
			s.Free()
			if v := s.Value(valueKey{}); v != nil {
				t.Errorf("value %v outlived the last owner", v)
			}
		})
	}
	t.Run("detached", func(t *testing.T) {
		m := manager(t, reprise.Config{})
		attach(t, m, true)
		s := lookupNumbered(m, 7)
		s.SetValue(valueKey{}, nil)
		collectWiped(t, s) // nothing pins it any more
		s = lookupNumbered(m, 7)
		defer s.Free()
		if v := s.Value(valueKey{}); v != nil {
			t.Errorf("value %v came back", v)
		}
	})
}

// attach caches a session with a value and keeps nothing of it.
func attach(t *testing.T, m *reprise.Manager, first bool) {
	t.Helper()
	s := numbered(t, 7)
	if first {
		s.SetValue(valueKey{}, "attached")
	}
	add(t, m, s)
	if !first {
		s.SetValue(valueKey{}, "attached")
	}
	s.Free()
}

// TestDupDeep fills every field there is by reflection, so that a new one is
// covered. Copy and source share what nobody writes into; what a setter changes
// in one, and the wiping of one's secrets, never shows in the other.
func TestDupDeep(t *testing.T) {
	source, twin := reprise.NewSession(), reprise.NewSession()
	fill(source)
	fill(twin)
	source.SetValue(valueKey{}, "attached")
	d := source.Dup()
	same(t, "copy", d, source)
	if d.Value(valueKey{}) != "attached" {
		t.Error("the copy lacks an attached value")
	}
	d.SetValue(valueKey{}, nil)
	if changed := setAll(t, d); changed < 12 {
		t.Errorf("only %d setters were there to be called", changed)
	}
	same(t, "source after its copy was changed", source, twin)
	if source.Value(valueKey{}) != "attached" {
		t.Error("a value detached from the copy is gone from the source")
	}

	e := source.Dup()
	setAll(t, source)
	same(t, "copy after its source was changed", e, twin)
	source.Free()
	same(t, "copy after its source was freed", e, twin)
}

// setAll calls every setter of s that takes one value of a kind made here.
func setAll(t *testing.T, s *reprise.Session) (called int) {
	t.Helper()
	v := reflect.ValueOf(s)
	for i := range v.NumMethod() {
		m := v.Type().Method(i)
		if !strings.HasPrefix(m.Name, "Set") || m.Type.NumIn() != 2 {
			continue
		}
		arg := reflect.New(m.Type.In(1)).Elem()
		switch x := arg.Addr().Interface().(type) {
		case *[]byte:
			*x = []byte("changed")
		case *string:
			*x = "changed"
		case *uint16:
			*x = 0x7777
		case *uint32:
			*x = 0x77777777
		case *time.Time:
			*x = time.Unix(7777, 0)
		case *time.Duration:
			*x = 7777 * time.Second
		case *[]*x509.Certificate:
			*x = []*x509.Certificate{{Raw: []byte("changed")}}
		default:
			t.Fatalf("%s takes a %T: make one here", m.Name, x)
		}
		v.Method(i).Call([]reflect.Value{arg})
		called++
	}
	return called
}

func same(t *testing.T, what string, a, b *reprise.Session) {
	t.Helper()
	fa, ra := reprise.Fields(a)
	fb, rb := reprise.Fields(b)
	for _, pair := range [][2]any{{fa, fb}, {ra, rb}} {
		x, y := reflect.ValueOf(pair[0]).Elem(), reflect.ValueOf(pair[1]).Elem()
		for i := range x.NumField() {
			if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
				t.Errorf("%s: %s differs", what, x.Type().Field(i).Name)
			}
		}
	}
}

// fill gives every field of s a value of its own, the same every time.
func fill(s *reprise.Session) {
	f, rec := reprise.Fields(s)
	n := 0
	fillValue(reflect.ValueOf(f).Elem(), &n)
	fillValue(reflect.ValueOf(rec).Elem(), &n)
	reprise.SetFields(s, f, rec)
}

func fillValue(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			fillValue(v.Index(i), n)
		}
	case reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n & 0x7F))
	default:
		panic(fmt.Sprintf("a field of kind %v: fill it too", v.Kind()))
	}
}

// TestDupDecided: every field of a Session is copied by Dup or left out on
// purpose. A new one wants its line here.
func TestDupDecided(t *testing.T) {
	decided := map[string]string{
		"refs": "the copy has one of its own", "owner": "the copy has no Manager", "inCache": "nor a cache",
		"mu": "a lock", "secrets": "its own", "track": "its own",
		"notResumable": "copied", "values": "copied", "certs": "shared, never written", "imported": "copied", "timed": "goes by the Manager's clock",
		"edits": "belongs to the cache", "content": "shared until one of them is changed", "shared": "said of both", "byHandle": "belongs to the cache",
	}
	typ := reflect.TypeFor[reprise.Session]()
	for i := range typ.NumField() {
		if name := typ.Field(i).Name; decided[name] == "" {
			t.Errorf("Session.%s: does Dup copy it?", name)
		}
	}
}

// TestDupFreed: the copy of a freed session has no secret. (It had one of
// zeros, which went out with the next encoding.)
func TestDupFreed(t *testing.T) {
	s := filled(t, "freed, then copied")
	s.Free()
	d := s.Dup()
	defer d.Free()
	key, err := d.MasterKey()
	data, _ := d.TicketAppData()
	if err != nil || len(key) != 0 || len(data) != 0 {
		t.Errorf("the copy has a key of %d and data of %d bytes, %v", len(key), len(data), err)
	}
	if d.Resumable() {
		t.Error("the copy of a freed session is resumable")
	}
	back, _, err := reprise.ParseSession(encoded(t, d))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Free()
	if key, _ := back.MasterKey(); len(key) != 0 {
		t.Errorf("a freed session went out with a key of %d bytes", len(key))
	}
}

// TestDupShares: certificates that were parsed are shared, the list is not.
func TestDupShares(t *testing.T) {
	r := newRig(t)
	m := manager(t, reprise.Config{CacheMode: reprise.CacheClient})
	client, _ := r.connect(m, m, r.server, r.client, nil)
	s := client.Session()
	list, err := s.PeerCertificates()
	if err != nil || len(list) == 0 {
		t.Fatalf("no peer certificates: %v", err)
	}
	d := s.Dup()
	defer d.Free()
	copied, err := d.PeerCertificates()
	if err != nil || !slices.Equal(copied, list) {
		t.Errorf("the copy has other certificates: %v", err)
	}
	copied[0] = nil
	if list, _ = s.PeerCertificates(); list[0] == nil {
		t.Error("the list is shared")
	}
}
