package main

import (
	"runtime"
	"testing"
)

func TestCPUModel(t *testing.T) {
	for text, want := range map[string]string{
		"processor\t: 0\nmodel\t\t: 85\nmodel name\t: Fast CPU @ 3.0 GHz\nmodel name\t: Other\n": "Fast CPU @ 3.0 GHz",
		"":                 runtime.GOARCH,
		"processor\t: 0\n": runtime.GOARCH,
	} {
		if got := cpuModel(text); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
