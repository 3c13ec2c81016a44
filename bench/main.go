// Command bench measures reprise and libssl side by side, in one run on one
// machine:
//
//	go run ./bench [-rounds N] [-n SESSIONS | -full] [-only REGEXP] [-json]
//
// It compiles a small C program against the installed libssl and runs each work
// in turn in C and in Go, the same number of times on the same sessions, for
// several rounds. What counts is the ratio of the two within a round: noise of
// the machine that lasts longer than a moment hits both. The table prints its
// median over the rounds.
//
// A work is an entry of the table in works.go, a Go function, and a C function of
// the same name in libssl/works.c, if libssl has that work. All of it uses the
// public API only.
//
// It exits with 2 on a usage error and with 3 on a failure, also where there is
// no C compiler or no libssl to compile against: the message says which. (go run
// prints that status and exits with 1 itself.)
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
)

const (
	exitUsage   = 2
	exitFailure = 3
)

func main() {
	if args, ok := apart(); ok {
		os.Exit(runWork(args, os.Stdout, os.Stderr))
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) (status int) {
	o, err := parseOptions(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitUsage
	}
	r, err := measure(o, stderr)
	if err == nil {
		err = r.write(stdout, o.json)
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailure
	}
	return 0
}

type options struct {
	rounds int
	size   int // sessions in a cache
	json   bool
	works  []work
}

// sizeStep makes every percentage of a cache and every batch come out even.
const sizeStep = 1000

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.IntVar(&o.rounds, "rounds", 5, "how often each work is run on either side, with -full 3; below five the interval is all that was measured")
	flags.IntVar(&o.size, "n", 100_000, "sessions in a cache, in whole thousands")
	full := flags.Bool("full", false, "a million sessions in a cache")
	only := flags.String("only", "", "run only the works whose name matches the regular `expression`")
	flags.BoolVar(&o.json, "json", false, "print JSON")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if *full {
		o.size = 1_000_000
		if !given(flags, "rounds") {
			o.rounds = 3
		}
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return o, err
	}
	for _, w := range works {
		if pattern.MatchString(w.name) {
			o.works = append(o.works, w)
		}
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.rounds < 1:
		return o, errors.New("-rounds: at least one")
	case o.size < sizeStep || o.size%sizeStep != 0 || o.size >= scatter:
		return o, fmt.Errorf("-n: %d is not whole thousands, from a thousand to seven millions", o.size)
	case len(o.works) == 0:
		return o, fmt.Errorf("-only: no work matches %q", *only)
	}
	return o, nil
}

func given(flags *flag.FlagSet, name string) (yes bool) {
	flags.Visit(func(f *flag.Flag) { yes = yes || f.Name == name })
	return yes
}

// measure runs the works in turn: every round is the whole list, every entry of
// it both sides at once, in an order that alternates between rounds.
func measure(o options, progress io.Writer) (*report, error) {
	c, err := compile(works)
	if err != nil {
		return nil, err
	}
	defer c.close()
	sessions, err := newSamples()
	if err != nil {
		return nil, err
	}
	rounds := make([][][]pair, len(o.works)) // by work, round and row
	for round := range o.rounds {
		for i, w := range o.works {
			start := time.Now()
			pairs, err := w.measure(c, sessions, o.size, round%2 == 0)
			if errors.Is(err, errors.ErrUnsupported) {
				fmt.Fprintf(progress, "bench: %s is left out: %v\n", w.name, err)
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			rounds[i] = append(rounds[i], pairs)
			fmt.Fprintf(progress, "bench: round %d of %d: %s took %.1f s\n", round+1, o.rounds, w.name, time.Since(start).Seconds())
		}
	}
	r := &report{Machine: thisMachine(c.version), Rounds: o.rounds, Sessions: o.size}
	for i, w := range o.works {
		if rounds[i] != nil {
			r.Works = append(r.Works, newResults(w, rounds[i])...)
		}
	}
	return r, nil
}
