//go:build !unix

package dirstore

import (
	"io/fs"
	"sync"
)

// foreignOwner: where files have no numbered owner, access is the system's business.
func foreignOwner(fs.FileInfo) (uid int, foreign bool) { return 0, false }

// openToOthers: where modes are made up by package os, they tell nothing.
func openToOthers(fs.FileInfo) bool { return false }

const noWait = 0

// reusable: links are not counted here.
func reusable(fs.FileInfo) bool { return false }

var removing sync.Mutex

// removeAlone removes a file: of all in this process who do, one succeeds. On
// Windows a file is renamed or removed through a handle, and of two who have one
// both may succeed.
func (sh *shard) removeAlone(file string) error {
	removing.Lock()
	defer removing.Unlock()
	if _, err := sh.Lstat(file); err != nil {
		return err
	}
	return sh.Remove(file)
}
