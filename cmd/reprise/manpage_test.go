package main

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manPages is where the man pages are.
var manPages = filepath.Join("..", "..", "docs", "man")

// ownPage are the verbs that have a page of their own, by its name; the other
// verbs and the command itself stand in reprise.1.
func ownPage(t *testing.T) map[string]*cobra.Command {
	t.Helper()
	pages := make(map[string]*cobra.Command)
	for _, verb := range newRoot().Commands() {
		if verb.Name() != "help" && verb.Name() != "completion" {
			pages["reprise-"+verb.Name()+".1"] = verb
		}
	}
	return pages
}

// page is a man page, by section.
type page map[string]string

var heading = regexp.MustCompile(`(?m)^\.Sh (.*)\n`)

func readPage(t *testing.T, name string) page {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(manPages, name))
	if err != nil {
		t.Fatal(err)
	}
	p := make(page)
	marks := heading.FindAllStringSubmatchIndex(string(text), -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		p[string(text[m[2]:m[3]])] = string(text[m[1]:end])
	}
	return p
}

func TestManPages(t *testing.T) {
	pages := ownPage(t)
	want := append(slices.Collect(maps.Keys(pages)), "reprise.1")
	slices.Sort(want)
	var got []string
	files, err := os.ReadDir(manPages)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		got = append(got, f.Name())
	}
	if !slices.Equal(got, want) {
		t.Errorf("there are %q, want %q", got, want)
	}
	for _, name := range want {
		p := readPage(t, name)
		for _, section := range []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "EXAMPLES", "SEE ALSO"} {
			if p[section] == "" {
				t.Errorf("%s has no section %s", name, section)
			}
		}
		if verb := pages[name]; verb != nil && !strings.Contains(p["NAME"], ".Nd "+verb.Short+"\n") {
			t.Errorf("%s: NAME is not what help says, %q:\n%s", name, verb.Short, p["NAME"])
		}
	}
}

// TestManPageFlags: every flag is documented under its names and with what its
// value is called, and nothing else is.
func TestManPageFlags(t *testing.T) {
	for name, verb := range ownPage(t) {
		p := readPage(t, name)
		documented := regexp.MustCompile(`(?m)^\.It (Fl .*)$`).FindAllStringSubmatch(p["OPTIONS"], -1)
		var got, want []string
		for _, m := range documented {
			got = append(got, m[1])
		}
		visitFlags(verb, func(f *pflag.Flag) {
			flag := "Fl -" + f.Name
			if f.Shorthand != "" {
				flag = "Fl " + f.Shorthand + " , " + flag
			}
			if value, _ := pflag.UnquoteUsage(f); value != "" {
				flag += " Ar " + value
			}
			want = append(want, flag)
			shown := regexp.MustCompile(`Fl (-` + f.Name + `|` + f.Shorthand + `)\b`)
			if !shown.MatchString(p["SYNOPSIS"]) {
				t.Errorf("%s: --%s is not in the synopsis", name, f.Name)
			}
		})
		inSynopsis := regexp.MustCompile(`\bFl (\S+)`).FindAllStringSubmatch(p["SYNOPSIS"], -1)
		if len(inSynopsis) != len(want) {
			t.Errorf("%s: %d flags in the synopsis, want %d", name, len(inSynopsis), len(want))
		}
		slices.Sort(got)
		slices.Sort(want)
		want = slices.Compact(want) // what verbs of a verb have in common
		if !slices.Equal(got, want) {
			t.Errorf("%s documents\n%q, the flags are\n%q", name, got, want)
		}
	}
}

// visitFlags visits the flags of a verb and of its own verbs.
func visitFlags(verb *cobra.Command, visit func(*pflag.Flag)) {
	verb.Flags().VisitAll(visit)
	for _, v := range verb.Commands() {
		visitFlags(v, visit)
	}
}

// TestManPageVerbs: the page of the command names every verb.
func TestManPageVerbs(t *testing.T) {
	p := readPage(t, "reprise.1")
	var got, want []string
	for _, m := range regexp.MustCompile(`(?m)^\.It Cm (\w+)`).FindAllStringSubmatch(p["DESCRIPTION"], -1) {
		got = append(got, m[1])
	}
	for _, verb := range newRoot().Commands() {
		want = append(want, verb.Name())
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("it names %q, the verbs are %q", got, want)
	}
}

// TestManPagesChecks: explain's page tells of every check.
func TestManPageChecks(t *testing.T) {
	description := readPage(t, "reprise-explain.1")["DESCRIPTION"]
	names := []string{"decodes", "connection"}
	for _, c := range conditions {
		names = append(names, c.name)
	}
	for _, name := range names {
		if !strings.Contains(description, ".It Cm "+name+"\n") {
			t.Errorf("nothing on the check %q", name)
		}
	}
	if got := strings.Count(description, "\n.It Cm "); got != len(names) {
		t.Errorf("%d checks are documented, there are %d", got, len(names))
	}
}

func TestManPageLint(t *testing.T) {
	mandoc := program(t, "mandoc")
	names, err := filepath.Glob(filepath.Join(manPages, "*.1"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	lint := exec.CommandContext(t.Context(), mandoc, append([]string{"-T", "lint", "-W", "warning"}, names...)...)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v:\n%s", err, out)
	}
}
