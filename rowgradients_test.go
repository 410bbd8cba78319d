package switchyard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// slowRows is the slow compressed layer of several ranks, each of which has tokens up to one of
// cuts, in which experts are linear around each centroid: the row of a token that moves away from
// where it is held has the answer that it is restored to and, as a second part, what the expert
// answers to as much movement of the centroid.
type slowRows struct {
	slowCompressed
	cuts []int
}

// loss is Σ y·dy of tokens x whose clusters are those of held.
func (s *slowRows) loss(x, held, dy []float64, chosen [][]int) (loss float64, y []float64) {
	y = make([]float64, len(x))
	begin := 0
	for _, end := range s.cuts {
		for e := range s.experts {
			var tokens []int
			for t := begin; t < end; t++ {
				if slices.Contains(chosen[t], e) {
					tokens = append(tokens, t)
				}
			}
			for k := range s.clusters {
				var members []int
				for i := k; i < len(tokens); i += s.clusters {
					members = append(members, tokens[i])
				}
				if len(members) > 0 {
					s.move(x, held, y, chosen, e, members)
				}
			}
		}
		begin = end
	}
	for i := range y {
		loss += y[i] * dy[i]
	}
	return loss, y
}

// move adds expert e's answers to tokens that travel as one.
func (s *slowRows) move(x, held, y []float64, chosen [][]int, e int, members []int) {
	one := *s
	one.gate = make([]float64, len(s.gate)) // weight 1
	restored := make([]float64, len(y))
	one.cluster(held, restored, one.alone(len(chosen), e), e, members)
	mean := make([]float64, s.dim)
	for _, t := range members {
		for j := range mean {
			mean[j] += held[t*s.dim+j] / float64(len(members))
		}
	}
	at := one.token(mean, []int{e})
	for _, t := range members {
		moved := slices.Clone(mean)
		for j := range moved {
			moved[j] += x[t*s.dim+j] - held[t*s.dim+j]
		}
		there, w := one.token(moved, []int{e}), s.weight(x[t*s.dim:(t+1)*s.dim], chosen[t], e)
		for j := range mean {
			y[t*s.dim+j] += w * (restored[t*s.dim+j] + there[j] - at[j])
		}
	}
}

// alone chooses one expert for all tokens, whose weight is then 1.
func (s *slowRows) alone(tokens, e int) [][]int {
	return slices.Repeat([][]int{{e}}, tokens)
}

// TestRowGradientsAgainstSlowReference compares outputs, and every gradient with central
// differences, on several ranks: those of rows at the Jacobian of their centroid, and those of
// parameters for clusters that are held.
func TestRowGradientsAgainstSlowReference(t *testing.T) {
	const tokens, dim, hidden, experts, clusters = 14, 6, 5, 3, 2
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	x, dy := randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim)
	for _, c := range []lsh.Config{{Compensation: lsh.Identity}, {Compensation: lsh.None}, {Compensation: lsh.LearnedGain, Gain: 0.3}} {
		for _, cuts := range [][]int{{tokens}, {8, tokens}, {0, 8, 8, tokens}} {
			cfg := Config{Dim: dim, Experts: experts, Group: 4, Seed: seed, Expert: expert.SwiGLU{Hidden: hidden}, Router: router.TopK{K: slowK},
				Wire:        alltoall.Everywhere(alltoall.Float32),
				Compression: Compression{When: CompressAlways, LSH: c, Assign: roundRobin(clusters), Gradients: alltoall.Float32}}
			parameters, got := oneStep(t, cfg, x, dy, cuts)
			slow := &slowRows{slowCompressed{slowLayer: slowLayer{dim: dim, hidden: hidden, experts: experts}, clusters: clusters, gain: []float64{1, 1, 1}}, cuts}
			if c.Compensation == lsh.None {
				slow.gain = []float64{0, 0, 0}
			}
			values := map[string]*[]float64{"gate": &slow.gate, "w_gate": &slow.wGate, "w_up": &slow.wUp, "w_down": &slow.wDown, "compression.gain": &slow.gain}
			for _, p := range parameters {
				*values[shortName(p.Name)] = widen(p.Data)
			}
			wide, held, wideDY := widen(x.Data), widen(x.Data), widen(dy.Data)
			var chosen [][]int
			for i := range tokens {
				chosen = append(chosen, slow.choose(slow.logits(wide[i*dim:(i+1)*dim])))
			}
			_, want := slow.loss(wide, held, wideDY, chosen)
			requireClose(t, seed, "y", want, got.y)
			difference := func(v []float64) []float64 {
				return centralDifferences(v, func() float64 { l, _ := slow.loss(wide, held, wideDY, chosen); return l })
			}
			requireClose(t, seed, fmt.Sprintf("dx of %v on %d ranks", c.Compensation, len(cuts)), difference(wide), got.dx)
			for _, g := range got.gradients {
				requireClose(t, seed, g.Name, difference(*values[shortName(g.Name)]), g.Data)
			}
		}
	}
}

