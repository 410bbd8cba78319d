package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// model is the layer that is served. A program of one's own puts its model here.
type model struct {
	dim, experts, hidden, k int
	seed                    uint64
	checkpoint, part        string
	shareExperts            bool
}

// groupTokens is any number: without capacity nothing is counted by groups of tokens.
const groupTokens = 64

// config describes the layer. Its router has no capacity: an expert with room for a few tokens of
// a batch alone would let the requests in it displace each other. So the answer to a token depends
// on that token alone, bit for bit.
func (m model) config() switchyard.Config {
	var share balance.Config
	if m.shareExperts {
		share.When = balance.Auto
	}
	return switchyard.Config{
		Dim: m.dim, Experts: m.experts, Group: groupTokens, Seed: m.seed,
		Router: router.TopK{K: m.k}, Expert: expert.SwiGLU{Hidden: m.hidden}, Balance: share,
	}
}

// newLayer makes it, with the parameters of a checkpoint if there is one. Every rank calls it.
func (m model) newLayer(ctx context.Context, world *switchyard.World) (*switchyard.Layer, error) {
	layer, err := switchyard.NewLayer(world, m.config())
	if err != nil || m.checkpoint == "" {
		return layer, err
	}
	state, err := layer.State(nil)
	if err != nil {
		return nil, err
	}
	others := checkpoint.Options{AllowExtra: []string{"*"}} // parts of a model, and moments
	_, err = checkpoint.Load(ctx, world, m.checkpoint, others, checkpoint.Part{Name: m.part, State: state})
	if err != nil && transport.CulpritOf(err) == transport.None {
		return nil, modelError{fmt.Errorf("-checkpoint %s -part %s -dim %d -experts %d -hidden %d: %w", m.checkpoint, m.part, m.dim, m.experts, m.hidden, err)}
	}
	return layer, err
}

// modelError is the error of a checkpoint that cannot be served with these flags, however often
// ranks are started.
type modelError struct{ error }

func (e modelError) Unwrap() error { return e.error }

// settings are what all ranks must have alike.
func (m model) settings() map[string]string {
	return map[string]string{
		"dim": strconv.Itoa(m.dim), "experts": strconv.Itoa(m.experts), "hidden": strconv.Itoa(m.hidden),
		"k": strconv.Itoa(m.k), "seed": strconv.FormatUint(m.seed, 10), "part": m.part, "share-experts": strconv.FormatBool(m.shareExperts),
	}
}

// check returns an error if values are not the rows of at least one token and at most most.
func (m model) check(values []float32, most int) error {
	switch {
	case len(values) == 0:
		return errors.New("no tokens")
	case len(values)%m.dim != 0:
		return fmt.Errorf("%d numbers, want a multiple of %d, the numbers in a token", len(values), m.dim)
	case len(values)/m.dim > most:
		return fmt.Errorf("%d tokens, want at most %d", len(values)/m.dim, most)
	}
	return m.checkFinite(values)
}

// checkFinite returns an error if a number is NaN or infinite.
func (m model) checkFinite(values []float32) error {
	for i, v := range values {
		if v-v != 0 {
			return fmt.Errorf("token %d, number %d is %v", i/m.dim, i%m.dim, v)
		}
	}
	return nil
}
