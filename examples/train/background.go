package main

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/switchyard-moe/switchyard/param"
)

// background sums the gradients of the dense parameters over the ranks, a set of parameters at a
// time while other blocks compute, and at the end of the step what is left. The order is that in
// which Backward completes them, on every rank.
//
// With one micro-batch, layers run it in the gaps of their links ([switchyard.Background]); with
// several in flight, a goroutine does, as which of them is in which layer depends on the clock.
type background struct {
	t     *trainer
	ready []int // sets whose gradients are complete here
	micro *microSums
}

// microSums are the sums of one step of several micro-batches.
type microSums struct {
	mu    sync.Mutex
	done  []int // micro-batches that have completed each set
	queue chan int
	ended chan error
}

// follow has the models say when a gradient is complete.
func (b *background) follow() {
	for _, of := range b.t.flight {
		of.model.OnGradient(func(set *param.Set) { b.complete(slices.Index(b.t.dense, set)) })
	}
}

// begin begins a step.
func (b *background) begin(ctx context.Context) {
	if b.t.options.micro == 1 {
		return
	}
	s := &microSums{done: make([]int, len(b.t.dense)), queue: make(chan int, len(b.t.dense)), ended: make(chan error, 1)}
	b.micro = s
	go func() {
		var err error
		for set := range s.queue {
			if err == nil {
				err = b.sum(ctx, []int{set})
			}
		}
		s.ended <- err
	}()
}

// complete notes that a micro-batch has completed a set.
func (b *background) complete(set int) {
	s := b.micro
	if s == nil {
		b.ready = append(b.ready, set)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done[set]++; s.done[set] == b.t.options.micro {
		s.queue <- set
	}
}

// Ready is the number of sets that wait.
func (b *background) Ready() int { return len(b.ready) }

// Run sums the set that has waited longest.
func (b *background) Run(ctx context.Context) error {
	next := b.ready[:1]
	b.ready = b.ready[1:]
	return b.sum(ctx, next)
}

// rest sums all that wait, as one.
func (b *background) rest(ctx context.Context) error {
	if b.micro != nil {
		return b.end()
	}
	all := b.ready
	b.ready = nil
	return b.sum(ctx, all)
}

// end waits for the goroutine to sum what it has been given, if there is one.
func (b *background) end() error {
	s := b.micro
	if s == nil {
		return nil
	}
	b.micro = nil
	close(s.queue)
	return <-s.ended
}

func (b *background) sum(ctx context.Context, sets []int) error {
	var names []string
	for _, i := range sets {
		names = append(names, b.t.names[i])
	}
	if len(names) == 0 {
		return nil
	}
	if err := b.t.own.SumGradients(ctx, b.t.leaves, names...); err != nil {
		return fmt.Errorf("dense gradients: %w", err)
	}
	return nil
}
