package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

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
// nothing, whatever was there before.
func writeFile(name string, data []byte) (err error) {
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return os.WriteFile(name, data, 0o600) // a device or a pipe is written to, not replaced
	}
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
