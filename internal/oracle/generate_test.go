package oracle

import (
	"bytes"
	"testing"
)

// TestGenerator checks that the inputs are worth comparing: reproducible, and many of them
// good enough for libssl.
func TestGenerator(t *testing.T) {
	o := Start(t)
	corpus := [][]byte{session(t)}
	a, b := NewGenerator(1, corpus, corpus), NewGenerator(1, corpus, corpus)
	var inputs [][]byte
	for range 2000 {
		x := a.Next()
		if !bytes.Equal(x, b.Next()) {
			t.Fatal("the same seed gives different inputs")
		}
		inputs = append(inputs, x)
	}
	accepted := 0
	for _, s := range o.Parse(inputs, false) {
		if s != nil {
			accepted++
		}
	}
	t.Logf("libssl accepts %d of %d", accepted, len(inputs))
	if accepted < len(inputs)/20 || accepted > len(inputs)/2 {
		t.Errorf("libssl accepts %d of %d inputs", accepted, len(inputs))
	}
}
