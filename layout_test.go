package reprise_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The tests in this file hold the tree to the layout that ARCHITECTURE.md
// describes. Every exception is data with a reason, so that a reviewer sees it
// in the diff.

const modulePath = "github.com/reprise-tls/reprise"

// testHelpers are internal packages for tests of any package. Nothing but
// tests and other helpers may import them.
var testHelpers = map[string]string{
	"internal/oracle":     "asks the installed OpenSSL for the answer that a test compares with",
	"internal/testconfig": "shows which configuration crypto/tls goes on with",
	"internal/testpki":    "makes the certificates that tests need",
}

// noTLS are packages that must not know the engine, wherever in their import
// closure it hides.
var noTLS = map[string]string{
	"internal/asn1sess": "turns DER into fields and back",
	"internal/cache":    "knows bytes and times",
	"internal/fair":     "counts and weighs by network",
	"internal/hello":    "reads bytes as they pass",
	"ticket":            "seals bytes",
}

// parsesSessionState are the directories and files whose code may call
// tls.ParseSessionState.
var parsesSessionState = map[string]string{
	"internal/gotls": "the one place that knows the bytes of a tls.SessionState",
	"bridge.go":      "gives crypto/tls back, unread, a state whose layout internal/gotls does not know",
}

// testsWithoutSource are patterns of test files that have no source file of
// the same name, matched against the path and against the file's own name.
var testsWithoutSource = map[string]string{
	"example_test.go":                "examples of the whole package",
	"export_test.go":                 "opens internals to the package's external tests",
	"main_test.go":                   "TestMain",
	"fuzz_test.go":                   "fuzz targets of the whole package",
	"bench_test.go":                  "benchmarks of the whole package",
	"attack_test.go":                 "one test for each security claim, across files",
	"readme_test.go":                 "holds the README to the tree",
	"memory_test.go":                 "what strangers can make a server keep, across files",
	"model_test.go":                  "compares the package with a simple model",
	"parity_test.go":                 "holds docs/parity.md against the code and libssl",
	"manpage_test.go":                "a test for each rule of libssl's manual pages, or of man pages against the commands",
	"troubleshooting_test.go":        "holds docs/troubleshooting.md against the code",
	"life_test.go":                   "the life of sessions under all who hold them",
	"store/dirstore/dials_test.go":   "two processes that dial, over one directory",
	"store/dirstore/manager_test.go": "the store under the Managers that it is for",
	"processes_test.go":              "several processes at once, killed or not",
	"script_test.go":                 "runs the scripts in testdata",
	"server_regress_test.go":         "one test for each fault that an attack or a review found in servers",
	"sslapi_test.go":                 "libssl's own tests of sessions, as ours",
	"long_test.go":                   "tests that run only with REPRISE_LONG=1",
	"layout_test.go":                 "this file",
	"secrets_test.go":                "no type of any package prints a secret",
	"interop/*":                      "that directory holds only tests",
	"interop/golang/*":               "so does that one, a module of its own",
}

// vagueNames say nothing about what is inside.
var vagueNames = []string{"util", "utils", "common", "helper", "helpers", "misc"}

// foreign are texts that tie a file to one machine or network. The brackets
// keep the patterns from matching their own source.
var foreign = map[string]*regexp.Regexp{
	"a path of one machine": regexp.MustCompile(`(?:^|[^\w./~}-])[/](?:work|root|home|Users)(?:[/]\w|\b[^\w/]|$)`),
	"a package registry": regexp.MustCompile(`\b(?:(?:proxy|sum)[.]golang[.]org|goproxy[.]\w+|pypi[.]org|registry[.]npmjs[.]org|` +
		`(?:deb|security|snapshot)[.]debian[.]org|registry[-\w]*[.]docker[.]io|ghcr[.]io|index[.]crates[.]io)\b`),
	"a registry setting": regexp.MustCompile(`\b(?:GO(?:PROXY|SUMDB|NOSUMDB|NOPROXY)|PIP_INDEX_URL)=`),
}