// oneStep returns the parameters of a layer, and what one pass there and back makes of x and dy.
func oneStep(t *testing.T, cfg Config, x, dy blas32.General, cuts []int) (parameters []Tensor, res result) {
	t.Helper()
	res.y, res.dx = make([]float32, len(x.Data)), make([]float32, len(x.Data))
	var mu sync.Mutex
	for r, err := range onRanks(inprocWorlds(len(cuts)), func(w *World) error {
		begin, ctx := 0, context.Background()
		if w.Rank() > 0 {
			begin = cuts[w.Rank()-1]
		}
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		all, err := l.Parameters(ctx)
		if err != nil {
			return err
		}
		y, err := l.Forward(ctx, part(x, begin, cuts[w.Rank()]))
		if err != nil {
			return err
		}
		dx, err := l.Backward(ctx, part(dy, begin, cuts[w.Rank()]))
		if err != nil {
			return err
		}
		gradients, err := l.Gradients(ctx)
		mu.Lock()
		defer mu.Unlock()
		copy(res.y[begin*x.Cols:], y.Data)
		copy(res.dx[begin*x.Cols:], dx.Data)
		parameters, res.gradients = all, gradients
		return err
	}) {
		require.NoError(t, err, "rank %d", r)
	}
	return parameters, res
}

// TestRowGradientsDependOnCentroidsAlone, not on how answers are restored from theirs.
func TestRowGradientsDependOnCentroidsAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["oneExpertForAll"]
	var want []float32
	for _, how := range []lsh.Compensation{lsh.None, lsh.Identity, lsh.LearnedChannels, lsh.Interpolate} {
		cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Compensation: how}, Assign: roundRobin(5)}
		_, got := oneStep(t, cfg, x, dy, cutsOf(splits[3][0]))
		if want == nil {
			want = got.dx
		}
		sameBits(t, how.String(), want, got.dx)
	}
}

// TestRowGradientsHaveTheSameBits however exchanges are cut and whichever way they go, by ranks
// that have no tokens too, and with clusters of a node's rows.
func TestRowGradientsHaveTheSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	for _, nodes := range []bool{false, true} {
		for _, split := range splits[4] {
			cfg := layersUnderTest()["dropless"]
			cfg.Topology, cfg.Compression = alltoall.Nodes(4, 2), Compression{When: CompressAlways, Nodes: nodes, LSH: lsh.Config{Rate: 0.4}}
			want := trainTwice(t, inprocWorlds(4), cfg, x, dy, cutsOf(split))
			for _, degree := range []int{2, 4} { // by experts and by ranks
				cut := cfg
				cut.Overlap.Degree = degree
				requireSameBits(t, want, trainTwice(t, inprocWorlds(4), cut, x, dy, cutsOf(split)))
			}
			for _, a := range fewer(alltoall.Algorithms(), alltoall.Bruck, alltoall.Rails) {
				other := cfg
				other.Algorithm, other.Overlap.Degree = a, 2
				requireSameBits(t, want, trainTwice(t, inprocWorlds(4), other, x, dy, cutsOf(split)))
			}
		}
	}
}

// TestFormatsOfRowGradients: fewer bits make other gradients of tokens, near those of float32, and
// the same of parameters.
func TestFormatsOfRowGradients(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x, dy := randomMatrix(r, 200, 64), randomMatrix(r, 200, 64)
	gradients := func(c alltoall.Codec) result {
		_, got := oneStep(t, Config{
			Dim: 64, Experts: 3, Group: PerRank, Router: router.Forced{Route: func(t int) []router.ExpertID { return []router.ExpertID{router.ExpertID(t % 3)} }}, Expert: expert.FFN{Hidden: 32, Activation: expert.GELU},
			Compression: Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.3}, Gradients: c},
		}, x, dy, []int{120, 200})
		return got
	}
	want, fallback := gradients(alltoall.Float32), gradients(nil)
	off, all := 0.0, 0.0
	for i, v := range want.dx {
		d := float64(v - fallback.dx[i])
		off, all = off+d*d, all+float64(v)*float64(v)
	}
	require.InDelta(t, 0.13, math.Sqrt(off/all), 0.04, "0.095 there, and again back")
	require.Equal(t, fallback.dx, gradients(alltoall.NVFP4H).dx)
	for i, g := range want.gradients {
		sameBits(t, g.Name, g.Data, fallback.gradients[i].Data)
	}
}

