package netns

import (
	"context"
	"fmt"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
)

// operationTimeout bounds one operation on a cluster; the slowest take seconds.
const operationTimeout = 5 * time.Minute

// Join joins a job of ranks ranks, each of them on every node of a cluster.
func Join(ctx context.Context, rank, ranks, each, port int) (*switchyard.World, error) {
	return switchyard.Join(ctx, switchyard.JoinConfig{
		Rank: transport.Rank(rank), Size: ranks, Addr: fmt.Sprintf("%s:%d", Address(0), port), Host: Address(rank / each),
		Insecure:  true, // nobody else is in these namespaces
		OpTimeout: operationTimeout,
	})
}

// RunLimit bounds what runs on a cluster, from start to end.
const RunLimit = time.Hour
