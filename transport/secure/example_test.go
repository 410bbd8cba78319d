package secure_test

import (
	"fmt"
	"net"
	"sync"

	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/secure"
)

// The URI that a rank's certificate must hold, and the one for all ranks of a job.
func ExampleName() {
	fmt.Println(secure.Name("demo", 3))
	fmt.Println(secure.Name("demo", transport.None))
	// Output:
	// switchyard://demo/rank/3
	// switchyard://demo/rank/*
}

// Rank 2 connects to rank 0, and each proves to the other that it knows the job's secret.
func ExampleNewGuard() {
	shared := secure.Config{Secret: secure.Secret("at least sixteen bytes, at random")}
	session := secure.Session{1} // of the rendezvous
	dialled, accepted := net.Pipe()
	var ranks sync.WaitGroup
	ranks.Go(func() {
		guard, err := secure.NewGuard(shared, "demo", 2, nil)
		if err != nil {
			panic(err)
		}
		if _, err := guard.Open(dialled, 0, session); err != nil {
			panic(err)
		}
	})
	guard, err := secure.NewGuard(shared, "demo", 0, nil)
	if err != nil {
		panic(err)
	}
	_, peer, err := guard.Admit(accepted, session)
	ranks.Wait()
	fmt.Println(err, peer.Check(2))
	_, _ = dialled.Close(), accepted.Close()
	// Output: <nil> <nil>
}
