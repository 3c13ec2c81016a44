package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
	"github.com/reprise-tls/reprise/ticket/keyfile"
	"github.com/spf13/cobra"
)

// inspected is what keys inspect --json prints.
type inspected struct {
	Opened    bool                 `json:"opened"`
	Finding   string               `json:"finding,omitempty"` // why there is no session below
	Key       *keyFacts            `json:"key"`               // that the ticket names; null if there is none
	ContextID *string              `json:"context_id"`        // session id context, hex
	Session   *reprise.Description `json:"session"`           // inside the ticket

	inside *shown
}

type keysInspectFlags struct {
	keys   []string
	format string
	json   bool
}

func newKeysInspect() *cobra.Command {
	var flags keysInspectFlags
	cmd := &cobra.Command{
		Use:   "inspect --keys FILE --format FORM SESSION [flags]",
		Short: "open the ticket of a session file",
		Long: `Open the ticket in a session file (as openssl s_client -sess_out and reprise
write it) with the keys of the server, and show which key opened it and the
session that the server put inside. - is standard input. The exit code is 1 if
no key opens it.`,
		Example: `  reprise keys inspect --keys ticket.key --format nginx80 s.pem
  reprise keys inspect --keys haproxy.keys --format haproxy80 --json s.pem`,
		Args: arguments(1, "one SESSION file"),
		RunE: func(cmd *cobra.Command, args []string) error { return keysInspect(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringArrayVar(&flags.keys, "keys", nil, "the key `file`; again for each further file of nginx")
	f.StringVar(&flags.format, "format", "", "the `form` of the key file")
	f.BoolVar(&flags.json, "json", false, "print JSON")
	return cmd
}

func keysInspect(cmd *cobra.Command, name string, flags *keysInspectFlags) error {
	form, err := parseFormat("--format", flags.format)
	switch {
	case err != nil:
		return err
	case len(flags.keys) == 0:
		return usagef("--keys is missing: the key file of the server")
	}
	set, err := readKeys(cmd, form, flags.keys)
	if err != nil {
		return err
	}
	defer set.Wipe()
	s, err := readInput(cmd, name)
	if err != nil {
		return err
	}
	defer s.Free()
	now := time.Now()
	facts, err := inspect(set, flags.keys, s.Ticket(), now)
	if err != nil {
		return err
	}
	if flags.json {
		if err := writeJSON(cmd.OutOrStdout(), facts); err != nil {
			return err
		}
	} else if err := facts.print(cmd, now); err != nil {
		return err
	}
	if facts.Finding != "" {
		complain(cmd.ErrOrStderr(), fmt.Errorf("%s: %s", name, facts.Finding))
		return errFinding
	}
	return nil
}

// inspect opens a ticket with the key that it names.
func inspect(set *keyfile.Set, names []string, tkt []byte, now time.Time) (*inspected, error) {
	if len(tkt) == 0 {
		return &inspected{Finding: "the session has no ticket: the server keeps it, or gave none yet"}, nil
	}
	keys, err := describeKeys(set, names, now)
	if err != nil {
		return nil, err
	}
	for i, k := range set.Keys() {
		der, err := openTicket(k, tkt)
		if errors.Is(err, ticket.ErrUnknownKey) {
			continue
		}
		facts := &inspected{Key: &keys[i]}
		if err != nil {
			facts.Finding = fmt.Sprintf("no key opens the ticket: it names key %s, but was not sealed with it (is the form another than %v?)", keys[i].Name, set.Form())
			return facts, nil
		}
		defer clear(der)
		facts.Opened = true
		return facts, facts.look(der, now)
	}
	return &inspected{Finding: fmt.Sprintf("no key opens the ticket: it names key %s, which is not among the %d", hex.EncodeToString(tkt[:min(16, len(tkt))]), len(keys))}, nil
}

// openTicket opens a ticket with one key.
func openTicket(k *keyfile.Key, tkt []byte) ([]byte, error) {
	key, err := k.TicketKey()
	if err != nil {
		return nil, err
	}
	ring, err := ticket.NewKeyRing(key)
	if err != nil {
		return nil, err
	}
	defer ring.Close()
	der, _, err := ring.Open(tkt)
	return der, err
}

// look describes the session that was in the ticket.
func (facts *inspected) look(der []byte, now time.Time) error {
	s, _, err := reprise.ParseSession(der)
	if err != nil {
		facts.Finding = fmt.Sprintf("key %s opens the ticket, but no session is inside: %v", facts.Key.Name, err)
		return nil
	}
	defer s.Free()
	if facts.inside, err = describe(s, false, now); err != nil {
		return err
	}
	id := hex.EncodeToString(s.IDContext())
	facts.Session, facts.ContextID = &facts.inside.Description, &id
	return nil
}

func (facts *inspected) print(cmd *cobra.Command, now time.Time) error {
	if !facts.Opened {
		return nil
	}
	out := newPrinter(cmd.OutOrStdout())
	out.printf("%s\n", plain(fmt.Sprintf("opened by key %s (%s, %s)", facts.Key.Name, facts.Key.State, facts.Key.place())))
	if facts.inside != nil {
		facts.inside.print(out, now)
	}
	return out.err
}
