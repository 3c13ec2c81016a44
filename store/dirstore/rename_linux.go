package dirstore

import (
	"os"
	"syscall"
)

// rename gives a file of the subdirectory another name there. [os.Root] looks at
// the new name first, and at each part of a path: here both names are ours, and
// plain.
func (sh *shard) rename(from, to string) error {
	for {
		switch err := syscall.Renameat(sh.fd, from, sh.fd, to); err {
		case nil:
			return nil
		case syscall.EINTR:
		default:
			return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
		}
	}
}
