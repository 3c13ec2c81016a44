package reprise_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestReadme holds the README to the tree: the examples and files that it
// names exist, and it opens with the two commands.
func TestReadme(t *testing.T) {
	readme := read(t, "README.md")
	examples := read(t, "example_test.go")
	for _, m := range regexp.MustCompile("`(Example\\w+)`").FindAllStringSubmatch(readme, -1) {
		if !strings.Contains(examples, "func "+m[1]+"()") {
			t.Errorf("no example %s", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`\]\(([\w./-]+)\)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(m[1]); err != nil {
			t.Errorf("link: %v", err)
		}
	}
	tour, tests := strings.Index(readme, "go run ./cmd/reprise tour"), strings.Index(readme, "go test ./...")
	if tour < 0 || tests < tour || strings.Count(readme[:tour], "\n") > 10 {
		t.Error("the README does not open with the two commands")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
