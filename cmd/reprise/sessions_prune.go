package main

import (
	"slices"
	"time"

	"github.com/reprise-tls/reprise/store/dirstore"
	"github.com/spf13/cobra"
)

// sessionsPruned is what sessions prune --json prints.
type sessionsPruned struct {
	Removed int `json:"removed"` // files, those that killed processes left among them
	Left    int `json:"left"`    // sessions
}

type sessionsPruneFlags struct {
	olderThan time.Duration
	keep      int
	json      bool
}

func newSessionsPrune() *cobra.Command {
	var flags sessionsPruneFlags
	cmd := &cobra.Command{
		Use:   "prune DIRECTORY [flags]",
		Short: "remove what has expired from a directory",
		Long: `Remove the sessions that have expired, and what killed processes left behind.
With --older-than and --keep remove more. No key is needed.`,
		Example: `  reprise sessions prune ~/.cache/sessions
  reprise sessions prune --older-than 24h --keep 100 ~/.cache/sessions`,
		Args: arguments(1, "one DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) error { return sessionsPrune(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.DurationVar(&flags.olderThan, "older-than", 0, "remove sessions that were put this `duration` ago, or longer")
	f.IntVar(&flags.keep, "keep", 0, "keep the `n` newest sessions and no others")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	return cmd
}

func sessionsPrune(cmd *cobra.Command, dir string, flags *sessionsPruneFlags) error {
	older, few := cmd.Flags().Changed("older-than"), cmd.Flags().Changed("keep")
	switch {
	case older && flags.olderThan <= 0:
		return usagef("--older-than %v: it must be more than nothing", flags.olderThan)
	case few && flags.keep < 0:
		return usagef("--keep %d: it must be 0 or more", flags.keep)
	}
	store, err := inspectSessionDir(dir, "")
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Prune(cmd.Context()); err != nil {
		return unsignedDir(err)
	}
	all, err := newestFirst(store)
	if err != nil {
		return err
	}
	left := len(all)
	if few {
		left = min(left, flags.keep)
	}
	if older {
		limit := time.Now().Add(-flags.olderThan)
		young, _ := slices.BinarySearchFunc(all, limit, func(e dirstore.Entry, t time.Time) int { return t.Compare(e.Put) })
		left = min(left, young)
	}
	if err := removeEntries(store, all[left:]); err != nil {
		return err
	}
	facts := &sessionsPruned{Removed: int(store.Stats().Pruned) + len(all) - left, Left: left}
	return facts.write(cmd, flags.json)
}

// newestFirst lists the files in a directory.
func newestFirst(store *dirstore.Store) (all []dirstore.Entry, err error) {
	for e, err := range store.List() {
		if err != nil {
			return nil, unsignedDir(err)
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b dirstore.Entry) int { return b.Put.Compare(a.Put) })
	return all, nil
}

func (p *sessionsPruned) write(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), p)
	}
	out := newPrinter(cmd.OutOrStdout())
	out.printf("%d removed, %d left\n", p.Removed, p.Left)
	return out.err
}
