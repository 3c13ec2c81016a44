package main

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/store/dirstore"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newSessions() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "look into a directory of sessions, clear it up",
		Long: `The directories in which programs keep sessions between runs, as the package
store/dirstore makes them. They and their files must be their owner's only.`,
		Args: knownSessionsVerb,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SuggestionsMinimumDistance = 2 // letters, as in newRoot
	cmd.AddCommand(newSessionsList(), newSessionsRm(), newSessionsPrune())
	for _, verb := range cmd.Commands() {
		completeSessions(verb)
	}
	return cmd
}

// knownSessionsVerb is knownVerb for the verbs of sessions.
func knownSessionsVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("no verb %q of sessions (did you mean %q?)", args[0], near[0])
	}
	return usagef("no verb %q of sessions (try 'reprise sessions --help')", args[0])
}

// completeSessions tells shells what a verb of sessions takes: a directory
// first, files where a flag wants one.
func completeSessions(verb *cobra.Command) {
	verb.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return nil, cobra.ShellCompDirectiveFilterDirs
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	verb.Flags().VisitAll(func(f *pflag.Flag) { completeFlag(verb, f) })
}

// openSessionDir opens a directory to keep sessions in, and makes it if it is
// missing. keyFile is "" where they are not sealed.
func openSessionDir(dir, keyFile string) (*dirstore.Store, error) {
	return openDir(dir, keyFile, dirstore.Options{})
}

// inspectSessionDir opens a directory that has kept sessions, and leaves it as it
// is.
func inspectSessionDir(dir, keyFile string) (*dirstore.Store, error) {
	return openDir(dir, keyFile, dirstore.Options{Inspect: true, PerPeer: -1, Max: -1})
}

func openDir(dir, keyFile string, opts dirstore.Options) (*dirstore.Store, error) {
	key, err := readSealingKey(keyFile)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	opts.Key = key
	store, err := dirstore.Open(dir, opts)
	if opts.Inspect && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: no directory of sessions", dir)
	}
	return store, unsignedDir(err)
}

// unsignedDir is an error of dirstore without the names of packages.
func unsignedDir(err error) error {
	if err == nil {
		return nil
	}
	return dirError{err}
}

type dirError struct{ error }

func (e dirError) Error() string {
	return strings.NewReplacer("dirstore: ", "", "ticket: ", "").Replace(e.error.Error())
}

func (e dirError) Unwrap() error { return e.error }

// readSealingKey reads a key of 64 hexadecimal digits, nil if name is "".
func readSealingKey(name string) ([]byte, error) {
	if name == "" {
		return nil, nil
	}
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	digits := bytes.TrimRight(text, "\r\n")
	key := make([]byte, dirstore.KeySize)
	if len(digits) != hex.EncodedLen(len(key)) {
		return nil, fmt.Errorf("%s: no key: %d hexadecimal digits are wanted (openssl rand -hex %d)", name, hex.EncodedLen(len(key)), len(key))
	}
	if _, err := hex.Decode(key, digits); err != nil {
		clear(key)
		return nil, fmt.Errorf("%s: no key: something in it is no hexadecimal digit", name)
	}
	return key, nil
}

// stored is a session in a directory, as far as it can be read.
type stored struct {
	dirstore.Entry
	sealed  bool
	session *reprise.Session // nil: not readable; for the caller to free
	problem error            // why not
}

// readStored reads the sessions of a directory, newest first.
func readStored(store *dirstore.Store) (all []stored, err error) {
	list, err := newestFirst(store)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		s := stored{Entry: e}
		var der []byte
		der, s.sealed, s.problem = store.Read(e)
		if errors.Is(s.problem, fs.ErrNotExist) {
			continue // taken meanwhile
		}
		if s.problem == nil {
			s.session, s.problem = parseStored(der)
		}
		clear(der)
		all = append(all, s)
	}
	return all, nil
}

func parseStored(der []byte) (*reprise.Session, error) {
	s, rest, err := reprise.ParseSession(der)
	if err == nil && len(rest) > 0 {
		s.Free()
		return nil, fmt.Errorf("%d bytes after the session", len(rest))
	}
	return s, err
}

func freeStored(all []stored) {
	for _, s := range all {
		s.session.Free()
	}
}

// damaged reports whether no key would make the session readable.
func (s *stored) damaged() bool {
	return s.problem != nil && !errors.Is(s.problem, dirstore.ErrSealed) && !errors.Is(s.problem, dirstore.ErrNotSealed)
}
