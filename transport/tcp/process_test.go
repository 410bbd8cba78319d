//go:build unix

package tcp

import (
	"context"
	"testing"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/internal/processtest"
)

// TestChild is not a test of its own: the tests of this file start it as a process.
func TestChild(t *testing.T) {
	processtest.Child(t, func(ctx context.Context, j processtest.Job) (transport.Transport, error) {
		var cfg Config
		cfg.Rank, cfg.Size, cfg.Addr, cfg.Job = j.Rank, j.Size, j.Addr, "child"
		cfg.Heartbeat, cfg.DeadAfter = j.Heartbeat, j.DeadAfter
		return Join(ctx, cfg)
	})
}

func TestKilledProcessIsNamedByAllOthers(t *testing.T) { processtest.Killed(t) }

func TestStoppedProcessIsNamedByAllOthersAndLearnsItself(t *testing.T) { processtest.Stopped(t) }
