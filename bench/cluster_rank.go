package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
)

// rankOptions reads what a command tells its own ranks: its options, as the one argument, and from the environment the rank's number.
func rankOptions(args []string, o any) (rank int, err error) {
	if len(args) != 1 {
		return 0, errors.New("ranks are for bench itself to start")
	}
	if err := json.Unmarshal([]byte(args[0]), o); err != nil {
		return 0, err
	}
	return strconv.Atoi(os.Getenv("RANK"))
}

// joinCluster joins a job of so many ranks, each of them on every node of a cluster.
func joinCluster(ctx context.Context, rank, ranks, each, port int) (*switchyard.World, error) {
	return switchyard.Join(ctx, switchyard.JoinConfig{
		Rank: transport.Rank(rank), Size: ranks, Addr: fmt.Sprintf("%s:%d", nodeAddress(0), port), Host: nodeAddress(rank / each),
		Insecure:  true, // nobody else is in these namespaces
		OpTimeout: networkPatience,
	})
}
