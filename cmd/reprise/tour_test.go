package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestTour takes the tour and holds it to every rule of the manual pages.
func TestTour(t *testing.T) {
	code, stdout, stderr := command(t, "tour", "--json")
	var seen tourReport
	if err := json.Unmarshal([]byte(stdout), &seen); err != nil {
		t.Fatalf("%v in %s", err, stdout)
	}
	if code != exitGood || stderr != "" || seen.Failed != 0 {
		t.Errorf("exit code %d, %d failed, stderr %q", code, seen.Failed, stderr)
	}
	rules := make(map[string]int)
	for _, s := range seen.Steps {
		for _, rule := range s.Rules {
			rules[rule]++
		}
		if !s.OK || s.Rule == "" || s.Call == "" || len(s.Seen) == 0 {
			t.Errorf("step %q: ok %t (%s), saw %q", s.Rules, s.OK, s.Error, s.Seen)
		}
	}
	for letter, n := range map[string]int{"A": 16, "B": 11} {
		for i := range n {
			if rule := fmt.Sprint(letter, i+1); rules[rule] != 1 {
				t.Errorf("rule %s is tried %d times", rule, rules[rule])
			}
		}
	}
	if len(rules) != 27 || seen.Rules != 27 {
		t.Errorf("%d rules, reported %d", len(rules), seen.Rules)
	}
	if seen.Handshakes < 40 {
		t.Errorf("only %d handshakes", seen.Handshakes)
	}
}

func TestTourText(t *testing.T) {
	code, stdout, stderr := command(t, "tour")
	if code != exitGood || stderr != "" {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	for _, line := range strings.Split(stdout, "\n") {
		if len(line) > tourWidth {
			t.Errorf("a line of %d columns: %s", len(line), line)
		}
	}
	if n := strings.Count(stdout, "\n ok  "); n != len(sessionSteps)+len(connectionSteps) {
		t.Errorf("%d steps are ok", n)
	}
}

// TestTourFails proves that a rule that does not hold is seen, whatever way it fails.
func TestTourFails(t *testing.T) {
	for name, broken := range map[string]func(*trial){
		"want":  func(x *trial) { x.see("something"); x.want(false, "it is %s", "wrong") },
		"must":  func(x *trial) { x.must(errors.New("it is wrong")) },
		"panic": func(*trial) { panic("it is wrong") },
	} {
		t.Run(name, func(t *testing.T) {
			whole := chapters
			t.Cleanup(func() { chapters = whole })
			chapters = []chapter{{"title", []step{{"A1 A2", "a rule", "a call", broken}, {"A3", "another", "a call", freeNil}}}}
			code, stdout, _ := command(t, "tour")
			for _, want := range []string{"FAIL A1 A2", "but   it is wrong", " ok  A3", "these do not hold: A1, A2"} {
				if !strings.Contains(stdout, want) {
					t.Errorf("no %q in\n%s", want, stdout)
				}
			}
			if code != exitFinding {
				t.Errorf("exit code %d", code)
			}
			code, stdout, _ = command(t, "tour", "--json")
			var seen tourReport
			if err := json.Unmarshal([]byte(stdout), &seen); err != nil || code != exitFinding || seen.Failed != 1 || seen.Steps[0].Error != "it is wrong" {
				t.Errorf("%v, exit code %d, %+v", err, code, seen)
			}
		})
	}
}
