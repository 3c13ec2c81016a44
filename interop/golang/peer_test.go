package golang_test

import (
	"crypto/tls"
	"testing"
	"time"

	"github.com/reprise-tls/reprise"
)

// patience bounds every wait for a peer. It is reached only when a test fails.
const patience = time.Minute

// versions are those that a session can be of.
var versions = []uint16{tls.VersionTLS12, tls.VersionTLS13}

// newManager returns a Manager that lives as long as its test.
func newManager(t *testing.T, config reprise.Config) *reprise.Manager {
	t.Helper()
	m, err := reprise.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}
