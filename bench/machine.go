package main

import (
	"os"
	"runtime"
	"strings"
)

// machine is where the numbers come from.
type machine struct {
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	System  string `json:"system"`
	Go      string `json:"go"`
	OpenSSL string `json:"openssl"`
}

func thisMachine(openssl string) machine {
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo") // Linux only; elsewhere the architecture has to do
	return machine{
		CPU:     cpuModel(string(cpuinfo)),
		Cores:   runtime.NumCPU(),
		System:  runtime.GOOS + "/" + runtime.GOARCH,
		Go:      runtime.Version(),
		OpenSSL: openssl,
	}
}

func cpuModel(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		name, value, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
