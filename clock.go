package reprise

import (
	"sync/atomic"
	"time"
)

// uptime returns for how long the Manager has existed, by the monotonic clock:
// whatever becomes of the wall clock, it goes on. It begins at one, so that zero
// stands for no time at all.
func (m *Manager) uptime() time.Duration { return time.Since(m.started) + 1 }

// clock tells the second that it is. To read the system's clock takes longer
// than all else that a client does to find a session, so that one reading
// serves for a little while. The application's clock is always read.
type clock struct {
	now    func() time.Time // the application's; nil for the system's
	second atomic.Int64     // 0 when it has to be read
}

// clockGood is how long a reading serves. Sessions are good for whole seconds,
// and who offers one too late gets a full handshake.
const clockGood = time.Second / 4

func (c *clock) unix() int64 {
	if s := c.second.Load(); s != 0 {
		return s
	}
	return c.read()
}

func (c *clock) read() int64 {
	if c.now != nil {
		return c.now().Unix()
	}
	s := time.Now().Unix()
	c.second.Store(s)
	time.AfterFunc(clockGood, func() { c.second.Store(0) })
	return s
}