// TestRowGradientsThatAFormatMakesInfinite are the fault of the rank that sends them, under
// Wire.Finite, and the next batch is run.
func TestRowGradientsThatAFormatMakesInfinite(t *testing.T) {
	cfg := smallConfig()
	cfg.Wire.Finite = true
	cfg.Compression = Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.5}, Gradients: alltoall.FP16}
	for r, err := range onRanks(inprocWorlds(3), func(w *World) error {
		l, err := NewLayer(w, cfg)
		if err != nil {
			return err
		}
		for _, scale := range []float32{1e7, 1} {
			x, dy := randomMatrix(rand.New(rand.NewPCG(3, uint64(w.Rank()))), 4, cfg.Dim), blas32.General{}
			dy = randomMatrix(rand.New(rand.NewPCG(4, 1)), 4, cfg.Dim)
			if _, err := l.Forward(t.Context(), x); err != nil {
				return err
			}
			if w.Rank() == 2 {
				for i := range dy.Data {
					dy.Data[i] *= scale
				}
			}
			_, err := l.Backward(t.Context(), dy)
			if scale == 1 {
				return err
			}
			if !errors.Is(err, alltoall.ErrNotFinite) || transport.CulpritOf(err) != 2 || !strings.Contains(err.Error(), "gradients of all rows' answers that it sent") {
				return fmt.Errorf("the error is %w", err)
			}
		}
		return nil
	}) {
		require.NoError(t, err, "rank %d", r)
	}
}

// TestExpertsWithoutRowGradients are an error on every rank, which says what to set; with
// ClusterGradients they train.
func TestExpertsWithoutRowGradients(t *testing.T) {
	cfg := Config{Dim: 3, Experts: 2, Group: PerRank, Router: router.TopK{K: 1}, Expert: exponential{}, Compression: Compression{When: CompressAlways}}
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		_, err := NewLayer(w, cfg)
		return err
	}) {
		require.ErrorContains(t, err, "switchyard.exponential takes no gradients of other rows (it is no expert.RowGradients)")
		require.ErrorContains(t, err, "Config.Compression.ClusterGradients")
	}
	cfg.Compression.ClusterGradients = true
	oneStep(t, cfg, randomMatrix(rand.New(rand.NewPCG(1, 2)), 9, 3), randomMatrix(rand.New(rand.NewPCG(3, 4)), 9, 3), []int{4, 9})
}

// TestBytesOfRowGradients count all four legs: those of centroids in the formats of Wire, and those
// of all rows' gradients.
func TestBytesOfRowGradients(t *testing.T) {
	const dim, tokens = 64, 400
	x := randomMatrix(rand.New(rand.NewPCG(1, 2)), tokens, dim)
	for name, c := range map[string]struct {
		compression Compression
		wire        alltoall.Wire
		centroid    int // bytes on all legs
		row         int
	}{
		"default":   {Compression{}, alltoall.Wire{}, 3 * 2 * dim, 2*alltoall.NVFP4H.Bytes(dim) + 3},
		"fp8":       {Compression{Gradients: alltoall.MXFP4}, alltoall.Everywhere(alltoall.FP8), 3 * alltoall.FP8.Bytes(dim), 2*alltoall.MXFP4.Bytes(dim) + 3},
		"centroids": {Compression{ClusterGradients: true}, alltoall.Wire{}, 4 * 2 * dim, 0},
	} {
		how := c.compression
		how.When, how.LSH = CompressAlways, lsh.Config{Rate: 0.25}
		cfg := Config{Dim: dim, Experts: 4, Group: PerRank, Router: router.TopK{K: 2}, Expert: expert.FFN{Hidden: 8}, Compression: how, Wire: c.wire}
		for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			sent := w.WireBytes()
			mine := part(x, int(w.Rank())*tokens/2, int(w.Rank()+1)*tokens/2)
			if _, err := l.Forward(t.Context(), mine); err != nil {
				return err
			}
			s := l.Stats().Compression
			rows := s.BytesBefore / (4 * dim)
			centroids := (4*s.BytesAfter - rows*c.row) / c.centroid
			if math.Abs(0.25*float64(rows)-float64(centroids)) > 8 {
				return fmt.Errorf("%s: %d bytes of %d rows are of %d centroids", name, s.BytesAfter, rows, centroids)
			}
			if _, err := l.Backward(t.Context(), mine); err != nil {
				return err
			}
			// Dispatches of this rank, and the answers to the other, which has about as many rows.
			if got, want := float64(w.WireBytes()-sent), float64(4*s.BytesAfter); got < 0.8*want || got > 1.25*want {
				return fmt.Errorf("%s: %v bytes were sent, want about %v", name, got, want)
			}
			return nil
		}) {
			require.NoError(t, err)
		}
	}
}
