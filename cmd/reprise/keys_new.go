package main

import (
	"fmt"
	"os"

	"github.com/reprise-tls/reprise/ticket/keyfile"
	"github.com/spf13/cobra"
)

type keysNewFlags struct{ format, out string }

func newKeysNew() *cobra.Command {
	var flags keysNewFlags
	cmd := &cobra.Command{
		Use:   "new --format FORM [flags]",
		Short: "make a file of new keys",
		Long: `Make a key file from random bytes: one key for nginx and Apache, the three that
HAProxy wants. A file that is there stays: reprise keys rotate adds a key to it.`,
		Example: `  reprise keys new --format nginx80 -o ticket.key`,
		Args:    arguments(0, "flags only"),

		ValidArgsFunction: cobra.NoFileCompletions,

		RunE: func(cmd *cobra.Command, _ []string) error { return keysNew(cmd, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.format, "format", "", "the `form` of the file")
	f.StringVarP(&flags.out, "out", "o", "", "write to this `file`, its owner's only (default standard output)")
	return cmd
}

func keysNew(cmd *cobra.Command, flags *keysNewFlags) error {
	form, err := parseFormat("--format", flags.format)
	if err != nil {
		return err
	}
	set, err := keyfile.New(form)
	if err != nil {
		return unsigned(err)
	}
	defer set.Wipe()
	if info, err := os.Lstat(flags.out); err == nil && info.Mode().IsRegular() {
		return fmt.Errorf("%s is there already (reprise keys rotate adds a key to it)", flags.out)
	}
	return giveKeys(cmd, flags.out, set)
}

// giveKeys writes a set where -o says, standard output unless it names a file.
func giveKeys(cmd *cobra.Command, out string, set *keyfile.Set) error {
	if out != "" && out != "-" {
		return putKeys(out, set)
	}
	contents := set.Files()
	defer func() {
		for _, data := range contents {
			clear(data)
		}
	}()
	switch {
	case len(contents) > 1:
		return usagef("%d keys of form %v are as many files: name the first with -o", len(contents), set.Form())
	case set.Form().MultipleFiles() && terminal(cmd.OutOrStdout()):
		return usagef("form %v is not for a terminal (write it to a file with -o, or to a pipe)", set.Form())
	}
	_, err := cmd.OutOrStdout().Write(contents[0])
	return err
}
