package dirstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
)

// unix skips what has no meaning where there are no modes and owners.
func unix(t *testing.T) {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("needs modes and owners of files")
	}
}

// stranger is a user that the tests do not run as.
func stranger(t *testing.T) int {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give files away")
	}
	return 65534
}

// refused holds Open to refusing a directory, with a reason and a way out.
func refused(t *testing.T, dir string, say ...string) {
	t.Helper()
	s, err := dirstore.Open(dir, dirstore.Options{})
	if err == nil {
		s.Close()
		t.Fatalf("%s is taken", dir)
	}
	for _, text := range say {
		if !errors.Is(err, dirstore.ErrNotPrivate) || !strings.Contains(err.Error(), text) {
			t.Errorf("%v: does not say %q", err, text)
		}
	}
}

func TestOpenDirectoryForOthers(t *testing.T) {
	unix(t)
	for _, mode := range []fs.FileMode{0o777, 0o755, 0o710, 0o720, 0o701, fs.ModeSticky | 0o777} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, fmt.Sprintf("mode %04o", mode.Perm()), "chmod 700 "+dir)
		if names := tree(t, dir); len(names) > 0 {
			t.Errorf("mode %v: %q were made in it", mode, names)
		}
	}
}

func TestSymlinkedDirectory(t *testing.T) {
	unix(t)
	dir, link := filepath.Join(t.TempDir(), "real"), filepath.Join(t.TempDir(), "link")
	open(t, dir, dirstore.Options{})
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{link, link + "/", link + "/."} {
		refused(t, name, "symbolic link")
	}
	if err := os.Remove(link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(t.TempDir(), "missing"), link); err != nil {
		t.Fatal(err)
	}
	refused(t, link, "symbolic link")
}

func TestNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, file, "not a directory")
	refused(t, filepath.Join(file, "below"))
	if _, err := dirstore.Open(filepath.Join(t.TempDir(), "missing", "below"), dirstore.Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a missing directory: %v", err)
	}
}

func TestForeignDirectory(t *testing.T) {
	unix(t)
	uid, dir := stranger(t), t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), os.Chown(dir, uid, -1)); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, fmt.Sprint("belongs to user ", uid))
}

// TestPlantedSalt: who chose the salt could tell which files are whose.
func TestPlantedSalt(t *testing.T) {
	unix(t)
	salt := append([]byte{1}, key(0)...)
	elsewhere := filepath.Join(t.TempDir(), "salt")
	if err := os.WriteFile(elsewhere, salt, 0o600); err != nil {
		t.Fatal(err)
	}
	for what, plant := range map[string]func(name string) error{
		"not a regular file":    func(name string) error { return os.Symlink(elsewhere, name) },
		"not a regular":         func(name string) error { return os.Symlink(name+"-missing", name) },
		"regular file (d":       func(name string) error { return os.Mkdir(name, 0o700) },
		"not what is written":   func(name string) error { return os.WriteFile(name, salt[:20], 0o600) },
		"not what is":           func(name string) error { return os.WriteFile(name, nil, 0o600) },
		"not what":              func(name string) error { return os.WriteFile(name, append(salt, 0), 0o600) },
		"not":                   func(name string) error { return os.WriteFile(name, salt[1:], 0o600) },
		"bytes, more than":      func(name string) error { return os.WriteFile(name, make([]byte, 1<<20), 0o600) },
		"mode 0644, others":     func(name string) error { return writeMode(name, salt, 0o644) },
		"mode 0620, others":     func(name string) error { return writeMode(name, salt, 0o620) },
		"remove what is in the": func(name string) error { return writeMode(name, salt, 0o604) },
	} {
		dir := t.TempDir()
		if err := errors.Join(os.Chmod(dir, 0o700), plant(filepath.Join(dir, "salt"))); err != nil {
			t.Fatal(err)
		}
		refused(t, dir, what, "remove what is in the directory")
	}
	dir := t.TempDir()
	if err := errors.Join(os.Chmod(dir, 0o700), os.WriteFile(filepath.Join(dir, "salt"), salt, 0o600)); err != nil {
		t.Fatal(err)
	}
	open(t, dir, dirstore.Options{}) // so the form above is the right one
}

// writeMode writes a file with a mode, whatever the umask.
func writeMode(name string, data []byte, mode fs.FileMode) error {
	return errors.Join(os.WriteFile(name, data, 0o600), os.Chmod(name, mode))
}

func TestForeignSalt(t *testing.T) {
	unix(t)
	uid, dir := stranger(t), filepath.Join(t.TempDir(), "d")
	open(t, dir, dirstore.Options{})
	if err := os.Chown(filepath.Join(dir, "salt"), uid, -1); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, fmt.Sprint("belongs to user ", uid))
}

