package rendezvous

import (
	"context"
	"log/slog"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// Opener opens the transport of one kind for this process. It lets programs and their users choose
// a transport by name: see JoinConfig of the root package. transporttest.RunOpener tests an
// implementation.
type Opener interface {
	// Name is what the transport is chosen by: a word of lower-case letters and digits, such as
	// "grpc".
	Name() string
	// Open meets the other ranks and returns this rank's end, once all have opened theirs. It ends
	// when ctx does or o.JoinTimeout passes, with an error that names the rank that is missing or
	// differs. A field of o that the transport cannot honour and that is not zero is an error; but
	// the LocalSize, Agent, Restart and Net may go unused.
	Open(ctx context.Context, o Opening) (transport.Transport, error)
}

// Opening says which rank opens a transport, where it meets the others, and within which limits.
type Opening struct {
	// Identity says which rank of which job this is, where rank 0 waits, and what all ranks must
	// agree on.
	Identity
	// Limits have the transport's defaults where they are zero.
	transport.Limits
	// Host is the address, without a port, at which this rank listens for the others; empty means
	// the one by which Addr is reached.
	Host string
	// LocalSize is the number of ranks on this machine, this one included; 0 where that is not
	// known.
	LocalSize int
	// Agent names who started this process, and Restart counts how often that has started it, where
	// a launcher says so: of two processes of one agent that claim a rank, the one with the higher
	// count replaces the other.
	Agent   string
	Restart uint32
	// Security says how ranks know each other. All ranks must agree.
	Security secure.Config
	// Insecure permits addresses other than loopback without any security.
	Insecure bool
	// Net is how joining uses the network. Its zero value is the system's.
	Net Net
	// Log receives what happens to the transport; nil is silent.
	Log *slog.Logger
}

// SelfPlaced is implemented by an Opener whose transport brings its own launcher, as MPI does: it
// knows rank and size by itself, and the Identity of its Opening has no more than Settings and
// perhaps a Size.
type SelfPlaced interface {
	Opener
	// PlacesRanks does nothing.
	PlacesRanks()
}
