package harness

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Quoted returns the end of what a failed program said, to stand below an error.
func Quoted(out string) string {
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

// QuitGrace is how long the ranks of a failed turn have before they are killed.
const QuitGrace = 2 * time.Second

// Output runs a program and returns what it prints; an error says what it said.
func Output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w%s", name, err, Quoted(stderr.String()))
	}
	return stdout.String(), nil
}
