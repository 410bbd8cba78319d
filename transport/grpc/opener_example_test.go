package grpc_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/grpc"
)

// Two ranks, here of one process, join over gRPC, which the program chooses by name. A launcher
// would say rank, size and address. Programs that do not import this package do not link gRPC.
func ExampleOpener() {
	ctx, addr, names := context.Background(), loopback.Addr(), make([]string, 2)
	var ranks sync.WaitGroup
	for r := range names {
		ranks.Go(func() {
			world, err := switchyard.Join(ctx, switchyard.JoinConfig{
				Rank: transport.Rank(r), Size: 2, Addr: addr, Job: "pair",
				Transport: "grpc", Transports: []switchyard.Opener{grpc.Opener{}},
			})
			if err != nil {
				panic(err)
			}
			names[r] = transport.CapabilitiesOf(world.Transport()).Name
			_ = world.Close()
		})
	}
	ranks.Wait()
	fmt.Println(names)
	// Output: [grpc grpc]
}
