//go:build unix

package dirstore

import (
	"io/fs"
	"os"
	"syscall"
)

// foreignOwner returns whose a file is, and whether that is somebody other than
// the user whom the process acts for.
func foreignOwner(info fs.FileInfo) (uid int, foreign bool) {
	stat := info.Sys().(*syscall.Stat_t) // what os gives on Unix
	return int(stat.Uid), int(stat.Uid) != os.Geteuid()
}

// openToOthers reports whether the group or others have any right to a file.
func openToOthers(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

// noWait keeps an open of a pipe from waiting for its other end, and saves
// package os four system calls to find out that a file is not one.
const noWait = syscall.O_NONBLOCK

// reusable reports whether a file can be written again: not where another name
// leads to it, such as a copy's that was made of links.
func reusable(info fs.FileInfo) bool { return info.Sys().(*syscall.Stat_t).Nlink == 1 }

// removeAlone removes a file: of all who do, one succeeds.
func (sh *shard) removeAlone(file string) error { return sh.Remove(file) }
