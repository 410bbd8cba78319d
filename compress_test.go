package switchyard

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
)

// TestCompressionAtRateOneHasTheBitsOfNone on any number of ranks, with groups of tokens and
// without.
func TestCompressionAtRateOneHasTheBitsOfNone(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for long")
	}
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for name, cfg := range layersUnderTest() {
		want := trainTwiceWith(t, inprocWorlds(1), cfg, x, dy, router.Batch{}, []int{bitsTokens})
		cfg.Wire = alltoall.Everywhere(alltoall.Float32)
		for _, how := range []lsh.Compensation{lsh.Identity, lsh.None, lsh.Gain, lsh.Interpolate} {
			for _, clusters := range []bool{false, true} {
				cfg.Compression = Compression{
					When: CompressAlways, LSH: lsh.Config{Rate: 1, Compensation: how, Gain: 0.1},
					Gradients: alltoall.Float32, ClusterGradients: clusters,
				}
				for _, ranks := range []int{1, 3} {
					t.Run(fmt.Sprintf("%s/%v/%t/%d ranks", name, how, clusters, ranks), func(t *testing.T) {
						requireSameBits(t, want, trainTwiceWith(t, inprocWorlds(ranks), cfg, x, dy, router.Batch{}, cutsOf(splits[ranks][0])))
					})
				}
			}
		}
	}
}

// forwardAlone makes a layer on a rank that is alone, and calls do with it.
func forwardAlone(t *testing.T, cfg Config, do func(l *Layer)) {
	t.Helper()
	alone(t, func(w *World) {
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		do(l)
	})
}

// TestIdentityExpertsGiveCompressedTokensBack bit for bit, although most of them never travel.
func TestIdentityExpertsGiveCompressedTokensBack(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	x := randomMatrix(r, 100, 16)
	forwardAlone(t, Config{Dim: 16, Experts: 3, Router: router.TopK{K: 1, Score: router.SoftmaxAfter}, Expert: expert.Identity{},
		Wire:        alltoall.Everywhere(alltoall.Float32),
		Compression: Compression{When: CompressAlways, LSH: lsh.Config{Compensation: lsh.Identity}}}, func(l *Layer) {
		y, err := l.Forward(context.Background(), x)
		require.NoError(t, err)
		sameBits(t, "y", x.Data, y.Data)
		s := l.Stats().Compression
		require.Equal(t, 100, s.Rows)
		require.InDelta(t, 20, s.Travelled, 3)
		require.Greater(t, s.Residual, 0.3)
		require.Less(t, s.Residual, 1.0)
	})
}

// TestEvalIsNotCompressed compares it with a layer that has no compression.
func TestEvalIsNotCompressed(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	cfg := Config{Dim: 8, Experts: 3, Group: PerRank, Router: router.TopK{K: 2}, Expert: expert.SwiGLU{Hidden: 5}, Wire: alltoall.Everywhere(alltoall.Float32)}
	x := randomMatrix(r, 50, 8)
	var plain, trained []float32
	eval := func(l *Layer) []float32 {
		y, err := l.Eval(context.Background(), x)
		require.NoError(t, err)
		return append([]float32(nil), y.Data...)
	}
	forwardAlone(t, cfg, func(l *Layer) { plain = eval(l) })
	cfg.Compression.When = CompressAlways
	forwardAlone(t, cfg, func(l *Layer) {
		y, err := l.Forward(context.Background(), x)
		require.NoError(t, err)
		trained = append(trained, y.Data...)
		require.Equal(t, plain, eval(l))
	})
	require.NotEqual(t, plain, trained)
}

// slowCompressed is the slow layer in which the i-th token of an expert goes in cluster i mod
// clusters, and answers are E(c) + g·(x − c).
type slowCompressed struct {
	slowLayer
	clusters int
	gain     []float64 // of each expert
}

