package switchyard

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/router/routertest"
)

// saved is the state of a layer on all ranks, by name.
type saved map[string]param.Entry

// add copies what one rank's state has to be written.
func (s saved) add(state *param.State) error {
	for _, e := range state.Entries {
		if !e.Writer {
			continue
		}
		if _, twice := s[e.Name]; twice {
			return fmt.Errorf("%s has two writers", e.Name)
		}
		s[e.Name] = e.Clone()
	}
	return nil
}

// load fills one rank's state, as a checkpoint does.
func (s saved) load(state *param.State) error {
	entries := slices.Clone(state.Entries)
	for name := range s {
		if !slices.ContainsFunc(entries, func(e param.Entry) bool { return e.Name == name }) {
			entries = append(entries, state.Make(name)...)
		}
	}
	for _, e := range entries {
		from, ok := s[e.Name]
		if !ok && e.Local {
			continue
		}
		if !ok || !slices.Equal(from.Shape, e.Shape) {
			return fmt.Errorf("%s of shape %v is missing, or has shape %v", e.Name, e.Shape, from.Shape)
		}
		if err := e.CopyFrom(from); err != nil {
			return err
		}
	}
	return state.Loaded()
}

// differing lists what does not have the same bits in both, what is of one rank alone left out.
func (s saved) differing(other saved) (names []string) {
	for name, e := range s {
		if !e.Local && !reflect.DeepEqual(e.Data, other[name].Data) {
			names = append(names, name)
		}
	}
	for name, e := range other {
		if _, ok := s[name]; !ok && !e.Local {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// resumable trains a layer whose batches depend on the number of the step alone.
type resumable struct {
	cfg       Config
	optimizer func() expert.Optimizer
	inFlight  bool // two micro-batches a step
	discarded bool // passes before the second step, and after the last
	// frozen are the kinds that are frozen in a step; nil leaves that alone.
	frozen func(step int) []param.Kind
}

// train takes the steps first to end on a number of ranks, after loading what was saved, if
// anything. It returns the state after them.
func (j resumable) train(t *testing.T, ranks int, from saved, first, end int) saved {
	t.Helper()
	after := saved{}
	var mu sync.Mutex
	for rank, err := range onRanks(inprocWorlds(ranks), func(w *World) error {
		state, err := j.trainRank(t, w, from, first, end)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		return after.add(state)
	}) {
		require.NoError(t, err, "rank %d of %d", rank, ranks)
	}
	return after
}

func (j resumable) trainRank(t *testing.T, w *World, from saved, first, end int) (*param.State, error) {
	l, err := NewLayer(w, j.cfg)
	if err != nil {
		return nil, err
	}
	through := []forwarder{l}
	if j.inFlight {
		through = append(through, &heldPasses{Layer: l})
	}
	o := j.optimizer()
	if err := j.freeze(t, l, first); err != nil {
		return nil, err
	}
	if from != nil {
		state, err := l.State(o)
		if err != nil {
			return nil, err
		}
		if err := from.load(state); err != nil {
			return nil, err
		}
	}
	passes := func(step int) error {
		for m, of := range through {
			if err := passOf(t, l, of, step, m); err != nil {
				return err
			}
		}
		return nil
	}
	for step := first; step < end; step++ {
		if j.discarded && step == 1 {
			if err := errors.Join(passes(7), l.DiscardGradients()); err != nil {
				return nil, err
			}
		}
		if err := j.freeze(t, l, step); err != nil {
			return nil, err
		}
		if err := passes(step); err != nil {
			return nil, err
		}
		if err := l.Step(t.Context(), o); err != nil {
			return nil, err
		}
	}
	if j.discarded {
		if err := errors.Join(passes(9), l.DiscardGradients()); err != nil {
			return nil, err
		}
	}
	return l.State(o)
}

func (j resumable) freeze(t *testing.T, l *Layer, step int) error {
	if j.frozen == nil {
		return nil
	}
	return l.SetFrozen(t.Context(), j.frozen(step)...)
}

// passOf takes this rank's tokens of a batch forward and back.
func passOf(t *testing.T, l *Layer, through forwarder, step, micro int) error {
	r := rand.New(rand.NewPCG(uint64(step), uint64(micro)))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	side := router.Batch{Micro: micro, Modality: make([]int32, bitsTokens), IDs: make([]int32, bitsTokens), Gate: step % 2}
	features := randomMatrix(r, bitsTokens, 3)
	for i := range bitsTokens {
		side.Modality[i], side.IDs[i] = int32(r.IntN(2)), int32(r.IntN(9))
	}
	groups := (bitsTokens + bitsGroup - 1) / bitsGroup
	cut := func(rank int) int { return min(rank*groups/l.world.Size()*bitsGroup, bitsTokens) }
	begin, end := cut(int(l.world.Rank())), cut(int(l.world.Rank())+1)
	side.Modality, side.IDs, side.Features = side.Modality[begin:end], side.IDs[begin:end], part(features, begin, end)
	if _, err := through.ForwardBatch(t.Context(), part(x, begin, end), side); err != nil {
		return err
	}
	_, err := through.Backward(t.Context(), part(dy, begin, end))
	return err
}

// resumables are layers with everything that a step may change.
func resumables() map[string]Config {
	layer := func(r router.Router) Config {
		return Config{Dim: bitsDim, Experts: 6, Router: r, Expert: expert.SwiGLU{Hidden: 3}, Group: bitsGroup, Seed: 8}
	}
	top := router.TopK{K: 2, Losses: []router.Loss{router.Balance(0.1), router.GlobalBalance(0.1)}}
	sigmoid := router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.01}
	noisy := func(n router.Noise, amount float32) Config {
		return layer(router.NoisyTopK{TopK: router.TopK{K: 2}, Noise: n, Amount: amount})
	}
	shared := layer(top)
	shared.Shared, shared.Overlap.Degree = expert.FFN{Hidden: 5, Activation: expert.GELU}, 3
	wire, auto := layer(top), layer(top)
	wire.Wire = alltoall.Wire{Dispatch: alltoall.Int8, Combine: alltoall.BF16, DispatchBack: alltoall.Int8, CombineBack: alltoall.BF16}
	auto.Overlap.Auto = true
	groups := []router.ModalityGroup{{Name: "a", Experts: 4}, {Name: "b", Experts: 2}}
	return map[string]Config{
		"wire":           wire,
		"overlapAuto":    auto,
		"topK":           layer(top),
		"shared":         shared,
		"switch":         layer(router.Switch{Jitter: 0.1, CapacityFactor: 1}),
		"gshard":         layer(router.GShard{RandomSecond: true, CapacityFactor: 1}),
		"learnedNoise":   noisy(router.LearnedGaussian, 0),
		"gumbel":         noisy(router.Gumbel, 0.5),
		"dropsAtRandom":  layer(router.TopK{K: 2, CapacityFactor: 0.75, Drop: router.AtRandom}),
		"cosine":         layer(router.Cosine{TopK: top, Columns: 4}),
		"groupLimited":   layer(router.GroupLimited{TopK: sigmoid, Groups: 2, Keep: 1}),
		"bias":           layer(sigmoid),
		"quantiles":      layer(router.QuantileBalanced{TopK: router.TopK{K: 2, Score: router.SoftmaxBefore}, Rate: 0.1}),
		"prototypes":     layer(router.Prototypes{K: 2}),
		"sinkhorn":       layer(router.Sinkhorn{K: 2}),
		"base":           layer(router.BASE{}),
		"expertChoice":   layer(router.ExpertChoice{}),
		"wholeBatch":     layer(router.ExpertChoice{Over: router.WholeBatch}),
		"capped":         layer(router.ExpertChoice{CapacityFactor: 1, Cap: 1}),
		"modality":       layer(router.Modality{Groups: groups, Aux: true, AuxCoefficient: 0.3}),
		"hash":           layer(router.Hash{K: 2}),
		"sideFeatures":   layer(router.SideFeatures{TopK: top, Columns: 3}),
		"smoeDropout":    layer(router.SMoEDropout{Schedule: router.Schedule{From: 1, To: 5, Steps: 4}}),
		"uniform":        layer(router.Uniform{K: 2}),
		"zipf":           layer(router.Zipf{K: 2, Exponent: 1}),
		"stochastic":     layer(router.Stochastic{K: 2}),
		"hot":            layer(router.Hot{K: 2, Share: 0.3}),
		"softMoE":        layer(router.SoftMoE{Slots: 2}),
		"several":        layer(router.Several{Routers: []router.Router{sigmoid, router.Cosine{TopK: top, Columns: 4}}}),
		"severalBiases":  layer(router.Several{Routers: []router.Router{sigmoid, sigmoid}}),
		"stateful":       layer(drifting{sigmoid}),
		"withoutExperts": {Dim: bitsDim, Experts: 6, Router: top, Expert: expert.Identity{}, Group: bitsGroup, Seed: 8},
	}
}

// drifting is a router from outside whose gate moves its bias by a mean of the loads so far.
type drifting struct{ router.TopK }

func (r drifting) New(s router.Shape) (router.Gate, error) {
	g, err := r.TopK.New(s)
	if err != nil {
		return nil, err
	}
	return &driftingGate{g.(router.Balancer), make([]float64, s.Experts)}, nil
}

type driftingGate struct {
	router.Balancer
	mean []float64
}

var _ router.Stateful = (*driftingGate)(nil)

func (g *driftingGate) State() []param.Entry {
	return []param.Entry{{Name: "mean", Role: param.Training, Shape: []int{len(g.mean)}, Data: g.mean}}
}

func (g *driftingGate) Rebalance(sum []int64) {
	g.Balancer.Rebalance(sum)
	for e, n := range sum {
		g.mean[e] += float64(0.1 * (float64(n) - g.mean[e]))
		g.Bias()[e] -= float32(g.mean[e] / 256)
	}
}

// TestDriftingGate is a router as any other.
func TestDriftingGate(t *testing.T) {
	routertest.Run(t, func() router.Router { return drifting{router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.01}} })
}

// stateful are optimizers that keep something, and one that does not.
func stateful() map[string]func() expert.Optimizer {
	return map[string]func() expert.Optimizer{
		"adam": func() expert.Optimizer {
			a := expert.NewAdam(0.01)
			a.WeightDecay = 0.1
			return a
		},
		"momentum": func() expert.Optimizer {
			o := expert.NewSGD(0.1)
			o.Momentum = 0.9
			return o
		},
		"sgd": func() expert.Optimizer { return expert.NewSGD(0.1) },
	}
}

// layoutsOf are ways to lay experts over ranks.
func layoutsOf(cfg Config, ranks int) []Config {
	list := []Config{cfg}
	if ranks%2 == 0 {
		copies := cfg
		copies.ExpertParallel = ranks / 2
		list = append(list, copies)
	}
	if ranks == 3 {
		uneven := cfg
		uneven.Hosted = []int{4, 0, 2}
		list = append(list, uneven)
		if _, mixes := cfg.Router.(router.SoftMoE); !mixes {
			uneven.Order = []int{4, 1, 5, 0, 3, 2}
			list = append(list, uneven)
		}
	}
	return list
}

// waysOfPasses are one pass a step, and two in flight; that alone under the race detector.
func waysOfPasses() []bool {
	if raced {
		return []bool{true}
	}
	return []bool{false, true}
}

// TestResumeHasTheBitsOfStraightOn: a layer that takes over the state of others on any number of
// ranks goes on as those would have.
func TestResumeHasTheBitsOfStraightOn(t *testing.T) {
	needExactProducts(t)
	numbers := []int{1, 2, 3, 4, 8}
	every := len(stateful()) // of the routers, in short tests
	if raced {
		every *= 8
	}
	for i, name := range slices.Sorted(maps.Keys(resumables())) {
		for k, optimizer := range slices.Sorted(maps.Keys(stateful())) {
			if testing.Short() && (i+k)%every != 0 {
				continue
			}
			for _, inFlight := range waysOfPasses() {
				j := resumable{cfg: resumables()[name], optimizer: stateful()[optimizer], inFlight: inFlight}
				before := j.train(t, numbers[i%len(numbers)], nil, 0, 2)
				want := j.train(t, numbers[(i+1)%len(numbers)], nil, 0, 4)
				require.NotEmpty(t, want.differing(before))
				for n, ranks := range numbers {
					if testing.Short() && n != (i+2)%len(numbers) && n != (i+3)%len(numbers) {
						continue
					}
					for _, cfg := range layoutsOf(j.cfg, ranks) {
						got := resumable{cfg: cfg, optimizer: j.optimizer, inFlight: inFlight}.train(t, ranks, before, 2, 4)
						require.Empty(t, want.differing(got), "%s, %s, in flight %t, %d ranks, parallel %d, hosted %v",
							name, optimizer, inFlight, ranks, cfg.ExpertParallel, cfg.Hosted)
					}
				}
			}
		}
	}
}

// TestADiscardedStepLeavesTheState as it was, whatever the gate keeps, and the next step has the
// bits that it would have had.
func TestADiscardedStepLeavesTheState(t *testing.T) {
	needExactProducts(t)
	for _, name := range fewer([]string{"bias", "quantiles", "severalBiases", "stateful", "shared"}, "severalBiases", "stateful") {
		j := resumable{cfg: resumables()[name], optimizer: stateful()["adam"], inFlight: true}
		for _, steps := range []int{0, 1} {
			want := j.train(t, 2, nil, 0, 2+steps)
			j.discarded = true
			require.Empty(t, want.differing(j.train(t, 2, nil, 0, 2+steps)), "%s, %d steps later", name, steps)
			j.discarded = false
		}
	}
}

// TestResumeOfFrozenParameters: they freeze in the second step, the job stops in the third, and
// after the fourth they thaw; or they are frozen from the start. A load makes what the optimizer
// held, and no more.
func TestResumeOfFrozenParameters(t *testing.T) {
	needExactProducts(t)
	for name, begin := range map[string]int{"later": 1, "from the start": 0} {
		for optimizer, of := range stateful() {
			if raced && optimizer != "adam" {
				continue
			}
			j := resumable{cfg: resumables()["shared"], optimizer: of, inFlight: true}
			j.frozen = func(step int) []param.Kind {
				if step < begin || step > 3 {
					return nil
				}
				return []param.Kind{param.Gate, param.Expert}
			}
			before := j.train(t, 2, nil, 0, 3)
			held := slices.ContainsFunc(slices.Collect(maps.Keys(before)), func(name string) bool {
				return strings.HasPrefix(name, "optimizer.experts.")
			})
			require.Equal(t, begin > 0 && optimizer != "sgd", held)
			for _, end := range []int{3, 4, 5} {
				want := j.train(t, 1, nil, 0, end)
				require.Empty(t, want.differing(j.train(t, 3, before, 3, end)), "%s, %s, to step %d", name, optimizer, end)
			}
		}
	}
}

// compressions are layers that compress, whose bits are those of one layout.
func compressions() map[string]Compression {
	return map[string]Compression{
		"controlled":   {When: CompressAlways, LSH: lsh.Config{Rate: 0.4, Seed: 1, Bucketing: lsh.Controlled}},
		"learnedGains": {When: CompressAlways, LSH: lsh.Config{Rate: 0.4, Seed: 1, Compensation: lsh.LearnedGain}},
		"channels":     {When: CompressAlways, LSH: lsh.Config{Rate: 0.4, Seed: 1, Bucketing: lsh.Controlled, Compensation: lsh.LearnedChannels}},
		"nodes":        {When: CompressAlways, Nodes: true, LSH: lsh.Config{Rate: 0.4, Seed: 1, Bucketing: lsh.Controlled}},
		"window":       {When: CompressAlways, From: 1, Until: 3, LSH: lsh.Config{Rate: 0.4, Seed: 1}},
		"bounded":      {When: CompressAlways, MaxError: 1e-6, LSH: lsh.Config{Rate: 0.4, Seed: 1}},
		"annealed":     {When: CompressAlways, Rates: lsh.Rates{{Step: 0, Rate: 0.2}, {Step: 3, Rate: 0.8}}, LSH: lsh.Config{Seed: 1}},
	}
}

// TestResumeOfACompressedLayer has the bits of straight on, on the same layout; on another it goes
// on too.
func TestResumeOfACompressedLayer(t *testing.T) {
	if testing.Short() {
		t.Skip("trains for long")
	}
	needExactProducts(t)
	for name, c := range compressions() {
		for _, inFlight := range waysOfPasses() {
			j := resumable{cfg: resumables()["topK"], optimizer: stateful()["adam"], inFlight: inFlight}
			j.cfg.Compression = c
			j.cfg.Topology = alltoall.Topology{Node: []int{0, 0, 1}}
			before := j.train(t, 3, nil, 0, 2)
			want := j.train(t, 3, nil, 0, 4)
			require.Empty(t, want.differing(j.train(t, 3, before, 2, 4)), "%s, in flight %t", name, inFlight)
			j.cfg.Topology = alltoall.Topology{}
			j.train(t, 2, before, 2, 4)
		}
	}
}
