package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// joinTCP makes this process a rank over TCP. Who it is and where ranks meet says the environment that package
// launch has given it.
func joinTCP(ctx context.Context) (transport.Transport, error) {
	var numbers [3]int
	for i, name := range []string{"RANK", "WORLD_SIZE", "MASTER_PORT"} {
		var err error
		if numbers[i], err = strconv.Atoi(os.Getenv(name)); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	rank, size, port := numbers[0], numbers[1], numbers[2]
	return tcp.Join(ctx, tcp.Config{
		Rank: transport.Rank(rank),
		Size: size,
		Addr: net.JoinHostPort(os.Getenv("MASTER_ADDR"), strconv.Itoa(port+1)),
		Job:  os.Getenv("TORCHELASTIC_RUN_ID"),
	})
}
