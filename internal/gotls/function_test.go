package gotls

import (
	"runtime"
	"testing"
)

type counter struct{ n int }

func (c *counter) next() int { c.n++; return c.n }

func one() int { return 1 }

func TestSameFunc(t *testing.T) {
	if !funcsAreWords() {
		t.Fatal("function values are not as expected")
	}
	closure := func(n int) func() int { return func() int { return n } }
	c := new(counter)
	a, b, method := closure(1), closure(1), c.next
	var none func() int
	for name, pair := range map[string]struct {
		a, b func() int
		want bool
	}{
		"nil":                             {nil, none, true},
		"nil and a function":              {nil, one, false},
		"a function and nil":              {a, nil, false},
		"a function of the package":       {one, one, true},
		"a closure":                       {a, a, true},
		"two closures of one literal":     {a, b, false},
		"a method value":                  {method, method, true},
		"a method value, evaluated again": {method, c.next, false},
	} {
		if got := SameFunc(pair.a, pair.b); got != pair.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestFuncID: the number of a function stays as it is, also when the collector
// runs and the stack moves.
func TestFuncID(t *testing.T) {
	if id := FuncID[func()](nil); id != 0 {
		t.Errorf("nil: %#x", id)
	}
	n := 0
	f := func() int { n++; return n }
	id := FuncID(f)
	deep(1000)
	runtime.GC()
	if again := FuncID(f); again != id || id == 0 {
		t.Errorf("%#x became %#x", id, again)
	}
	f()
}

func deep(n int) int {
	var frame [128]int
	if n == 0 {
		return frame[0]
	}
	return deep(n-1) + frame[n%len(frame)]
}
