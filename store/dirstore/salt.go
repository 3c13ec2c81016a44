package dirstore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// The file of the salt is:
//
//	struct {
//	    uint8 revision = 1;
//	    opaque salt[32];
//	} Salt;
const (
	saltFile     = "salt"
	saltRevision = 1
	saltSize     = 32
)

// loadSalt reads the salt of a directory, and may make it if there is none. Of
// several processes that do so at once the first makes it for all.
func loadSalt(root *os.Root, create bool, now int64) ([]byte, error) {
	content, err := readSalt(root)
	if errors.Is(err, fs.ErrNotExist) && create {
		if err := makeSalt(root, now); err != nil {
			return nil, fmt.Errorf("dirstore: salt not made: %w", err)
		}
		content, err = readSalt(root)
	}
	if err == nil && (len(content) != 1+saltSize || content[0] != saltRevision) {
		err = fmt.Errorf("%w: not what is written there", ErrDamaged)
	}
	if errors.Is(err, ErrDamaged) {
		// A salt that another may know or have chosen would name peers for him.
		return nil, fmt.Errorf("%w: %s/%s: %w: remove what is in the directory", ErrNotPrivate, root.Name(), saltFile, err)
	}
	if err != nil {
		return nil, fmt.Errorf("dirstore: salt: %w", err)
	}
	return content[1:], nil
}

func readSalt(root *os.Root) ([]byte, error) {
	f, err := readPrivate(root, saltFile)
	if err != nil {
		return nil, err
	}
	return f.content, f.Close()
}

// makeSalt writes the salt whole under another name and links it into place,
// which fails where there is one. It is synced, since the whole directory would
// be lost with it.
func makeSalt(root *os.Root, now int64) error {
	content := make([]byte, 1+saltSize)
	content[0] = saltRevision
	rand.Read(content[1:]) // never fails
	tmp := newTemporary(now)
	if err := writeNew(root, tmp, content, true); err != nil {
		return err
	}
	defer root.Remove(tmp)
	if err := root.Link(tmp, saltFile); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
