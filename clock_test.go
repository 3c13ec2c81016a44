package reprise

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestClock: it is behind by less than a reading serves, reads anew then, and
// leaves nothing that runs.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock
		for range 40 {
			late := time.Now().Add(-clockGood).Unix()
			if got := c.unix(); got < late || got > time.Now().Unix() {
				t.Errorf("at %v: %d", time.Now(), got)
			}
			time.Sleep(clockGood / 3)
			synctest.Wait()
		}
	})
}

// TestClockOfApplication: the application's clock is read each time.
func TestClockOfApplication(t *testing.T) {
	now := time.Unix(1000, 0)
	c := clock{now: func() time.Time { return now }}
	for range 3 {
		if got := c.unix(); got != now.Unix() {
			t.Errorf("%d, not %d", got, now.Unix())
		}
		now = now.Add(time.Second)
	}
}
