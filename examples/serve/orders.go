package main

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/transport"
)

// order is what the front tells the other ranks: which pass comes next, or that the job is over.
type order struct {
	pass   uint64 // its number, from 1; 0 ends the job
	tokens uint32 // that the front brings
}

const (
	front      transport.Rank = 0
	orderTag   transport.Tag  = 1
	drainTag   transport.Tag  = 2 // an empty message of another rank that is asked to end
	orderBytes                = 12
)

// orders carries them, apart from the messages of the layer.
type orders struct {
	t transport.Transport
}

func newOrders(w *switchyard.World) (orders, error) {
	all := make([]transport.Rank, w.Size())
	for i := range all {
		all[i] = transport.Rank(i)
	}
	t, err := w.View(all)
	return orders{t}, err
}

// give sends an order to every other rank.
func (o orders) give(ctx context.Context, next order) error {
	var text [orderBytes]byte
	binary.LittleEndian.PutUint64(text[:], next.pass)
	binary.LittleEndian.PutUint32(text[8:], next.tokens)
	for r := 1; r < o.t.Size(); r++ {
		if err := o.t.Send(ctx, transport.Rank(r), orderTag, text[:]); err != nil {
			return err
		}
	}
	return nil
}

// take waits for the front's next order, for hours if need be.
func (o orders) take(ctx context.Context) (order, error) {
	var text [orderBytes]byte
	n, err := o.t.Recv(ctx, front, orderTag, text[:])
	if err == nil && n != orderBytes {
		err = fmt.Errorf("rank %d: an order has %d bytes, want %d", front, n, orderBytes)
	}
	return order{binary.LittleEndian.Uint64(text[:]), binary.LittleEndian.Uint32(text[8:])}, err
}

// askToEnd tells the front that this rank is asked to end.
func (o orders) askToEnd(ctx context.Context) error { return o.t.Send(ctx, front, drainTag) }

// askedToEnd waits until a rank asks for the end, or is found dead.
func (o orders) askedToEnd(ctx context.Context, rank transport.Rank) error {
	_, err := o.t.Recv(ctx, rank, drainTag)
	return err
}
