package rendezvous_test

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
)

// The rank that torchrun's variables describe.
func ExampleDetect() {
	variables := map[string]string{
		"RANK": "2", "WORLD_SIZE": "4", "MASTER_ADDR": "node0", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "run7",
	}
	place, err := rendezvous.Detect(rendezvous.Process{}, func(name string) string { return variables[name] })
	fmt.Println(place.Source, place.Rank, place.Size, err)
	// Output: torchrun 2 4 <nil>
}

// Two ranks learn where the other listens.
func ExampleMeet() {
	addr, tables := loopback.Addr(), make([]rendezvous.Table, 2)
	var ranks sync.WaitGroup
	for r := range tables {
		ranks.Go(func() {
			var err error
			tables[r], err = rendezvous.Meet(context.Background(), rendezvous.Config{
				Rank: transport.Rank(r), Size: 2, Addr: addr, Job: "demo", Listen: fmt.Sprint("listener of rank ", r),
			})
			if err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Println(tables[1].Addrs, tables[0].Session == tables[1].Session)
	// Output: [listener of rank 0 listener of rank 1] true
}

// Rank 1 cannot open its connections after ranks have met: every rank gets its error.
func ExampleStart() {
	addr, errs := loopback.Addr(), make([]error, 2)
	var ranks sync.WaitGroup
	for r := range errs {
		ranks.Go(func() {
			meeting, err := rendezvous.Start(context.Background(), rendezvous.Config{
				Rank: transport.Rank(r), Size: 2, Addr: addr, Job: "demo", Listen: "an address",
			})
			if err != nil {
				panic(err)
			}
			var failure error
			if r == 1 {
				failure = &transport.Error{Rank: 1, Op: "listen", Err: errors.New("no free port")}
			}
			errs[r] = meeting.Finish(failure)
		})
	}
	ranks.Wait()
	fmt.Println(errs[0])
	fmt.Println(errs[1])
	// Output:
	// switchyard: rank 1: rendezvous: no free port
	// switchyard: rank 1: rendezvous: no free port
}
