package main

import (
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// shells are those that completion scripts are written for.
var shells = []string{"bash", "zsh", "fish", "powershell"}

// newCompletion stands in the place of cobra's verb of this name, which has
// verbs of its own for the shells.
func newCompletion() *cobra.Command {
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "write a completion script for a shell",
		Long: `Write a script to standard output that makes a shell complete verbs, flags and
their values: bash (with its package bash-completion), zsh, fish or powershell.`,
		Example: `  source <(reprise completion bash)
  reprise completion zsh >"${fpath[1]}/_reprise"
  reprise completion fish >~/.config/fish/completions/reprise.fish`,
		Args: arguments(1, "one SHELL: "+strings.Join(shells, ", ")),
		RunE: func(cmd *cobra.Command, args []string) error {
			return writeCompletion(cmd.Root(), cmd.OutOrStdout(), args[0])
		},
	}
}

func writeCompletion(root *cobra.Command, w io.Writer, shell string) error {
	switch shell {
	case "bash":
		return root.GenBashCompletionV2(w, true)
	case "zsh":
		return root.GenZshCompletion(w)
	case "fish":
		return root.GenFishCompletion(w, true)
	case "powershell":
		return root.GenPowerShellCompletionWithDesc(w)
	}
	return usagef("no completion for %q (there is %s)", shell, strings.Join(shells, ", "))
}

// choices are the values of flags that have few, by verb and flag.
var choices = map[string][]string{
	"convert --to":  forms,
	"connect --tls": {"1.2", "1.3"},
	"explain --tls": {"1.0", "1.1", "1.2", "1.3"},

	"serve --ticket-format": formatNames(),
}

// fileArguments are how many arguments of a verb are names of files.
var fileArguments = map[string]int{"show": 1, "convert": 1, "explain": 1}

// complete tells shells what the verbs of root take. What takes a file is left
// to the shell; nothing else is completed with names of files, as shells do
// where they are not told.
func complete(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	for _, verb := range root.Commands() {
		switch name := verb.Name(); name {
		case "help":
			verb.ValidArgsFunction = completeVerbs
		case "completion":
			verb.ValidArgsFunction = cobra.FixedCompletions(shells, cobra.ShellCompDirectiveNoFileComp)
		default:
			verb.ValidArgsFunction = firstFiles(fileArguments[name])
			verb.Flags().VisitAll(func(f *pflag.Flag) { completeFlag(verb, f) })
		}
	}
}

func firstFiles(n int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) < n {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
}

func completeVerbs(help *cobra.Command, args []string, prefix string) (names []string, _ cobra.ShellCompDirective) {
	for _, verb := range help.Root().Commands() {
		if len(args) == 0 && verb.IsAvailableCommand() && strings.HasPrefix(verb.Name(), prefix) {
			names = append(names, cobra.CompletionWithDesc(verb.Name(), verb.Short))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeFlag goes by what the flag's usage calls its value.
func completeFlag(verb *cobra.Command, f *pflag.Flag) {
	if value, _ := pflag.UnquoteUsage(f); value == "file" {
		return
	}
	values := cobra.FixedCompletions(choices[verb.Name()+" --"+f.Name], cobra.ShellCompDirectiveNoFileComp)
	if err := verb.RegisterFlagCompletionFunc(f.Name, values); err != nil {
		panic(err) // registered twice
	}
}
