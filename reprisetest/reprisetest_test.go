package reprisetest_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/reprisetest"
)

// recorder is a test that fails without failing ours.
type recorder struct {
	testing.TB
	cleanup []func()
	errors  []string
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) end() string {
	for _, f := range r.cleanup {
		f()
	}
	return strings.Join(r.errors, "\n")
}

func plantLeak() *reprise.Session { return reprise.NewSession() }

func TestNoLeaks(t *testing.T) {
	t.Run("clean", func(t *testing.T) {
		r := &recorder{TB: t}
		reprisetest.NoLeaks(r)
		s := reprise.NewSession()
		d := s.Dup()
		s.Free()
		d.Free()
		if got := r.end(); got != "" {
			t.Errorf("reported: %s", got)
		}
	})
	t.Run("held", func(t *testing.T) {
		r := &recorder{TB: t}
		reprisetest.NoLeaks(r)
		s := plantLeak()
		got := r.end()
		if len(r.errors) != 1 || !strings.Contains(got, "plantLeak") || !strings.Contains(got, "never freed") {
			t.Errorf("reported: %q", got)
		}
		s.Free()
	})
	t.Run("from before", func(t *testing.T) {
		was := reprise.Track(true)
		defer reprise.Track(was)
		s := plantLeak()
		r := &recorder{TB: t}
		reprisetest.NoLeaks(r)
		if got := r.end(); got != "" {
			t.Errorf("reported: %s", got)
		}
		s.Free()
	})
	t.Run("collected", func(t *testing.T) {
		r := &recorder{TB: t}
		reprisetest.NoLeaks(r)
		plantLeak()
		for range 100 { // until its cleanup has run
			runtime.GC()
			if !held("plantLeak") {
				break
			}
		}
		if got := r.end(); !strings.Contains(got, "plantLeak") || !strings.Contains(got, "collected without Free") {
			t.Errorf("reported: %q", got)
		}
	})
}

func held(by string) bool {
	for _, r := range reprise.Outstanding() {
		if strings.Contains(r.Stack, by) {
			return true
		}
	}
	return false
}
