package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"os/exec"
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

// TestWriteFileLinks: links stay, what they name is replaced, also where there is
// nothing yet.
func TestWriteFileLinks(t *testing.T) {
	dir := t.TempDir()
	sub := filepath.Join(dir, "sub")
	if err := os.Mkdir(sub, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(sub, "old"), []byte("old"))
	for link, target := range map[string]string{
		"direct": "sub/old", "absolute": filepath.Join(sub, "old"), "twice": "direct", "dangling": "sub/new", "via": "subdir/new",
		"subdir": "sub", "up": "subdir/../beside", "loop": "loop2", "loop2": "loop",
	} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Skipf("no links here: %v", err)
		}
	}
	for _, c := range []struct{ link, target string }{
		{"direct", "sub/old"}, {"absolute", "sub/old"}, {"twice", "sub/old"}, {"dangling", "sub/new"}, {"via", "sub/new"}, {"up", "beside"},
	} {
		before, _ := os.Stat(filepath.Join(dir, c.target))
		if err := writeFile(filepath.Join(dir, c.link), []byte(c.link)); err != nil {
			t.Errorf("%s: %v", c.link, err)
			continue
		}
		if info, err := os.Lstat(filepath.Join(dir, c.link)); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("%s is no link any more: %v, %v", c.link, info.Mode(), err)
		}
		if data, err := os.ReadFile(filepath.Join(dir, c.target)); err != nil || string(data) != c.link {
			t.Errorf("%s: %s holds %q, %v", c.link, c.target, data, err)
		}
		if after, err := os.Lstat(filepath.Join(dir, c.target)); err != nil || os.SameFile(before, after) || after.Mode() != 0o600 {
			t.Errorf("%s: %s was not replaced by a private file: %v", c.link, c.target, err)
		}
	}
	if err := writeFile(filepath.Join(dir, "loop"), []byte("x")); err == nil {
		t.Error("a loop of links was written to")
	}
	if info, err := os.Lstat(filepath.Join(dir, "loop")); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the loop was replaced: %v", err)
	}
	for _, d := range []string{dir, sub} {
		if left, err := filepath.Glob(filepath.Join(d, ".reprise-*")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}

// TestWriteFilePipe: a pipe is written to, behind a link too.
func TestWriteFilePipe(t *testing.T) {
	dir := t.TempDir()
	pipe, link := filepath.Join(dir, "pipe"), filepath.Join(dir, "link")
	if out, err := exec.Command("mkfifo", pipe).CombinedOutput(); err != nil {
		t.Skipf("no pipes here: %v %s", err, out)
	}
	if err := os.Symlink("pipe", link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{pipe, link} {
		got := make(chan []byte, 1)
		go func() {
			data, _ := os.ReadFile(pipe)
			got <- data
		}()
		if err := writeFile(name, []byte("through")); err != nil {
			t.Error(err)
		}
		if data := <-got; string(data) != "through" {
			t.Errorf("%s: read %q", name, data)
		}
		if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
			t.Errorf("%s was replaced: %v", name, err)
		}
	}
}

// TestWriteFileOpen: what a name like /dev/stdout stands for is written to, be it a
// pipe or a file that the shell opened.
func TestWriteFileOpen(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "redirected")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteString("before "); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for i, f := range []*os.File{file, w} {
		out := filepath.Join(dir, fmt.Sprintf("stdout%d", i)) // a link, as /dev/stdout is
		if err := os.Symlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), out); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(out); err != nil {
			t.Skipf("no /proc here: %v", err)
		}
		if err := writeFile(out, []byte("through")); err != nil {
			t.Error(err)
		}
		if info, err := os.Lstat(out); err != nil || info.Mode()&os.ModeSymlink == 0 {
			t.Errorf("the link was replaced: %v", err)
		}
	}
	w.Close()
	if data, err := io.ReadAll(r); err != nil || string(data) != "through" {
		t.Errorf("read %q, %v", data, err)
	}
	opened, _ := file.Stat()
	now, err := os.Stat(name)
	if data, _ := os.ReadFile(name); err != nil || !os.SameFile(opened, now) || string(data) != "before through" {
		t.Errorf("the file holds %q, or is another: %v", data, err)
	}
}
