package ticket_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/reprise-tls/reprise/ticket"
)

// A server seals a session into a ticket and opens it when the client returns.
func Example() {
	sealer := ticket.NewAEAD()
	defer sealer.Close()

	tkt, err := sealer.Seal([]byte("an encoded session"))
	if err != nil {
		fmt.Println(err) // no ticket for this client; the connection goes on
		return
	}

	session, _, err := sealer.Open(tkt)
	fmt.Printf("%s, %v\n", session, err)

	tkt[len(tkt)-1] ^= 1
	_, _, err = sealer.Open(tkt)
	fmt.Println(errors.Is(err, ticket.ErrForged))

	// Output:
	// an encoded session, <nil>
	// true
}

// Tickets of another key are no error to report: the client gets a full
// handshake.
func ExampleAEAD_Open() {
	before := ticket.NewAEAD()
	tkt, err := before.Seal([]byte("an encoded session"))
	if err != nil {
		fmt.Println(err)
		return
	}

	after := ticket.NewAEAD() // the server was restarted
	_, _, err = after.Open(tkt)
	fmt.Println(errors.Is(err, ticket.ErrUnknownKey))

	// Output:
	// true
}

// A key file that was never filled in is noticed.
func ExampleNewAEADKey() {
	_, err := ticket.NewAEADKey(make([]byte, ticket.AEADKeySize))
	fmt.Println(err)

	// Output:
	// ticket: key is a pattern, not random bytes (name)
}

// A ring that makes its own keys replaces them by itself.
func ExampleGenerateRing() {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ring, err := ticket.GenerateRing(ticket.RingConfig{
		Rotate:   time.Hour,
		Lifetime: 2 * time.Hour,
		Time:     func() time.Time { return now },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer ring.Close()

	tkt, err := ring.Seal([]byte("an encoded session"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for range 4 {
		session, renew, err := ring.Open(tkt)
		fmt.Printf("%v %q, renew %v, %v\n", now.Format(time.TimeOnly), session, renew, err)
		now = now.Add(time.Hour)
	}

	// Output:
	// 12:00:00 "an encoded session", renew false, <nil>
	// 13:00:00 "an encoded session", renew true, <nil>
	// 14:00:00 "an encoded session", renew true, <nil>
	// 15:00:00 "", renew false, ticket: unknown key
}

// A new key is published first, so that every host knows it when one begins to
// seal with it.
func ExampleKeyRing_Set() {
	old, next := ticket.GenerateKey(ticket.FormAEAD), ticket.GenerateKey(ticket.FormAEAD)
	now := time.Now()
	ring, err := ticket.NewScheduledRing(ticket.RingState{Keys: []ticket.RingKey{
		{Key: old, State: ticket.Encrypting, End: now.Add(24 * time.Hour)},
		{Key: next, State: ticket.Published, Start: now.Add(time.Hour)},
	}}, func() time.Time { return now })
	if err != nil {
		fmt.Println(err)
		return
	}
	show := func() {
		for _, k := range ring.Stats().Keys {
			name := map[string]string{old.Fingerprint(): "old", next.Fingerprint(): "next"}[k.Fingerprint]
			fmt.Printf("%s: %s, seals: %v\n", name, k.State, k.Seals)
		}
	}
	show()
	now = now.Add(time.Hour)
	fmt.Println("an hour later")
	show()
	if err := ring.Set(ticket.RingState{Keys: []ticket.RingKey{{Key: next, State: ticket.Encrypting}}}); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("after Set")
	show()

	// Output:
	// old: encrypting, seals: true
	// next: published, seals: false
	// an hour later
	// next: encrypting, seals: true
	// old: encrypting, seals: false
	// after Set
	// next: encrypting, seals: true
}

// vault is a Source: all that it takes is to make keys of what it has.
type vault struct{ key []byte }

func (v *vault) Keys(context.Context) (ticket.RingState, error) {
	k, err := ticket.NewGCMKey(v.key)
	if err != nil {
		return ticket.RingState{}, err
	}
	return ticket.RingState{Keys: []ticket.RingKey{{Key: k, State: ticket.Encrypting}}}, nil
}

// A ring follows a source of keys. What it has stays when the source fails.
func ExampleKeyRing_Follow() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	source := &vault{key: append([]byte("a name, 16 bytes"), make([]byte, 32)...)}
	ring, err := ticket.NewKeyRing()
	if err != nil {
		fmt.Println(err)
		return
	}
	err = ring.Follow(ctx, source, ticket.FollowConfig{
		Alarm: func(err error) {
			fmt.Println(err)
			cancel() // for this example: a server logs and goes on
		},
	})
	fmt.Println(err)

	// Output:
	// ticket: source of keys: ticket: key is a pattern, not random bytes (AES key)
	// context canceled
}

// The keys of SSL_CTX_set_tlsext_ticket_keys, which are nginx's files of 80
// bytes too.
func ExampleNewOpenSSL() {
	_, err := ticket.NewOpenSSL(make([]byte, ticket.OpenSSLKeySize))
	fmt.Println(err)

	// Output:
	// ticket: key is a pattern, not random bytes (name)
}
