package ticket_test

import (
	"errors"
	"fmt"

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
