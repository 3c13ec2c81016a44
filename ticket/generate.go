package ticket

import (
	"fmt"
	"time"
)

const (
	// DefaultRotate is how long a key of [GenerateRing] encrypts.
	DefaultRotate = time.Hour

	// DefaultLifetime is how long tickets of [GenerateRing] can be opened: the
	// timeout of sessions in OpenSSL.
	DefaultLifetime = 2 * time.Hour

	maxLifetime = 7 * 24 * time.Hour // RFC 8446, Section 4.6.1
)

// RingConfig is for [GenerateRing]. The zero value is ready to use.
type RingConfig struct {
	// Rotate is how long a key encrypts: 0 means DefaultRotate, or a 32nd of
	// Lifetime if that is more.
	Rotate time.Duration

	// Lifetime is how long a ticket can be opened at least, so as long as
	// sessions may be resumed: 0 means DefaultLifetime, at most seven days. A
	// key is wiped Rotate + Lifetime after it was made.
	Lifetime time.Duration

	// Time is the wall clock; nil means time.Now.
	Time func() time.Time
}

// GenerateRing returns a ring of [FormAEAD] keys that it makes, uses and wipes
// by itself: they exist only in this process. One encrypts for Rotate, or until
// it has sealed 2^32 tickets, and decrypts for Lifetime after that.
//
// There is no goroutine and no timer: the ring changes keys when it is used. So
// the keys of a server that is idle stay in memory until the next handshake or
// the next [KeyRing.Stats].
//
// A key has no more time than that by the monotonic clock either, so a wall
// clock that is set back gives it none, nor more by the wall clock than a new
// key gets, should the machine sleep then. One that is set forward ends keys
// early.
//
// The error says which duration is not possible.
func GenerateRing(c RingConfig) (*KeyRing, error) {
	if c.Lifetime == 0 {
		c.Lifetime = DefaultLifetime
	}
	if c.Rotate == 0 {
		c.Rotate = max(DefaultRotate, c.Lifetime/32)
	}
	switch {
	case c.Lifetime < 0 || c.Lifetime > maxLifetime:
		return nil, fmt.Errorf("ticket: lifetime %v is not between 0 and %v", c.Lifetime, maxLifetime)
	case c.Rotate < 0 || c.Rotate > maxLifetime:
		return nil, fmt.Errorf("ticket: rotation every %v is not between 0 and %v", c.Rotate, maxLifetime)
	case c.Lifetime/c.Rotate > MaxKeys-4:
		return nil, fmt.Errorf("ticket: rotation every %v and a lifetime of %v take more than %d keys", c.Rotate, c.Lifetime, MaxKeys)
	}
	r := newRing(c.Time)
	r.generate = &generator{rotate: c.Rotate, lifetime: c.Lifetime}
	r.advance(r.now())
	return r, nil
}

// generator makes the keys of a ring.
type generator struct {
	rotate, lifetime time.Duration
}

// next returns keys, the latest first, with a new one if none of them encrypts.
func (g *generator) next(keys []ringKey, now instant) []ringKey {
	encrypts := false
	for i := range keys {
		k := &keys[i]
		g.limit(k, now)
		encrypts = encrypts || k.at(now) == Encrypting
	}
	if encrypts {
		return keys
	}
	for i := range keys {
		keys[i].state = Decrypting // for good
	}
	keys = append([]ringKey{g.make(now)}, keys...)
	for i := MaxKeys; i < len(keys); i++ {
		keys[i].state = Gone
	}
	return keys
}

// limit sees that k has no more time than a key made now. By the monotonic clock
// only a key that is exhausted can have; by the wall clock, one from before that
// was set back, and while the machine sleeps it may be the only clock that runs.
func (g *generator) limit(k *ringKey, now instant) {
	stop := now.add(g.rotate)
	if k.Key.exhausted() {
		stop = now
	}
	k.start = k.start.earlier(now)
	k.stop = k.stop.earlier(stop)
	k.end = k.end.earlier(stop.add(g.lifetime))
}

func (g *generator) make(now instant) ringKey {
	k := GenerateKey(FormAEAD)
	k.owned.Store(true)
	k.hold()
	stop := now.add(g.rotate)
	return ringKey{Key: k, state: Encrypting, start: now, stop: stop, end: stop.add(g.lifetime), since: now}
}
