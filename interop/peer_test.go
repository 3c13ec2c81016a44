package interop_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for a peer. It is reached only when a test fails.
const patience = time.Minute

// program returns the path of a peer's program. A test whose peer is missing is
// skipped, or fails where the environment says that all peers must be there.
func program(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("REPRISE_REQUIRE_INTEROP") == "1" {
		t.Fatalf("%s is not installed, and REPRISE_REQUIRE_INTEROP=1", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// run runs a program to its end, which must be a good one, and returns what it
// printed to standard output.
func run(t testing.TB, stdin, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// daemon is a program that runs until the end of its test.
type daemon struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	text bytes.Buffer  // standard output and error
	more chan struct{} // closed when text grows
}

// start starts a program. Its output is shown if the test fails.
func start(t testing.TB, path string, args ...string) *daemon {
	t.Helper()
	return launch(t, exec.Command(path, args...))
}

// launch is start for a command that was prepared.
func launch(t testing.TB, cmd *exec.Cmd) *daemon {
	t.Helper()
	d := &daemon{cmd: cmd, ended: make(chan struct{}), more: make(chan struct{})}
	d.cmd.Stdout, d.cmd.Stderr = d, d
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		d.cmd.Wait()
		close(d.ended)
	}()
	t.Cleanup(func() {
		d.kill()
		if t.Failed() {
			t.Logf("%v\n%s", d.cmd, d.output())
		}
	})
	return d
}

// kill ends the program, if it still runs.
func (d *daemon) kill() {
	d.cmd.Process.Kill()
	<-d.ended
}

// terminate asks the program to end, with the processes that it has started.
func (d *daemon) terminate() {
	d.cmd.Process.Signal(syscall.SIGTERM)
	<-d.ended
}

// Write takes what the program prints.
func (d *daemon) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.more)
	d.more = make(chan struct{})
	return d.text.Write(p)
}

func (d *daemon) output() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// await waits until the program has printed what the pattern matches and
// returns the match and its groups.
func (d *daemon) await(t testing.TB, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.After(patience)
	for over := ""; ; {
		d.mu.Lock()
		match, more := re.FindStringSubmatch(d.text.String()), d.more
		d.mu.Unlock()
		if match != nil {
			return match
		}
		if over != "" {
			t.Fatalf("%v: no output that matches %s %s", d.cmd, pattern, over)
		}
		select {
		case <-more:
		case <-d.ended:
			over = "before its end"
		case <-deadline:
			over = "in time"
		}
	}
}

// write puts data in a file of the test's own and returns its path.
func write(t testing.TB, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
