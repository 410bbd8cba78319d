package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// quoted returns the end of what a failed program said, to stand below an error.
func quoted(out string) string {
	const most = 2000
	out = strings.TrimSpace(out)
	if out == "" {
		return ""
	}
	if len(out) > most {
		out = "… " + out[len(out)-most:]
	}
	return "; it said:\n" + out
}

// quitGrace is how long the ranks of a failed turn have before they are killed.
const quitGrace = 2 * time.Second

// output runs a program and returns what it prints; an error says what it said.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w%s", name, err, quoted(stderr.String()))
	}
	return stdout.String(), nil
}

// trainPackage is the program that trains.
const trainPackage = "github.com/switchyard-moe/switchyard/examples/train"
