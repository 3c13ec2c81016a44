package reprise

import (
	"sync"
	"time"
)

// warnings bounds how often a log line is written that a peer can cause.
type warnings struct {
	mu   sync.Mutex
	said map[string]*warning // by message: there are as many as places in the code
	ever map[string]bool     // what first was asked for
}

type warning struct {
	last       time.Time
	suppressed int
}

// warningPause is how long a message is kept back after it was logged.
const warningPause = 10 * time.Second

// warn logs a warning that a peer can cause, each message once in ten seconds,
// with the number of those that were left out since. A logger that panics costs
// the line and no more.
func (m *Manager) warn(message string, args ...any) {
	defer func() { recover() }()
	if suppressed, ok := m.warnings.admit(message); ok {
		if suppressed > 0 {
			args = append(args, "suppressed", suppressed)
		}
		m.config.Logger.Warn(message, args...)
	}
}

func (w *warnings) admit(message string) (suppressed int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	said := w.said[message]
	switch {
	case said == nil:
		if w.said == nil {
			w.said = make(map[string]*warning)
		}
		said = new(warning)
		w.said[message] = said
	case time.Since(said.last) < warningPause:
		said.suppressed++
		return 0, false
	}
	suppressed, said.suppressed, said.last = said.suppressed, 0, time.Now()
	return suppressed, true
}

// first reports whether nothing was said of this before.
func (w *warnings) first(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ever[what] {
		return false
	}
	if w.ever == nil {
		w.ever = make(map[string]bool)
	}
	w.ever[what] = true
	return true
}
