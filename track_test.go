package reprise_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
)

func freeFirst(s *reprise.Session)  { s.Free() }
func freeSecond(s *reprise.Session) { s.Free() }

// panicOf returns what the panic of an over-free said.
func panicOf(t *testing.T, free func()) string {
	t.Helper()
	defer func() { recover() }()
	said := ""
	func() {
		defer func() { said = fmt.Sprint(recover()) }()
		free()
	}()
	if said == "<nil>" {
		t.Fatal("no panic")
	}
	return said
}

func TestTrackDoubleFree(t *testing.T) {
	defer reprise.Track(reprise.Track(true))
	s := reprise.NewSession()
	freeFirst(s)
	said := panicOf(t, func() { freeSecond(s) })
	if !strings.Contains(said, "freeFirst") || !strings.Contains(said, "last Free at") {
		t.Errorf("the panic does not show the first Free: %s", said)
	}
}

func TestTrackBorrowedFree(t *testing.T) {
	defer reprise.Track(reprise.Track(true))
	r := newRig(t)
	m := manager(t, reprise.Config{})
	c, _ := r.connect(m, m, r.server, r.client, nil)
	kept := c.AcquireSession()
	freeFirst(kept)
	said := panicOf(t, func() { freeSecond(c.Session()) })
	if !strings.Contains(said, "freeFirst") || !strings.Contains(said, "the caller holds none, the library 2") {
		t.Errorf("the panic shows neither the last Free nor the holder: %s", said)
	}
	if c.Session() == nil || !c.Session().Resumable() {
		t.Error("the connection lost its session")
	}
}

func TestTrackOutstanding(t *testing.T) {
	defer reprise.Track(reprise.Track(true))
	s := reprise.NewSession()
	s.SetID([]byte("outstanding"))
	if err := s.UpRef(); err != nil {
		t.Fatal(err)
	}
	name := s.Fingerprint()
	var stacks []string
	for _, r := range reprise.Outstanding() {
		if strings.Contains(r.Stack, "TestTrackOutstanding") {
			stacks = append(stacks, r.Stack)
		}
		if strings.Contains(r.Stack, "UpRef") && r.Session != name {
			t.Errorf("UpRef was of %s, told as %s", name, r.Session)
		}
	}
	if len(stacks) != 2 {
		t.Errorf("%d references held, want 2: %q", len(stacks), stacks)
	}
	s.Free()
	s.Free()
	for _, r := range reprise.Outstanding() {
		if strings.Contains(r.Stack, "TestTrackOutstanding") {
			t.Errorf("still held: %v", r)
		}
	}
}

func TestTrackOff(t *testing.T) {
	defer reprise.Track(reprise.Track(false))
	s := reprise.NewSession()
	defer s.Free()
	for _, r := range reprise.Outstanding() {
		if strings.Contains(r.Stack, "TestTrackOff") {
			t.Errorf("tracked: %v", r)
		}
	}
}

// TestTrackEnvironment runs itself with REPRISE_TRACK=1 and drops a session.
func TestTrackEnvironment(t *testing.T) {
	if os.Getenv("REPRISE_TRACK_CHILD") != "" {
		reprise.NewSession()
		for range 100 {
			runtime.GC()
			if len(reprise.Collected()) > 0 {
				return
			}
		}
		t.Fatal("the session was not collected")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestTrackEnvironment$")
	cmd.Env = append(os.Environ(), "REPRISE_TRACK=1", "REPRISE_TRACK_CHILD=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "never freed: session new acquired at") ||
		!strings.Contains(string(out), "TestTrackEnvironment") {
		t.Errorf("%v: %s", err, out)
	}
}
