package dirstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

// peersOf the sessions that processes take from each other.
const peersOf = 4

// takeAll takes until nothing is left, in 64 goroutines, and reports each session.
func takeAll(dir string, in io.Reader, out io.Writer) error {
	s, err := dirstore.Open(dir, dirstore.Options{PerPeer: -1})
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "ready")
	if _, err := bufio.NewReader(in).ReadString('\n'); err != nil {
		return err
	}
	var wg sync.WaitGroup
	reports := make(chan string)
	for i := range 64 {
		wg.Go(func() {
			for n := i; ; {
				session, err := s.Take(context.Background(), fmt.Sprint("peer ", n%peersOf))
				switch {
				case err != nil:
					reports <- "error " + err.Error()
					return
				case session != nil:
					reports <- string(session)
				case n < i+peersOf-1:
					n++
				default:
					return
				}
			}
		})
	}
	go func() {
		wg.Wait()
		close(reports)
	}()
	for r := range reports {
		fmt.Fprintln(out, r)
	}
	return nil
}

// TestTwoProcesses: two processes, 64 goroutines each, take every session exactly
// once.
func TestTwoProcesses(t *testing.T) {
	const n = 512
	dir := filepath.Join(t.TempDir(), "sessions")
	s := open(t, dir, dirstore.Options{PerPeer: -1})
	for i := range n {
		put(t, s, fmt.Sprint("peer ", i%peersOf), fmt.Sprint("session ", i), time.Now().Add(time.Hour), true)
	}
	children := []*process{start(t, "take all", dir), start(t, "take all", dir)}
	for _, p := range children {
		if line, _ := p.report(); line != "ready" {
			t.Fatalf("reports %q", line)
		}
	}
	for _, p := range children {
		fmt.Fprintln(p.in, "go")
	}
	taken, each := make(map[string]int), []int{0, 0}
	for i, p := range children {
		for line, ok := p.report(); ok; line, ok = p.report() {
			taken[line]++
			each[i]++
		}
		if err := p.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if c := taken[fmt.Sprint("session ", i)]; c != 1 {
			t.Errorf("session %d was taken %d times", i, c)
		}
	}
	if len(taken) != n || len(entries(t, s)) != 0 {
		t.Errorf("%d reports of %d sessions, %d files are left", len(taken), n, len(entries(t, s)))
	}
	t.Logf("the processes took %d and %d", each[0], each[1])
}

// putTakeForEver puts and takes, and reports what it is done with. The first
// line of its orders is a word that makes its sessions unlike all others.
func putTakeForEver(dir string, in io.Reader, out io.Writer) error {
	s, err := dirstore.Open(dir, dirstore.Options{PerPeer: -1, Max: -1})
	if err != nil {
		return err
	}
	word, err := bufio.NewReader(in).ReadString('\n')
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		session := fmt.Sprint(strings.TrimSpace(word), ".", i)
		peer := fmt.Sprint("peer ", i%peersOf)
		if err := s.Put(context.Background(), peer, []byte(session), time.Now().Add(time.Hour), true); err != nil {
			return err
		}
		fmt.Fprintln(out, "put", session)
		if i%5 == 0 {
			continue // so that some stay
		}
		taken, err := s.Take(context.Background(), peer)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "took %s\n", taken)
	}
}

// TestKilled kills a process that puts and takes, at a random moment, again and
// again: what it put is there or was taken, but for the one in its hands, and
// nothing is there or taken twice.
func TestKilled(t *testing.T) {
	rounds := 200
	if testing.Short() {
		rounds = 20
	}
	dir := ""
	var there map[string]bool // in the directory, as far as is known
	for round := range rounds {
		if round%20 == 0 { // looking at all that stayed takes long
			dir, there = filepath.Join(t.TempDir(), "sessions"), make(map[string]bool)
		}
		p := start(t, "put, take", dir)
		fmt.Fprintln(p.in, "round", round)
		live := make(map[string]bool)
		gone := make(map[string]bool)
		record := func(line string) {
			what, session, _ := strings.Cut(line, " ")
			switch {
			case what == "put":
				live[session] = true
			case gone[session] || !live[session] && !there[session]:
				t.Fatalf("round %d: took %q, which was taken before or never put", round, session)
			default:
				gone[session] = true
			}
		}
		for range rand.IntN(40) {
			line, ok := p.report()
			if !ok {
				t.Fatal("the process ended by itself")
			}
			record(line)
		}
		p.Process.Kill()
		for line, ok := p.report(); ok; line, ok = p.report() {
			if strings.Contains(line, " ") { // or else it was cut short
				record(line)
			}
		}
		p.Wait()
		for session := range live {
			there[session] = true
		}
		for session := range gone {
			delete(there, session)
		}
		there = afterKill(t, dir, there, gone)
	}
}

// afterKill compares a directory with what should be in it, give or take the one
// session that the killed process was busy with, and returns what is.
func afterKill(t *testing.T, dir string, want, taken map[string]bool) map[string]bool {
	t.Helper()
	s, err := dirstore.Open(dir, dirstore.Options{PerPeer: -1, Max: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got := make(map[string]bool)
	more, less := 0, 0
	for e, err := range s.List() {
		if err != nil {
			t.Fatal(err)
		}
		der, _, err := s.Read(e)
		session := string(der)
		if err != nil || got[session] || taken[session] {
			t.Fatalf("%q, %v: damaged, there twice, or there and taken", session, err)
		}
		if got[session] = true; !want[session] {
			more++
		}
	}
	for session := range want {
		if !got[session] {
			less++
		}
	}
	if more+less > 1 {
		t.Fatalf("%d sessions are there that nobody put, %d are lost: one was in the middle", more, less)
	}
	return got
}
