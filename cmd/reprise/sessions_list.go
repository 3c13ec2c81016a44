package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// sessionsListed is what sessions list --json prints.
type sessionsListed struct {
	Sessions []storedFacts `json:"sessions"` // newest first
	Warnings []string      `json:"warnings"`
}

// storedFacts is what is said of a session in a directory: never a secret.
type storedFacts struct {
	File      string        `json:"file"` // in the directory
	Put       time.Time     `json:"put"`
	Expires   time.Time     `json:"expires"`
	SingleUse bool          `json:"single_use"`
	Size      int64         `json:"size"` // of the file, in bytes
	Sealed    bool          `json:"sealed"`
	Session   *sessionFacts `json:"session"` // null if it cannot be read
	Problem   string        `json:"problem,omitempty"`
}

type sessionsListFlags struct {
	keyFile string
	json    bool
}

func newSessionsList() *cobra.Command {
	var flags sessionsListFlags
	cmd := &cobra.Command{
		Use:   "list DIRECTORY [flags]",
		Short: "list the sessions in a directory",
		Long: `List the sessions in a directory, newest first: fingerprint, server name,
version, whether it serves once or many times, when it expires, size of the
file. Of one that is sealed under a key that is not given only the last three
can be told. Nothing is taken or removed, and no secret is shown.`,
		Example: `  reprise sessions list ~/.cache/sessions
  reprise sessions list --key-file key --json ~/.cache/sessions`,
		Args: arguments(1, "one DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) error { return sessionsList(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVar(&flags.json, "json", false, "print JSON")
	f.StringVar(&flags.keyFile, "key-file", "", "the `file` of the key that seals the sessions, 64 hexadecimal digits")
	return cmd
}

func sessionsList(cmd *cobra.Command, dir string, flags *sessionsListFlags) error {
	store, err := inspectSessionDir(dir, flags.keyFile)
	if err != nil {
		return err
	}
	defer store.Close()
	all, err := readStored(store)
	if err != nil {
		return err
	}
	defer freeStored(all)
	facts := &sessionsListed{Sessions: []storedFacts{}, Warnings: openToOthers(keyFiles(flags.keyFile))}
	damaged := false
	for _, s := range all {
		facts.Sessions = append(facts.Sessions, s.facts())
		damaged = damaged || s.damaged()
	}
	if err := facts.write(cmd, flags.json); err != nil {
		return err
	}
	if damaged {
		return errFinding
	}
	return nil
}

func keyFiles(name string) []string {
	if name == "" {
		return nil
	}
	return []string{name}
}

func (s *stored) facts() storedFacts {
	f := storedFacts{
		File: s.File, Put: s.Put.UTC(), Expires: s.Expires.UTC(), SingleUse: s.Once,
		Size: s.Size, Sealed: s.sealed, Session: factsOf(s.session),
	}
	if s.problem != nil {
		f.Problem = plain(unsignedDir(s.problem).Error())
	}
	return f
}

func (l *sessionsListed) write(cmd *cobra.Command, asJSON bool) error {
	if asJSON {
		return writeJSON(cmd.OutOrStdout(), l)
	}
	out, now := newPrinter(cmd.OutOrStdout()), time.Now()
	for _, f := range l.Sessions {
		out.printf("%s\n", f.line(now))
		if f.Problem != "" && f.Session == nil && !f.Sealed {
			complain(cmd.ErrOrStderr(), fmt.Errorf("%s: %s", f.File, f.Problem))
		}
	}
	for _, w := range l.Warnings {
		complain(cmd.ErrOrStderr(), fmt.Errorf("%s", w))
	}
	return out.err
}

// line is a session in a line of columns.
func (f *storedFacts) line(now time.Time) string {
	fingerprint, name, version := "unreadable", "-", "-"
	switch {
	case f.Session != nil:
		fingerprint, version = f.Session.Fingerprint, f.Session.Version
		if n := plain(f.Session.ServerName); n != "" {
			name = n
		}
	case f.Sealed:
		fingerprint = "sealed"
	}
	uses := map[bool]string{true: "once", false: "many"}[f.SingleUse]
	return fmt.Sprintf("%-16s  %-24s  %-7s  %s  %s, %d bytes", fingerprint, name, version, uses, moment(f.Expires, now), f.Size)
}
