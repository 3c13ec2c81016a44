package main

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestParseOutput(t *testing.T) {
	for _, tc := range []struct {
		out  string
		want float64 // 0 for an error
	}{
		{"dupFree 100 262.125\n", 262.125},
		{"dupFree 100 1810000.000\n", 1810000},
		{"", 0},
		{"dupFree 100\n", 0},
		{"upRefFree 100 262.125\n", 0},
		{"dupFree 99 262.125\n", 0},
		{"dupFree 100 262.125 1\n", 0},
		{"dupFree 100 fast\n", 0},
		{"dupFree 100 0.000\n", 0},
		{"dupFree 100 -1\n", 0},
		{"dupFree 100 nan\n", 0},
	} {
		got, err := parseOutput(tc.out, "dupFree", 100)
		if got != tc.want || (err == nil) != (tc.want != 0) {
			t.Errorf("%q: got %v, %v, want %v", tc.out, got, err, tc.want)
		}
	}
}

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
		t.Run(w.name, func(t *testing.T) {
			if _, err := c.run(w.name, fewOps(w), sizeStep, sessions[w.sample]); err != nil {
				t.Error(err)
			}
		})
	}
	if _, err := c.run("noSuchWork", 1, sizeStep, sessions[serverSession]); err == nil {
		t.Error("libssl did a work that there is not")
	}
}
