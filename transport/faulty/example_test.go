package faulty_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// Rank 0 crashes with its second operation, and rank 1 gets an error that names it.
func ExampleNew() {
	ctx, ends := context.Background(), inproc.New(2)
	rules := faulty.Config{Rules: []faulty.Rule{faulty.FailAt(0, 2, nil)}}
	a, b := faulty.New(ends[0], rules), faulty.New(ends[1], rules)
	fmt.Println(a.Send(ctx, 1, 0, []byte("first")))
	err := a.Send(ctx, 1, 0, []byte("second"))
	fmt.Println(errors.Is(err, faulty.ErrInjected))
	_, err = b.Recv(ctx, 0, 1, make([]byte, 6))
	culprit := transport.CulpritOf(err)
	fmt.Println("rank", culprit, "is dead:", errors.Is(err, transport.ErrPeerDead))
	_, _ = a.Close(), b.Close()
	// Output:
	// <nil>
	// true
	// rank 0 is dead: true
}
