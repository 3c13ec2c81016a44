// Package oracle lets a test ask the real libssl. A small C program, compiled with the
// machine's own compiler and linked with the machine's own libssl, answers over a pipe.
//
// One program serves all tests of a process. The methods are safe for concurrent use;
// sessions and contexts of different tests do not meet.
package oracle

import (
	"bufio"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

//go:embed libssl/oracle.c
var source string

// Oracle is the libssl of this machine, on behalf of one test. A method that cannot get an
// answer ends the test.
type Oracle struct {
	t testing.TB
	p *program
}

// Start gives the test its oracle. Where there is no C compiler or no libssl to link with,
// it skips the test; with REPRISE_REQUIRE_INTEROP=1 in the environment it fails instead.
func Start(t testing.TB) *Oracle {
	t.Helper()
	p, err := start()
	switch {
	case errors.Is(err, errUnavailable) && os.Getenv("REPRISE_REQUIRE_INTEROP") != "1":
		t.Skipf("%s: no libssl to compare with: %v", t.Name(), err)
	case err != nil:
		t.Fatalf("start the libssl oracle: %v", err)
	}
	return &Oracle{t: t, p: p}
}

var errUnavailable = errors.New("cannot compile against libssl")

var start = sync.OnceValues(func() (*program, error) {
	dir, err := os.MkdirTemp("", "oracle")
	if err != nil {
		return nil, err
	}
	// Once the program runs it needs no file.
	defer os.RemoveAll(dir)
	binary, err := compile(dir)
	if err != nil {
		return nil, err
	}
	return launch(binary)
})

func compile(dir string) (binary string, err error) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return "", fmt.Errorf("%w: %w", errUnavailable, err)
	}
	file := filepath.Join(dir, "oracle.c")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "oracle")
	// The long versions of the time functions are deprecated since OpenSSL 3.4.
	cmd := exec.Command(compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-Wno-deprecated-declarations",
		"-o", binary, file, "-lssl", "-lcrypto")
	out, err := cmd.CombinedOutput()
	if err == nil {
		return binary, nil
	}
	for _, missing := range []string{"openssl/", "-lssl", "-lcrypto"} {
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, missing) && (strings.Contains(line, "No such file") || strings.Contains(line, "cannot find")) {
				return "", fmt.Errorf("%w: %s", errUnavailable, strings.TrimSpace(line))
			}
		}
	}
	return "", fmt.Errorf("compile oracle.c: %w\n%s", err, out)
}

// program is the running C program. It ends by itself when this process does, since its
// standard input ends then.
type program struct {
	mu     sync.Mutex
	in     io.Writer
	out    *bufio.Reader
	stderr lockedBuffer
}

func launch(binary string) (*program, error) {
	cmd := exec.Command(binary)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p := &program{in: in, out: bufio.NewReaderSize(out, 1<<16)}
	cmd.Stderr = &p.stderr
	return p, cmd.Start()
}

// lockedBuffer keeps what the program said before it died.
type lockedBuffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// ask sends requests and calls answered with each answer, in order. It does not wait for an
// answer before it sends the next request.
func (o *Oracle) ask(requests []*message, answered func(i int, a *answer)) {
	o.t.Helper()
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	sent := make(chan error, 1)
	go func() {
		w := bufio.NewWriterSize(o.p.in, 1<<16)
		for _, r := range requests {
			var size [4]byte
			binary.BigEndian.PutUint32(size[:], uint32(len(r.body)))
			w.Write(size[:])
			w.Write(r.body)
		}
		sent <- w.Flush()
	}()
	for i := range requests {
		a, err := o.p.receive()
		if err == nil {
			answered(i, a)
			err = a.close()
		}
		if err != nil {
			o.t.Fatalf("libssl oracle: answer %d to %q: %v %s", i, requests[i].body[:1], err, o.p.stderr.String())
		}
	}
	if err := <-sent; err != nil {
		o.t.Fatalf("libssl oracle: %v %s", err, o.p.stderr.String())
	}
}

// one sends one request and returns its answer, which the caller reads to its end.
func (o *Oracle) one(r *message) *answer {
	o.t.Helper()
	var copied answer
	o.ask([]*message{r}, func(_ int, a *answer) {
		copied.body = a.body
		a.body = nil
	})
	return &copied
}

func (p *program) receive() (*answer, error) {
	var size [4]byte
	if _, err := io.ReadFull(p.out, size[:]); err != nil {
		return nil, err
	}
	a := &answer{body: make([]byte, binary.BigEndian.Uint32(size[:]))}
	_, err := io.ReadFull(p.out, a.body)
	return a, err
}

// message is a request under construction; its format is described in oracle.c.
type message struct{ body []byte }

func request(op byte) *message { return &message{body: []byte{op}} }

func (m *message) number(v int64) *message {
	m.body = binary.BigEndian.AppendUint64(m.body, uint64(v))
	return m
}

func (m *message) bytes(b []byte) *message {
	m.number(int64(len(b)))
	m.body = append(m.body, b...)
	return m
}

// answer is what is left to read of an answer.
type answer struct {
	body  []byte
	short bool
}

func (a *answer) number() int64 {
	if len(a.body) < 8 {
		a.short = true
		return 0
	}
	v := int64(binary.BigEndian.Uint64(a.body))
	a.body = a.body[8:]
	return v
}

func (a *answer) yes() bool { return a.number() != 0 }

func (a *answer) bytes() []byte {
	n := a.number()
	if n < 0 || n > int64(len(a.body)) {
		a.short = true
		return nil
	}
	b := a.body[:n:n]
	a.body = a.body[n:]
	return b
}

// close checks that the answer was neither shorter nor longer than what was read.
func (a *answer) close() error {
	if a.short || len(a.body) != 0 {
		return errors.New("answer of unexpected length: oracle.c and this package disagree")
	}
	return nil
}
