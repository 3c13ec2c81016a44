package dirstore

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestName(t *testing.T) {
	for _, n := range []name{
		{},
		{peer: peerName{1, 31: 0xff}, put: 1, expires: math.MaxInt64, once: true, random: math.MaxUint64},
	} {
		s := n.String()
		if got, ok := parseName(s); !ok || got != n || len(s) != nameLength {
			t.Errorf("%q parses to %+v, %t, want %+v", s, got, ok, n)
		}
		for _, bad := range []string{
			"", s + "0", s[1:], strings.Replace(s, "-", "_", 1), strings.Replace(s, "-", "--", 1), s[:len(s)-1] + "g", s[:len(s)-1] + "A",
			strings.NewReplacer(once, "none", many, "none").Replace(s), s[:peerDigits+1] + "8" + s[peerDigits+2:], s + "\x00", "../" + s[3:],
		} {
			if got, ok := parseName(bad); ok {
				t.Errorf("%q parses to %+v", bad, got)
			}
		}
	}
}

// TestNamesSort: names of one peer are in the order of their Puts.
func TestNamesSort(t *testing.T) {
	var names []string
	for _, put := range []int64{0, 1, 15, 16, 1 << 32, math.MaxInt64} {
		names = append(names, name{put: put, expires: math.MaxInt64 - put, once: put%2 == 0}.String())
	}
	if !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
}

func TestTemporaryName(t *testing.T) {
	s := newTemporary(7)
	if made, ok := parseTemporary(s); !ok || made != 7 {
		t.Errorf("%q was made at %d, %t", s, made, ok)
	}
	if s == newTemporary(7) {
		t.Errorf("%q comes twice", s)
	}
	for _, bad := range []string{"", "tmp", "tmp--", "x" + newTemporary(1), newTemporary(1) + "0", newTemporary(1) + "-", "tmp-8000000000000000-0000000000000000"} {
		if made, ok := parseTemporary(bad); ok {
			t.Errorf("%q was made at %d", bad, made)
		}
	}
}

func TestNanos(t *testing.T) {
	for _, c := range []struct {
		t    time.Time
		want int64
	}{
		{time.Time{}, 0},
		{time.Unix(-1, 0), 0},
		{time.Unix(1, 2), 1e9 + 2},
		{time.Unix(0, math.MaxInt64), math.MaxInt64},
		{time.Unix(0, math.MaxInt64).Add(1), math.MaxInt64},
		{time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), math.MaxInt64},
	} {
		if got := nanos(c.t); got != c.want {
			t.Errorf("nanos(%v) is %d, want %d", c.t, got, c.want)
		}
	}
}
