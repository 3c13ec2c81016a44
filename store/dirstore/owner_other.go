//go:build !unix

package dirstore

import "io/fs"

// foreignOwner: where files have no numbered owner, access is the system's business.
func foreignOwner(fs.FileInfo) (uid int, foreign bool) { return 0, false }

// openToOthers: where modes are made up by package os, they tell nothing.
func openToOthers(fs.FileInfo) bool { return false }

const noWait = 0

// reusable: elsewhere a file is renamed through a handle, and of two who do that
// at once both may succeed.
func reusable(fs.FileInfo) bool { return false }