func (s *slowCompressed) loss(x, dy []float64, chosen [][]int) (loss float64, y []float64) {
	y = make([]float64, len(x))
	for e := range s.experts {
		var tokens []int
		for t, list := range chosen {
			for _, c := range list {
				if c == e {
					tokens = append(tokens, t)
				}
			}
		}
		for k := range s.clusters {
			var members []int
			for i := k; i < len(tokens); i += s.clusters {
				members = append(members, tokens[i])
			}
			if len(members) > 0 {
				s.cluster(x, y, chosen, e, members)
			}
		}
	}
	for i := range y {
		loss += y[i] * dy[i]
	}
	return loss, y
}

// cluster adds expert e's answers to tokens that travel as one.
func (s *slowCompressed) cluster(x, y []float64, chosen [][]int, e int, members []int) {
	mean := make([]float64, s.dim)
	for _, t := range members {
		for j := range mean {
			mean[j] += x[t*s.dim+j] / float64(len(members))
		}
	}
	one := s.slowLayer
	one.gate = make([]float64, len(s.gate)) // weight 1
	answer := one.token(mean, []int{e})
	gain := s.gain[e]
	if len(members) == 1 {
		gain = 0
	}
	for _, t := range members {
		w := s.weight(x[t*s.dim:(t+1)*s.dim], chosen[t], e)
		for j := range mean {
			y[t*s.dim+j] += w * (answer[j] + gain*(x[t*s.dim+j]-mean[j]))
		}
	}
}

// weight is that of one of a token's experts.
func (s *slowCompressed) weight(x []float64, chosen []int, e int) float64 {
	logits, total := s.logits(x), 0.0
	for _, c := range chosen {
		total += math.Exp(logits[c])
	}
	return math.Exp(logits[e]) / total
}

// TestCompressedLayerAgainstSlowReference compares outputs, and every gradient with central
// differences, clusters held.
func TestCompressedLayerAgainstSlowReference(t *testing.T) {
	const tokens, dim, hidden, experts, clusters = 14, 6, 5, 3, 2
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	x, dy := randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim)
	for _, c := range []lsh.Config{{Compensation: lsh.Identity}, {Compensation: lsh.None}, {Compensation: lsh.LearnedGain, Gain: 0.3}} {
		cfg := Config{Dim: dim, Experts: experts, Group: 4, Seed: seed, Expert: expert.SwiGLU{Hidden: hidden}, Router: router.TopK{K: slowK},
			Wire: alltoall.Everywhere(alltoall.Float32), Compression: Compression{When: CompressAlways, LSH: c, Assign: roundRobin(clusters), ClusterGradients: true}}
		slow := &slowCompressed{slowLayer: slowLayer{dim: dim, hidden: hidden, experts: experts}, clusters: clusters}
		slow.gain = []float64{1, 1, 1}
		if c.Compensation == lsh.None {
			slow.gain = []float64{0, 0, 0}
		}
		values := map[string]*[]float64{"gate": &slow.gate, "w_gate": &slow.wGate, "w_up": &slow.wUp, "w_down": &slow.wDown, "compression.gain": &slow.gain}
		forwardAlone(t, cfg, func(l *Layer) {
			ctx := context.Background()
			parameters, err := l.Parameters(ctx)
			require.NoError(t, err)
			for _, p := range parameters {
				*values[shortName(p.Name)] = widen(p.Data)
			}
			y, err := l.Forward(ctx, x)
			require.NoError(t, err)
			dx, err := l.Backward(ctx, dy)
			require.NoError(t, err)
			gradients, err := l.Gradients(ctx)
			require.NoError(t, err)
			wide, wideDY := widen(x.Data), widen(dy.Data)
			var chosen [][]int
			for i := range tokens {
				chosen = append(chosen, slow.choose(slow.logits(wide[i*dim:(i+1)*dim])))
			}
			_, want := slow.loss(wide, wideDY, chosen)
			requireClose(t, seed, "y", want, y.Data)
			difference := func(v []float64) []float64 {
				return centralDifferences(v, func() float64 { l, _ := slow.loss(wide, wideDY, chosen); return l })
			}
			requireClose(t, seed, "dx", difference(wide), dx.Data)
			for _, g := range gradients {
				requireClose(t, seed, g.Name, difference(*values[shortName(g.Name)]), g.Data)
			}
		})
	}
}

