package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/reprise-tls/reprise"
)

// maxFile bounds what is read of a file: many times the largest session or
// bundle of roots that makes sense.
const maxFile = 4 << 20

// readFile reads a small file.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s: larger than %d bytes", name, maxFile)
	}
	return data, err
}

// readSession reads the first session in a PEM file, for the caller to free.
func readSession(name string) (*reprise.Session, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	s, _, err := reprise.ParseSessionPEM(data)
	if errors.Is(err, reprise.ErrNoPEM) {
		return nil, fmt.Errorf("%s: %w (openssl s_client -sess_out and reprise connect --sess-out write such files)", name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}

// writeSession writes s as PEM, readable by its owner only.
func writeSession(name string, s *reprise.Session) error {
	data, err := s.MarshalPEM()
	if err != nil {
		return err
	}
	defer clear(data)
	return writeFile(name, data)
}

// writeFile writes a file that its owner only can read: the whole file or
// nothing, whatever was there before. A link stays, and what it names is
// replaced. A device or a pipe is written to, and so is an open file under a name
// like /dev/stdout.
func writeFile(name string, data []byte) (err error) {
	switch info, err := os.Stat(name); {
	case err == nil && !info.Mode().IsRegular() && !info.IsDir():
		return writeThrough(name, data)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err // a loop of links, or a directory that is closed to us
	}
	target, open, err := followLinks(name)
	if err != nil {
		return err
	}
	if open {
		return writeThrough(name, data)
	}
	return replaceFile(target, data)
}

// writeThrough writes to what is there, behind what an open file holds already,
// and makes nothing.
func writeThrough(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// maxLinks is how many links one name may go through, as on Linux.
const maxLinks = 40

// followLinks returns the name at the end of links, where there may be nothing
// yet; open says that it is one of the names of files that a process has open. Of
// links among directories the system takes care.
func followLinks(name string) (target string, open bool, err error) {
	for range maxLinks {
		info, err := os.Lstat(name)
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink == 0 {
			return name, false, nil
		}
		if err != nil {
			return "", false, err
		}
		if strings.HasPrefix(name, "/proc/") || strings.HasPrefix(name, "/dev/fd/") {
			return name, true, nil
		}
		target, err := os.Readlink(name)
		if err != nil {
			return "", false, err
		}
		if !filepath.IsAbs(target) {
			// Not Join, which takes link/.. for nothing.
			target = filepath.Dir(name) + string(filepath.Separator) + target
		}
		name = target
	}
	return "", false, &fs.PathError{Op: "follow", Path: name, Err: errors.New("too many links")}
}

// replaceFile puts a whole file in the place of name.
func replaceFile(name string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(name), ".reprise-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
