package reprise_test

import (
	"fmt"
	"go/ast"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
)

// The tests in this file hold docs/parity.md against the code.

// parityStates are the states of a function of libssl's.
var parityStates = map[string]string{
	"done":       "does what libssl's does",
	"differs":    "stands for it, with a difference that the row tells",
	"impossible": "crypto/tls cannot, or Go has no use for it; the row says which",
	"later":      "not yet",
}

// openSSLName is the name of a function, an option or a mode of libssl's.
var openSSLName = regexp.MustCompile(`\b(?:SSL|PEM|d2i|i2d)_\w+\b`)

// standsFor finds in a doc comment what the thing stands for: "It is NAME" at
// the start of a sentence, or the name in parentheses, or before a colon.
var standsFor = regexp.MustCompile(`(?:(?:^|\n|\. )It is ([^.]*)|\(((?:SSL|PEM|d2i|i2d)_\w+)\)|^(SSL_\w+)(?::|\n))`)

// goName is a name in the Go column: Thing, Type.Member or ticket.Thing.
var goName = regexp.MustCompile("`([^`]*)`")

// TestParityFunctions: every row is about one function, has a state, and names
// things that exist.
func TestParityFunctions(t *testing.T) {
	t.Parallel()
	api := publicNames(t)
	seen := make(map[string]bool)
	for _, row := range parityTable(t, "Function") {
		name := strings.Trim(row["Function"], "`")
		if !openSSLName.MatchString(name) || openSSLName.FindString(name) != name {
			t.Errorf("%q is no function of libssl's", row["Function"])
		}
		if seen[name] {
			t.Errorf("%s has two rows", name)
		}
		seen[name] = true
		if parityStates[row["State"]] == "" {
			t.Errorf("%s: state %q", name, row["State"])
		}
		calls := goName.FindAllStringSubmatch(row["Go"], -1)
		switch row["State"] {
		case "done", "differs":
			if len(calls) == 0 {
				t.Errorf("%s is %s, by nothing in Go", name, row["State"])
			}
		case "later":
			if !strings.Contains(row["Notes"], "not yet") {
				t.Errorf("%s is for later: the row does not say \"not yet\"", name)
			}
		}
		if row["State"] != "done" && row["Notes"] == "" {
			t.Errorf("%s is %s, without a reason", name, row["State"])
		}
		for _, call := range calls {
			if !api[call[1]] {
				t.Errorf("%s: there is no %s in Go", name, call[1])
			}
		}
	}
}

// TestParityComplete: what says of itself which function it stands for has its
// row, and the row names it.
func TestParityComplete(t *testing.T) {
	t.Parallel()
	rows := make(map[string]string)
	for _, row := range parityTable(t, "Function") {
		rows[strings.Trim(row["Function"], "`")] = row["Go"]
	}
	found := 0
	for goName, doc := range docComments(t) {
		for _, function := range functionsOf(doc) {
			found++
			if call, ok := rows[function]; !ok {
				t.Errorf("%s stands for %s, which has no row in docs/parity.md", goName, function)
			} else if !strings.Contains(call, "`"+goName+"`") {
				t.Errorf("%s stands for %s, whose row in docs/parity.md names %s", goName, function, call)
			}
		}
	}
	if found < 80 {
		t.Errorf("only %d things stand for a function: the doc comments were not understood", found)
	}
}

func functionsOf(doc string) (functions []string) {
	for _, m := range standsFor.FindAllStringSubmatch(doc, -1) {
		functions = append(functions, openSSLName.FindAllString(strings.Join(m[1:], " "), -1)...)
	}
	return functions
}

// TestParityWords: every reason and every cause is explained.
func TestParityWords(t *testing.T) {
	t.Parallel()
	text := parityDocument(t)
	for _, name := range constantsOf(t, "Reason", "Cause") {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/parity.md does not mention %s", name)
		}
	}
	for _, r := range reprise.Reasons() {
		if strings.HasPrefix(r.String(), "reason ") {
			t.Errorf("reason %d has no name", r)
		}
	}
	for name := range publicNames(t) {
		if field, ok := strings.CutPrefix(name, "Stats."); ok && !strings.Contains(text, "`"+field+"`") {
			t.Errorf("docs/parity.md does not say at which level of use Stats.%s moves", field)
		}
	}
}

// TestParityHeader asks libssl's own header whether a function of its session
// interface was forgotten.
func TestParityHeader(t *testing.T) {
	header, err := os.ReadFile("/usr/include/openssl/ssl.h")
	if err != nil {
		t.Skip("libssl's header is not installed (libssl-dev)")
	}
	rows := make(map[string]bool)
	for _, row := range parityTable(t, "Function") {
		rows[strings.Trim(row["Function"], "`")] = true
	}
	session := regexp.MustCompile(`_sess|SESSION|ticket|early_data`)
	asked := 0
	for _, m := range regexp.MustCompile(`\b((?:SSL|d2i|i2d)_\w+)\(`).FindAllSubmatch(header, -1) {
		name := string(m[1])
		if !session.MatchString(name) {
			continue
		}
		asked++
		if !rows[name] {
			t.Errorf("%s of libssl's header has no row in docs/parity.md", name)
		}
	}
	if asked < 80 {
		t.Errorf("found only %d functions in the header", asked)
	}
}

func parityDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("docs/parity.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// parityTable returns the rows of every table in docs/parity.md whose first
// column has that heading, each by heading.
func parityTable(t *testing.T, first string) (rows []map[string]string) {
	t.Helper()
	return markdownTable(t, "docs/parity.md", first)
}

// markdownTable is parityTable for a document.
func markdownTable(t *testing.T, name, first string) (rows []map[string]string) {
	t.Helper()
	var headings []string
	for n, line := range strings.Split(read(t, name), "\n") {
		if !strings.HasPrefix(line, "|") {
			headings = nil
			continue
		}
		cells := strings.Split(strings.TrimSuffix(strings.TrimPrefix(line, "|"), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case headings == nil:
			headings = cells
		case strings.HasPrefix(cells[0], "---"):
		case len(cells) != len(headings):
			t.Errorf("%s:%d: %d cells under %d headings", name, n+1, len(cells), len(headings))
		case headings[0] == first:
			row := make(map[string]string)
			for i, h := range headings {
				row[h] = cells[i]
			}
			rows = append(rows, row)
		}
	}
	if len(rows) == 0 {
		t.Fatalf("%s has no table that begins with %q", name, first)
	}
	return rows
}

// publicFiles are the files of the two packages that the document is about,
// with the prefix of their names in it.
func publicFiles(t *testing.T) map[string][]*ast.File {
	t.Helper()
	files := make(map[string][]*ast.File)
	for _, f := range parseModule(t) {
		prefix, ok := map[string]string{".": "", "ticket": "ticket."}[f.dir]
		if ok && !f.test {
			files[prefix] = append(files[prefix], f.syntax)
		}
	}
	return files
}

// publicFuncs returns the exported functions and methods by name.
func publicFuncs(t *testing.T) map[string]*ast.FuncDecl {
	t.Helper()
	funcs := make(map[string]*ast.FuncDecl)
	for prefix, files := range publicFiles(t) {
		for _, f := range files {
			for _, d := range f.Decls {
				fn, ok := d.(*ast.FuncDecl)
				if ok && fn.Name.IsExported() && (fn.Recv == nil || ast.IsExported(receiver(fn))) {
					funcs[prefix+strings.TrimPrefix(receiver(fn)+"."+fn.Name.Name, ".")] = fn
				}
			}
		}
	}
	return funcs
}

func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	typ := fn.Recv.List[0].Type
	if p, ok := typ.(*ast.StarExpr); ok {
		typ = p.X
	}
	return fmt.Sprint(typ)
}

// docComments returns the documentation of every exported name, members of
// structs and interfaces included.
func docComments(t *testing.T) map[string]string {
	t.Helper()
	docs := make(map[string]string)
	for name, fn := range publicFuncs(t) {
		docs[name] = fn.Doc.Text()
	}
	for prefix, files := range publicFiles(t) {
		for _, f := range files {
			for _, d := range f.Decls {
				if gen, ok := d.(*ast.GenDecl); ok {
					documentDecl(docs, prefix, gen)
				}
			}
		}
	}
	return docs
}

func documentDecl(docs map[string]string, prefix string, gen *ast.GenDecl) {
	for _, spec := range gen.Specs {
		switch spec := spec.(type) {
		case *ast.ValueSpec:
			for _, name := range spec.Names {
				if name.IsExported() {
					docs[prefix+name.Name] = spec.Doc.Text() + spec.Comment.Text()
				}
			}
		case *ast.TypeSpec:
			if !spec.Name.IsExported() {
				continue
			}
			docs[prefix+spec.Name.Name] = gen.Doc.Text() + spec.Doc.Text()
			var members *ast.FieldList
			switch typ := spec.Type.(type) {
			case *ast.StructType:
				members = typ.Fields
			case *ast.InterfaceType:
				members = typ.Methods
			default:
				continue
			}
			for _, member := range members.List {
				for _, name := range member.Names {
					if name.IsExported() {
						docs[prefix+spec.Name.Name+"."+name.Name] = member.Doc.Text() + member.Comment.Text()
					}
				}
			}
		}
	}
}

func publicNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for name := range maps.Keys(docComments(t)) {
		names[name] = true
	}
	return names
}

// constantsOf returns the exported constants of the types.
func constantsOf(t *testing.T, types ...string) (names []string) {
	t.Helper()
	for _, f := range publicFiles(t)[""] {
		for _, d := range f.Decls {
			gen, ok := d.(*ast.GenDecl)
			if !ok {
				continue
			}
			typ := ""
			for _, spec := range gen.Specs {
				value, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				if value.Type != nil || value.Values != nil { // else the type goes on, as iota does
					typ = fmt.Sprint(value.Type)
				}
				for _, name := range value.Names {
					if slices.Contains(types, typ) && name.IsExported() {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	if len(names) < 20 {
		t.Errorf("found only %d constants of %v", len(names), types)
	}
	return names
}
