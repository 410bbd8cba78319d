package gradients_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/gaps"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/parameters"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// gate has parameters, and routes nothing.
type gate struct {
	router.Gate
	params, losses *param.Set
}

func (g *gate) Params() *param.Set     { return g.params }
func (g *gate) LossParams() *param.Set { return g.losses }

// rank is what one rank has for a reducer.
type rank struct {
	me   int
	cfg  gradients.Config
	gate *gate
	last uint64 // number of a pass
	tr   transport.Transport
}

func setOf(n int) *param.Set { return param.NewSet(param.Tensor{Name: "w", Shape: []int{n}}) }

// newRank has a set of each kind. experts is the number of groups of experts.
func newRank(me, experts int) *rank {
	g := &gate{params: setOf(2), losses: setOf(2)}
	k := &rank{me: me, gate: g, cfg: gradients.Config{
		Sets: parameters.Sets{Gate: g.params, Shared: setOf(3), Gains: setOf(1)}, Gate: g,
		MicroBatches: 2, Joined: func(r transport.Rank) transport.Rank { return r + 10 },
	}}
	for range experts {
		k.cfg.Sets.Experts = append(k.cfg.Sets.Experts, setOf(4))
	}
	return k
}

// onRanks runs do on every rank of a world whose copies of the experts have parallel ranks.
func onRanks(t *testing.T, ranks, parallel int, do func(ctx context.Context, k *rank) error) {
	t.Helper()
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errs := make([]error, ranks)
	for me, tr := range inproc.New(ranks) {
		t.Cleanup(func() { _ = tr.Close() })
		wg.Go(func() {
			defer func() {
				if errs[me] != nil { // the others need not wait
					cancel()
				}
			}()
			k := newRank(me, 2)
			k.cfg.ExpertParallel = parallel
			if errs[me] = k.connect(tr); errs[me] == nil {
				errs[me] = errors.New("it has failed a requirement")
				errs[me] = do(ctx, k)
			}
		})
	}
	wg.Wait()
	for me, err := range errs {
		require.NoError(t, err, "rank %d of %d", me, ranks)
	}
}

func (k *rank) connect(tr transport.Transport) error {
	replicas, err := transport.Sub(tr, 1, k.sharing(tr))
	k.tr, k.cfg.World, k.cfg.Replicas = tr, collective.New(tr), collective.New(replicas)
	return err
}

// inGaps has the sums of a connected rank run in gaps, in pieces of a number of bytes.
func (k *rank) inGaps(piece int) (err error) {
	var views [2]transport.Transport
	for i, members := range [][]transport.Rank{allRanks(k.tr), k.sharing(k.tr)} {
		if views[i], err = transport.Sub(k.tr, uint16(2+i), members); err != nil {
			return err
		}
	}
	k.cfg.Gaps = gradients.Gaps{Queue: new(gaps.Queue), Piece: piece, Comms: gradients.Comms{
		World: collective.New(views[0]), Replicas: collective.New(views[1]),
	}}
	return nil
}

func allRanks(tr transport.Transport) (all []transport.Rank) {
	for r := range tr.Size() {
		all = append(all, transport.Rank(r))
	}
	return all
}

// sharing are the ranks that host the experts of this one.
func (k *rank) sharing(tr transport.Transport) (same []transport.Rank) {
	for r := k.me % k.cfg.ExpertParallel; r < tr.Size(); r += k.cfg.ExpertParallel {
		same = append(same, transport.Rank(r))
	}
	return same
}

// batch is a pass of the whole world: the number of tokens of each group of tokens, and the
// gradient of each, of the elements of all sets one after the other.
type batch struct {
	tokens []int
	grads  [][]float32
}

// width is the number of elements of all sets of a rank: gate, losses, shared, gains, experts.
const width = 2 + 2 + 3 + 1 + 4 + 4

func randomBatch(r *rand.Rand, leaves int) batch {
	var b batch
	for range leaves {
		g := make([]float32, width)
		for i := range g {
			g[i] = float32(r.NormFloat64())
		}
		b.tokens, b.grads = append(b.tokens, 1+r.IntN(5)), append(b.grads, g)
	}
	return b
}

// goBack runs the next pass of a reducer, and leaves its gradients for Reduce.
func (k *rank) goBack(r *gradients.Reducer, b batch, ranks, stepTokens int) {
	k.last++
	p := r.Begin(k.last, gradients.Comms{})
	p.Defer(k.enter(&p, b, ranks, stepTokens))
}

// enter enters the part of the batch that comes to this rank of a world of the given size.
func (k *rank) enter(p *gradients.Pass, b batch, ranks, stepTokens int) (of gradients.Batch) {
	p.Do(func() { of = k.enterLeaves(b, ranks, stepTokens) })
	return of
}

