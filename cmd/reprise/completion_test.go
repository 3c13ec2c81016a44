package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// program returns the path of a program that a test needs. Where it is missing
// the test is skipped, or fails where the environment says that all must be there.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("REPRISE_REQUIRE_INTEROP") == "1" {
		t.Fatalf("%s is not installed, and REPRISE_REQUIRE_INTEROP=1", name)
	}
	t.Skipf("%s: %s is not installed", t.Name(), name)
	return ""
}

// script writes the completion script of a shell to a file.
func script(t *testing.T, shell string) string {
	t.Helper()
	code, stdout, stderr := command(t, "completion", shell)
	if code != exitGood || stdout == "" || stderr != "" {
		t.Fatalf("exit code %d, %d bytes, %q", code, len(stdout), stderr)
	}
	file := filepath.Join(t.TempDir(), "completion."+shell)
	write(t, file, []byte(stdout))
	return file
}

func TestCompletion(t *testing.T) {
	for _, shell := range shells {
		script(t, shell)
	}
	for _, args := range [][]string{{"completion"}, {"completion", "sh"}} {
		if code, stdout, stderr := command(t, args...); code != exitUsage || stdout != "" || !strings.Contains(stderr, strings.Join(shells, ", ")) {
			t.Errorf("%q: exit code %d, %q, %q", args, code, stdout, stderr)
		}
	}
}

func TestCompletionSyntax(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		t.Run(shell, func(t *testing.T) {
			check := exec.CommandContext(t.Context(), program(t, shell), "-n", script(t, shell))
			if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// completing is what bash does at the tab key: it splits the line into words
// and calls the function that the script registered. _init_completion stands
// for the one of the package bash-completion, as far as the script uses it;
// compopt, which works at the tab key only, tells what it was asked for.
const completing = `
_init_completion() { words=("${COMP_WORDS[@]}"); cword=$COMP_CWORD; cur=${words[cword]}; prev=${words[cword-1]}; }
type() { echo builtin; }
compopt() { [ "$*" != "+o default" ] || files=no; }
source "$1"; shift
files=yes COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMP_TYPE=9
__start_reprise
[ ${#COMPREPLY[@]} = 0 ] || { files=no; printf '%s\n' "${COMPREPLY[@]}"; }
[ $files = no ] || echo FILES
`

// completions returns, sorted, what bash offers at the end of a line: FILES
// where it offers names of files.
func completions(t *testing.T, reprise, script, line string) []string {
	t.Helper()
	words := append([]string{"-c", completing, "bash", script, reprise}, strings.Split(line, " ")...)
	cmd := exec.CommandContext(t.Context(), program(t, "bash"), words...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("reprise %s: %v: %s", line, err, &stderr)
	}
	list := strings.Fields(string(out))
	slices.Sort(list)
	return list
}

func TestCompletionBash(t *testing.T) {
	file := script(t, "bash")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	reprise := filepath.Join(t.TempDir(), "reprise")
	write(t, reprise, fmt.Appendf(nil, "#!/bin/sh\nREPRISE_TEST_COMMAND=1 exec '%s' \"$@\"\n", self))
	if err := os.Chmod(reprise, 0o700); err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string][]string{
		"s":                      {"serve", "sessions", "show"},
		"convert --to ":          {"der", "json", "pem"},
		"connect --tls 1.":       {"1.2", "1.3"},
		"explain --tls 1.":       {"1.0", "1.1", "1.2", "1.3"},
		"explain --in":           {"--insecure", "--intermediates"},
		"help s":                 {"serve", "sessions", "show"},
		"completion z":           {"zsh"},
		"connect --server-name ": {},
		"connect ":               {},
		"serve ":                 {},
		"explain s.der ":         {},
		"show ":                  {"FILES"},
		"convert --to pem ":      {"FILES"},
		"explain ":               {"FILES"},
		"convert -o ":            {"FILES"},
		"connect --ca ":          {"FILES"},
		"serve --key ":           {"FILES"},
	} {
		if got := completions(t, reprise, file, line); !slices.Equal(got, want) {
			t.Errorf("reprise %s: completes to %q, want %q", line, got, want)
		}
	}
}

// TestCompletionChoices: what is offered is what the verbs take.
func TestCompletionChoices(t *testing.T) {
	pem, _ := encoded(t, exportable(t))
	for flag, values := range choices {
		verb, name, _ := strings.Cut(flag, " ")
		argument := map[string]string{"convert": "-", "explain": "-", "connect": closedPort(t), "serve": "--ticket-keys=missing"}[verb]
		for value, taken := range map[string]bool{values[0]: true, values[len(values)-1]: true, "other": false} {
			code, _, stderr := commandOn(t, pem, verb, name, value, argument)
			if (code != exitUsage) != taken {
				t.Errorf("%s %s: exit code %d, %q", flag, value, code, stderr)
			}
		}
	}
}
