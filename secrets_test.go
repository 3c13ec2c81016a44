package reprise_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/store/dirstore"
	"github.com/reprise-tls/reprise/ticket/keyfile"
)

// printsBytes are the types that hold bytes and have no Format or LogValue of
// their own, or that JSON shows, each with the reason why that gives nothing away.
var printsBytes = map[string]string{
	".Revocation":                 "the name of what is revoked: a lineage, or a hash of a certificate or a name",
	"internal/cache.Key":          "a session id, which servers send in the clear",
	"internal/hello.ClientHello":  "what clients send in the clear",
	"internal/hello.ClientReader": "what clients send in the clear",
	"internal/hello.ServerHello":  "what servers send in the clear",
	"internal/hello.ServerReader": "what servers send in the clear",
	"internal/oracle.Generator":   "made for tests, as are the sessions in it",
	"internal/oracle.Session":     "a test's session, to be shown where libssl differs",
	"internal/testpki.Authority":  "certificates of tests",
}

// TestNoTypePrintsSecrets: a struct that holds bytes prints them under no verb, and
// neither slog nor JSON shows them. fmt calls no method of what is in an unexported
// field, so the struct around it needs its own.
func TestNoTypePrintsSecrets(t *testing.T) {
	seen := make(map[string]bool)
	for _, pkg := range importModule(t) {
		scope := pkg.Scope()
		for _, name := range scope.Names() {
			object, ok := scope.Lookup(name).(*types.TypeName)
			if !ok || object.IsAlias() || !object.Exported() && pkg.Name() != "main" {
				continue
			}
			named, ok := object.Type().(*types.Named)
			if !ok || named.TypeParams().Len() > 0 {
				continue
			}
			if _, ok := named.Underlying().(*types.Struct); !ok {
				continue
			}
			path := strings.TrimPrefix(strings.TrimPrefix(pkg.Path(), modulePath), "/") + "." + name
			var faults []string
			if field := bytesIn(named.Underlying(), false, nil); field != "" && !(has(named, "Format") && has(named, "LogValue")) {
				faults = append(faults, "prints "+field)
			}
			if field := bytesIn(named.Underlying(), true, nil); field != "" && !has(named, "MarshalJSON") && !has(named, "MarshalText") {
				faults = append(faults, "JSON shows "+field)
			}
			if len(faults) == 0 {
				continue
			}
			seen[path] = true
			if printsBytes[path] == "" {
				t.Errorf("%s %s: give it Format and LogValue, or printsBytes a reason", path, strings.Join(faults, ", "))
			}
		}
	}
	for path := range printsBytes {
		if !seen[path] {
			t.Errorf("printsBytes has %s, which needs no exception", path)
		}
	}
}

// importModule loads every package of the module that is no test.
func importModule(t *testing.T) (packages []*types.Package) {
	t.Helper()
	out, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}\t{{.Export}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), "\t")
		files[path] = file
	}
	imports := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) { return os.Open(files[path]) })
	for path, file := range files {
		if !inModule(path) || file == "" {
			continue
		}
		pkg, err := imports.Import(path)
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, pkg)
	}
	if len(packages) < 10 {
		t.Fatalf("%d packages: the walk would prove nothing", len(packages))
	}
	return packages
}

// has reports whether values of a type have a method, or pointers if it has a lock
// or the like in it, so that vet lets nobody copy it.
func has(named *types.Named, method string) bool {
	object, _, _ := types.LookupFieldOrMethod(named, locked(named), named.Obj().Pkg(), method)
	_, ok := object.(*types.Func)
	return ok
}

func locked(typ types.Type) bool {
	if named, ok := typ.(*types.Named); ok && named.Obj().Pkg() != nil && strings.HasPrefix(named.Obj().Pkg().Path(), "sync") {
		return true
	}
	u, ok := typ.Underlying().(*types.Struct)
	for i := 0; ok && i < u.NumFields(); i++ {
		if locked(u.Field(i).Type()) {
			return true
		}
	}
	return false
}

// bytesIn returns the field under which fmt, or JSON, shows bytes that typ holds, ""
// if there is none.
func bytesIn(typ types.Type, inJSON bool, above []types.Type) string {
	for _, t := range above {
		if types.Identical(t, typ) {
			return ""
		}
	}
	above = append(above, typ)
	switch u := typ.Underlying().(type) {
	case *types.Slice:
		return bytesOf(u.Elem(), inJSON, above)
	case *types.Array:
		return bytesOf(u.Elem(), inJSON, above)
	case *types.Map:
		return bytesOf(u.Elem(), inJSON, above)
	case *types.Pointer:
		if inJSON { // fmt prints an address
			return bytesOf(u.Elem(), inJSON, above)
		}
	case *types.Struct:
		for i := range u.NumFields() {
			f := u.Field(i)
			if inJSON && (!f.Exported() || reflect.StructTag(u.Tag(i)).Get("json") == "-") {
				continue
			}
			if named, ok := f.Type().(*types.Named); ok && (f.Exported() || inJSON) {
				if inJSON && (has(named, "MarshalJSON") || has(named, "MarshalText")) || !inJSON && has(named, "Format") {
					continue
				}
			}
			if in := bytesIn(f.Type(), inJSON, above); in != "" {
				return strings.TrimSuffix(f.Name()+"."+in, ".bytes")
			}
		}
	}
	return ""
}

func bytesOf(elem types.Type, inJSON bool, above []types.Type) string {
	if basic, ok := elem.Underlying().(*types.Basic); ok && basic.Kind() == types.Uint8 {
		return "bytes"
	}
	return bytesIn(elem, inJSON, above)
}

// TestKeysPrintNowhere tries those that applications fill with keys.
func TestKeysPrintNowhere(t *testing.T) {
	const secret = "a key of thirty-two bytes, never"
	for _, value := range []any{
		reprise.Config{HandleKey: []byte(secret), MaxAge: 7}, &reprise.Config{HandleKey: []byte(secret), MaxAge: 7},
		dirstore.Options{Key: []byte(secret), Max: 7}, &dirstore.Options{Key: []byte(secret), Max: 7},
		keyfile.File{Name: "7", Data: []byte(secret)}, []keyfile.File{{Name: "7", Data: []byte(secret)}},
		struct{ C reprise.Config }{reprise.Config{HandleKey: []byte(secret), MaxAge: 7}},
	} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", value)
		texts := []string{log.String()}
		for _, verb := range strings.Fields("%v %+v %#v %s %q %x %X %d") {
			texts = append(texts, fmt.Sprintf(verb, value))
		}
		encoded, _ := json.Marshal(value)
		for _, text := range append(texts, string(encoded)) {
			for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
				base64.StdEncoding.EncodeToString([]byte(secret))[:40], strings.Trim(fmt.Sprintf("%#v", []byte(secret)), "[]byte{}")} {
				if strings.Contains(text, form) {
					t.Errorf("%T prints %s", value, text)
				}
			}
		}
		if !strings.Contains(texts[2], "7") {
			t.Errorf("%T prints nothing of itself: %s", value, texts[2])
		}
	}
}
