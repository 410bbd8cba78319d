package switchyard

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// crossing counts the bytes that a rank sends to the other of two nodes, of two ranks each.
type crossing struct {
	transport.Transport
	bytes *atomic.Int64
}

func (c crossing) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	if c.Rank()/2 != to/2 {
		for _, b := range bufs {
			c.bytes.Add(int64(len(b)))
		}
	}
	return c.Transport.Send(ctx, to, tag, bufs...)
}

func worldsOfTwoNodes() (worlds []*World, bytes *atomic.Int64) {
	bytes = new(atomic.Int64)
	return decorated(4, func(e transport.Transport) transport.Transport { return crossing{e, bytes} }), bytes
}

// twoNodes has links between them that are slow enough for short sums to be taken by node.
func twoNodes() Machine {
	return Machine{
		Topology: alltoall.Nodes(4, 2),
		Links:    links.Links{Within: links.Link{Alpha: time.Microsecond, Beta: 0.1}, Between: links.Link{Alpha: time.Millisecond, Beta: 100}},
	}
}

// TestLongSumsOfALayerAreTakenByNode: the gradients of copied experts cross half as often, and have
// the same bits.
func TestLongSumsOfALayerAreTakenByNode(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	const dim, tokens = 32, 32
	x, dy := randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim)
	cfg := Config{Dim: dim, Experts: 2, Router: router.TopK{K: 1}, Expert: expert.SwiGLU{Hidden: 32}, Group: 4, ExpertParallel: 1}
	cuts := []int{8, 16, 24, 32}
	worlds, direct := worldsOfTwoNodes()
	want := trainTwice(t, worlds, cfg, x, dy, cuts)
	worlds, byNode := worldsOfTwoNodes()
	cfg.Topology, cfg.Links = twoNodes().Topology, twoNodes().Links
	requireSameBits(t, want, trainTwice(t, worlds, cfg, x, dy, cuts))
	require.Less(t, float64(byNode.Load()), 0.6*float64(direct.Load()))
}

// TestLongSumsOfDenseParametersAreTakenByNode where the world knows its machine.
func TestLongSumsOfDenseParametersAreTakenByNode(t *testing.T) {
	const length = 6000
	r := rand.New(rand.NewPCG(1, 2))
	leaves := make([][]float32, 4)
	for i := range leaves {
		leaves[i] = randomMatrix(r, 1, length).Data
	}
	train := func(machine bool) (value []float32, crossed int64) {
		worlds, bytes := worldsOfTwoNodes()
		for _, err := range onRanks(worlds, func(w *World) error {
			if machine {
				if err := w.SetMachine(twoNodes()); err != nil {
					return err
				}
			}
			set := param.NewSet(param.Tensor{Name: "w", Shape: []int{length}})
			d, err := NewDense(w, NamedSet{"embed", set})
			if err != nil {
				return err
			}
			copy(set.Grad.Leaf(int(w.Rank())), leaves[w.Rank()])
			if err := d.SumGradients(t.Context(), []int{1, 1, 1, 1}); err != nil {
				return err
			}
			if err := d.Step(t.Context(), expert.NewSGD(1)); err != nil {
				return err
			}
			if w.Rank() == 0 {
				value = set.Value
			}
			return nil
		}) {
			require.NoError(t, err)
		}
		return value, bytes.Load()
	}
	want, direct := train(false)
	got, byNode := train(true)
	sameBits(t, "values", want, got)
	require.Less(t, float64(byNode), 0.6*float64(direct))
}
