package oracle

import (
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A session of TLS 1.2 with time 1000, timeout 300 and the id 0102030405060708.
const sessionHex = "302d020101020203030402c030" + "04080102030405060708" + "0401bb" +
	"a104020203e8" + "a2040202012c" + "a4020400" + "b303020100"

func session(t testing.TB) []byte {
	t.Helper()
	der, err := hex.DecodeString(sessionHex)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// TestCompile checks what counts as a machine without libssl, which skips tests, and what
// does not.
func TestCompile(t *testing.T) {
	for said, unavailable := range map[string]bool{
		"oracle.c:16:10: fatal error: openssl/bio.h: No such file or directory": true,
		"/usr/bin/ld: cannot find -lssl: No such file or directory":             true,
		"oracle.c:20: error: expected ';' before '}' token":                     false,
	} {
		dir := t.TempDir()
		script := "#!/bin/sh\necho '" + strings.ReplaceAll(said, "'", `'\''`) + "' >&2\nexit 1\n"
		if err := os.WriteFile(filepath.Join(dir, "cc"), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", dir)
		if _, err := compile(t.TempDir()); err == nil || errors.Is(err, errUnavailable) != unavailable {
			t.Errorf("%s: %v", said, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := compile(t.TempDir()); !errors.Is(err, errUnavailable) {
		t.Errorf("without a compiler: %v", err)
	}
}

// TestAnswerLength checks that a program of another mind is noticed.
func TestAnswerLength(t *testing.T) {
	short := &answer{body: []byte{0, 0}}
	short.number()
	long := &answer{body: make([]byte, 9)}
	long.number()
	lying := &answer{body: []byte{0xff, 0, 0, 0, 0, 0, 0, 9, 1}}
	lying.bytes()
	for name, a := range map[string]*answer{"short": short, "long": long, "lying": lying} {
		if a.close() == nil {
			t.Errorf("a %s answer goes unnoticed", name)
		}
	}
}
