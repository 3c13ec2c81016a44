package main

import "github.com/spf13/cobra"

type keysConvertFlags struct{ from, to, out string }

func newKeysConvert() *cobra.Command {
	var flags keysConvertFlags
	cmd := &cobra.Command{
		Use:   "convert --from FORM --to FORM FILE... [flags]",
		Short: "write the keys of a file in another form",
		Long: `Write the keys that a server uses of a file in another form; - is standard
input. What encrypts goes on to encrypt. Keys are not changed, so those of 48
bytes stay keys of 48 bytes. Several keys become several files for nginx and
Apache, G, G.1 and so on, and are read from several; for HAProxy there must be
three, and the second becomes its last line, which is the key to come.`,
		Example: `  reprise keys convert --from nginx48 --to apache48 ticket.key -o apache.key
  reprise keys convert --from nginx80 --to haproxy80 a.key b.key c.key -o haproxy.keys`,
		Args: files,
		RunE: func(cmd *cobra.Command, args []string) error { return keysConvert(cmd, args, &flags) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&flags.from, "from", "", "the `form` of the file")
	f.StringVar(&flags.to, "to", "", "the `form` to write")
	f.StringVarP(&flags.out, "out", "o", "", "write to this `file`, its owner's only (default standard output)")
	return cmd
}

func keysConvert(cmd *cobra.Command, names []string, flags *keysConvertFlags) error {
	from, err := parseFormat("--from", flags.from)
	if err != nil {
		return err
	}
	to, err := parseFormat("--to", flags.to)
	if err != nil {
		return err
	}
	set, err := readKeys(cmd, from, names)
	if err != nil {
		return err
	}
	defer set.Wipe()
	converted, err := set.Convert(to)
	if err != nil {
		return unsigned(err)
	}
	defer converted.Wipe()
	return giveKeys(cmd, flags.out, converted)
}
