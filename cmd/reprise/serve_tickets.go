package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/reprise-tls/reprise"
	"github.com/reprise-tls/reprise/ticket"
	"github.com/reprise-tls/reprise/ticket/keyfile"
	"github.com/spf13/cobra"
)

// ticketKeys are the keys that serve shares with other servers, in files.
type ticketKeys struct {
	ring   *ticket.KeyRing
	source *keyfile.Source
}

// ticketKeys reads the files of --ticket-keys. Without any it returns nil.
func (f *serveFlags) ticketKeys(ctx context.Context) (*ticketKeys, error) {
	if len(f.keyFiles) == 0 {
		return nil, nil
	}
	format, err := parseFormat("--ticket-format", f.keyFormat)
	if err != nil {
		return nil, err
	}
	source, err := keyfile.NewSource(keyfile.Config{Format: format, Files: f.keyFiles})
	if err != nil {
		return nil, err
	}
	k := &ticketKeys{source: source}
	k.ring, err = ticket.NewKeyRing()
	if err == nil {
		err = k.ring.Load(ctx, source)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

// sealer is nil where serve has keys of its own.
func (k *ticketKeys) sealer() ticket.Sealer {
	if k == nil {
		return nil
	}
	return k.ring
}

func (k *ticketKeys) close() {
	if k == nil {
		return
	}
	k.source.Close()
	if k.ring != nil {
		k.ring.Close()
	}
}

// follow keeps the keys those in the files, and reads them on SIGHUP, until the
// function that it returns is called.
func (k *ticketKeys) follow(cmd *cobra.Command) (stop func()) {
	if k == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(cmd.Context())
	followed, listened := make(chan struct{}), make(chan struct{})
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		defer close(followed)
		k.ring.Follow(ctx, k.source, ticket.FollowConfig{Alarm: func(err error) { k.tell(cmd, err) }})
	}()
	go func() {
		defer close(listened)
		for {
			select {
			case <-hangups:
				k.tell(cmd, k.ring.Load(ctx, k.source))
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		cancel()
		<-followed
		<-listened
	}
}

// tell says on standard error what became of reading the keys.
func (k *ticketKeys) tell(cmd *cobra.Command, err error) {
	switch {
	case errors.Is(err, context.Canceled): // the server ends
	case err != nil:
		complain(cmd.ErrOrStderr(), fmt.Errorf("%w (the last good keys stay in use)", err))
	default:
		newPrinter(cmd.ErrOrStderr()).printf("ticket keys read: %v\n", k.ring)
	}
}

// checkTickets checks the flags that have to do with tickets.
func (f *serveFlags) checkTickets() error {
	if (len(f.keyFiles) == 0) != (f.keyFormat == "") {
		return usagef("--ticket-keys and --ticket-format go together: the same bytes are other keys in another format")
	}
	if len(f.keyFiles) > 0 {
		format, err := parseFormat("--ticket-format", f.keyFormat)
		switch {
		case err != nil:
			return err
		case !format.MultipleFiles() && len(f.keyFiles) > 1:
			return usagef("--ticket-keys has %d files, all keys of %v are in one", len(f.keyFiles), format)
		case f.noTickets:
			return usagef("--no-tickets and --ticket-keys exclude each other")
		}
	}
	if _, err := parseContextID("--context-id", f.contextID); err != nil {
		return err
	}
	_, err := f.acceptedContextIDs()
	return err
}

func (f *serveFlags) acceptedContextIDs() (ids [][]byte, err error) {
	for _, text := range f.acceptContextIDs {
		id, err := parseContextID("--accept-context-id", text)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// parseContextID returns the session id context that a flag gives: text, or
// bytes in hexadecimal behind hex:.
func parseContextID(flag, text string) ([]byte, error) {
	id := []byte(text)
	if digits, ok := strings.CutPrefix(text, "hex:"); ok {
		var err error
		if id, err = hex.DecodeString(digits); err != nil {
			return nil, usagef("%s %q is not hexadecimal after hex:", flag, text)
		}
	}
	if len(id) > reprise.MaxSessionIDContextLength {
		return nil, usagef("%s is %d bytes long, at most %d", flag, len(id), reprise.MaxSessionIDContextLength)
	}
	return id, nil
}
