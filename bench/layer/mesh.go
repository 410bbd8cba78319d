package layer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"

	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/shm"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// meshes returns, by the transport's name, how the ranks of a job come about that are all
// goroutines of this process.
func meshes() map[string]func(ctx context.Context, ranks int) ([]transport.Transport, error) {
	return map[string]func(context.Context, int) ([]transport.Transport, error){
		transports.Inproc: meshInproc,
		"tcp": meshOf(func(ctx context.Context, r transport.Rank, ranks int, addr string) (transport.Transport, error) {
			return tcp.Join(ctx, tcp.Config{Identity: rendezvous.Identity{Rank: r, Size: ranks, Addr: addr, Job: "bench layer"}})
		}),
		"shm": meshOf(func(ctx context.Context, r transport.Rank, ranks int, addr string) (transport.Transport, error) {
			return shm.Join(ctx, shm.Config{Identity: rendezvous.Identity{Rank: r, Size: ranks, Addr: addr, Job: "bench layer"}})
		}),
	}
}

func meshNames() []string { return slices.Sorted(maps.Keys(meshes())) }

func meshInproc(_ context.Context, ranks int) ([]transport.Transport, error) {
	all := make([]transport.Transport, ranks)
	for r, t := range inproc.New(ranks) {
		all[r] = t
	}
	return all, nil
}

// meshOf makes ranks that meet at a free address.
func meshOf(join func(ctx context.Context, r transport.Rank, ranks int, addr string) (transport.Transport, error)) func(context.Context, int) ([]transport.Transport, error) {
	return func(ctx context.Context, ranks int) ([]transport.Transport, error) {
		addr, err := loopbackAddr()
		if err != nil {
			return nil, err
		}
		return joinAll(ctx, ranks, func(ctx context.Context, r transport.Rank) (transport.Transport, error) {
			return join(ctx, r, ranks, addr)
		})
	}
}

// joinAll lets the ranks meet. If one cannot join, none has.
func joinAll(ctx context.Context, ranks int, join func(context.Context, transport.Rank) (transport.Transport, error)) ([]transport.Transport, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	all, errs := make([]transport.Transport, ranks), make([]error, ranks)
	var wg sync.WaitGroup
	for r := range ranks {
		wg.Go(func() {
			t, err := join(ctx, transport.Rank(r))
			if err != nil {
				errs[r] = err
				cancel() // the others would wait for it in vain
				return
			}
			all[r] = t
		})
	}
	wg.Wait()
	err := errors.Join(errs...)
	if err == nil {
		return all, nil
	}
	for _, t := range all {
		if t != nil {
			err = errors.Join(err, t.Close())
		}
	}
	return nil, err
}

// loopbackAddr returns an address where nobody listens, below the ports that the system gives to
// connections.
func loopbackAddr() (string, error) {
	var err error
	for range 100 {
		var l net.Listener
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000))
		if l, err = net.Listen("tcp", addr); err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("no port to meet at: %w", err)
}
