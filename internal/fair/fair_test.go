package fair

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestShare: a network that sends without end takes only what is over from
// others, and then only its own items go.
func TestShare(t *testing.T) {
	const limit = 100
	var s Set[int]
	kept := 0
	for i := range 10_000 {
		s.Add(kind("flood"), 1, i)
		if i%100 == 0 && kept < 40 {
			s.Add(kind(fmt.Sprint(kept%20)), 1, -1)
			kept++
		}
		for s.Weight() > limit {
			v := s.Victim()
			if v.Value < 0 {
				t.Fatal("another network's item went")
			}
			s.Remove(v)
		}
	}
	if s.Len() != limit || len(s.networks) != 21 || s.Victim().Value != 10_000-(limit-kept) {
		t.Errorf("%d items of %d networks, the next to go is %d", s.Len(), len(s.networks), s.Victim().Value)
	}
}

func TestRemoveForeign(t *testing.T) {
	var a, b Set[string]
	item := a.Add(kind("x"), 3, "a")
	b.Add(kind("x"), 4, "b")
	b.Remove(item)
	b.Remove(nil)
	new(Set[string]).Remove(item)
	if a.Len() != 1 || b.Len() != 1 || a.Weight() != 3 || b.Weight() != 4 {
		t.Error("an item was removed from a set that it is not in")
	}
	a.Remove(item)
	if a.Victim() != nil || a.Len() != 0 || a.Weight() != 0 || len(a.networks) != 0 {
		t.Error("the set is not empty")
	}
}

// TestAllocations: one of the item, and one of a network that is new.
func TestAllocations(t *testing.T) {
	var s Set[int]
	stays := kind("stays")
	s.Add(stays, 1, 0)
	s.Remove(s.Add(kind("goes"), 1, 0)) // room in the map and the heap
	if n := testing.AllocsPerRun(100, func() { s.Remove(s.Add(stays, 1, 0)) }); n != 1 {
		t.Errorf("%v allocations for an item", n)
	}
	if n := testing.AllocsPerRun(100, func() { s.Remove(s.Add(kind("goes"), 1, 0)) }); n != 2 {
		t.Errorf("%v allocations for an item and a network", n)
	}
}

// model is a Set as a slice, oldest first.
type model []*modelItem

type modelItem struct {
	from   Name
	weight int64
	item   *Item[int]
}

func (m model) weightOf(from Name) (sum int64) {
	for _, i := range m {
		if i.from == from {
			sum += i.weight
		}
	}
	return sum
}

func (m model) victim() *Item[int] {
	if len(m) == 0 {
		return nil
	}
	best := m[0]
	for _, i := range m { // the first of a network is its oldest
		if m.weightOf(i.from) > m.weightOf(best.from) {
			best = i
		}
	}
	return best.item
}

// TestModel compares a Set with a slice that is searched each time.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s Set[int]
		var m model
		var removed []*Item[int]
		n := 0
		remove := func(item *Item[int]) {
			s.Remove(item)
			m = slices.DeleteFunc(m, func(i *modelItem) bool { return i.item == item })
			removed = append(removed, item)
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				from := kind(string(rune('a' + rapid.IntRange(0, 5).Draw(t, "network"))))
				weight := rapid.Int64Range(0, 4).Draw(t, "weight")
				n++
				m = append(m, &modelItem{from, weight, s.Add(from, weight, n)})
			},
			"remove": func(t *rapid.T) {
				if len(m) > 0 {
					remove(rapid.SampledFrom(m).Draw(t, "item").item)
				}
			},
			"remove victim": func(*rapid.T) {
				if v := s.Victim(); v != nil {
					remove(v)
				}
			},
			"remove again": func(t *rapid.T) {
				if len(removed) > 0 {
					s.Remove(rapid.SampledFrom(removed).Draw(t, "item"))
				}
			},
			"": func(t *rapid.T) {
				var sum int64
				names := make(map[Name]bool)
				for _, i := range m {
					sum += i.weight
					names[i.from] = true
				}
				if s.Len() != len(m) || s.Weight() != sum || len(s.networks) != len(names) || len(s.heaviest) != len(names) {
					t.Fatalf("%d items, weight %d, %d networks, want %d, %d, %d", s.Len(), s.Weight(), len(s.networks), len(m), sum, len(names))
				}
				if got, want := s.Victim(), m.victim(); got != want {
					t.Fatalf("the victim is %+v, want %+v", got, want)
				}
			},
		})
	})
}
