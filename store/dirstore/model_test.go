package dirstore_test

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/reprise-tls/reprise/store/dirstore"
)

// Limits that random steps reach.
const (
	modelPerPeer = 3
	modelMax     = 16 // so a Store without room prunes to 14
)

type modelSession struct {
	peer, content string
	expires       time.Time
	once          bool
}

// model is what a directory should be, whichever Stores work on it.
type model struct {
	sessions []modelSession    // oldest first
	room     [2]int            // Puts of each Store until it prunes
	known    [2]map[string]int // to each Store, of a peer
}

func (m *model) prune(most int, now time.Time) {
	m.sessions = slices.DeleteFunc(m.sessions, func(s modelSession) bool { return !s.expires.After(now) })
	for len(m.sessions) > most {
		first := slices.MinFunc(m.sessions, func(a, b modelSession) int { return a.expires.Compare(b.expires) })
		m.remove(first)
	}
}

// pruneFor is what a Store does when it is opened, and before Puts for which
// there may be no room.
func (m *model) pruneFor(i, puts int, now time.Time) {
	m.prune(modelMax-puts, now)
	m.room[i] = min(modelMax/8, modelMax-len(m.sessions))
}

func (m *model) remove(s modelSession) {
	m.sessions = slices.Delete(m.sessions, slices.Index(m.sessions, s), slices.Index(m.sessions, s)+1)
}

func (m *model) put(i int, s modelSession, now time.Time) {
	if !s.expires.After(now) {
		return
	}
	if m.room[i] == 0 {
		m.pruneFor(i, modelMax/8, now)
	}
	m.room[i]--
	m.sessions = append(m.sessions, s)
	n, ok := m.known[i][s.peer]
	if ok {
		m.known[i][s.peer] = n + 1
	}
	if !ok || n >= modelPerPeer {
		m.trim(i, s.peer, now)
	}
}

// trim is what a Store does with a peer whose files it lists.
func (m *model) trim(i int, peer string, now time.Time) {
	m.sessions = slices.DeleteFunc(m.sessions, func(o modelSession) bool { return o.peer == peer && !o.expires.After(now) })
	for mine := m.of(peer); len(mine) > modelPerPeer; mine = mine[1:] {
		m.remove(mine[0])
	}
	m.known[i][peer] = len(m.of(peer))
}

func (m *model) of(peer string) (list []modelSession) {
	for _, s := range m.sessions {
		if s.peer == peer {
			list = append(list, s)
		}
	}
	return list
}

func (m *model) take(i int, peer string, now time.Time) string {
	m.trim(i, peer, now)
	mine := m.of(peer)
	if len(mine) == 0 {
		return ""
	}
	last := mine[len(mine)-1]
	if last.once {
		m.remove(last)
		m.known[i][peer]--
	}
	return last.content
}

// TestModel drives two Stores of one directory with random steps in virtual time
// and compares what they return, and what is in the directory, with a list.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		dir = filepath.Join(dir, "sessions")
		c, m := newClock(), &model{}
		opts := dirstore.Options{PerPeer: modelPerPeer, Max: modelMax, Time: c.now}
		if rapid.Bool().Draw(rt, "sealed") {
			opts.Key = key(0)
		}
		var stores [2]*dirstore.Store
		reopen := func(i int) {
			if stores[i] != nil {
				stores[i].Close()
			}
			if stores[i], err = dirstore.Open(dir, opts); err != nil {
				rt.Fatal(err)
			}
			m.pruneFor(i, 0, c.now())
			m.known[i] = make(map[string]int)
		}
		reopen(0)
		reopen(1)
		steps := 0
		peers := rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f", "g", ""})
		which := rapid.IntRange(0, 1)
		actions := map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				steps++ // no two expire at one time
				s := modelSession{peers.Draw(rt, "peer"), fmt.Sprint("session ", steps),
					c.in(time.Duration(rapid.IntRange(-1, 20).Draw(rt, "seconds"))*time.Second + time.Duration(steps)), rapid.Bool().Draw(rt, "once")}
				i := which.Draw(rt, "store")
				c.advance(1) // two Stores order by the clock
				if err := stores[i].Put(t.Context(), s.peer, []byte(s.content), s.expires, s.once); err != nil {
					rt.Fatal(err)
				}
				m.put(i, s, c.now())
			},
			"take": func(rt *rapid.T) {
				peer := peers.Draw(rt, "peer")
				i := which.Draw(rt, "store")
				got, err := stores[i].Take(t.Context(), peer)
				if want := m.take(i, peer, c.now()); err != nil || string(got) != want {
					rt.Fatalf("took %q, %v, want %q", got, err, want)
				}
			},
			"forget": func(rt *rapid.T) {
				peer := peers.Draw(rt, "peer")
				var session []byte
				if mine := m.of(peer); len(mine) > 0 && rapid.Bool().Draw(rt, "one") {
					session = []byte(rapid.SampledFrom(mine).Draw(rt, "session").content)
				}
				if err := stores[which.Draw(rt, "store")].Forget(t.Context(), peer, session); err != nil {
					rt.Fatal(err)
				}
				m.sessions = slices.DeleteFunc(m.sessions, func(s modelSession) bool {
					return s.peer == peer && (session == nil || s.content == string(session))
				})
			},
			"advance": func(rt *rapid.T) { c.advance(time.Duration(rapid.IntRange(0, 5).Draw(rt, "seconds")) * time.Second) },
			"reopen":  func(rt *rapid.T) { reopen(which.Draw(rt, "store")) },
			"prune": func(rt *rapid.T) {
				if err := stores[which.Draw(rt, "store")].Prune(t.Context()); err != nil {
					rt.Fatal(err)
				}
				m.prune(modelMax, c.now())
			},
			"": func(rt *rapid.T) { m.compare(rt, stores[0]) },
		}
		rt.Repeat(actions)
		stores[0].Close()
		stores[1].Close()
	})
}

// compare holds a directory to the model.
func (m *model) compare(rt *rapid.T, s *dirstore.Store) {
	var got []modelSession
	for e, err := range s.List() {
		if err != nil {
			rt.Fatal(err)
		}
		der, _, err := s.Read(e)
		if err != nil {
			rt.Fatal(err)
		}
		got = append(got, modelSession{content: string(der), expires: e.Expires.UTC(), once: e.Once})
	}
	want := slices.Clone(m.sessions)
	for i := range want {
		want[i].peer = ""
	}
	byContent := func(a, b modelSession) int { return cmp.Compare(a.content, b.content) }
	slices.SortFunc(got, byContent)
	slices.SortFunc(want, byContent)
	if !slices.Equal(got, want) {
		rt.Fatalf("the directory holds\n%v, want\n%v", got, want)
	}
}
