package mesh

import (
	"log/slog"
	"time"

	"github.com/switchyard-moe/switchyard/transport"
)

// Config says who this rank is and within which limits it works. A transport fills in all of it.
type Config struct {
	// Capabilities describes the transport, its name first.
	Capabilities transport.Capabilities
	// Rank is this process's number, from 0 to Size-1.
	Rank transport.Rank
	// Size is the number of ranks.
	Size int
	// Epoch tells one incarnation of a job from the next; frames of another epoch are refused.
	Epoch uint32

	// OpTimeout bounds one operation, from when it first has to wait; 0 or less is no bound.
	OpTimeout time.Duration
	// Heartbeat is the time between signs of life, DeadAfter the silence after which a peer is dead.
	Heartbeat, DeadAfter time.Duration
	// CloseTimeout bounds how long Close waits for peers to take what was sent to them.
	CloseTimeout time.Duration

	// MaxUnexpectedBytes bounds, for each peer, what is kept of messages that nobody has asked for.
	MaxUnexpectedBytes int

	// Log receives what happens to the mesh.
	Log *slog.Logger
}

const (
	// defaultDeadAfter is above what a process has been seen to be silent for on a machine with
	// several times as many busy threads as processors. A death costs no such wait, because it ends
	// the connections.
	defaultDeadAfter = 30 * time.Second
	defaultHeartbeat = 500 * time.Millisecond
)

// Rhythm gives the times between signs of life, and until silence is death, their defaults where
// they are zero.
func Rhythm(heartbeat, deadAfter *time.Duration) {
	if *deadAfter == 0 {
		*deadAfter = defaultDeadAfter
	}
	if *heartbeat == 0 {
		*heartbeat = min(defaultHeartbeat, *deadAfter/4)
	}
}
