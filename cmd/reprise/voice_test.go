package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

func TestPlain(t *testing.T) {
	for text, want := range map[string]string{
		"reprise: session X: reprise: gone": "session X: gone",
		"first\nsecond":                     "first; second",
		"\x1b[31mred\x00\u202e":             "[31mred",
		"name \"straße\"":                   "name \"straße\"",
	} {
		if got := plain(text); got != want {
			t.Errorf("plain(%q) is %q, want %q", text, got, want)
		}
	}
}

func TestReport(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		say  string
	}{
		{nil, 0, ""},
		{errFinding, 1, ""},
		{usagef("no %s", "verb"), 2, "reprise: no verb\n"},
		{fmt.Errorf("wrapped: %w", usagef("x")), 2, "reprise: wrapped: x\n"},
		{errors.New("broken"), 3, "reprise: broken\n"},
	} {
		var said strings.Builder
		if code := report(&said, c.err); code != c.code || said.String() != c.say {
			t.Errorf("report(%v) is %d and says %q", c.err, code, said.String())
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  []string
	}{
		{"as  it is", 9, []string{"as  it is"}},
		{"one two three", 7, []string{"one two", "three"}},
		{"äöü äöü äöü", 7, []string{"äöü äöü", "äöü"}},
		{"overlong word", 4, []string{"overlong", "word"}},
	} {
		if got := wrap(c.text, c.width); !slices.Equal(got, c.want) {
			t.Errorf("wrap(%q, %d) is %q, want %q", c.text, c.width, got, c.want)
		}
	}
}

// TestColour proves that a file gets none, and that NO_COLOR is heard.
func TestColour(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if colourful(file) || colourful(new(strings.Builder)) {
		t.Error("colour where there is no terminal")
	}
	p := printer{colour: true}
	if got := p.style(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("style is %q", got)
	}
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	t.Setenv("NO_COLOR", "1")
	if colourful(device) {
		t.Error("NO_COLOR is not heard")
	}
}

// TestFullDisk: what could not be written is a failure.
func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full here")
	}
	defer full.Close()
	for _, args := range [][]string{{"tour"}, {"tour", "--json"}} {
		if code := run(t.Context(), args, full, new(strings.Builder)); code != exitFailure {
			t.Errorf("%q: exit code %d", args, code)
		}
	}
}
