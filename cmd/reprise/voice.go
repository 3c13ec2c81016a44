package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"unicode"
)

// The voice of the command line, for every verb:
//
//   - standard output has what was asked for, and nothing else: facts in text,
//     or with --json one value made of the verb's tagged struct;
//   - standard error has everything said beside it: errors, warnings, how to go on;
//   - an error is one line that starts with "reprise: ", without capitals and
//     full stop; where there is a way out, a hint follows in parentheses;
//   - what came from the network or from a file is printed without control characters;
//   - colour only on a terminal, and never with NO_COLOR: it repeats what the words say;
//   - secrets are printed only where --secrets or convert asks for them: sessions
//     are named by fingerprint.

// Exit codes.
const (
	exitGood    = 0
	exitFinding = 1 // it worked, and something is wrong with what was looked at
	exitUsage   = 2 // the command line makes no sense; nothing was done
	exitFailure = 3 // it could not be done
)

// usageError is an error of the command line.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errFinding ends a verb that has said all there is to say.
var errFinding = errors.New("finding")

// report says what ended a verb and returns the exit code.
func report(stderr io.Writer, err error) int {
	var usage usageError
	switch {
	case err == nil:
		return exitGood
	case errors.Is(err, errFinding):
		return exitFinding
	case errors.As(err, &usage):
		complain(stderr, err)
		return exitUsage
	}
	complain(stderr, err)
	return exitFailure
}

// complain says err in one line.
func complain(stderr io.Writer, err error) {
	fmt.Fprintf(stderr, "reprise: %s\n", plain(err.Error()))
}

// plain makes a text one line that no terminal obeys. The library signs its
// errors; here the line is signed already.
func plain(text string) string {
	text = strings.ReplaceAll(text, "reprise: ", "")
	text = strings.ReplaceAll(text, "\n", "; ") // of errors that were joined
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// writeJSON writes a verb's struct.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printer writes text and remembers the first error, so that a full disk is
// noticed without a check at every line.
type printer struct {
	w      io.Writer
	colour bool
	err    error
}

func newPrinter(w io.Writer) *printer { return &printer{w: w, colour: colourful(w)} }

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// The styles of a printer, in ECMA-48's numbers.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

func (p *printer) style(style, text string) string {
	if !p.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// colourful reports whether w is a terminal that wants colour.
func colourful(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || runtime.GOOS == "windows" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// wrap breaks text that is longer than width columns at spaces, where its
// words allow.
func wrap(text string, width int) []string {
	if len([]rune(text)) <= width {
		return []string{text}
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
