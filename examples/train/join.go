package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/rendezvous"
	"github.com/switchyard-moe/switchyard/transport/shm"
	"github.com/switchyard-moe/switchyard/transport/striped"
	"github.com/switchyard-moe/switchyard/transport/tcp"
)

// join makes this process the rank that its launcher says, over the transport of -transport. What
// [switchyard.Join] chooses is enough for most programs; the others show how a transport of one's
// own choice becomes a world.
func join(ctx context.Context, o options) (*switchyard.World, error) {
	switch o.transport {
	case mpiTransport:
		return joinMPI(ctx, o)
	case shmTransport, grpcTransport, stripedTransport:
		return joinOver(ctx, o)
	}
	return switchyard.Join(ctx, switchyard.JoinConfig{
		Settings: o.settings, Insecure: o.insecure, NoSharedMemory: o.transport == tcpTransport,
	})
}

// joinOver joins over a transport that switchyard.Join does not choose by itself.
func joinOver(ctx context.Context, o options) (*switchyard.World, error) {
	place, err := rendezvous.Detect(rendezvous.Process{}, os.Getenv)
	if err != nil {
		return nil, err
	}
	identity := place.Identity()
	identity.Settings = o.settings
	var t transport.Transport
	switch o.transport {
	case shmTransport:
		t, err = shm.Join(ctx, shm.Config{Identity: identity})
	case grpcTransport:
		t, err = grpc.Join(ctx, grpc.Config{Identity: identity, Insecure: o.insecure})
	default:
		t, err = joinStriped(ctx, o, place)
	}
	if err != nil {
		return nil, err
	}
	return switchyard.NewWorld(t), nil
}

// joinStriped joins over -lanes connections of TCP. The first is joined as any job over TCP is;
// over it rank 0 says at which ports it waits for the others'.
func joinStriped(ctx context.Context, o options, place rendezvous.Process) (transport.Transport, error) {
	join := func(link int, addr string) (transport.Transport, error) {
		identity := place.Identity()
		identity.Addr, identity.Job, identity.Settings = addr, fmt.Sprintf("%s link %d", place.Job, link), o.settings
		return tcp.Join(ctx, tcp.Config{Identity: identity, LocalSize: max(place.LocalSize, 0), Insecure: o.insecure})
	}
	first, err := join(0, place.Addr)
	if err != nil {
		return nil, err
	}
	links := make([]transport.Transport, o.lanes)
	links[0] = first
	addrs, err := agreeOnAddresses(ctx, first, place.Addr, o.lanes-1)
	if err == nil {
		err = joinLinks(links[1:], func(i int) (transport.Transport, error) { return join(i+1, addrs[i]) })
	}
	if err != nil {
		for _, t := range links {
			if t != nil {
				_ = t.Close() // the error that led here says more
			}
		}
		return nil, err
	}
	return striped.New(ctx, links, striped.Config{Parity: o.parity})
}

// joinLinks opens connections at the same time.
func joinLinks(links []transport.Transport, join func(int) (transport.Transport, error)) error {
	errs := make([]error, len(links))
	var wg sync.WaitGroup
	for i := range links {
		wg.Go(func() {
			t, err := join(i)
			if err == nil {
				links[i] = t
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("link %d: %w", i+1, err)
		}
	}
	return nil
}

// agreeOnAddresses has rank 0 tell the others at which n addresses, beside the one where they have
// met, it will wait.
func agreeOnAddresses(ctx context.Context, met transport.Transport, addr string, n int) ([]string, error) {
	const tag, limit = 1, 1 << 12
	if n == 0 || met.Size() == 1 {
		return make([]string, n), nil
	}
	var addrs []string
	if met.Rank() != 0 {
		text := make([]byte, limit)
		length, err := met.Recv(ctx, 0, tag, text)
		if err == nil {
			err = json.Unmarshal(text[:length], &addrs)
		}
		if err == nil && len(addrs) != n {
			err = fmt.Errorf("rank 0 names %d addresses of links, want %d", len(addrs), n)
		}
		return addrs, err
	}
	addrs, err := freeAddresses(addr, n)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(addrs)
	for r := 1; r < met.Size() && err == nil; r++ {
		err = met.Send(ctx, transport.Rank(r), tag, text)
	}
	return addrs, err
}

// freeAddresses returns addresses of the same host as addr at which nobody listens.
func freeAddresses(addr string, n int) ([]string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	var addrs []string
	for range n {
		l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
		if err != nil {
			return nil, fmt.Errorf("an address for a link: %w", err)
		}
		defer l.Close() // when all are found, so that they differ
		_, port, _ := net.SplitHostPort(l.Addr().String())
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	return addrs, nil
}
