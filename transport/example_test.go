package transport_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Ranks 1 and 3 of four make a view of two ranks and exchange their numbers in it.
func ExampleSub() {
	ctx, members, got := context.Background(), []transport.Rank{1, 3}, make([]byte, 4)
	ends := inproc.New(4)
	var ranks sync.WaitGroup
	for _, r := range members {
		ranks.Go(func() {
			view, err := transport.Sub(ends[r], 1, members)
			if err != nil {
				panic(err)
			}
			other := 1 - view.Rank()
			err = transport.Exchange(ctx, view,
				[]transport.Message{{Peer: other, Bufs: [][]byte{{'0' + byte(r)}}}},
				[]transport.Message{{Peer: other, Bufs: [][]byte{got[r : r+1]}}})
			if err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Printf("%q\n", got)
	for _, t := range ends {
		_ = t.Close()
	}
	// Output: "\x003\x001"
}