// TestDependencies proves that imports point one way: commands and features
// to the root package, the root package to internal and ticket, and those to
// the standard library and golang.org/x/crypto.
func TestDependencies(t *testing.T) {
	t.Run("closure", func(t *testing.T) {
		for _, goos := range []string{"linux", "darwin", "windows"} {
			for _, p := range listPackages(t, goos) {
				checkClosure(t, goos, p)
			}
		}
	})

	files := parseModule(t)
	if len(files) == 0 {
		t.Fatal("found no Go files: the checks below would prove nothing")
	}
	t.Run("features use the public API", func(t *testing.T) {
		for _, f := range files {
			checkInternalImports(t, f)
		}
	})
	t.Run("one package parses SessionState", func(t *testing.T) {
		for _, f := range files {
			if f.test || parsesSessionState[f.dir] != "" || parsesSessionState[f.path] != "" {
				continue
			}
			ast.Inspect(f.syntax, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok && id.Name == "ParseSessionState" {
					t.Errorf("%s uses tls.ParseSessionState: go through internal/gotls", f.position(id.Pos()))
				}
				return true
			})
		}
	})
	t.Run("no unsafe, cgo or linkname", func(t *testing.T) {
		for _, f := range files {
			if !f.test {
				checkSafe(t, f)
			}
		}
	})
}

// checkClosure reports what p must not reach through any number of imports.
func checkClosure(t *testing.T, goos string, p listedPackage) {
	dir := moduleDir(p.ImportPath)
	if _, ok := noTLS[dir]; ok && slices.Contains(p.Deps, "crypto/tls") {
		t.Errorf("GOOS=%s: %s reaches crypto/tls: that package %s and nothing more", goos, dir, noTLS[dir])
	}
	if isFeature(dir) {
		return
	}
	for _, dep := range p.Deps {
		switch first, _, _ := strings.Cut(dep, "/"); {
		case !strings.Contains(first, "."): // the standard library
		case dep == "golang.org/x/crypto" || strings.HasPrefix(dep, "golang.org/x/crypto/"):
		case !inModule(dep):
			t.Errorf("GOOS=%s: %s reaches %s: only the standard library and golang.org/x/crypto belong there", goos, dir, dep)
		case isFeature(moduleDir(dep)):
			t.Errorf("GOOS=%s: %s reaches %s: imports point from features to the root package, never back", goos, dir, dep)
		case moduleDir(dep) == "." && within(dir, "internal"):
			t.Errorf("GOOS=%s: %s reaches the root package: imports point from the root package to internal, never back", goos, dir)
		}
	}
}

// checkInternalImports keeps features on the public API and test helpers out
// of what users build.
func checkInternalImports(t *testing.T, f sourceFile) {
	for _, spec := range f.syntax.Imports {
		imported := importPath(spec)
		dep := moduleDir(imported)
		if !inModule(imported) || !within(dep, "internal") {
			continue
		}
		_, helper := testHelpers[dep]
		_, inHelper := testHelpers[f.dir]
		switch {
		case helper && !f.test && !inHelper:
			t.Errorf("%s imports %s, which is for tests only", f.position(spec.Pos()), dep)
		case !helper && isFeature(f.dir):
			t.Errorf("%s imports %s: features use the public API only", f.position(spec.Pos()), dep)
		}
	}
}

// checkSafe reports what could reach around Go's type safety or around the
// public API of the standard library.
func checkSafe(t *testing.T, f sourceFile) {
	for _, spec := range f.syntax.Imports {
		if p := importPath(spec); p == "unsafe" || p == "C" {
			t.Errorf("%s imports %q", f.position(spec.Pos()), p)
		}
	}
	for _, group := range f.syntax.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, "//go:linkname") {
				t.Errorf("%s uses go:linkname", f.position(c.Pos()))
			}
		}
	}
}

// TestFiles proves that names say what is inside, that a test stands beside
// what it tests, and that no file knows the machine it was written on.
func TestFiles(t *testing.T) {
	t.Parallel()
	for _, name := range moduleFiles(t) {
		base := path.Base(name)
		stem, _, _ := strings.Cut(strings.TrimSuffix(base, "_test.go"), ".")
		if slices.Contains(vagueNames, stem) {
			t.Errorf("%s: a file's name says which part it holds", name)
		}
		if slices.Contains(vagueNames, path.Base(path.Dir(name))) {
			t.Errorf("%s: a directory's name says what is inside", name)
		}
		if source, ok := strings.CutSuffix(name, "_test.go"); ok && !mayLackSource(name) {
			if _, err := os.Stat(filepath.FromSlash(source + ".go")); errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: there is no %s.go beside it", name, path.Base(source))
			}
		}
		checkForeign(t, name)
	}
	for _, f := range parseModule(t) {
		if name := strings.TrimSuffix(f.syntax.Name.Name, "_test"); slices.Contains(vagueNames, name) {
			t.Errorf("%s: package %s: a package's name says what is inside", f.path, name)
		}
	}
}