// victim is a directory with a good session under a newer one that was tampered with.
func victim(t *testing.T, opts dirstore.Options, tamper func(file string) error) (s *dirstore.Store, file string) {
	t.Helper()
	s, c, dir := fresh(t, opts)
	put(t, s, peer, "good", c.in(time.Hour), true)
	put(t, s, peer, "tampered", c.in(time.Hour), true)
	file = filepath.Join(dir, entries(t, s)[1].File)
	if err := tamper(file); err != nil {
		t.Fatal(err)
	}
	return s, file
}

// TestTamperedFiles: each is never used, counted and removed, and no error.
func TestTamperedFiles(t *testing.T) {
	unix(t)
	random := make([]byte, 500)
	rand.NewChaCha8([32]byte{1}).Read(random)
	for what, tamper := range map[string]func(file string) error{
		"empty":       func(file string) error { return os.Truncate(file, 0) },
		"one byte":    func(file string) error { return os.Truncate(file, 1) },
		"truncated":   func(file string) error { return cut(file, 1) },
		"header only": func(file string) error { return cut(file, len("tampered")) },
		"longer":      func(file string) error { return edit(file, func(b []byte) []byte { return append(b, 0) }) },
		"random":      func(file string) error { return os.WriteFile(file, random, 0o600) },
		"a bit":       func(file string) error { return edit(file, func(b []byte) []byte { b[len(b)-1] ^= 1; return b }) },
		"zeros":       func(file string) error { return edit(file, func(b []byte) []byte { clear(b[20:]); return b }) },
		"revision":    func(file string) error { return edit(file, func(b []byte) []byte { b[0]++; return b }) },
		"form":        func(file string) error { return edit(file, func(b []byte) []byte { b[1] = 7; return b }) },
		"oversized":   func(file string) error { return os.Truncate(file, 128<<10+1) },
		"for others":  func(file string) error { return os.Chmod(file, 0o640) },
		"symlink":     symlinked,
		"dangling": func(file string) error {
			return errors.Join(os.Remove(file), os.Symlink(file+"-missing", file))
		},
		"directory": func(file string) error { return errors.Join(os.Remove(file), os.Mkdir(file, 0o700)) },
	} {
		for _, opts := range []dirstore.Options{{}, {Key: key(0)}} {
			s, file := victim(t, opts, tamper)
			if got := take(t, s, peer); got != "good" {
				t.Errorf("%s: took %q", what, got)
			}
			if got := s.Stats(); got.Damaged != 1 || got.Skipped != 0 {
				t.Errorf("%s: %+v", what, got)
			}
			if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: the file is still there (%v)", what, err)
			}
			takes(t, s, peer, "")
		}
	}
}

func edit(file string, change func([]byte) []byte) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, change(bytes.Clone(b)), 0o600)
}

func cut(file string, n int) error {
	return edit(file, func(b []byte) []byte { return b[:len(b)-n] })
}

// symlinked puts a link to a good copy of the file in its place.
func symlinked(file string) error {
	to := filepath.Join(filepath.Dir(filepath.Dir(file)), "copy")
	return errors.Join(os.Rename(file, to), os.Symlink("../copy", file))
}

// TestLinkTargetsStay: removing a symbolic link leaves what it leads to.
func TestLinkTargetsStay(t *testing.T) {
	unix(t)
	s, file := victim(t, dirstore.Options{}, symlinked)
	takes(t, s, peer, "good", "")
	if _, err := os.Stat(filepath.Join(filepath.Dir(filepath.Dir(file)), "copy")); err != nil {
		t.Error(err)
	}
}

func TestForeignFile(t *testing.T) {
	unix(t)
	uid := stranger(t)
	s, _ := victim(t, dirstore.Options{}, func(file string) error { return os.Chown(file, uid, -1) })
	takes(t, s, peer, "good", "")
	if got := s.Stats(); got.Damaged != 1 {
		t.Errorf("%+v", got)
	}
}

// TestMovedFiles: a file under another name, for another peer, with a later
// expiry or for more uses, is not what was put there, sealed or not.
func TestMovedFiles(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		for what, move := range map[string]func(mine, other string) string{
			"another peer": func(mine, other string) string { return other[:67] + mine[67:] }, // subdirectory and peer
			"later put":    func(mine, _ string) string { return mine[:68] + "2" + mine[69:] },
			"later expiry": func(mine, _ string) string { return mine[:85] + "2" + mine[86:] },
			"more uses":    func(mine, _ string) string { return strings.Replace(mine, "-once-", "-many-", 1) },
			"another copy": func(mine, _ string) string { return mine[:len(mine)-1] + flip(mine[len(mine)-1:]) },
		} {
			s, c, dir := fresh(t, opts)
			put(t, s, peer, "mine", c.in(time.Hour), true)
			put(t, s, "other.test", "other", c.in(time.Hour), true)
			all := entries(t, s)
			to := move(all[0].File, all[1].File)
			if to == all[0].File {
				t.Fatalf("%s: the name is the same", what)
			}
			if err := os.Rename(filepath.Join(dir, all[0].File), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
			takes(t, s, "other.test", "other", "")
			takes(t, s, peer, "")
			if got := s.Stats(); got.Damaged != 1 || len(entries(t, s)) != 0 {
				t.Errorf("%s: %+v", what, got)
			}
		}
	})
}

