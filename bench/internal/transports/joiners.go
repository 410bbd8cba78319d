// Package transports opens the transports that bench measures, each by its name.
package transports

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Joiners returns, by name, how a process becomes a rank of the job that its environment describes.
// The transport inproc is not among them, as all its ranks are one process.
func Joiners() map[string]func(context.Context) (transport.Transport, error) {
	return withMPI(map[string]func(context.Context) (transport.Transport, error){
		"grpc": joinGRPC, "grpc-unary": joinGRPCUnary, "hybrid": joinHybrid, "shm": joinSHM, "shm-plain": joinSHMPlain, "tcp": joinTCP,
		"tcp-nosums": joinTCPUnsummed,
	})
}

// Inproc names the transport whose ranks are goroutines.
const Inproc = "inproc"

// Names lists the transports that can be measured.
func Names() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(Joiners())), Inproc)))
}

// Join returns the ranks that this process is.
func Join(ctx context.Context, name string, ranks int) ([]transport.Transport, error) {
	if name == Inproc {
		var all []transport.Transport
		for _, t := range inproc.New(ranks) {
			all = append(all, t)
		}
		return all, nil
	}
	joiner, ok := Joiners()[name]
	if !ok {
		return nil, fmt.Errorf("no transport %q", name)
	}
	t, err := joiner(ctx)
	if err != nil {
		return nil, err
	}
	return []transport.Transport{t}, nil
}
