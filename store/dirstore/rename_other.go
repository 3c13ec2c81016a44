//go:build !linux

package dirstore

// rename gives a file of the subdirectory another name there.
func (sh *shard) rename(from, to string) error { return sh.Rename(from, to) }
