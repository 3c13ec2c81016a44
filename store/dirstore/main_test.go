package dirstore_test

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// roles are what a test runs as a process of its own: this binary again. Each
// reads its orders from standard input and reports on standard output.
var roles = map[string]func(dir string, in io.Reader, out io.Writer) error{
	"take all":  takeAll,
	"put, take": putTakeForEver,
	"dial":      dialAll,
}

const (
	roleVariable = "DIRSTORE_TEST_ROLE"
	dirVariable  = "DIRSTORE_TEST_DIR"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		if err := roles[role](os.Getenv(dirVariable), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// process is a child in a role.
type process struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner // its reports
}

func start(t *testing.T, role, dir string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: exec.CommandContext(t.Context(), self)}
	p.Env = append(os.Environ(), roleVariable+"="+role, dirVariable+"="+dir)
	p.Stderr = os.Stderr
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// report reads a line; false where the process has ended.
func (p *process) report() (line string, ok bool) {
	ok = p.out.Scan()
	return p.out.Text(), ok
}
