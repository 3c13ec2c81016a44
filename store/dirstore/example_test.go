package dirstore_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

// Two Stores stand for two processes that share a directory.
func Example() {
	parent, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(parent)
	dir := filepath.Join(parent, "sessions")

	mine, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer mine.Close()
	theirs, err := dirstore.Open(dir, dirstore.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer theirs.Close()

	ctx := context.Background()
	session := []byte("DER of a session")
	if err := mine.Put(ctx, "example.com", session, time.Now().Add(time.Hour), true); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		session, err := theirs.Take(ctx, "example.com")
		fmt.Printf("%q %v\n", session, err)
	}
	// Output:
	// "DER of a session" <nil>
	// "" <nil>
}
