// Package reprisetest helps tests of programs that use reprise.
package reprisetest

import (
	"testing"

	"github.com/reprise-tls/reprise"
)

// NoLeaks fails t at its end if references to sessions that were acquired
// since are still held, or were collected without a Free, and shows where each
// was acquired. It turns tracking on for the rest of t, for the whole process:
// tests that use it are not to run in parallel with others that acquire sessions.
func NoLeaks(t testing.TB) {
	t.Helper()
	was := reprise.Track(true)
	before := make(map[string]int)
	for _, r := range reprise.Outstanding() {
		before[r.String()]++
	}
	reprise.Collected()
	t.Cleanup(func() {
		t.Helper()
		reprise.Track(was)
		for _, r := range reprise.Collected() {
			t.Errorf("collected without Free: %v", r)
		}
		for _, r := range reprise.Outstanding() {
			if before[r.String()]--; before[r.String()] < 0 {
				t.Errorf("never freed: %v", r)
			}
		}
	})
}
