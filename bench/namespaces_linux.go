package main

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// system runs a command whose output matters only when it fails.
func system(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// removePatience bounds the removal of the namespaces, which goes on after an interrupt.
const removePatience = 10 * time.Second
