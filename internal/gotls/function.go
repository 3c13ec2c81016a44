package gotls

import (
	"reflect"
	"sync"
)

// SameFunc reports whether a and b, of a function type, are the same function
// value. That is more than the same code: two closures of one function literal
// may differ in what they captured, and are not the same. nil is the same as nil.
func SameFunc[F any](a, b F) bool {
	if isNil(&a) || isNil(&b) {
		return isNil(&a) && isNil(&b)
	}
	id := FuncID(a)
	return id != 0 && id == FuncID(b)
}

// FuncID returns a number that tells the function value f from every other one,
// for as long as the caller keeps f alive: a later function may get the number
// of one that is gone. It returns 0 for nil, and for every function on a Go
// release whose function values are not as expected.
func FuncID[F any](f F) uintptr {
	if !funcsAreWords() || isNil(&f) {
		return 0
	}
	if escape.ever {
		escape.to = f
	}
	return funcWord(&f)
}

// escape has the compiler keep closures on the heap: one on the stack would move
// with it. Nothing ever writes to it.
var escape struct {
	ever bool
	to   any
}

func isNil[F any](f *F) bool { return reflect.ValueOf(f).Elem().IsNil() }

// funcWord returns the pointer that a function value is: to the closure, which
// the collector does not move. (reflect's own Pointer gives the code.)
func funcWord[F any](f *F) uintptr {
	return uintptr(reflect.NewAt(reflect.TypeFor[uintptr](), reflect.ValueOf(f).UnsafePointer()).Elem().Uint())
}

// funcsAreWords checks that a function value is a word, that copies of it are
// equal, and that closures of one literal are not.
var funcsAreWords = sync.OnceValue(func() bool {
	if reflect.TypeFor[func()]().Size() != reflect.TypeFor[uintptr]().Size() {
		return false
	}
	closure := func(n int) func() int { return func() int { n++; return n } }
	a, b := closure(0), closure(0)
	c := a
	a()
	b()
	return funcWord(&a) != 0 && funcWord(&a) == funcWord(&c) && funcWord(&a) != funcWord(&b)
})
