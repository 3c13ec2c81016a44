package reprise_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
)

// The tests in this file hold docs/troubleshooting.md against the code.

// TestTroubleshootingReasons: each reason has one row, in the order of Reasons.
func TestTroubleshootingReasons(t *testing.T) {
	t.Parallel()
	var want []string
	for _, r := range reprise.Reasons() {
		want = append(want, "`"+r.String()+"`")
	}
	var got []string
	for _, row := range markdownTable(t, "docs/troubleshooting.md", "Reason") {
		got = append(got, row["Reason"])
		if row["What it means"] == "" {
			t.Errorf("%s: nothing says what it means", row["Reason"])
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("docs/troubleshooting.md has rows for %v, want %v", got, want)
	}
}

// TestTroubleshootingLogLines: each line that a package writes to a log has a row.
func TestTroubleshootingLogLines(t *testing.T) {
	t.Parallel()
	var rows strings.Builder
	for _, row := range markdownTable(t, "docs/troubleshooting.md", "Line") {
		rows.WriteString(row["Line"])
	}
	found := 0
	for _, f := range parseModule(t) {
		if f.test || within(f.dir, "cmd") || testHelpers[f.dir] != "" {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			if message := logMessage(n); message != "" {
				found++
				if !strings.Contains(rows.String(), "`"+message+"`") {
					t.Errorf("%s: docs/troubleshooting.md does not explain %q", f.position(n.Pos()), message)
				}
			}
			return true
		})
	}
	if found < 25 {
		t.Errorf("found only %d log lines: the calls were not understood", found)
	}
}

// TestTroubleshootingUnmanaged: the causes that the page quotes are the log's words.
func TestTroubleshootingUnmanaged(t *testing.T) {
	t.Parallel()
	source := read(t, "server_config.go")
	for _, row := range markdownTable(t, "docs/troubleshooting.md", "It says") {
		if !strings.Contains(source, `"`+row["It says"]) {
			t.Errorf("server_config.go does not say %q", row["It says"])
		}
	}
}

// logMessage returns the message that a call logs, or what it begins with; "" if n
// is no such call.
func logMessage(n ast.Node) string {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return ""
	}
	method, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"warn", "Debug", "Info", "Warn", "Error"}, method.Sel.Name) {
		return ""
	}
	message := call.Args[0]
	if sum, ok := message.(*ast.BinaryExpr); ok {
		message = sum.X
	}
	if literal, ok := message.(*ast.BasicLit); ok && literal.Kind == token.STRING {
		text, _ := strconv.Unquote(literal.Value)
		return text
	}
	return ""
}
