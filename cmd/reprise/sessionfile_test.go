package main

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"

	"github.com/reprise-tls/reprise"
)

// exportable is a session that can be written.
func exportable(t *testing.T) *reprise.Session {
	t.Helper()
	s := reprise.NewSession()
	t.Cleanup(s.Free)
	for _, err := range []error{s.SetProtocolVersion(tls.VersionTLS12), s.SetID([]byte("id")), s.SetMasterKey(make([]byte, 48))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s.SetCipherSuite(tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256)
	return s
}

func TestSessionFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "s.pem")
	write(t, name, bytes.Repeat([]byte("what was there before\n"), 1000))
	if err := os.Chmod(name, 0o644); err != nil {
		t.Fatal(err)
	}
	s := exportable(t)
	if err := writeSession(name, s); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, mode %v", err, info.Mode())
	}
	got, err := readSession(name)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Free()
	if got.Fingerprint() != s.Fingerprint() {
		t.Errorf("read %v, wrote %v", got, s)
	}
}

// TestSessionFileWhole: where it cannot be written nothing is left behind, and
// what was there stays.
func TestSessionFileWhole(t *testing.T) {
	dir := t.TempDir()
	taken := filepath.Join(dir, "taken")
	if err := os.Mkdir(taken, 0o700); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(dir, "kept")
	write(t, kept, []byte("kept"))
	if err := writeSession(taken, exportable(t)); err == nil {
		t.Error("a directory was replaced")
	}
	if err := writeSession(filepath.Join(dir, "missing", "s.pem"), exportable(t)); err == nil {
		t.Error("a file was written where there is no directory")
	}
	if err := writeSession(kept, reprise.NewSession()); err == nil {
		t.Error("a session without suite was written")
	}
	if data, err := os.ReadFile(kept); err != nil || string(data) != "kept" {
		t.Errorf("%v, %q", err, data)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("%v, %v", err, entries)
	}
}
