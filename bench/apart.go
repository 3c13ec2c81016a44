package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// A work can be done in a process of its own. It is asked for as the C program
// is, in arguments NAME OPS SIZE DER, and answers as that does, in one line
// "NAME OPS VALUE...".

const exitUnsupported = 4 // the system does not tell what the work measures

const workVariable = "REPRISE_BENCH_WORK" // makes this program do the work in its arguments and nothing else

func apart() (args []string, ok bool) {
	return os.Args[1:], os.Getenv(workVariable) != ""
}

func runApart(w *work, m *meter) ([]float64, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, w.arguments(m)...)
	cmd.Env = append(os.Environ(), workVariable+"=1")
	out, err := output(cmd)
	if err != nil {
		return nil, err
	}
	return w.parseOutput(out, m.ops)
}

// runWork does the work in args.
func runWork(args []string, stdout, stderr io.Writer) (status int) {
	w, m, err := parseArguments(args)
	if err == nil {
		err = w.runHere(m)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		if errors.Is(err, errors.ErrUnsupported) {
			return exitUnsupported
		}
		return exitFailure
	}
	fmt.Fprint(stdout, w.name, " ", m.ops)
	for _, v := range m.values() {
		fmt.Fprintf(stdout, " %.3f", v)
	}
	fmt.Fprintln(stdout)
	return 0
}

func (w *work) arguments(m *meter) []string {
	return []string{w.name, strconv.Itoa(m.ops), strconv.Itoa(m.size), hex.EncodeToString(m.der)}
}

func parseArguments(args []string) (*work, *meter, error) {
	if len(args) != 4 {
		return nil, nil, errors.New("want NAME OPS SIZE DER")
	}
	m := new(meter)
	var errs [3]error
	m.ops, errs[0] = strconv.Atoi(args[1])
	m.size, errs[1] = strconv.Atoi(args[2])
	m.der, errs[2] = hex.DecodeString(args[3])
	for i := range works {
		if works[i].name == args[0] {
			m.threads = works[i].threads
			return &works[i], m, errors.Join(errs[:]...)
		}
	}
	return nil, nil, fmt.Errorf("no work named %s", args[0])
}

func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == exitUnsupported {
		err = errors.ErrUnsupported
	}
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(out), nil
}

// parseOutput reads what a process prints: name, ops, values. It must be what
// was asked for, or the pair would compare different things.
func (w *work) parseOutput(out string, ops int) (values []float64, err error) {
	fields := strings.Fields(out)
	if len(fields) != 2+w.values() || fields[0] != w.name || fields[1] != strconv.Itoa(ops) {
		return nil, fmt.Errorf("asked for %d times %s, got %q", ops, w.name, out)
	}
	for _, f := range fields[2:] {
		v, err := strconv.ParseFloat(f, 64)
		if err != nil || !(v > 0) || math.IsInf(v, 0) {
			return nil, fmt.Errorf("%s: %q is no measure", w.name, f)
		}
		values = append(values, v)
	}
	return values, nil
}
