package striped_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/striped"
)

// Two ranks have three links. With one of parity a message arrives although any one of them fails.
func ExampleNew() {
	ctx, got := context.Background(), make([]byte, 5)
	links := [][]*inproc.Transport{inproc.New(2), inproc.New(2), inproc.New(2)}
	var ranks sync.WaitGroup
	for r := range 2 {
		ranks.Go(func() {
			mine := []transport.Transport{links[0][r], links[1][r], links[2][r]}
			t, err := striped.New(ctx, mine, striped.Config{Parity: 1})
			if err != nil {
				panic(err)
			}
			defer t.Close()
			if r == 0 {
				err = t.Send(ctx, 1, 0, []byte("hello"))
			} else {
				_, err = t.Recv(ctx, 0, 0, got)
			}
			if err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Printf("%s\n", got)
	// Output: hello
}
