package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"

	"github.com/reprise-tls/reprise/store/dirstore"
	"github.com/spf13/cobra"
)

type sessionsRmFlags struct {
	keyFile string
	all     bool
}

func newSessionsRm() *cobra.Command {
	var flags sessionsRmFlags
	cmd := &cobra.Command{
		Use:   "rm DIRECTORY (FINGERPRINT... | --all) [flags]",
		Short: "remove sessions from a directory",
		Long: `Remove the sessions with these fingerprints, or all. Where one is not there,
none is removed. --all removes those too that are sealed or damaged; the
directory stays.`,
		Example: `  reprise sessions rm ~/.cache/sessions 5891b5b522d5df08
  reprise sessions rm --all ~/.cache/sessions`,
		Args: func(cmd *cobra.Command, args []string) error { return removable(cmd, args, flags.all) },
		RunE: func(cmd *cobra.Command, args []string) error { return sessionsRm(args[0], args[1:], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&flags.all, "all", false, "remove all sessions")
	f.StringVar(&flags.keyFile, "key-file", "", "the `file` of the key that seals the sessions, 64 hexadecimal digits")
	return cmd
}

// removable wants a directory, and either fingerprints or --all.
func removable(cmd *cobra.Command, args []string, all bool) error {
	switch {
	case len(args) == 0 || len(args) == 1 && !all:
		return usagef("%s takes a DIRECTORY, and fingerprints or --all (try '%s --help')", cmd.Name(), cmd.CommandPath())
	case len(args) > 1 && all:
		return usagef("--all and fingerprints are two ways: choose one")
	}
	for _, f := range args[1:] {
		if b, err := hex.DecodeString(f); err != nil || len(b) != 8 || hex.EncodeToString(b) != f {
			return usagef("%q is no fingerprint: 16 hexadecimal digits, as 'reprise sessions list' shows them", f)
		}
	}
	return nil
}

func sessionsRm(dir string, fingerprints []string, flags *sessionsRmFlags) error {
	store, err := inspectSessionDir(dir, flags.keyFile)
	if err != nil {
		return err
	}
	defer store.Close()
	if flags.all {
		all, err := newestFirst(store)
		if err != nil {
			return err
		}
		return removeEntries(store, all)
	}
	all, err := readStored(store)
	if err != nil {
		return err
	}
	defer freeStored(all)
	found, err := named(all, fingerprints)
	if err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	return removeEntries(store, found)
}

// named are the files of the sessions with these fingerprints.
func named(all []stored, fingerprints []string) (found []dirstore.Entry, err error) {
	missing, unread := make(map[string]bool), 0
	for _, f := range fingerprints {
		missing[f] = true
	}
	for _, s := range all {
		if s.session == nil {
			unread++
		} else if f := s.session.Fingerprint(); slices.Contains(fingerprints, f) {
			found = append(found, s.Entry)
			delete(missing, f)
		}
	}
	for _, f := range fingerprints {
		switch {
		case missing[f] && unread > 0:
			return nil, fmt.Errorf("no session %s among those that can be read (%d cannot: --key-file names the key)", f, unread)
		case missing[f]:
			return nil, fmt.Errorf("no session %s", f)
		}
	}
	return found, nil
}

// removeEntries removes what it can.
func removeEntries(store *dirstore.Store, list []dirstore.Entry) error {
	var errs []error
	for _, e := range list {
		errs = append(errs, unsignedDir(store.Remove(e)))
	}
	return errors.Join(errs...)
}
