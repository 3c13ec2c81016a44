package main

import (
	"context"
	"errors"
	"io"
	"runtime/debug"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// run runs the command line and returns the exit code. Verbs end when ctx does.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return report(stderr, root.ExecuteContext(ctx))
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "reprise",
		Short: "TLS sessions as libssl has them, on crypto/tls",
		Long: "TLS sessions as libssl has them (SSL_SESSION, its cache, its files), in Go.\n" +
			"New here? Start with: reprise tour",
		Version:       version(),
		Args:          knownVerb,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.SuggestionsMinimumDistance = 2 // letters; cobra sets it in its own search only
	root.SetHelpTemplate(helpTemplate)
	root.SetUsageTemplate(helpTemplate)
	root.SetVersionTemplate("reprise {{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(newTour(), newServe(), newConnect(), newShow(), newConvert(), newExplain(), newKeys(), newSessions(), newCompletion())
	root.SetHelpCommand(newHelp(root))
	complete(root)
	return root
}

// newHelp is cobra's help, except that an unknown verb is an error.
func newHelp(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use:   "help [VERB]",
		Short: "tell about reprise or about a verb",
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil {
				err = knownVerb(cmd, rest)
			}
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			cmd.InitDefaultVersionFlag()
			return cmd.Help()
		},
	}
}

// knownVerb refuses what is left of a command line where a verb should be.
func knownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.Root().SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("no verb %q (did you mean %q?)", args[0], near[0])
	}
	return usagef("no verb %q (try 'reprise help')", args[0])
}

// arguments wants n arguments, described by what.
func arguments(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return usagef("%s takes %s, not %d arguments (try '%s --help')", cmd.Name(), what, len(args), cmd.CommandPath())
	}
}

// flagError tells what a flag wants, without the parser's own words.
func flagError(cmd *cobra.Command, err error) error {
	var invalid *pflag.InvalidValueError
	if errors.As(err, &invalid) {
		wants := map[string]string{
			"int": "a whole number", "uint": "a whole number from 0", "duration": "a duration, such as 90s or 2h", "bool": "true or false",
		}
		flag := invalid.GetFlag()
		return usagef("--%s takes %s, not %q", flag.Name, wants[flag.Value.Type()], invalid.GetValue())
	}
	return usagef("%w (try '%s --help')", err, cmd.CommandPath())
}

func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version + " " + info.GoVersion
	}
	return "(unknown)"
}

const helpTemplate = `{{with (or .Long .Short)}}{{. | trimTrailingWhitespaces}}

{{end}}usage:
  {{if .HasAvailableSubCommands}}{{.CommandPath}} VERB [flags]{{else}}{{.UseLine}}{{end}}
{{if .HasExample}}
examples:
{{.Example}}
{{end}}{{if .HasAvailableSubCommands}}
verbs:{{range .Commands}}{{if (or .IsAvailableCommand (eq .Name "help"))}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}
{{end}}{{if .HasAvailableLocalFlags}}
flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}{{if not .HasParent}}
exit codes: 0 good, 1 a finding, 2 wrong usage, 3 failure
{{end}}`
