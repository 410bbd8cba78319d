package switchyard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// TestNodeClustersAreThoseOfOneRank: where all ranks are of one node, the rows for an expert meet
// in the order of the global batch, so they are clustered as one rank would that had all tokens.
func TestNodeClustersAreThoseOfOneRank(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, cfg := range layersUnderTest() {
		for _, how := range []lsh.Compensation{lsh.Identity, lsh.LearnedGain, lsh.Interpolate} {
			cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.3, Compensation: how}}
			want := trainTwice(t, inprocWorlds(1), cfg, x, dy, []int{bitsTokens})
			cfg.Compression.Nodes = true
			for _, ranks := range []int{1, 2, 3, 4} {
				t.Run(fmt.Sprintf("%s/%s/%d", name, how, ranks), func(t *testing.T) {
					got := trainTwice(t, inprocWorlds(ranks), cfg, x, dy, cutsOf(splits[ranks][0]))
					if how != lsh.LearnedGain { // whose gradients are summed in another order
						requireSameBits(t, want, got)
					}
					requireNear(t, want, got)
				})
			}
		}
	}
}

func requireNear(t *testing.T, want, got result) {
	t.Helper()
	neartest.Equal(t, want.y, got.y, 1e-4)
	neartest.Equal(t, want.dx, got.dx, 1e-4)
	for i := range want.gradients {
		neartest.Equal(t, want.gradients[i].Data, got.gradients[i].Data, 1e-3, want.gradients[i].Name)
	}
}

// TestNodeClustersAtRateOne move every row, by way of the ranks of its node, on nodes of one to
// four.
func TestNodeClustersAtRateOne(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for long")
	}
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, cfg := range layersUnderTest() {
		want := trainTwice(t, inprocWorlds(1), cfg, x, dy, []int{bitsTokens})
		cfg.Compression = Compression{When: CompressAlways, Nodes: true, LSH: lsh.Config{Rate: 1}, Gradients: alltoall.Float32}
		cfg.Wire = alltoall.Everywhere(alltoall.Float32)
		for _, ranks := range fewer([]int{3, 4, 7, 8}, 4, 7) {
			for _, way := range splits[ranks] {
				for each := 1; each <= 4; each++ {
					t.Run(fmt.Sprintf("%s/ranks=%d/groups=%v/each=%d", name, ranks, way, each), func(t *testing.T) {
						cfg.Topology = alltoall.Nodes(ranks, each)
						requireNear(t, want, trainTwice(t, inprocWorlds(ranks), cfg, x, dy, cutsOf(way)))
					})
				}
			}
		}
	}
}

// TestNodeClustersSayWhatTravels on two nodes of two: a fifth of the rows of each node, and fewer
// bytes the more ranks share a node.
func TestNodeClustersSayWhatTravels(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const tokens = 400
	x := randomMatrix(r, tokens, 16)
	cfg := Config{Dim: 16, Experts: 8, Group: PerRank, Router: router.TopK{K: 2}, Expert: expert.Identity{}, Topology: alltoall.Nodes(4, 2),
		Wire:        alltoall.Everywhere(alltoall.Float32),
		Compression: Compression{When: CompressAlways, Nodes: true, ClusterGradients: true, LSH: lsh.Config{Rate: 0.2, Compensation: lsh.Identity}}}
	stats := make([]CompressionStats, 4)
	for rank, err := range onRanks(inprocWorlds(4), func(w *World) error {
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		mine := part(x, int(w.Rank())*tokens/4, int(w.Rank()+1)*tokens/4)
		y, err := l.Forward(context.Background(), mine)
		if err != nil {
			return err
		}
		for i, v := range mine.Data { // experts give back what they get, and weights sum to one
			if d := v - y.Data[i]; d < -1e-5 || d > 1e-5 {
				return fmt.Errorf("element %d is %v, want %v", i, y.Data[i], v)
			}
		}
		stats[w.Rank()] = l.Stats().Compression
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	rows, travelled := 0, 0
	for _, s := range stats {
		require.InDelta(t, 0.2*float64(s.Rows), s.Travelled, 4)
		require.InDelta(t, 0.2*float64(s.BytesBefore), s.BytesAfter, 4*4*16)
		rows, travelled = rows+s.Rows, travelled+s.Travelled
	}
	require.Equal(t, 2*tokens, rows, "every row is clustered once")
}

func TestCompressionFrom(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := randomMatrix(r, 60, 16)
	cfg := Config{Dim: 16, Experts: 3, Group: PerRank, Router: router.TopK{K: 1}, Expert: expert.FFN{Hidden: 4}, Compression: Compression{When: CompressAlways, From: 2, Until: 5}}
	forwardAlone(t, cfg, func(l *Layer) {
		for step := range 7 {
			_, err := l.Forward(context.Background(), x)
			require.NoError(t, err)
			require.Equal(t, step >= 2 && step < 5, l.Stats().Compression.Travelled < 60, "step %d", step)
			_, err = l.Backward(context.Background(), x)
			require.NoError(t, err)
			require.NoError(t, l.Step(context.Background(), expert.NewAdam(0.01)))
		}
	})
	cfg.Compression = Compression{When: CompressAuto, Nodes: true, From: -1}
	err := cfg.Validate(1)
	require.ErrorContains(t, err, "Nodes with When CompressAuto")
	require.ErrorContains(t, err, "From is -1 and Until 0")
}