// TestTimeOfCompressionIsNotThatOfExchanges: clusters that take an hour count as compression alone.
func TestTimeOfCompressionIsNotThatOfExchanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := smallConfig()
		cfg.Compression = Compression{When: CompressAlways, Assign: func(x blas32.General, ends []int) *lsh.Clusters {
			time.Sleep(time.Hour) // sleep-ok: the clock is that of synctest
			return roundRobin(2)(x, ends)
		}}
		forwardAlone(t, cfg, func(l *Layer) {
			x := randomMatrix(rand.New(rand.NewPCG(1, 2)), 8, cfg.Dim)
			require.NoError(t, stepOn(t.Context(), l, x, expert.NewSGD(0)))
			require.Zero(t, l.Stats().Exchanging)
			require.NoError(t, stepOn(t.Context(), l, x, expert.NewSGD(0)))
			require.Equal(t, time.Hour, l.Stats().Compression.Time, "of the step before")
			require.Zero(t, l.Stats().Exchanging)
		})
	})
}

// roundRobin puts the i-th row of an expert into cluster i mod clusters.
func roundRobin(clusters int) func(blas32.General, []int) *lsh.Clusters {
	return func(_ blas32.General, ends []int) *lsh.Clusters {
		groups, begin := make([][]int32, len(ends)), 0
		for g, end := range ends {
			for i := range end - begin {
				groups[g] = append(groups[g], int32(i%clusters))
			}
			begin = end
		}
		return lsh.NewClusters(groups)
	}
}

// TestLearnedGainsAreTheSameOnEveryRank trains them on three, one of which has no tokens.
func TestLearnedGainsAreTheSameOnEveryRank(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Compensation: lsh.LearnedChannels}}
	got := trainTwice(t, inprocWorlds(3), cfg, x, dy, []int{20, 20, bitsTokens})
	last := got.parameters[len(got.parameters)-1]
	require.Equal(t, "compression.gain", last.Name)
	for e, g := range last.Data {
		require.NotZero(t, g, "gain %d", e)
	}
}

// TestLearnedGainsOfRanksThatDoNotCompress have no gradient: under Auto no rank compresses its
// first passes.
func TestLearnedGainsOfRanksThatDoNotCompress(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["dropless"]
	cfg.Compression = Compression{When: CompressAuto, LSH: lsh.Config{Compensation: lsh.LearnedGain}}
	got := trainTwice(t, inprocWorlds(3), cfg, x, dy, []int{20, 20, bitsTokens})
	last := got.gradients[len(got.gradients)-1]
	require.Equal(t, "compression.gain", last.Name)
	require.Equal(t, make([]float32, cfg.Experts), last.Data)
}

