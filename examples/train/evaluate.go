package main

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/transport"
)

// lossy tells whether rows change on their way in training: as clusters, or in formats of few bits.
func (o *options) lossy() bool {
	return o.compress > 0 || o.compressAuto || o.wire != defaultWire && o.wire != alltoall.Float32.String()
}

// buildExact makes layers that evaluate in the places of those that train, where these change rows:
// they have the same parameters, and all rows travel in float32. So a loss is of the model and not
// of how its rows have travelled in training. A group numbers its layers from the first, so that
// their seeds, and what routers draw by them, are the same too.
func (t *trainer) buildExact() error {
	if !t.options.lossy() {
		return nil
	}
	var all []transport.Rank
	for r := range t.world.Size() {
		all = append(all, transport.Rank(r))
	}
	group, err := t.world.Group(all)
	if err != nil {
		return err
	}
	for i := 1; i < t.options.layers; i += 2 {
		cfg := t.options.layerConfig(i)
		cfg.Compression, cfg.Wire = switchyard.Compression{}, alltoall.Wire{}
		cfg.Overlap, cfg.MicroBatches = switchyard.Overlap{}, 1
		cfg.Topology = alltoall.Nodes(t.world.Size(), t.options.nodeRanks)
		layer, err := switchyard.NewLayer(group, cfg)
		if err != nil {
			return fmt.Errorf("layer of block %d for evaluation: %w", i, err)
		}
		t.exact = append(t.exact, layer)
	}
	return nil
}

// refresh gives the layers that evaluate what the others have learned.
func (t *trainer) refresh() error {
	for i, layer := range t.exact {
		from, err := t.layers[i].State(nil)
		if err != nil {
			return err
		}
		to, err := layer.State(nil)
		if err != nil {
			return err
		}
		if err := copyState(to, from); err != nil {
			return err
		}
	}
	return nil
}

// copyState copies what two states both have.
func copyState(to, from *param.State) error {
	entries := map[string]param.Entry{}
	for _, e := range from.Entries {
		entries[e.Name] = e
	}
	for _, e := range to.Entries {
		if f, ok := entries[e.Name]; ok {
			if err := e.CopyFrom(f); err != nil {
				return err
			}
		}
	}
	if to.Loaded == nil {
		return nil
	}
	return to.Loaded()
}

// evaluate returns the report of n held-out batches, spread over the held-out text.
func (t *trainer) evaluate(ctx context.Context, n int) (report, error) {
	if err := t.refresh(); err != nil {
		return report{}, err
	}
	return t.heldOut(ctx, n, 1)
}

// evaluateTrained is evaluate with rows that travel as in training: in passes of the layers that
// train, of micro-batches of the same size, so that as many rows make clusters.
func (t *trainer) evaluateTrained(ctx context.Context, n int) (report, error) {
	layers := t.flight[0].layers
	for _, l := range layers {
		l.asTrained = true
	}
	r, err := t.heldOut(ctx, n, t.options.micro)
	for _, l := range layers {
		l.asTrained = false
		if ended := l.endTrial(); err == nil {
			err = ended
		}
	}
	return r, err
}

// heldOut is the report of n held-out batches, each in a number of parts.
func (t *trainer) heldOut(ctx context.Context, n, parts int) (total report, err error) {
	for i := range n {
		var sums []float64
		b := t.data.heldBatch(i, n)
		for _, part := range interleaved(b, parts) {
			more, err := t.flight[0].model.Evaluate(ctx, part)
			if err != nil {
				return report{}, err
			}
			sums = append(sums, more...)
		}
		r, err := t.gather(ctx, sums, b.GlobalTokens, t.flight[:1])
		if err != nil {
			return report{}, err
		}
		total.merge(r)
	}
	total.loss /= float64(n)
	return total, nil
}
