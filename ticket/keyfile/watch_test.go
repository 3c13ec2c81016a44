package keyfile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/fsnotify/fsnotify"
	"github.com/reprise-tls/reprise/ticket"
)

// told makes a change and waits until the source tells of it. Then the ring,
// loaded, seals with key i; now, or after something more was told.
func told(t *testing.T, r *ticket.KeyRing, s *Source, i int, change func()) {
	t.Helper()
	changed := s.Changed()
	change()
	for {
		<-changed
		changed = s.Changed()
		if err := r.Load(t.Context(), s); err == nil && sealsWith(t, r, i) {
			return
		}
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

func mkdir(t *testing.T, name string) string {
	t.Helper()
	if err := os.Mkdir(name, 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// swap points a link elsewhere in one step.
func swap(t *testing.T, target, name string) {
	t.Helper()
	link(t, target, name+".next")
	if err := os.Rename(name+".next", name); err != nil {
		t.Fatal(err)
	}
}

// TestWatch: the source tells of a change, whatever way it was made. Before each
// the file holds key 0, after it key 1.
func TestWatch(t *testing.T) {
	key := func(i int) File { return files(FormatNginx80, 10)[i] }
	as := func(name string, i int) File { return File{name, key(i).Data} }
	for name, test := range map[string]func(t *testing.T, dir string) (file string, change func()){
		"renamed over": func(t *testing.T, dir string) (string, func()) {
			file := write(t, dir, as("keys", 0))[0]
			return file, func() { replace(t, file, key(1).Data) }
		},
		"written in place": func(t *testing.T, dir string) (string, func()) {
			file := write(t, dir, as("keys", 0))[0]
			return file, func() { write(t, dir, as("keys", 1)) }
		},
		"written in two parts": func(t *testing.T, dir string) (string, func()) {
			file := write(t, dir, as("keys", 0))[0]
			return file, func() {
				write(t, dir, File{"keys", key(1).Data[:40]})
				f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				if _, err := f.Write(key(1).Data[40:]); err != nil {
					t.Fatal(err)
				}
			}
		},
		"removed and made again": func(t *testing.T, dir string) (string, func()) {
			file := write(t, dir, as("keys", 0))[0]
			return file, func() {
				remove(t, file)
				write(t, dir, as("keys", 1))
			}
		},
		"Kubernetes": func(t *testing.T, dir string) (string, func()) {
			write(t, mkdir(t, filepath.Join(dir, "..1")), as("keys", 0))
			link(t, "..1", filepath.Join(dir, "..data"))
			link(t, filepath.Join("..data", "keys"), filepath.Join(dir, "keys"))
			return filepath.Join(dir, "keys"), func() {
				write(t, mkdir(t, filepath.Join(dir, "..2")), as("keys", 1))
				swap(t, "..2", filepath.Join(dir, "..data"))
				remove(t, filepath.Join(dir, "..1"))
			}
		},
		"a link far away": func(t *testing.T, dir string) (string, func()) {
			there := mkdir(t, filepath.Join(dir, "there"))
			old, next := write(t, there, as("0", 0))[0], write(t, there, as("1", 1))[0]
			link(t, old, filepath.Join(there, "current"))
			file := filepath.Join(mkdir(t, filepath.Join(dir, "here")), "keys")
			link(t, filepath.Join("..", "there", "current"), file)
			return file, func() { swap(t, next, filepath.Join(there, "current")) }
		},
		"a directory behind a link": func(t *testing.T, dir string) (string, func()) {
			write(t, mkdir(t, filepath.Join(dir, "1")), as("keys", 0))
			write(t, mkdir(t, filepath.Join(dir, "2")), as("keys", 1))
			link(t, "1", filepath.Join(dir, "current"))
			return filepath.Join(dir, "current", "keys"), func() { swap(t, filepath.Join(dir, "2"), filepath.Join(dir, "current")) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			file, change := test(t, t.TempDir())
			s := mustSource(t, FormatNginx80, file)
			r := newRing(t)
			load(t, r, s)
			if !sealsWith(t, r, 0) {
				t.Fatal("key 0 does not seal")
			}
			told(t, r, s, 1, change)
			// What came with the change is watched in its turn.
			target, err := filepath.EvalSymlinks(file)
			if err != nil {
				t.Fatal(err)
			}
			told(t, r, s, 2, func() { replace(t, target, key(2).Data) })
		})
	}
}

// TestWatchNeighbour: writing to another file of the directory is nothing to
// read the keys for, and the directory of another link's target is not watched
// any more.
func TestWatchNeighbour(t *testing.T) {
	dir := t.TempDir()
	one, other := mkdir(t, filepath.Join(dir, "one")), mkdir(t, filepath.Join(dir, "other"))
	write(t, one, files(FormatNginx80, 1)...)
	write(t, other, files(FormatNginx80, 1)...)
	file := filepath.Join(mkdir(t, filepath.Join(dir, "here")), "keys")
	link(t, filepath.Join(one, "keys0"), file)
	w, err := newWatcher([]string{file}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	for _, to := range []string{one, other} {
		swap(t, filepath.Join(to, "keys0"), file)
		if err := w.follow(); err != nil {
			t.Fatal(err)
		}
		got := w.notify.WatchList()
		slices.Sort(got)
		if want := []string{filepath.Dir(file), to}; !slices.Equal(got, want) {
			t.Errorf("watches %q, want %q", got, want)
		}
	}
	for event, want := range map[fsnotify.Event]bool{
		{Name: file, Op: fsnotify.Chmod}:                               true,
		{Name: filepath.Join(other, "keys0"), Op: fsnotify.Write}:      true,
		{Name: filepath.Join(other, "neighbour"), Op: fsnotify.Write}:  false,
		{Name: filepath.Join(other, "neighbour"), Op: fsnotify.Create}: true,
	} {
		if got := w.concerns(event); got != want {
			t.Errorf("%v concerns the keys: %t", event, got)
		}
	}
}

// TestWay ends where links do not.
func TestWay(t *testing.T) {
	dir := t.TempDir()
	link(t, "a", filepath.Join(dir, "a"))
	link(t, filepath.Join("deep", "deeper"), filepath.Join(dir, "deep"))
	for _, name := range []string{"a", "deep", "missing"} {
		paths := make(map[string]bool)
		way(paths, filepath.Join(dir, name))
		if !paths[filepath.Join(dir, name)] || len(paths) > maxWay {
			t.Errorf("%s: %d paths", name, len(paths))
		}
	}
}
