package grpc_test

import (
	"context"
	"fmt"
	"net"
	"sync"

	googlegrpc "google.golang.org/grpc"

	"github.com/switchyard-moe/switchyard/internal/loopback"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/grpc"
)

// Three ranks, here of one process, meet over gRPC, and each sends a letter to the next.
func ExampleJoin() {
	ctx, addr, got := context.Background(), loopback.Addr(), make([]byte, 3)
	var ranks sync.WaitGroup
	for r := range got {
		ranks.Go(func() {
			var cfg grpc.Config
			cfg.Rank, cfg.Size, cfg.Addr, cfg.Job = transport.Rank(r), 3, addr, "ring"
			t, err := grpc.Join(ctx, cfg)
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

// Two ranks whose program runs its own gRPC servers, and says where they are.
func ExampleNewService() {
	ctx, listeners, addrs := context.Background(), make([]net.Listener, 2), make([]string, 2)
	for r := range listeners {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err)
		}
		listeners[r], addrs[r] = l, l.Addr().String()
	}
	got := make([]byte, 2)
	var ranks sync.WaitGroup
	for r := range listeners {
		ranks.Go(func() {
			var cfg grpc.Config
			cfg.Rank, cfg.Size, cfg.Job = transport.Rank(r), 2, "pair"
			service, err := grpc.NewService(cfg)
			if err != nil {
				panic(err)
			}
			server := googlegrpc.NewServer()
			service.Register(server)
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(listeners[r]) })
			defer serving.Wait()
			defer server.Stop()

			t, err := service.Join(ctx, addrs)
			if err != nil {
				panic(err)
			}
			defer t.Close()
			other := transport.Rank(1 - r)
			err = transport.Exchange(ctx, t,
				[]transport.Message{{Peer: other, Bufs: [][]byte{{byte('a' + r)}}}},
				[]transport.Message{{Peer: other, Bufs: [][]byte{got[r : r+1]}}})
			if err != nil {
				panic(err)
			}
		})
	}
	ranks.Wait()
	fmt.Printf("%s\n", got)
	// Output: ba
}
