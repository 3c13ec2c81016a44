package keyfile_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// A server shares the ticket keys of nginx. It notices when they are rotated,
// and reads them at once when it gets SIGHUP.
func ExampleNewSource() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	source, err := keyfile.NewSource(keyfile.Config{
		Format: keyfile.FormatNginx80,
		Files:  []string{"/etc/nginx/ticket.key", "/etc/nginx/ticket.key.1"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer source.Close()
	ring, err := ticket.NewKeyRing()
	if err != nil {
		log.Fatal(err)
	}
	defer ring.Close()
	if err := ring.Load(ctx, source); err != nil {
		log.Fatal(err) // no keys to start with
	}
	go ring.Follow(ctx, source, ticket.FollowConfig{Alarm: func(err error) { log.Print("ticket keys: ", err) }})

	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go func() {
		for range hup {
			source.Reload()
		}
	}()

	m, err := reprise.New(reprise.Config{Tickets: ring})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
}

// Keys for HAProxy are made, rotated, and given to nginx.
func ExampleSet_Rotate() {
	set, err := keyfile.New(keyfile.FormatHAProxy80)
	if err != nil {
		fmt.Println(err)
		return
	}
	next, err := set.Rotate(3)
	if err != nil {
		fmt.Println(err)
		return
	}
	// The last line of before encrypts: every server knows it by now.
	fmt.Println(next.InUse()[0].Name() == set.Keys()[2].Name())

	nginx, err := next.Convert(keyfile.FormatNginx80)
	if err != nil {
		fmt.Println(err)
		return
	}
	for i, data := range nginx.Files() {
		fmt.Println("file", i, "has", len(data), "bytes")
	}

	// Output:
	// true
	// file 0 has 80 bytes
	// file 1 has 80 bytes
	// file 2 has 80 bytes
}

// What is wrong with a file is told, and nothing of what is in it.
func ExampleParse() {
	file := keyfile.File{Name: "ticket.key", Data: make([]byte, 80)}
	_, err := keyfile.Parse(keyfile.FormatApache48, file)
	fmt.Println(err)
	_, err = keyfile.Parse(keyfile.FormatNginx80, file)
	fmt.Println(err)

	// Output:
	// keyfile: ticket.key: 80 bytes, a file of form apache48 has 48
	// keyfile: ticket.key: ticket: key is a pattern, not random bytes (name)
}
