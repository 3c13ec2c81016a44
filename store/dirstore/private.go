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
// follows no symbolic link to it. It opens the file for writing too if that is
// wanted and possible. What is wrong with it is ErrDamaged.
func readPrivate(root *os.Root, name string, write bool) (*openFile, error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if err := privateFile(info); err != nil {
		return nil, err
	}
	f := &openFile{info: info, writable: write}
	if write {
		f.File, err = root.OpenFile(name, os.O_RDWR|noWait, 0)
	}
	if !write || err != nil { // a file that can only be read is as good
		f.writable = false
		f.File, err = root.OpenFile(name, os.O_RDONLY|noWait, 0)
	}
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, err
	}
	if err := f.read(); err != nil {
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

func (f *openFile) read() error {
	opened, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(f.info, opened) {
		return fmt.Errorf("%w: replaced while it was opened", ErrDamaged)
	}
	f.content = make([]byte, f.info.Size())
	if _, err := io.ReadFull(f, f.content); err == io.EOF || err == io.ErrUnexpectedEOF {
		return fmt.Errorf("%w: truncated while it was read", ErrDamaged)
	} else if err != nil {
		return err
	}
	return nil
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
