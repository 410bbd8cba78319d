package tcp_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// Three ranks, here of one process, meet over TCP, and each sends a letter to the next.
func ExampleJoin() {
	ctx, addr, got := context.Background(), loopback.Addr(), make([]byte, 3)
	var ranks sync.WaitGroup
	for r := range got {
		ranks.Go(func() {
			var cfg tcp.Config
			cfg.Rank, cfg.Size, cfg.Addr, cfg.Job = transport.Rank(r), 3, addr, "ring"
			t, err := tcp.Join(ctx, cfg)
			if err != nil {
				panic(err)
			}
			defer t.Close()
			next, previous := transport.Rank((r+1)%3), transport.Rank((r+2)%3)
			if err := t.Send(ctx, next, 0, []byte{byte('a' + r)}); err != nil {
				panic(err)
			}
			if _, err := t.Recv(ctx, previous, 0, got[r:r+1]); err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Printf("%s\n", got)
	// Output: cab
}
