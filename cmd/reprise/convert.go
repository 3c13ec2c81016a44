package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
)

// forms are what convert writes.
var forms = []string{"pem", "der", "json"}

type convertFlags struct{ to, out string }

func newConvert() *cobra.Command {
	var flags convertFlags
	cmd := &cobra.Command{
		Use:   "convert --to FORM FILE [flags]",
		Short: "turn a session file into PEM, DER or JSON",
		Long: `Write the session in a file, PEM or DER, in another form; - is standard input.
PEM and DER are the bytes that openssl sess_id writes. JSON is that of reprise
show --json --secrets. Every form holds the session's secret: keep it as you
would a private key.`,
		Example: `  reprise convert --to der s.pem -o s.der
  reprise convert --to pem s.der | openssl sess_id -text`,
		Args: arguments(1, "one FILE"),
		RunE: func(cmd *cobra.Command, args []string) error { return convert(cmd, args[0], &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.to, "to", "", "the `form` to write: pem, der or json")
	f.StringVarP(&flags.out, "out", "o", "", "write to this `file`, its owner's only (default standard output)")
	return cmd
}

func convert(cmd *cobra.Command, name string, flags *convertFlags) error {
	toFile := flags.out != "" && flags.out != "-"
	if flags.to == "der" && !toFile && terminal(cmd.OutOrStdout()) {
		return usagef("DER is not for a terminal (write it to a file with -o, or to a pipe)")
	}
	encode, err := encoder(flags.to)
	if err != nil {
		return err
	}
	s, err := readInput(cmd, name)
	if err != nil {
		return err
	}
	defer s.Free()
	data, err := encode(s)
	if err != nil {
		return err
	}
	defer clear(data)
	if !toFile {
		_, err = cmd.OutOrStdout().Write(data)
		return err
	}
	if err := writeFile(flags.out, data); err != nil {
		return fmt.Errorf("%s not written: %w", flags.out, err)
	}
	return nil
}

func encoder(form string) (func(*input) ([]byte, error), error) {
	switch form {
	case "pem":
		return func(s *input) ([]byte, error) { return s.MarshalPEM() }, nil
	case "der":
		return func(s *input) ([]byte, error) { return s.MarshalBinary() }, nil
	case "json":
		return encodeJSON, nil
	case "":
		return nil, usagef("--to is missing: pem, der or json")
	}
	return nil, usagef("--to %s is none of pem, der and json", form)
}

func encodeJSON(s *input) ([]byte, error) {
	facts, err := describe(s.Session, true, time.Now())
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = writeJSON(&b, facts)
	return b.Bytes(), err
}

// terminal reports whether w is a terminal: a character device other than the
// one that takes everything.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
