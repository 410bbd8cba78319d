package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// member is this rank's part of the job.
type member struct {
	world  *switchyard.World
	layer  *switchyard.Layer
	orders orders
	mu     sync.Mutex // orders are given in the order of the passes' numbers
	passes uint64     // begun so far
}

// newMember makes the layer on a world that it takes over.
func newMember(ctx context.Context, world *switchyard.World, m model) (*member, error) {
	layer, err := m.newLayer(ctx, world)
	if err != nil {
		return nil, err
	}
	o, err := newOrders(world)
	if err != nil {
		return nil, err
	}
	return &member{world: world, layer: layer, orders: o}, nil
}

// lead has every rank run the next pass, over tokens of this one, and copies the answer to y. It is
// for the front, which may call it from several goroutines at the same time.
func (m *member) lead(ctx context.Context, y []float32, x blas32.General) error {
	pass, err := m.announce(ctx, x.Rows)
	if err != nil {
		return err
	}
	got, err := pass.Eval(ctx, x, router.Batch{})
	if err == nil {
		for i := range got.Rows {
			copy(y[i*got.Cols:(i+1)*got.Cols], got.Data[i*got.Stride:])
		}
	}
	if released := pass.Release(); err == nil {
		err = released
	}
	return err
}

// announce begins a pass and tells the others to do so.
func (m *member) announce(ctx context.Context, tokens int) (*switchyard.Pass, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	pass, err := m.layer.NewPass()
	if err != nil {
		return nil, err
	}
	m.passes++
	return pass, m.orders.give(ctx, order{pass.Number(), uint32(tokens)})
}

// follow runs the passes that the front orders, until it ends the job. This rank brings no tokens:
// it computes for those of the front.
func (m *member) follow(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	err := m.obey(ctx, func(pass *switchyard.Pass) {
		running.Go(func() {
			if err := assist(ctx, pass, timeout); err != nil {
				cancel(err)
			}
		})
	})
	running.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// obey begins a pass for each order, until the one that ends the job.
func (m *member) obey(ctx context.Context, run func(*switchyard.Pass)) error {
	for {
		next, err := m.orders.take(ctx)
		if err != nil || next.pass == 0 {
			return err
		}
		pass, err := m.layer.NewPass()
		if err != nil {
			return err
		}
		if m.passes++; next.pass != pass.Number() {
			return fmt.Errorf("rank %d orders pass %d, want %d", front, next.pass, pass.Number())
		}
		run(pass)
	}
}

// assist runs a pass without tokens.
func assist(ctx context.Context, pass *switchyard.Pass, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	_, err := pass.Eval(ctx, blas32.General{}, router.Batch{})
	if err != nil && refused(err) {
		err = nil
	}
	if released := pass.Release(); err == nil {
		err = released
	}
	return err
}

// refused reports whether all ranks have refused a batch together, after which they go on.
func refused(err error) bool {
	return errors.Is(err, alltoall.ErrRefused) && !errors.Is(err, switchyard.ErrFailed)
}

// farewell ends the job when the others have come to its end too.
func (m *member) farewell(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return m.world.Comm().Barrier(ctx)
}

// others lists the ranks beside the front.
func (m *member) others() []transport.Rank {
	var list []transport.Rank
	for r := 1; r < m.world.Size(); r++ {
		list = append(list, transport.Rank(r))
	}
	return list
}
