package dirstore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrNotPrivate: others than the caller have rights to the directory or to its
// salt, or could have made them.
var ErrNotPrivate = errors.New("dirstore: not private")

// openPrivate opens a directory that is the caller's alone, and may make it if
// it is missing.
func openPrivate(dir string, create bool) (*os.Root, error) {
	dir = filepath.Clean(dir) // behind a slash a symbolic link would be followed
	if create {
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("dirstore: %w", err)
		}
	}
	named, err := os.Lstat(dir)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	if err := privateDir(dir, named); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("dirstore: %w", err)
	}
	opened, err := root.Stat(".")
	if err == nil && !os.SameFile(named, opened) {
		err = fmt.Errorf("%w: %s was replaced while it was opened", ErrNotPrivate, dir)
	}
	if err == nil {
		err = privateDir(dir, opened)
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return root, nil
}

// privateDir says what is wrong with a directory and what to do.
func privateDir(dir string, info fs.FileInfo) error {
	owner, foreign := foreignOwner(info)
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return fmt.Errorf("%w: %s is a symbolic link: name the directory that it leads to", ErrNotPrivate, dir)
	case !info.IsDir():
		return fmt.Errorf("%w: %s is not a directory: name another", ErrNotPrivate, dir)
	case foreign:
		return fmt.Errorf("%w: %s belongs to user %d, not to user %d, who runs this: use a directory of your own", ErrNotPrivate, dir, owner, os.Geteuid())
	case openToOthers(info):
		return fmt.Errorf("%w: %s has mode %04o, others have rights to it: chmod 700 %s", ErrNotPrivate, dir, info.Mode().Perm(), dir)
	}
	return nil
}

// openFile is a small file that was read and is still open.
type openFile struct {
	*os.File // nil once another has it
	info     fs.FileInfo
	content  []byte
	writable bool
}

// readPrivate reads a small file that the caller alone could have made, and
// follows no symbolic link to it. What is wrong with it is ErrDamaged.
func readPrivate(root *os.Root, name string) (*openFile, error) {
	info, err := lstatPrivate(root, name)
	if err != nil {
		return nil, err
	}
	return readFile(root, name, info, os.O_RDONLY)
}

// readToTake is readPrivate for a session's file, which it opens for writing too,
// if it can, and does not open where it still is.
func (sh *shard) readToTake(name string) (*openFile, error) {
	info, err := lstatPrivate(sh.Root, name)
	if err != nil {
		return nil, err
	}
	if held, ok := sh.written.named(name); ok {
		if os.SameFile(held.info, info) {
			f := &openFile{File: held.File, info: info, writable: true}
			return f.readAll()
		}
		held.Close()
	}
	f, err := readFile(sh.Root, name, info, os.O_RDWR)
	if err != nil { // one that can only be read is as good
		f, err = readFile(sh.Root, name, info, os.O_RDONLY)
	}
	return f, err
}

func lstatPrivate(root *os.Root, name string) (fs.FileInfo, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	return info, privateFile(info)
}

// readFile reads the file that info describes.
func readFile(root *os.Root, name string, info fs.FileInfo, flag int) (*openFile, error) {
	file, err := root.OpenFile(name, flag|noWait, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	f := &openFile{File: file, info: info, writable: flag == os.O_RDWR}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(info, opened) {
		err = fmt.Errorf("%w: replaced while it was opened", ErrDamaged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f.readAll()
}

// readAll returns f with its content, or closes it.
func (f *openFile) readAll() (*openFile, error) {
	f.content = make([]byte, f.info.Size())
	_, err := f.ReadAt(f.content, 0)
	if err == io.EOF {
		err = fmt.Errorf("%w: truncated while it was read", ErrDamaged)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *openFile) close() {
	if f.File != nil {
		f.Close()
	}
}

func privateFile(info fs.FileInfo) error {
	owner, foreign := foreignOwner(info)
	switch {
	case !info.Mode().IsRegular():
		return fmt.Errorf("%w: not a regular file (%v)", ErrDamaged, info.Mode().Type())
	case foreign:
		return fmt.Errorf("%w: belongs to user %d", ErrDamaged, owner)
	case openToOthers(info):
		return fmt.Errorf("%w: mode %04o, others have rights to it", ErrDamaged, info.Mode().Perm())
	case info.Size() > maxFile:
		return fmt.Errorf("%w: %d bytes, more than %d", ErrDamaged, info.Size(), maxFile)
	}
	return nil
}
