package dirstore

import "sync/atomic"

// Stats counts what a Store did since it was opened; what other processes do
// with the directory is not in it.
type Stats struct {
	Puts    uint64 // sessions put
	Taken   uint64 // Takes that returned a session
	Misses  uint64 // Takes that found none
	Skipped uint64 // files passed over: sealed under another key, or not sealed where there is a key
	Damaged uint64 // files found damaged, and removed
	Pruned  uint64 // files removed since they had expired, were too many or were left behind
}

// stats is the recorder's side of Stats.
type stats struct{ puts, taken, misses, skipped, damaged, pruned atomic.Uint64 }

// Stats returns what was counted so far.
func (s *Store) Stats() Stats {
	return Stats{
		Puts: s.stats.puts.Load(), Taken: s.stats.taken.Load(), Misses: s.stats.misses.Load(),
		Skipped: s.stats.skipped.Load(), Damaged: s.stats.damaged.Load(), Pruned: s.stats.pruned.Load(),
	}
}
