package main

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed libssl/works.c
var source string

// errNoLibssl: this machine has nothing to compare with.
var errNoLibssl = errors.New("no libssl to compare with (Debian: apt-get install gcc libc6-dev libssl-dev)")

// program is the compiled C half.
type program struct {
	dir     string
	binary  string
	version string // of libssl
}

func compile(works []work) (*program, error) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoLibssl, err)
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return nil, err
	}
	p := &program{dir: dir, binary: filepath.Join(dir, "works")}
	if err := p.build(compiler, works); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *program) build(compiler string, works []work) error {
	file := filepath.Join(p.dir, "works.c")
	if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
		return err
	}
	table := "-DWORKS="
	for _, w := range works {
		if w.place.libssl() {
			table += " W(" + w.name + ")"
		}
	}
	cmd := exec.Command(compiler, "-O2", "-Wall", "-Wextra", "-pthread", table, "-o", p.binary, file, "-lssl", "-lcrypto")
	if out, err := cmd.CombinedOutput(); err != nil {
		return compileError(err, string(out))
	}
	version, err := p.output("version")
	p.version = strings.TrimSpace(version)
	return err
}

func (p *program) close() { os.RemoveAll(p.dir) }

// compileError tells a libssl that is not installed from a C program that is wrong.
func compileError(err error, output string) error {
	for line := range strings.Lines(output) {
		for _, missing := range []string{"openssl/", "-lssl", "-lcrypto", "ssl' not found", "crypto' not found"} {
			if strings.Contains(line, missing) && !strings.Contains(line, "warning") {
				return fmt.Errorf("%w: %s", errNoLibssl, strings.TrimSpace(line))
			}
		}
	}
	return fmt.Errorf("compile libssl/works.c: %w\n%s", err, output)
}

// run does a work and returns what it measured.
func (p *program) run(w *work, m *meter) ([]float64, error) {
	out, err := p.output(w.arguments(m)...)
	if err != nil {
		return nil, err
	}
	return w.parseOutput(out, m.ops)
}

func (p *program) output(args ...string) (string, error) {
	out, err := output(exec.Command(p.binary, args...))
	if err != nil {
		return "", fmt.Errorf("libssl: %w", err)
	}
	return out, nil
}