func flip(digit string) string {
	if digit == "0" {
		return "1"
	}
	return "0"
}

// TestSwappedFiles: the contents of two files, exchanged.
func TestSwappedFiles(t *testing.T) {
	kinds(t, func(t *testing.T, opts dirstore.Options) {
		s, c, dir := fresh(t, opts)
		put(t, s, peer, "mine", c.in(time.Hour), true)
		put(t, s, "other.test", "other", c.in(time.Hour), true)
		all := entries(t, s)
		a, b := filepath.Join(dir, all[0].File), filepath.Join(dir, all[1].File)
		if err := errors.Join(os.Rename(a, a+"x"), os.Rename(b, a), os.Rename(a+"x", b)); err != nil {
			t.Fatal(err)
		}
		takes(t, s, peer, "")
		takes(t, s, "other.test", "")
		if got := s.Stats(); got.Damaged != 2 {
			t.Errorf("%+v", got)
		}
	})
}

// TestCopiedElsewhere: a sealed file is of no use in another directory, under the
// same key.
func TestCopiedElsewhere(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{Key: key(0)})
	put(t, s, peer, "session", c.in(time.Hour), true)
	from := entries(t, s)[0]
	other, _, elsewhere := fresh(t, dirstore.Options{Key: key(0)})
	put(t, other, peer, "session", c.in(time.Hour), true)
	to := entries(t, other)[0]
	if err := os.Rename(filepath.Join(dir, from.File), filepath.Join(elsewhere, to.File)); err != nil {
		t.Fatal(err)
	}
	takes(t, other, peer, "")
}

// TestTamperedSubdirectory: one that is not the caller's alone is not used.
func TestTamperedSubdirectory(t *testing.T) {
	unix(t)
	for what, tamper := range map[string]func(shard string) error{
		"for others": func(shard string) error { return os.Chmod(shard, 0o755) },
		"symlink": func(shard string) error {
			return errors.Join(os.Rename(shard, shard+"x"), os.Symlink(shard+"x", shard))
		},
		"inside": func(shard string) error {
			return errors.Join(os.Rename(shard, shard+"x"), os.Symlink(filepath.Base(shard)+"x", shard))
		},
		"file": func(shard string) error { return errors.Join(os.RemoveAll(shard), os.WriteFile(shard, nil, 0o600)) },
	} {
		s, c, dir := fresh(t, dirstore.Options{})
		put(t, s, peer, "session", c.in(time.Hour), true)
		shard := filepath.Join(dir, filepath.Dir(entries(t, s)[0].File))
		if err := tamper(shard); err != nil {
			t.Fatal(err)
		}
		c.advance(time.Second / 4) // it is not looked at more often
		if err := s.Put(t.Context(), peer, []byte("x"), c.in(time.Hour), true); !errors.Is(err, dirstore.ErrNotPrivate) {
			t.Errorf("%s: put, %v", what, err)
		}
		if session, err := s.Take(t.Context(), peer); session != nil || !errors.Is(err, dirstore.ErrNotPrivate) {
			t.Errorf("%s: took %q, %v", what, session, err)
		}
		if err := s.Prune(t.Context()); !errors.Is(err, dirstore.ErrNotPrivate) {
			t.Errorf("%s: pruned, %v", what, err)
		}
		open(t, dir, dirstore.Options{}) // the rest of it is still good
	}
}

// TestEntriesStayInside: an Entry that List did not make leads nowhere.
func TestEntriesStayInside(t *testing.T) {
	s, c, dir := fresh(t, dirstore.Options{})
	put(t, s, peer, "session", c.in(time.Hour), true)
	file := entries(t, s)[0].File
	outside := filepath.Join(filepath.Dir(dir), "outside")
	if err := os.WriteFile(outside, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "salt", "../outside", outside, "../sessions/" + file, "./" + file, file[:2] + "/" + file, file[:2], file[3:], file + "/"} {
		if err := s.Remove(dirstore.Entry{File: name}); err == nil {
			t.Errorf("%q is removed", name)
		}
		if _, _, err := s.Read(dirstore.Entry{File: name}); err == nil {
			t.Errorf("%q is read", name)
		}
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
	takes(t, s, peer, "session")
}
