package main

import (
	"errors"
	"io/fs"
	"os"

	"github.com/reprise-tls/reprise/ticket/keyfile"
	"github.com/spf13/cobra"
)

type keysRotateFlags struct {
	format string
	keep   int
}

func newKeysRotate() *cobra.Command {
	var flags keysRotateFlags
	cmd := &cobra.Command{
		Use:   "rotate --format FORM FILE [flags]",
		Short: "add a new key to a file and drop the oldest",
		Long: `Add a new key. For HAProxy it is the last line, and the last line of before
encrypts. For nginx and Apache it is FILE and encrypts at once; the key of FILE
goes to FILE.1, that of FILE.1 to FILE.2 and so on. Files are replaced whole, and
none is where one cannot be written. Servers read them when they are reloaded.`,
		Example: `  reprise keys rotate --format haproxy80 haproxy.keys
  reprise keys rotate --format nginx80 --keep 2 ticket.key`,
		Args: arguments(1, "one FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return keysRotate(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.format, "format", "", "the `form` of the file")
	f.IntVar(&flags.keep, "keep", 3, "keep the last `n` keys, the new one among them")
	return cmd
}

func keysRotate(cmd *cobra.Command, name string, flags *keysRotateFlags) error {
	form, err := parseFormat("--format", flags.format)
	switch {
	case err != nil:
		return err
	case name == "-":
		return usagef("what comes from standard input cannot be rotated: name a file")
	case flags.keep < form.MinKeys():
		return usagef("--keep %d is too few: form %v has at least %d keys", flags.keep, form, form.MinKeys())
	}
	set, err := readKeys(cmd, form, rotated(form, name))
	if err != nil {
		return err
	}
	defer set.Wipe()
	next, err := set.Rotate(flags.keep)
	if err != nil {
		return unsigned(err)
	}
	defer next.Wipe()
	if err := putKeys(name, next); err != nil {
		return err
	}
	return dropKeys(form, name, flags.keep)
}

// rotated are the files of the keys of a name, the newest first.
func rotated(form keyfile.Format, name string) []string {
	names := []string{name}
	for form.MultipleFiles() {
		next := numbered(name, len(names))
		if _, err := os.Lstat(next); err != nil {
			break
		}
		names = append(names, next)
	}
	return names
}

// dropKeys removes the files of the keys after the first keep.
func dropKeys(form keyfile.Format, name string, keep int) error {
	for i := keep; form.MultipleFiles(); i++ {
		err := os.Remove(numbered(name, i))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
	}
	return nil
}
