package striped_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/striped"
)

// Two ranks, here of one process, are connected by four links of TCP, of which any one may fail. A
// program with a world sets JoinConfig.Transports to the opener, and Transport to "striped".
func ExampleOpener() {
	ctx, addr, names := context.Background(), loopback.Addr(), make([]string, 2)
	opener := striped.Opener{Links: 4, Config: striped.Config{Parity: 1}}
	var ranks sync.WaitGroup
	for r := range names {
		ranks.Go(func() {
			t, err := opener.Open(ctx, rendezvous.Opening{
				Identity: rendezvous.Identity{Rank: transport.Rank(r), Size: 2, Addr: addr, Job: "pair"},
			})
			if err != nil {
				panic(err)
			}
			names[r] = transport.CapabilitiesOf(t).Name
			_ = t.Close()
		})
	}
	ranks.Wait()
	fmt.Println(names)
	// Output: [striped(tcp) striped(tcp)]
}