func mayLackSource(name string) bool {
	for pattern := range testsWithoutSource {
		for _, s := range []string{name, path.Base(name)} {
			if ok, _ := path.Match(pattern, s); ok {
				return true
			}
		}
	}
	return false
}

func checkForeign(t *testing.T, name string) {
	text, err := os.ReadFile(filepath.FromSlash(name))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.IndexByte(text, 0) >= 0 {
		return // a binary, such as a built command or a packet capture
	}
	for i, line := range bytes.Split(text, []byte("\n")) {
		for what, pattern := range foreign {
			if m := pattern.Find(line); m != nil {
				t.Errorf("%s:%d names %s: %q", name, i+1, what, m)
			}
		}
	}
}

// TestForeign proves that the patterns find what they are for and leave alone
// what only looks like it. The bar in each case keeps TestFiles from finding
// it in this file.
func TestForeign(t *testing.T) {
	for text, want := range map[string]bool{
		"see /wo|rk/notes.md":        true,
		"cd /wo|rk":                  true,
		"cd /wo|rk; make":            true,
		"(/ro|ot/go)":                true,
		"'/ho|me/anna'":              true,
		"https://proxy.gol|ang.org/": true,
		"GOPR|OXY=off":               true,
		"the docs/wo|rk/x":           false,
		"https://example.com/ho|me":  false,
		"~/wo|rk/x":                  false,
		"/wo|rkers/1":                false,
		"proxy.exa|mple.org":         false,
	} {
		text = strings.ReplaceAll(text, "|", "")
		got := false
		for _, pattern := range foreign {
			got = got || pattern.MatchString(text)
		}
		if got != want {
			t.Errorf("%q: foreign is %t, want %t", text, got, want)
		}
	}
}

// isFeature reports whether dir lies outside the core: the root package,
// internal and ticket, but not what is below ticket.
func isFeature(dir string) bool {
	return dir != "." && !within(dir, "internal") && dir != "ticket"
}

func within(dir, top string) bool { return dir == top || strings.HasPrefix(dir, top+"/") }

func inModule(importPath string) bool { return within(importPath, modulePath) }

// moduleDir gives the directory of a package of this module, "." for the root.
func moduleDir(importPath string) string {
	if importPath == modulePath {
		return "."
	}
	return strings.TrimPrefix(importPath, modulePath+"/")
}

type listedPackage struct {
	ImportPath string
	Deps       []string // transitive, without those of tests
}

func listPackages(t *testing.T, goos string) []listedPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Deps", "./...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var packages []listedPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listedPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		t.Fatal("go list found no packages: the check would prove nothing")
	}
	return packages
}

// sourceFile is a Go file of this module, whatever its build constraints.
type sourceFile struct {
	path   string
	dir    string // "." for the root
	test   bool
	fset   *token.FileSet
	syntax *ast.File
}

func (f sourceFile) position(p token.Pos) string {
	return fmt.Sprintf("%s:%d", f.path, f.fset.Position(p).Line)
}

func importPath(spec *ast.ImportSpec) string {
	p, _ := strconv.Unquote(spec.Path.Value)
	return p
}

func parseModule(t *testing.T) []sourceFile {
	t.Helper()
	var files []sourceFile
	fset := token.NewFileSet()
	for _, name := range moduleFiles(t) {
		if path.Ext(name) != ".go" || strings.Contains("/"+name, "/testdata/") {
			continue
		}
		syntax, err := parser.ParseFile(fset, filepath.FromSlash(name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, sourceFile{
			path: name, dir: path.Dir(name), test: strings.HasSuffix(name, "_test.go"),
			fset: fset, syntax: syntax,
		})
	}
	return files
}

// moduleFiles lists the regular files of this module by slash-separated path.
func moduleFiles(t *testing.T) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.Name() == ".git": // a worktree's pointer to its repository
			return nil
		case d.Type().IsRegular():
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
