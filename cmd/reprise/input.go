package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/reprise-tls/reprise"
	"github.com/spf13/cobra"
)

// input is the session that a verb looks at, for the caller to free.
type input struct {
	*reprise.Session
	form string // PEM or DER
	more string // what else the file holds, "" if nothing
}

// readInput reads the first session in a file in PEM or DER, - for standard
// input, and says so where it is not all that the file holds.
func readInput(cmd *cobra.Command, name string) (*input, error) {
	data, err := readBytes(cmd, name)
	if err != nil {
		return nil, err
	}
	defer clear(data)
	in, err := parseInput(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if in.more != "" {
		complain(cmd.ErrOrStderr(), fmt.Errorf("%s: %s", name, in.more))
	}
	return in, nil
}

// readBytes reads a small file, - for standard input.
func readBytes(cmd *cobra.Command, name string) ([]byte, error) {
	if name != "-" {
		return readFile(name)
	}
	data, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("standard input: more than %d bytes", maxFile)
	}
	return data, err
}

// parseInput finds the form of data by trying. PEM comes first: it may stand
// behind any text, and text may begin like DER.
func parseInput(data []byte) (*input, error) {
	form, parse := "PEM", reprise.ParseSessionPEM
	s, rest, err := parse(data)
	const sequence = 0x30
	switch isDER := len(data) > 0 && data[0] == sequence; {
	case err == nil:
	case isDER:
		notPEM := err
		form, parse = "DER", reprise.ParseSession
		if s, rest, err = parse(data); err != nil && !errors.Is(notPEM, reprise.ErrNoPEM) {
			err = notPEM
		}
	case errors.Is(err, reprise.ErrNoPEM):
		err = fmt.Errorf("no session, neither in PEM nor in DER (openssl s_client -sess_out and reprise connect --sess-out write such files): %w", err)
	}
	if err != nil {
		return nil, err
	}
	in := &input{Session: s, form: form}
	switch n := count(rest, parse); {
	case n > 0:
		in.more = fmt.Sprintf("holds %d sessions: this is the first", n+1)
	case form == "DER" && len(rest) > 0:
		in.more = fmt.Sprintf("%d bytes after the session are not looked at", len(rest))
	}
	return in, nil
}

// count counts the sessions that parse finds in data.
func count(data []byte, parse func([]byte) (*reprise.Session, []byte, error)) (n int) {
	for {
		s, rest, err := parse(data)
		if err != nil {
			return n
		}
		s.Free()
		n++
		data = rest
	}
}