// autoStats trains a few steps on two nodes of two under CompressAuto, and returns what the ranks
// say of the last one.
func autoStats(t *testing.T, cfg Config, between float64) (stats [4]CompressionStats) {
	const tokens = 400
	x := randomMatrix(rand.New(rand.NewPCG(13, 14)), tokens, 64)
	cfg.Dim, cfg.Experts, cfg.Group, cfg.Topology = 64, 8, PerRank, alltoall.Nodes(4, 2)
	cfg.Router, cfg.Expert, cfg.Compression.When = router.TopK{K: 2}, expert.SwiGLU{Hidden: 3}, CompressAuto
	cfg.Links = links.Links{Within: links.Link{Beta: 1e-6}, Between: links.Link{Beta: between}}
	for rank, err := range onRanks(inprocWorlds(4), func(w *World) error {
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		mine := part(x, int(w.Rank())*tokens/4, int(w.Rank()+1)*tokens/4)
		for range 6 {
			if _, err := l.Forward(context.Background(), mine); err != nil {
				return err
			}
			if _, err := l.Backward(context.Background(), mine); err != nil {
				return err
			}
			if err := l.Step(context.Background(), expert.NewAdam(0.01)); err != nil {
				return err
			}
		}
		stats[w.Rank()] = l.Stats().Compression
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	for _, s := range stats {
		require.Equal(t, stats[0].Choice, s.Choice)
	}
	return stats
}

// TestAutoGoesByLinks: four bits over slow links between nodes, and nothing else where that takes
// longest.
func TestAutoGoesByLinks(t *testing.T) {
	stats := autoStats(t, Config{}, 1e6)
	require.Regexp(t, `^between nodes: .*4-h.*, 0\.\d\d× the bytes; within a node: float32; .*; loses 0\.0\d\d of 0\.05 allowed$`, stats[0].Choice)
	for _, s := range stats {
		require.Equal(t, s.Rows, s.Travelled, "clusters of so few rows lose too much")
		require.Greater(t, s.BytesAfter, s.BytesBefore/4, "a third goes as it is")
		require.Less(t, s.BytesAfter, s.BytesBefore/2)
	}
	stats = autoStats(t, Config{}, 1e-6)
	require.Regexp(t, "^between nodes: float32; within a node: float32; ", stats[0].Choice)
	stats = autoStats(t, Config{Compression: Compression{Budget: -1}}, 1e6)
	require.Regexp(t, "^between nodes: bf16, 0.50× the bytes; .*; loses 0.000 of 0 allowed$", stats[0].Choice)
}

// TestAutoChoosesClusters if the budget allows what they lose, on all ranks alike.
func TestAutoChoosesClusters(t *testing.T) {
	how := Compression{Budget: 1e6, LSH: lsh.Config{Rate: 0.1}}
	clustered := how
	clustered.ClusterGradients = true
	for _, cfg := range []Config{
		{Compression: clustered}, {Compression: clustered, Wire: alltoall.Everywhere(alltoall.BF16)},
		{Compression: how}, {Compression: how, Wire: alltoall.Everywhere(alltoall.BF16)},
	} {
		for _, s := range autoStats(t, cfg, 1e6) {
			require.Regexp(t, "^clusters, 0.1 of the rows, in ", s.Choice)
			require.Less(t, s.Travelled, s.Rows/2)
			require.Less(t, s.BytesAfter, s.BytesBefore/4)
		}
	}
}

// TestAutoBoundsTheErrorOfItsFirstClusters, which it does not choose in the first step.
func TestAutoBoundsTheErrorOfItsFirstClusters(t *testing.T) {
	how := Compression{Budget: 1e6, LSH: lsh.Config{Rate: 0.1}, MaxError: 1e-6}
	for _, s := range autoStats(t, Config{Compression: how}, 1e6) {
		require.Regexp(t, "^clusters, 0.1 of the rows, .*; no clusters while the error of answers is ", s.Choice)
		require.Equal(t, s.Rows, s.Travelled)
		require.Greater(t, s.Error, how.MaxError)
	}
}

// TestSampledRowsChangeNothing but what the layer knows: with gradients of all rows and of
// centroids, with the rows of ranks and of nodes.
func TestSampledRowsChangeNothing(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(17, 18))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for _, c := range []Compression{{}, {Nodes: true}, {ClusterGradients: true}, {ClusterGradients: true, Nodes: true}} {
		cfg := layersUnderTest()["dropless"]
		cfg.Compression, cfg.Topology = c, alltoall.Nodes(3, 2)
		cfg.Compression.When = CompressAlways
		want := trainTwice(t, inprocWorlds(3), cfg, x, dy, cutsOf(splits[3][0]))
		cfg.Compression.MaxError = 1e9
		requireNear(t, want, trainTwice(t, inprocWorlds(3), cfg, x, dy, cutsOf(splits[3][0])))
	}
}

// TestAutoMeasuresLinksItIsNotGiven once for all layers of a topology, alike on every rank.
func TestAutoMeasuresLinksItIsNotGiven(t *testing.T) {
	cfg := smallConfig()
	cfg.Topology, cfg.Compression.When = alltoall.Nodes(4, 2), CompressAuto
	found := make([]links.Links, 4)
	for rank, err := range onRanks(inprocWorlds(4), func(w *World) error {
		var of [2]links.Links
		for i := range of {
			if _, err := NewLayer(w, cfg); err != nil {
				return err
			}
			for _, links := range w.links {
				of[i] = links
			}
		}
		if len(w.links) != 1 || of[0] != of[1] {
			return fmt.Errorf("%v, then %v", of[0], of[1])
		}
		found[w.Rank()] = of[0]
		return nil
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
	require.Positive(t, found[0].Between.Beta)
	require.Equal(t, []links.Links{found[0], found[0], found[0]}, found[1:])
}

func TestCompressionConfig(t *testing.T) {
	cfg := smallConfig()
	cfg.Compression = Compression{When: 7, LSH: lsh.Config{Rate: 2}}
	err := cfg.Validate(1)
	require.ErrorContains(t, err, "Compression.When is 7, want 0 to 2")
	require.ErrorContains(t, err, "Compression.LSH: lsh: Rate is 2")
	cfg.Compression = Compression{Gradients: alltoall.Format(99)}
	require.ErrorContains(t, cfg.Validate(1), "Config.Compression.Gradients is Format(99), want one of")
	cfg.Compression.Gradients = (*lsh.Codebook)(nil)
	require.ErrorContains(t, cfg.Validate(1), "Config.Compression.Gradients is a nil *lsh.Codebook")
	cfg.Compression = Compression{When: CompressAuto, LSH: lsh.Config{Bucketing: lsh.Joint}}
	require.ErrorContains(t, cfg.Validate(1), "Compression.LSH.Bucketing is Joint with When CompressAuto")
}

// TestRanksMustCompressAlike names the field.
func TestRanksMustCompressAlike(t *testing.T) {
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := smallConfig()
		if w.Rank() == 1 {
			cfg.Compression.When = CompressAlways
		}
		_, err := NewLayer(w, cfg)
		return err
	}) {
		require.ErrorContains(t, err, "Compression={When:")
	}
}

// TestALongTokenTouchesNoOthers: with a token a thousand times as large as the others, those get
// the bits that they get where it is padding.
func TestALongTokenTouchesNoOthers(t *testing.T) {
	const tokens, dim, long = 64, 16, 37
	x, dy := randomMatrix(rand.New(rand.NewPCG(8, 9)), tokens, dim), randomMatrix(rand.New(rand.NewPCG(9, 9)), tokens, dim)
	for j := range dim {
		dy.Data[long*dim+j] = 0
	}
	side := router.Batch{Padding: make([]bool, tokens)}
	side.Padding[long] = true
	for k := range lsh.LearnedChannels + 1 {
		cfg := Config{Dim: dim, Experts: 2, Router: router.TopK{K: 1}, Expert: expert.FFN{Hidden: 8}, Compression: Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.3, Compensation: k}}}
		pass := func(x blas32.General, side router.Batch) (y, dx []float32) {
			forwardAlone(t, cfg, func(l *Layer) {
				out, err := l.ForwardBatch(context.Background(), x, side)
				require.NoError(t, err)
				back, err := l.Backward(context.Background(), dy)
				require.NoError(t, err)
				y, dx = slices.Clone(out.Data), slices.Clone(back.Data)
			})
			return y, dx
		}
		wantY, wantDX := pass(x, side)
		for _, factor := range []float32{1e3, 1e4, 1e15} {
			scaled := blas32.General{Rows: tokens, Cols: dim, Stride: dim, Data: slices.Clone(x.Data)}
			for j := range dim {
				scaled.Data[long*dim+j] *= factor
			}
			y, dx := pass(scaled, router.Batch{})
			for i := range y {
				if i/dim != long {
					neartest.Number(t, float64(wantY[i]), float64(y[i]), productsVary, "%v, factor %v: row %d", k, factor, i/dim)
					neartest.Number(t, float64(wantDX[i]), float64(dx[i]), productsVary, "%v, factor %v: gradient of row %d", k, factor, i/dim)
				}
			}
		}
	}
}
