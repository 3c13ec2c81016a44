package main

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestCompileError(t *testing.T) {
	failed := errors.New("exit status 1")
	for _, tc := range []struct {
		output  string
		missing bool
	}{
		{"works.c:22:10: fatal error: openssl/crypto.h: No such file or directory\n", true},
		{"works.c:22:10: fatal error: 'openssl/crypto.h' file not found\n", true},
		{"/usr/bin/ld: cannot find -lssl: No such file or directory\ncollect2: error: ld returned 1 exit status\n", true},
		{"ld: library 'ssl' not found\n", true},
		{"works.c: In function 'lookup':\nworks.c:30:5: error: 'x' undeclared\n", false},
		{"works.c:9:5: error: undefined reference to 'dupTwice'\n", false},
	} {
		err := compileError(failed, tc.output)
		if errors.Is(err, errNoLibssl) != tc.missing {
			t.Errorf("%q gives %v", tc.output, err)
		}
		if !tc.missing && !strings.Contains(err.Error(), tc.output) {
			t.Errorf("%v does not show what the compiler said", err)
		}
	}
}

// TestLibssl does every work in C.
func TestLibssl(t *testing.T) {
	c, err := compile(works)
	if errors.Is(err, errNoLibssl) && os.Getenv("REPRISE_REQUIRE_INTEROP") != "1" {
		t.Skipf("%s: %v", t.Name(), err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if !strings.HasPrefix(c.version, "OpenSSL ") {
		t.Errorf("libssl says it is %q", c.version)
	}
	sessions := testSamples(t)
	for _, w := range works {
		if !w.place.libssl() {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			if _, err := c.run(&w, fewOps(w, sessions)); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := c.run(&work{name: "noSuchWork"}, fewOps(works[0], sessions)); err == nil {
		t.Error("libssl did a work that there is not")
	}
}
