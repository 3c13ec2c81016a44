package reprise

import (
	"errors"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestRefsModel compares the two counts in one word with two plain numbers.
func TestRefsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r refs
		held := map[uint64]int{callerRef: 0, libraryRef: 0}
		start := rapid.SampledFrom([]uint64{callerRef, libraryRef}).Draw(t, "first owner")
		r.start(start)
		held[start] = 1
		dead := false
		kind := rapid.SampledFrom([]uint64{callerRef, libraryRef})
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				k := kind.Draw(t, "kind")
				if ok := r.add(k); ok == dead {
					t.Fatalf("add: %v, dead %v", ok, dead)
				}
				if !dead {
					held[k]++
				}
			},
			"drop": func(t *rapid.T) {
				k := kind.Draw(t, "kind")
				last, ok := r.drop(k)
				if want := held[k] > 0; ok != want {
					t.Fatalf("drop: %v, held %v", ok, held)
				}
				if ok {
					held[k]--
				}
				if want := ok && held[callerRef]+held[libraryRef] == 0; last != want {
					t.Fatalf("drop: last %v, held %v", last, held)
				}
				dead = dead || last
			},
			"": func(t *rapid.T) {
				if caller, library := r.held(); caller != held[callerRef] || library != held[libraryRef] {
					t.Fatalf("held %d and %d, want %v", caller, library, held)
				}
			},
		})
	})
}

// TestRefsConcurrent: whatever the order, exactly one drop is the last.
func TestRefsConcurrent(t *testing.T) {
	const goroutines, rounds = 8, 500
	var r refs
	r.start(callerRef)
	var wg sync.WaitGroup
	lasts := make(chan uint64, 2*goroutines*rounds)
	for range goroutines {
		for _, kind := range []uint64{callerRef, libraryRef} {
			for range rounds { // all taken while the first owner holds on
				if !r.add(kind) {
					t.Fatal("add to a held count failed")
				}
			}
			wg.Go(func() {
				for range rounds {
					last, ok := r.drop(kind)
					if !ok {
						t.Error("drop of a held reference failed")
					}
					if last {
						lasts <- kind
					}
				}
			})
		}
	}
	if last, ok := r.drop(callerRef); !ok {
		t.Error("the first owner had nothing to drop")
	} else if last {
		lasts <- callerRef
	}
	wg.Wait()
	if len(lasts) != 1 {
		t.Errorf("%d drops were the last", len(lasts))
	}
	if r.add(callerRef) || r.add(libraryRef) {
		t.Error("a dead count came back to life")
	}
}

// TestFreeTooMany: a refused Free leaves the library's reference where it is.
func TestFreeTooMany(t *testing.T) {
	s := NewSession()
	if !s.hold() {
		t.Fatal("hold of a new session failed")
	}
	s.Free()
	defer s.release()
	defer func() {
		err, _ := recover().(error)
		if !errors.Is(err, ErrOverFree) {
			t.Fatalf("panic with %v", err)
		}
		if caller, library := s.refs.held(); caller != 0 || library != 1 {
			t.Errorf("a refused Free left %d and %d references", caller, library)
		}
	}()
	s.Free()
}