func (k *rank) enterLeaves(b batch, ranks, stepTokens int) gradients.Batch {
	p := gradients.Batch{StepTokens: stepTokens}
	for r := range ranks {
		first, end := share(len(b.grads), ranks, r)
		p.Leaves = append(p.Leaves, end-first)
		p.Tokens = append(p.Tokens, mat.Sum(b.tokens[first:end]))
	}
	first, end := share(len(b.grads), ranks, k.me)
	s := k.cfg.Sets
	losses := k.gate.losses
	if stepTokens > 0 {
		losses = nil
	}
	for leaf := first; leaf < end; leaf++ {
		g := b.grads[leaf]
		for _, part := range []struct {
			set  *param.Set
			from []float32
		}{{s.Gate, g[:2]}, {losses, g[2:4]}, {s.Shared, g[4:7]}, {s.Gains, g[7:8]}} {
			if part.set != nil {
				copy(part.set.Grad.Leaf(leaf), part.from)
			}
		}
	}
	parallel := k.cfg.ExpertParallel
	first, _ = share(len(b.grads), ranks, k.me/parallel*parallel)
	_, end = share(len(b.grads), ranks, (k.me/parallel+1)*parallel-1)
	for leaf := first; leaf < end; leaf++ {
		copy(s.Experts[0].Grad.Leaf(leaf), b.grads[leaf][8:12])
		copy(s.Experts[1].Grad.Leaf(leaf), b.grads[leaf][12:16])
	}
	return p
}

func share(n, ranks, r int) (first, end int) { return n * r / ranks, n * (r + 1) / ranks }

// flat is all of v.
func flat(v parameters.Vectors) (list []float32) {
	list = append(append(append(list, v.Gate...), v.Shared...), v.Gains...)
	for _, e := range v.Experts {
		list = append(list, e...)
	}
	return list
}

// reference is the slow sum of passes, in float64: that of the weights is a sum, that of losses a
// mean by tokens, which was scaled as one of two passes.
func reference(passes []batch, stepTokens int) []float64 {
	sum, losses, tokens := make([]float64, width), make([]float64, 2), 0.0
	for _, b := range passes {
		n := float64(mat.Sum(b.tokens))
		tokens += n
		for _, g := range b.grads {
			for i := range g {
				sum[i] += float64(g[i])
			}
			losses[0] += 2 * n * float64(g[2])
			losses[1] += 2 * n * float64(g[3])
		}
	}
	if stepTokens == 0 {
		sum[0] += losses[0] / tokens
		sum[1] += losses[1] / tokens
	}
	return append(sum[:2:2], sum[4:]...)
}

// TestSums of passes are those of a slow reference, and have the same bits on any number of ranks,
// with any number of copies of the experts.
func TestSums(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	passes := []batch{randomBatch(r, 9), randomBatch(r, 4), randomBatch(r, 7)}
	for _, stepTokens := range []int{0, 100} {
		var one []float32
		for _, of := range [][2]int{{1, 1}, {2, 1}, {2, 2}, {4, 2}} {
			got := make([][]float32, of[0])
			onRanks(t, of[0], of[1], func(ctx context.Context, k *rank) error {
				reducer := gradients.New(k.cfg)
				for _, b := range passes {
					k.goBack(reducer, b, of[0], stepTokens)
					if err := reducer.Reduce(ctx); err != nil {
						return err
					}
				}
				got[k.me] = flat(reducer.Sums())
				return nil
			})
			if one == nil {
				one = got[0]
			}
			for rank, g := range got {
				require.Equal(t, one, g, "rank %d of %v", rank, of)
			}
		}
		for i, want := range reference(passes, stepTokens) {
			require.InDelta(t, want, float64(one[i]), 1e-5, "element %d", i)
		}
	}
}

// same returns an error unless two sums have the same bits.
func same(want, got []float32) error {
	for i := range want {
		if want[i] != got[i] {
			return fmt.Errorf("element %d is %v, want %v", i, got[i], want[i])
		}
	}
	return nil
}

// TestDrop forgets what a pass that failed has entered; the passes before it stay.
func TestDrop(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	before, failed, after := randomBatch(r, 4), randomBatch(r, 4), randomBatch(r, 4)
	onRanks(t, 2, 1, func(ctx context.Context, k *rank) error {
		var sums [2][]float32
		for i, fails := range []bool{false, true} {
			reducer := gradients.New(k.cfg)
			k.goBack(reducer, before, 2, 0)
			if err := reducer.Reduce(ctx); err != nil {
				return err
			}
			if fails {
				k.last++
				p := reducer.Begin(k.last, gradients.Comms{})
				k.enter(&p, failed, 2, 0)
				p.End()
				p.End() // does nothing
			}
			k.goBack(reducer, after, 2, 0)
			if err := reducer.ReduceAll(ctx); err != nil {
				return err
			}
			sums[i] = flat(reducer.Sums())
		}
		return same(sums[0], sums[1])
	})
}

// TestLosses are kept apart if the tokens of the step are not known.
func TestLosses(t *testing.T) {
	k := newRank(0, 1)
	reducer := gradients.New(k.cfg)
	require.Same(t, k.gate.losses, reducer.Losses(0))
	require.Nil(t, reducer.Losses(12))
	k.cfg.Gate = struct{ router.Gate }{k.gate} // without LossParams
	require.Nil(t, gradients.New(k.cfg).Losses(0))
}
