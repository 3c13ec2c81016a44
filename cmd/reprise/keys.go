package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/reprise-tls/reprise/ticket/keyfile"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newKeys() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "make, look at and rotate files of ticket keys",
		Long: `The files in which nginx, HAProxy and Apache keep the keys of session tickets.
The form of a file is always named, since the same bytes are other keys in
another one: nginx48, nginx80, haproxy48, haproxy80 or apache48.`,
		Args: knownKeysVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2 // letters, as in newRoot
	cmd.AddCommand(newKeysNew(), newKeysShow(), newKeysConvert(), newKeysRotate(), newKeysInspect())
	for _, verb := range cmd.Commands() {
		completeKeys(verb)
	}
	return cmd
}

// knownKeysVerb is knownVerb for the verbs of keys.
func knownKeysVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("no verb %q of keys (did you mean %q?)", args[0], near[0])
	}
	return usagef("no verb %q of keys (try 'reprise keys --help')", args[0])
}

// completeKeys tells shells what the flags of a verb of keys take.
func completeKeys(verb *cobra.Command) {
	verb.Flags().VisitAll(func(f *pflag.Flag) {
		var values []string
		switch name, _ := pflag.UnquoteUsage(f); name {
		case "file":
			return // the shell's own
		case "form":
			values = formatNames()
		}
		if err := verb.RegisterFlagCompletionFunc(f.Name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // registered twice
		}
	})
}

func formatNames() (names []string) {
	for _, f := range keyfile.Formats() {
		names = append(names, f.String())
	}
	return names
}

// parseFormat is the form that a flag names.
func parseFormat(flag, value string) (keyfile.Format, error) {
	f, err := keyfile.ParseFormat(value)
	switch {
	case value == "":
		return 0, usagef("%s is missing: %s", flag, strings.Join(formatNames(), ", "))
	case err != nil:
		return 0, usagef("%s %s is none of %s", flag, value, strings.Join(formatNames(), ", "))
	}
	return f, nil
}

// files wants the names of one file or more; several only where each file of
// the form is one key.
func files(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return usagef("%s takes a FILE, or several where each has one key (try '%s --help')", cmd.Name(), cmd.CommandPath())
	}
	return nil
}

// readKeys reads key files, - for standard input.
func readKeys(cmd *cobra.Command, f keyfile.Format, names []string) (*keyfile.Set, error) {
	if len(names) > 1 && !f.MultipleFiles() {
		return nil, usagef("form %v has all keys in one file, not in %d", f, len(names))
	}
	var read []keyfile.File
	for _, name := range names {
		data, err := readBytes(cmd, name)
		defer clear(data)
		if err != nil {
			return nil, err
		}
		if name == "-" {
			name = "standard input"
		}
		read = append(read, keyfile.File{Name: name, Data: data})
	}
	set, err := keyfile.Parse(f, read...)
	return set, unsigned(err)
}

// unsigned is an error of keyfile without the names of packages.
func unsigned(err error) error {
	if err == nil {
		return nil
	}
	return errors.New(strings.NewReplacer("keyfile: ", "", "ticket: ", "").Replace(err.Error()))
}

// numbered is the name of the file of key i where each has its own.
func numbered(name string, i int) string {
	if i == 0 {
		return name
	}
	return fmt.Sprintf("%s.%d", name, i)
}

// putKeys writes a set to a file, and where each key has its own to those that
// are numbered after it: their owner's only, and nothing at all where one of them
// cannot be written.
func putKeys(name string, set *keyfile.Set) (err error) {
	contents := set.Files()
	var staged []string
	defer func() {
		for _, data := range contents {
			clear(data)
		}
		for _, s := range staged {
			os.Remove(s) // what is in its place by now is not there any more
		}
		if err != nil {
			err = fmt.Errorf("%s not written: %w", name, err)
		}
	}()
	if len(contents) == 1 {
		return writeFile(name, contents[0])
	}
	targets := make([]string, len(contents))
	for i, data := range contents {
		if targets[i], _, err = followLinks(numbered(name, i)); err != nil {
			return err
		}
		next := targets[i] + ".reprise-next"
		if err := writeFile(next, data); err != nil {
			return err
		}
		staged = append(staged, next)
	}
	// The oldest first: what encrypted has a file all the time.
	for i, next := range slices.Backward(staged) {
		if err := os.Rename(next, targets[i]); err != nil {
			return err
		}
	}
	return nil
}
