package netns

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// System runs a command whose output matters only when it fails.
func System(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// RemoveTimeout bounds the removal of the namespaces, which goes on after an interrupt.
const RemoveTimeout = 10 * time.Second
