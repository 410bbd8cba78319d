package inproc_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Three ranks are goroutines of one process; each sends a letter to the next.
func ExampleNew() {
	ctx, got := context.Background(), make([]byte, 3)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(3) {
		ranks.Go(func() {
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

// A rank that cannot go on is named by the others.
func ExampleOpen() {
	ends, err := inproc.Open(inproc.Config{Ranks: 2, BufferBytes: 1 << 16})
	if err != nil {
		panic(err)
	}
	ends[1].Abort(nil)
	_, err = ends[0].Recv(context.Background(), 1, 0, make([]byte, 1))
	culprit := transport.CulpritOf(err)
	fmt.Println("rank", culprit, "has failed")
	for _, t := range ends {
		_ = t.Close()
	}
	// Output: rank 1 has failed
}
