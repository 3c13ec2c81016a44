package asn1sess

import (
	"slices"
	"testing"
)

// TestSuites compares all 65536 values with libssl.
func TestSuites(t *testing.T) {
	names := newJudge(t).oracle.Suites()
	if len(names) != len(suites) {
		t.Errorf("libssl knows %d suites, the table %d", len(names), len(suites))
	}
	for id := range 0x10000 {
		name, known := names[uint16(id)]
		if got := SuiteName(uint16(id)); got != name || KnownSuite(uint16(id)) != known {
			t.Errorf("%04x: %q, libssl %q", id, got, name)
		}
	}
}

func TestSuitesSorted(t *testing.T) {
	if !slices.IsSortedFunc(suites, func(a, b suite) int { return int(a.id) - int(b.id) }) {
		t.Error("the table is not sorted by id")
	}
}
