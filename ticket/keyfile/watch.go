package keyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settle is how long after the first event of several the files are read: a file
// that is written in place, or several files, are complete by then. If not, an
// event follows.
const settle = 100 * time.Millisecond

// watcher tells when files may have changed. It watches directories, since a
// watch on a file ends when the file is replaced.
type watcher struct {
	notify *fsnotify.Watcher
	files  []string
	done   chan struct{} // closed when run has returned

	mu    sync.Mutex
	paths map[string]bool // of the files, and of symbolic links on the way to them
}

// newWatcher calls changed, from a goroutine of its own, when one of files may
// have changed. The first time is for the caller: see follow.
func newWatcher(files []string, changed func()) (*watcher, error) {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	w := &watcher{notify: notify, files: files, done: make(chan struct{})}
	go w.run(changed)
	return w, nil
}

func (w *watcher) run(changed func()) {
	defer close(w.done)
	var settled <-chan time.Time
	wait := func() {
		if settled == nil {
			settled = time.After(settle)
		}
	}
	for {
		select {
		case event, ok := <-w.notify.Events:
			if !ok {
				return
			}
			if w.concerns(event) {
				wait()
			}
		case _, ok := <-w.notify.Errors: // events that were lost
			if !ok {
				return
			}
			wait()
		case <-settled:
			settled = nil
			changed()
		}
	}
}

// concerns reports whether an event can have to do with the files. Writing to a
// neighbour cannot; a new one may be a directory on the way.
func (w *watcher) concerns(event fsnotify.Event) bool {
	if event.Has(fsnotify.Create) || event.Has(fsnotify.Rename) || event.Has(fsnotify.Remove) {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.paths[filepath.Clean(event.Name)]
}

// follow watches the directories in which there is something on the way to the
// files, as it is now. One that is missing is watched when follow is called again
// after it has come; the error is about others.
func (w *watcher) follow() error {
	paths := make(map[string]bool)
	for _, name := range w.files {
		way(paths, name)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.paths = paths
	dirs := make(map[string]bool)
	for name := range paths {
		dirs[filepath.Dir(name)] = true
	}
	for _, dir := range w.notify.WatchList() {
		if !dirs[dir] {
			_ = w.notify.Remove(dir) // it may be gone
		}
	}
	var failed []error
	for dir := range dirs {
		// Those that are watched too: it may be another one under its name.
		if err := w.notify.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// maxWay bounds the way to a file: links can go in circles.
const maxWay = 100

// way adds name to paths, and all symbolic links on the way to what it names.
func way(paths map[string]bool, name string) {
	if paths[name] || len(paths) >= maxWay {
		return
	}
	paths[name] = true
	for link := name; link != filepath.Dir(link); link = filepath.Dir(link) {
		target, err := os.Readlink(link)
		if err != nil {
			continue
		}
		paths[link] = true
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		way(paths, filepath.Clean(target+name[len(link):]))
	}
}

func (w *watcher) close() error {
	err := w.notify.Close()
	<-w.done
	return err
}
