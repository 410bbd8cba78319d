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
	"github.com/switchyard-moe/switchyard/transport"
)

// member is this rank's part of the job.
type member struct {
	world  *switchyard.World
	layer  *switchyard.Layer
	orders orders
	mu     sync.Mutex // passes begin in the order of their numbers
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
// for the front.
func (m *member) lead(ctx context.Context, y []float32, x blas32.General) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.passes++
	if err := m.orders.give(ctx, order{m.passes, uint32(x.Rows)}); err != nil {
		return err
	}
	got, err := m.layer.Eval(ctx, x)
	if err != nil {
		return err
	}
	for i := range got.Rows {
		copy(y[i*got.Cols:(i+1)*got.Cols], got.Data[i*got.Stride:])
	}
	return nil
}

// follow runs the passes that the front orders, until it ends the job. This rank brings no tokens:
// it computes for those of the front.
func (m *member) follow(ctx context.Context, timeout time.Duration) error {
	for {
		next, err := m.orders.take(ctx)
		if err != nil || next.pass == 0 {
			return err
		}
		m.passes++
		if next.pass != m.passes {
			return fmt.Errorf("rank %d orders pass %d, want %d", front, next.pass, m.passes)
		}
		if err := m.assist(ctx, timeout); err != nil {
			return err
		}
	}
}

// assist runs a pass without tokens.
func (m *member) assist(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if _, err := m.layer.Eval(ctx, blas32.General{}); err != nil && !refused(err) {
		return err
	}
	return nil
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
