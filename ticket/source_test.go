package ticket

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errDown = errors.New("the store is down")

// script is a Source that gives what the test puts there.
type script struct {
	mu      sync.Mutex
	state   func() (RingState, error)
	calls   int
	changed chan struct{}
}

func (s *script) Keys(ctx context.Context) (RingState, error) {
	s.mu.Lock()
	state := s.state
	s.calls++
	s.mu.Unlock()
	if state == nil { // a store that does not answer
		<-ctx.Done()
		return RingState{}, ctx.Err()
	}
	return state()
}

func (s *script) give(keys ...RingKey) {
	s.answer(func() (RingState, error) { return states(keys...), nil })
}

func (s *script) answer(f func() (RingState, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = f
}

func (s *script) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func fails() (RingState, error) { return RingState{}, errDown }

// telling is a script that is a Notifier.
type telling struct{ *script }

func (s telling) Changed() <-chan struct{} { return s.changed }

// follow runs Follow in a bubble until the test ends; it returns the alarms.
func follow(t *testing.T, r *KeyRing, s Source) (alarms func() []error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var raised []error
	done := make(chan error, 1)
	go func() {
		done <- r.Follow(ctx, s, FollowConfig{Alarm: func(err error) {
			mu.Lock()
			defer mu.Unlock()
			raised = append(raised, err)
		}})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
			t.Errorf("Follow = %v", err)
		}
	})
	synctest.Wait()
	return func() []error {
		mu.Lock()
		defer mu.Unlock()
		return raised
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := GenerateKey(FormOpenSSL256), GenerateKey(FormAEAD)
		s, r := new(script), mustRing(t)
		s.give(encrypting(a))
		alarms := follow(t, r, s)
		wantSeals(t, r, "at once", a)
		ticket := mustSeal(t, r, []byte("session"))
		s.give(encrypting(b), decrypting(a))
		wantSeals(t, r, "before it is asked", a)
		time.Sleep(time.Minute)
		synctest.Wait()
		wantSeals(t, r, "after a minute", b)
		wantOpen(t, r, "after a minute", ticket, true)
		if st := r.Stats(); st.SourceLoads != 2 || st.SourceFailures != 0 || st.SourceDown || !st.SourceLoaded.Equal(time.Now()) {
			t.Errorf("Stats = %+v", st)
		}
		if len(alarms()) != 0 {
			t.Errorf("alarms: %v", alarms())
		}
	})
}

// TestFollowOutage: the last good keys stay, the alarm is raised once, and the
// source is asked until it answers.
func TestFollowOutage(t *testing.T) {
	for name, outage := range map[string]func() (RingState, error){
		"error":   fails,
		"hanging": nil,
		"no keys": func() (RingState, error) { return RingState{}, nil },
		"twice": func() (RingState, error) {
			k := GenerateKey(FormAEAD)
			return states(encrypting(k), decrypting(k)), nil
		},
		"a nil key": func() (RingState, error) { return states(RingKey{}), nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := GenerateKey(FormAEAD), GenerateKey(FormAEAD)
				s, r := new(script), mustRing(t)
				s.give(encrypting(a))
				alarms := follow(t, r, s)
				for round := range 2 {
					s.answer(outage)
					time.Sleep(time.Hour)
					synctest.Wait()
					wantSeals(t, r, "an hour without the source", a)
					st := r.Stats()
					if len(alarms()) != 2*round+1 || alarms()[2*round] == nil {
						t.Errorf("alarms: %v, want one for each outage", alarms())
					}
					if st.SourceOutages != uint64(round+1) || !st.SourceDown || st.SourceFailures < 200 {
						t.Errorf("Stats = %+v", st)
					}
					k := []*Key{a, b}[round]
					s.give(encrypting(k))
					time.Sleep(15 * time.Second)
					synctest.Wait()
					wantSeals(t, r, "after the outage", k)
					if len(alarms()) != 2*round+2 || alarms()[2*round+1] != nil || r.Stats().SourceDown {
						t.Errorf("alarms: %v, want nil at the end", alarms())
					}
					s.give(encrypting(a)) // for the second round
					if round == 0 {
						time.Sleep(time.Minute)
						synctest.Wait()
					}
				}
			})
		})
	}
}

// TestFollowStarts: a source that is down at the start is asked until it gives keys.
func TestFollowStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, k := &script{state: fails}, mustRing(t), GenerateKey(FormAEAD)
		if err := r.Load(t.Context(), s); !errors.Is(err, errDown) {
			t.Errorf("Load = %v, want the source's error", err)
		}
		alarms := follow(t, r, s)
		wantSeals(t, r, "without keys", nil)
		s.give(encrypting(k))
		time.Sleep(5 * time.Second)
		synctest.Wait()
		wantSeals(t, r, "with keys", k)
		if len(alarms()) != 2 || r.Stats().SourceOutages != 1 {
			t.Errorf("alarms %v, %+v", alarms(), r.Stats())
		}
	})
}

func TestFollowNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := GenerateKey(FormAEAD), GenerateKey(FormAEAD)
		s, r := &script{changed: make(chan struct{}, 1)}, mustRing(t)
		s.give(encrypting(a))
		follow(t, r, telling{s})
		s.give(encrypting(b))
		s.changed <- struct{}{}
		synctest.Wait()
		wantSeals(t, r, "at once", b)
		if s.asked() != 2 {
			t.Errorf("asked %d times", s.asked())
		}
	})
}

func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := new(script), mustRing(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Follow(ctx, s, FollowConfig{}) }()
		synctest.Wait() // it waits for an answer
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Follow = %v", err)
		}
		if st := r.Stats(); st.SourceDown || st.SourceFailures != 0 {
			t.Errorf("the end of Follow counts as an outage: %+v", st)
		}

		s.answer(func() (RingState, error) { return states(encrypting(GenerateKey(FormAEAD))), nil })
		go func() { done <- r.Follow(t.Context(), s, FollowConfig{}) }()
		synctest.Wait()
		r.Close()
		if err := <-done; !errors.Is(err, ErrClosed) { // asked again a minute later
			t.Errorf("Follow of a closed ring = %v", err)
		}
	})
}

// TestLoadRefused: keys that a ring does not take are not left behind.
func TestLoadRefused(t *testing.T) {
	kept, a, b := GenerateKey(FormAEAD), testOpenSSLKey(t, 32), testOpenSSLKey(t, 32)
	r, s := mustRing(t, kept), new(script)
	s.give(encrypting(a), decrypting(b), decrypting(kept))
	if err := r.Load(t.Context(), s); !errors.Is(err, ErrDuplicateKey) {
		t.Errorf("Load = %v, want ErrDuplicateKey", err)
	}
	wantWiped(t, a)
	wantWiped(t, b)
	wantSeals(t, r, "after a refusal", kept)
}
