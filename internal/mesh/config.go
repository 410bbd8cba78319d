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

	// OpTimeout bounds one operation, from when it first has to wait.
	OpTimeout time.Duration
	// Heartbeat is the time between signs of life, DeadAfter the silence after which a peer is dead.
	Heartbeat, DeadAfter time.Duration
	// CloseTimeout bounds how long Close waits for peers to take what was sent to them.
	CloseTimeout time.Duration

	// MaxMessageBytes bounds one message.
	MaxMessageBytes int
	// MaxUnexpectedBytes bounds, for each peer, what is kept of messages that nobody has asked for.
	MaxUnexpectedBytes int

	// Log receives what happens to the mesh.
	Log *slog.Logger
}
