package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// joiners returns, by name, how a process becomes a rank of the job that its environment describes. The transport
// inproc is not among them, as all its ranks are one process.
func joiners() map[string]func(context.Context) (transport.Transport, error) {
	return withMPI(map[string]func(context.Context) (transport.Transport, error){
		"grpc": joinGRPC, "grpc-unary": joinGRPCUnary, "hybrid": joinHybrid, "shm": joinSHM, "shm-plain": joinSHMPlain, "tcp": joinTCP,
		"tcp-nosums": joinTCPUnsummed,
	})
}

const inprocName = "inproc"

// transportNames lists the transports that can be measured.
func transportNames() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(joiners())), inprocName)))
}

// join returns the ranks that this process is.
func join(ctx context.Context, name string, ranks int) ([]transport.Transport, error) {
	if name == inprocName {
		var all []transport.Transport
		for _, t := range inproc.New(ranks) {
			all = append(all, t)
		}
		return all, nil
	}
	joiner, ok := joiners()[name]
	if !ok {
		return nil, fmt.Errorf("no transport %q", name)
	}
	t, err := joiner(ctx)
	if err != nil {
		return nil, err
	}
	return []transport.Transport{t}, nil
}
