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

// readPrivate reads a small file that the caller alone could have made, and
// follows no symbolic link to it. The file stays open, for what how says. What is
// wrong with it is ErrDamaged.
func readPrivate(root *os.Root, name string, how int) (f *os.File, content []byte, err error) {
	info, err := root.Lstat(name)
	if err != nil {
		return nil, nil, err
	}
	if err := privateFile(info); err != nil {
		return nil, nil, err
	}
	f, err = root.OpenFile(name, how|noWait, 0)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err != nil {
		return nil, nil, err
	}
	if content, err = readAs(f, info); err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, content, nil
}

// readAs reads a file that should be the one which info describes.
func readAs(f *os.File, info fs.FileInfo) ([]byte, error) {
	opened, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !os.SameFile(info, opened) {
		return nil, fmt.Errorf("%w: replaced while it was opened", ErrDamaged)
	}
	content := make([]byte, info.Size())
	if _, err := io.ReadFull(f, content); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("%w: truncated while it was read", ErrDamaged)
	} else if err != nil {
		return nil, err
	}
	return content, nil
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
