//go:build !unix

package dirstore

import "io/fs"

// foreignOwner: where files have no numbered owner, access is the system's business.
func foreignOwner(fs.FileInfo) (uid int, foreign bool) { return 0, false }

// openToOthers: where modes are made up by package os, they tell nothing.
func openToOthers(fs.FileInfo) bool { return false }

const noWait = 0
