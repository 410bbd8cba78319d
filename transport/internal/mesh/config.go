package mesh

import (
	"log/slog"

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

	// Limits are those of the transport; JoinTimeout is not used. An OpTimeout of 0 is no bound.
	transport.Limits

	// Log receives what happens to the mesh.
	Log *slog.Logger
}
