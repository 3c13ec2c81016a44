package ticket

import "sync/atomic"

// sole is the one key of a sealer that is no ring.
type sole struct {
	key    *Key
	closed atomic.Bool
}

// newSole takes k over.
func newSole(k *Key) *sole {
	k.owned.Store(true)
	k.hold()
	return &sole{key: k}
}

func (s *sole) seal(session []byte) ([]byte, error) {
	if s.closed.Load() || !s.key.hold() {
		return nil, ErrClosed
	}
	defer s.key.release()
	return s.key.seal(session)
}

func (s *sole) open(ticket []byte) ([]byte, error) {
	if !s.key.named(ticket) || s.closed.Load() || !s.key.hold() {
		return nil, ErrUnknownKey
	}
	defer s.key.release()
	return s.key.box.open(ticket)
}

func (s *sole) close() {
	if s.closed.CompareAndSwap(false, true) {
		s.key.release()
	}
}
