package shaped_test

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

// Two ranks behind links of 1 MB/s: 20 kB take at least 20 ms.
func ExampleNew() {
	ctx, ends := context.Background(), inproc.New(2)
	link := shaped.Config{Bandwidth: 1e6}
	sender, receiver := shaped.New(ends[0], link), shaped.New(ends[1], link)
	began := time.Now()
	var ranks sync.WaitGroup
	ranks.Go(func() {
		defer sender.Close()
		if err := sender.Send(ctx, 1, 0, make([]byte, 20_000)); err != nil {
			panic(err)
		}
	})
	n, err := receiver.Recv(ctx, 0, 0, make([]byte, 20_000))
	fmt.Println(n, err, time.Since(began) >= 20*time.Millisecond)
	ranks.Wait()
	_ = receiver.Close()
	// Output: 20000 <nil> true
}
