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

	// Time is the clock; nil means time.Now.
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
// A clock that is set back gives no key more time than a new one gets; one that
// is set forward ends keys early.
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
func (g *generator) next(keys []ringKey, now time.Time) []ringKey {
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
		keys[i].State = Decrypting // for good, wherever the clock goes
	}
	keys = append([]ringKey{g.make(now)}, keys...)
	for i := MaxKeys; i < len(keys); i++ {
		keys[i].State = Gone
	}
	return keys
}

// limit sees that k has no more time than a key made now: the clock may have
// been set back.
func (g *generator) limit(k *ringKey, now time.Time) {
	stop := now.Add(g.rotate)
	if k.Key.exhausted() {
		stop = now
	}
	k.Start = earlier(k.Start, now)
	k.Stop = earlier(k.Stop, stop)
	k.End = earlier(k.End, stop.Add(g.lifetime))
}

func (g *generator) make(now time.Time) ringKey {
	k := GenerateKey(FormAEAD)
	k.owned.Store(true)
	k.hold()
	stop := now.Add(g.rotate)
	return ringKey{
		RingKey: RingKey{Key: k, State: Encrypting, Start: now, Stop: stop, End: stop.Add(g.lifetime)},
		since:   now,
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
