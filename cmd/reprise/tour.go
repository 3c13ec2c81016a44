package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// tourReport is what tour --json prints.
type tourReport struct {
	Rules      int        `json:"rules"`  // how many of the manual's rules were tried
	Failed     int        `json:"failed"` // how many steps failed
	Handshakes int        `json:"handshakes"`
	Seconds    float64    `json:"seconds"`
	Steps      []stepSeen `json:"steps"`
}

type stepSeen struct {
	Rules []string `json:"rules"` // numbers: A for SSL_SESSION_new's page, B for SSL_get_session's
	Rule  string   `json:"rule"`
	Call  string   `json:"call"`
	Seen  []string `json:"seen"`
	OK    bool     `json:"ok"`
	Error string   `json:"error,omitempty"`
}

// step is one stop of the tour: a rule of the manual and the way to see it.
type step struct {
	rules string // numbers, with spaces between
	rule  string
	call  string
	run   func(*trial)
}

// chapter is the steps of one manual page.
type chapter struct {
	title string
	steps []step
}

var chapters = []chapter{
	{"A. SSL_SESSION_new, SSL_SESSION_dup, SSL_SESSION_up_ref, SSL_SESSION_free", sessionSteps},
	{"B. SSL_get_session, SSL_get0_session, SSL_get1_session", connectionSteps},
}

const tourIntroduction = `The rules that libssl's manual has for sessions, tried on real handshakes over
loopback: the rule in short, the Go call that stands for libssl's function, and
what was measured just now.
`

func newTour() *cobra.Command {
	var json bool
	cmd := &cobra.Command{
		Use:   "tour [flags]",
		Short: "see the rules of libssl's session pages at work",
		Long: `See every rule that libssl's manual pages SSL_SESSION_new and SSL_get_session
state about sessions, tried on real handshakes over loopback: the rule, the Go
call that stands for the libssl function, and what was seen. Nothing outside
this process is touched. The exit code is 1 if a rule does not hold.`,
		Args: arguments(0, "flags only"),
		RunE: func(cmd *cobra.Command, _ []string) error { return tour(cmd, json) },
	}
	cmd.Flags().BoolVar(&json, "json", false, "print JSON")
	return cmd
}

func tour(cmd *cobra.Command, json bool) error {
	start := time.Now()
	rig, err := newRig()
	if err != nil {
		return err
	}
	out := newPrinter(cmd.OutOrStdout())
	var result tourReport
	if !json {
		out.printf("%s", tourIntroduction)
	}
	for _, c := range chapters {
		if !json {
			out.printf("\n%s\n", out.style(bold, c.title))
		}
		for _, s := range c.steps {
			if err := cmd.Context().Err(); err != nil {
				return errors.New("interrupted")
			}
			seen := s.try(rig)
			result.add(seen)
			if !json {
				printStep(out, &seen)
			}
		}
	}
	result.Handshakes, result.Seconds = rig.handshakes, time.Since(start).Seconds()
	if json {
		out.err = writeJSON(out.w, result)
	} else {
		printTotal(out, &result)
	}
	if out.err == nil && result.Failed > 0 {
		return errFinding
	}
	return out.err
}

// try takes the step, whatever it panics with.
func (s *step) try(rig *rig) (seen stepSeen) {
	x := &trial{rig: rig}
	seen = stepSeen{Rules: strings.Fields(s.rules), Rule: s.rule, Call: s.call}
	defer func() {
		if r := recover(); r != nil {
			x.err = cmp.Or(x.err, fmt.Errorf("%v", r))
		}
		x.close()
		seen.Seen, seen.OK = x.seen, x.err == nil
		if x.err != nil {
			seen.Error = plain(x.err.Error())
		}
	}()
	s.run(x)
	return seen
}

func (r *tourReport) add(s stepSeen) {
	r.Steps = append(r.Steps, s)
	r.Rules += len(s.Rules)
	if !s.OK {
		r.Failed++
	}
}

// The columns of a step: verdict, rule numbers, text.
const (
	tourIndent = 11
	tourWidth  = 80
)

func printStep(out *printer, s *stepSeen) {
	verdict := out.style(green, " ok ")
	if !s.OK {
		verdict = out.style(red, "FAIL")
	}
	numbers := fmt.Sprintf("%-5s", strings.Join(s.Rules, " "))
	out.printf("\n")
	printBeside(out, verdict+" "+out.style(bold, numbers), s.Rule, "")
	printBeside(out, out.style(dim, "     Go   "), s.Call, bold)
	label := "     saw  "
	for _, seen := range s.Seen {
		printBeside(out, out.style(dim, label), seen, "")
		label = "          "
	}
	if s.Error != "" {
		printBeside(out, out.style(red, "     but  "), s.Error, red)
	}
}

// printBeside prints text in the right column, label in the left one.
func printBeside(out *printer, label, text, style string) {
	for _, line := range wrap(text, tourWidth-tourIndent) {
		if style != "" {
			line = out.style(style, line)
		}
		out.printf("%s %s\n", label, line)
		label = strings.Repeat(" ", tourIndent-1)
	}
}

func printTotal(out *printer, r *tourReport) {
	var failed []string
	for _, s := range r.Steps {
		if !s.OK {
			failed = append(failed, s.Rules...)
		}
	}
	verdict := out.style(green, "all hold")
	if len(failed) > 0 {
		verdict = out.style(red, "these do not hold: "+strings.Join(slices.Compact(failed), ", "))
	}
	out.printf("\n%d rules, %d handshakes, %.1f s: %s\n", r.Rules, r.Handshakes, r.Seconds, verdict)
}
