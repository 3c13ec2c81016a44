package main

import (
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/reprise-tls/reprise/ticket/keyfile"
	"github.com/spf13/cobra"
)

// keysShown is what keys show --json prints.
type keysShown struct {
	Format   string     `json:"format"`
	Keys     []keyFacts `json:"keys"` // as in the files
	Warnings []string   `json:"warnings"`
}

// keyFacts is what is said of a key: nothing of its secrets.
type keyFacts struct {
	Name        string     `json:"name"`        // hex, as tickets show it
	Fingerprint string     `json:"fingerprint"` // of the name, as in logs
	State       string     `json:"state"`       // encrypting, published, decrypting or unused
	File        string     `json:"file"`
	Line        int        `json:"line,omitempty"`    // where each line is a key
	Changed     *time.Time `json:"changed,omitempty"` // the file
	AgeSeconds  *int64     `json:"age_seconds,omitempty"`
}

type keysShowFlags struct {
	format string
	json   bool
}

func newKeysShow() *cobra.Command {
	var flags keysShowFlags
	cmd := &cobra.Command{
		Use:   "show --format FORM FILE... [flags]",
		Short: "show which keys a file has, and what each is for",
		Long: `Show the names of the keys in a file, what a server uses each for, and when the
file was changed; - is standard input. Several files are those of one server of
nginx, in the order of its configuration. The keys themselves are not shown.`,
		Example: `  reprise keys show --format haproxy80 haproxy.keys
  reprise keys show --format nginx80 --json ticket.key ticket.key.1`,
		Args: files,
		RunE: func(cmd *cobra.Command, args []string) error { return keysShow(cmd, args, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.format, "format", "", "the `form` of the file")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	return cmd
}

func keysShow(cmd *cobra.Command, names []string, flags *keysShowFlags) error {
	form, err := parseFormat("--format", flags.format)
	if err != nil {
		return err
	}
	set, err := readKeys(cmd, form, names)
	if err != nil {
		return err
	}
	defer set.Wipe()
	now := time.Now()
	keys, err := describeKeys(set, names, now)
	if err != nil {
		return err
	}
	facts := &keysShown{Format: form.String(), Keys: keys, Warnings: openToOthers(names)}
	if flags.json {
		return writeJSON(cmd.OutOrStdout(), facts)
	}
	out := newPrinter(cmd.OutOrStdout())
	for _, k := range facts.Keys {
		out.printf("%s  %-10s  %s\n", k.Name, k.State, plain(k.place()+k.changed(now)))
	}
	for _, w := range facts.Warnings {
		complain(cmd.ErrOrStderr(), fmt.Errorf("%s", w))
	}
	return out.err
}

// describeKeys gathers what is said of each key of a set, which was read from
// files of these names.
func describeKeys(set *keyfile.Set, names []string, now time.Time) ([]keyFacts, error) {
	var list []keyFacts
	for i, k := range set.Keys() {
		key, err := k.TicketKey()
		if err != nil {
			return nil, unsigned(err)
		}
		name := k.Name()
		facts := keyFacts{Name: hex.EncodeToString(name[:]), Fingerprint: key.Fingerprint(), State: keyState(set, k)}
		key.Wipe()
		if set.Form().MultipleFiles() {
			facts.File = names[i]
		} else {
			facts.File, facts.Line = names[0], i+1
		}
		if info, err := os.Stat(facts.File); err == nil && facts.File != "-" {
			changed, age := info.ModTime().UTC(), int64(now.Sub(info.ModTime())/time.Second)
			facts.Changed, facts.AgeSeconds = &changed, &age
		}
		list = append(list, facts)
	}
	return list, nil
}

// keyState is what a server uses a key for, in the words of ticket.State.
func keyState(set *keyfile.Set, k *keyfile.Key) string {
	switch i := slices.Index(set.InUse(), k); {
	case i < 0:
		return "unused"
	case i == 0:
		return "encrypting"
	case i == 1 && !set.Form().MultipleFiles():
		return "published"
	}
	return "decrypting"
}

// openToOthers warns of files that more than their owner can read.
func openToOthers(names []string) []string {
	list := []string{} // in JSON: never null
	for _, name := range names {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
			list = append(list, fmt.Sprintf("%s: mode %04o: others than its owner have rights to the keys", name, info.Mode().Perm()))
		}
	}
	return list
}

func (k *keyFacts) place() string {
	switch {
	case k.Line == 0:
		return k.File
	case k.File == "-":
		return fmt.Sprintf("line %d", k.Line)
	}
	return fmt.Sprintf("%s, line %d", k.File, k.Line)
}

func (k *keyFacts) changed(now time.Time) string {
	if k.Changed == nil {
		return ""
	}
	return ", changed " + moment(*k.Changed, now)
}
