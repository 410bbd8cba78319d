package routing_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	dim     = 3
	experts = 4
)

// errDispatch stands for what a dispatch says that another rank has aborted.
var errDispatch = errors.New("aborted in the dispatch")

// rank is one rank's stage, and what it has done in place of a dispatch.
type rank struct {
	*routing.Stage
	gate            router.Gate
	comm            *collective.Comm
	aborts, awaited int
}

// Abort and AwaitAbort make it the dispatch of its passes.
func (r *rank) Abort(context.Context) error      { r.aborts++; return nil }
func (r *rank) AwaitAbort(context.Context) error { r.awaited++; return errDispatch }

// route is the stage's Route with the ranks of r.
func (r *rank) route(ctx context.Context, t *batch.Tokens, gather bool) (routing.Result, error) {
	return r.Route(ctx, routing.Ranks{Comm: r.comm, Dispatch: r}, t, gather)
}

// onRanks runs do on a number of ranks in a number of replicas, and returns their errors. Errors
// name rank r as r+10.
func onRanks(t *testing.T, ranks, replicas int, r router.Router, do func(me int, s *rank) error) []error {
	t.Helper()
	return ranktest.Errors(t, ranks, func(tr transport.Transport) error {
		gate, err := r.New(router.Shape{Dim: dim, Experts: experts, Seed: 1})
		if err != nil {
			return err
		}
		s := &rank{gate: gate, comm: collective.New(tr)}
		s.Stage = routing.New(routing.Config{Gate: gate, Experts: experts, Comm: s.comm, Replicas: replicas, Joined: ranktest.Joined})
		return do(int(tr.Rank()), s)
	})
}

// tokens are n tokens of a rank in groups of two, the first of which is padding.
func tokens(t *testing.T, me, n int) *batch.Tokens {
	t.Helper()
	r := rand.New(rand.NewPCG(5, uint64(me)))
	x := mat.Resize(blas32.General{}, n, dim)
	for i := range x.Data {
		x.Data[i] = float32(r.NormFloat64())
	}
	info := router.Batch{Padding: make([]bool, n)}
	if n > 0 {
		info.Padding[0] = true
	}
	b, err := batch.New(batch.Shape{Dim: dim, Experts: experts, Group: 2, Train: true}, new(batch.Pool), x, info)
	require.NoError(t, err)
	return &b
}

// spoil makes a token of b one that cannot be routed.
func spoil(b *batch.Tokens) { b.X.Data[b.X.Stride+1] = float32(math.Inf(1)) }

// TestRouteGathersBatchInfo if the experts have replicas, or the caller asks for it; else nothing
// is sent, and the dispatch will tell.
func TestRouteGathersBatchInfo(t *testing.T) {
	for _, c := range []struct {
		replicas int
		gather   bool
		gathers  bool
	}{{1, false, false}, {1, true, true}, {2, false, true}, {4, false, true}} {
		ranktest.Succeed(t, onRanks(t, 4, c.replicas, router.TopK{K: 2}, func(me int, s *rank) error {
			b := tokens(t, me, 2*me)
			r, err := s.route(t.Context(), b, c.gather)
			if err != nil {
				return err
			}
			parallel := 4 / c.replicas
			want := batch.Global{First: me / parallel * parallel}
			if c.gathers {
				want.Tokens, want.Leaves = []int{0, 1, 3, 5}, []int{0, 1, 2, 3}
			}
			require.Equal(t, want, r.Global)
			decision, err := s.gate.Route(b.X, b.Info)
			require.Equal(t, decision.Assignment, r.Decision.Assignment)
			return err
		}))
	}
}

// TestATokenThatCannotBeRoutedFailsAllRanks: the rank itself says why, and the others name it.
func TestATokenThatCannotBeRoutedFailsAllRanks(t *testing.T) {
	for name, r := range map[string]router.Router{
		"alone": router.TopK{K: 1}, "consulting": router.ExpertChoice{Over: router.WholeBatch},
	} {
		for _, gather := range []bool{false, true} {
			aborts, awaited := make([]int, 3), make([]int, 3)
			errs := onRanks(t, 3, 1, r, func(me int, s *rank) error {
				b := tokens(t, me, 4)
				if me == 1 {
					spoil(b)
				}
				_, err := s.route(t.Context(), b, gather)
				aborts[me], awaited[me] = s.aborts, s.awaited
				return err
			})
			require.ErrorIs(t, errs[1], alltoall.ErrRefused, name)
			require.ErrorIs(t, errs[1], alltoall.ErrNotFinite, name)
			require.ErrorContains(t, errs[1], "rank 11: route: ")
			require.ErrorContains(t, errs[1], "token 1, column 1 of x is +Inf")
			switch {
			case gather:
				for _, me := range []int{0, 2} {
					require.ErrorIs(t, errs[me], alltoall.ErrRefused, name)
					require.Equal(t, transport.Rank(11), transport.CulpritOf(errs[me]), name)
				}
				require.Equal(t, [][]int{{0, 0, 0}, {0, 0, 0}}, [][]int{aborts, awaited}, name)
			case name == "consulting":
				require.ErrorIs(t, errs[0], errDispatch)
				require.Equal(t, [][]int{{0, 1, 0}, {1, 0, 1}}, [][]int{aborts, awaited})
			default: // the dispatch that follows will tell the others
				require.Equal(t, []error{nil, nil}, []error{errs[0], errs[2]})
				require.Equal(t, [][]int{{0, 1, 0}, {0, 0, 0}}, [][]int{aborts, awaited})
			}
		}
	}
}

// broken is a dispatch whose messages do not arrive.
type broken struct{}

var errGone = errors.New("the others are gone")

func (broken) Abort(context.Context) error      { return errGone }
func (broken) AwaitAbort(context.Context) error { return errGone }

// TestAnAbortThatDoesNotArriveIsNoRefusal: the others cannot have heard of it.
func TestAnAbortThatDoesNotArriveIsNoRefusal(t *testing.T) {
	gate, err := router.TopK{K: 1}.New(router.Shape{Dim: dim, Experts: experts})
	require.NoError(t, err)
	tr := inproc.New(1)[0]
	defer func() { require.NoError(t, tr.Close()) }()
	comm := collective.New(tr)
	s := routing.New(routing.Config{
		Gate: gate, Experts: experts, Comm: comm, Replicas: 1,
		Joined: func(r transport.Rank) transport.Rank { return r },
	})
	b := tokens(t, 0, 2)
	spoil(b)
	_, err = s.Route(t.Context(), routing.Ranks{Comm: comm, Dispatch: broken{}}, b, false)
	require.ErrorIs(t, err, errGone)
	require.ErrorIs(t, err, alltoall.ErrNotFinite)
	require.NotErrorIs(t, err, alltoall.ErrRefused)
}

// TestConsultingDecidesAsOneRankWould with all tokens, whatever the number of ranks.
func TestConsultingDecidesAsOneRankWould(t *testing.T) {
	const all = 12
	choose := func(ranks int) []int {
		var mu sync.Mutex
		var taken []int // expert·all + token
		ranktest.Succeed(t, onRanks(t, ranks, 1, router.ExpertChoice{Over: router.WholeBatch}, func(me int, s *rank) error {
			b := tokens(t, 0, all)
			begin, end := me*all/ranks, (me+1)*all/ranks
			b.X, b.Info.Padding, b.Info.Ends = mat.Rows(b.X, begin, end), nil, []int{end - begin}
			r, err := s.route(t.Context(), b, false)
			if err != nil {
				return err
			}
			require.Positive(t, r.Rounds)
			mu.Lock()
			defer mu.Unlock()
			for e := range experts {
				first, last := r.Decision.Of(router.ExpertID(e))
				for _, token := range r.Decision.Token[first:last] {
					taken = append(taken, e*all+begin+int(token))
				}
			}
			return nil
		}))
		slices.Sort(taken)
		return taken
	}
	want := choose(1)
	require.NotEmpty(t, want)
	for _, ranks := range []int{2, 3, 4} {
		require.Equal(t, want, choose(ranks), "%d ranks", ranks)
	}
}

// fixed is a gate with one decision.
type fixed struct {
	router.Gate
	d *router.Decision
}

func (f fixed) New(router.Shape) (router.Gate, error)                            { return f, nil }
func (f fixed) Route(blas32.General, router.Batch) (*router.Decision, error)     { return f.d, nil }
func (f fixed) Slots() int                                                       { return 2 }
func (f fixed) Backward(*router.Decision, blas32.General, router.Gradient) error { return nil }

// TestADecisionThatIsWrong fails the batch before rows are moved by it.
func TestADecisionThatIsWrong(t *testing.T) {
	good := func() *router.Decision {
		return &router.Decision{Assignment: router.Assignment{
			Tokens: 4, Experts: experts, Ends: []int{1, 3, 3, 3}, Token: []int32{1, 2, 3}, Weight: []float32{1, 1, 1},
		}}
	}
	mixture := &router.Mixture{Slots: 1, Ends: []int{2, 4}, Empty: make([]bool, 2)}
	for _, c := range []struct {
		change func(d *router.Decision) *router.Decision
		want   string
	}{
		{func(*router.Decision) *router.Decision { return nil }, "the gate made no decision"},
		{func(d *router.Decision) *router.Decision { d.Tokens = 3; return d }, "is of 3 tokens and 4 experts, want 4 and 4"},
		{func(d *router.Decision) *router.Decision { d.Weight[1] = float32(math.NaN()); return d }, "a weight of the gate's decision"},
		{func(d *router.Decision) *router.Decision { d.Token[0] = 9; return d }, "the gate's decision: "},
		{func(d *router.Decision) *router.Decision { d.Mixture = &router.Mixture{}; return d }, "mixture has 0 slots"},
		{func(d *router.Decision) *router.Decision { d.Mixture = mixture; return d }, "the gate's mixture: "},
	} {
		errs := onRanks(t, 1, 1, fixed{d: c.change(good())}, func(me int, s *rank) error {
			_, err := s.route(t.Context(), tokens(t, me, 4), false)
			return err
		})
		require.ErrorIs(t, errs[0], alltoall.ErrRefused)
		require.ErrorContains(t, errs[0], c.want)
	}
}

// TestResultCounts rows by expert and token group, and tokens that no expert answers.
func TestResultCounts(t *testing.T) {
	b := tokens(t, 0, 5)
	r := routing.Result{Decision: &router.Decision{Assignment: router.Assignment{
		Tokens: 5, Experts: 2, Ends: []int{2, 3}, Token: []int32{1, 2, 2},
	}}}
	want := alltoall.Counts{Tokens: 5, Padding: 1, Leaves: 3, Rows: []int{1, 1, 0, 0, 1, 0}}
	require.Equal(t, want, r.Counts(b))
	require.Same(t, &r.Counts(b).Rows[0], &r.Counts(b).Rows[0], "they are counted once")
	require.Equal(t, 2, r.Unanswered(b), "tokens 3 and 4")
	r.Decision.Mixture = &router.Mixture{}
	require.Zero(t, r.Unanswered(b), "each token is in all mixtures")
}

func TestSlots(t *testing.T) {
	require.Equal(t, 2, routing.Slots(fixed{}))
	gate, err := router.TopK{K: 1}.New(router.Shape{Dim: dim, Experts: experts})
	require.NoError(t, err)
	require.Zero(t, routing.Slots(gate))
}

// counting is a gate with a loss over the global batch.
type counting struct {
	fixed
	set *[]int // counts and then the number of tokens, as last set
}

func (c counting) New(router.Shape) (router.Gate, error) { return c, nil }
func (counting) WantsCounts() bool                       { return true }
func (c counting) SetCounts(_ *router.Decision, counts []int, tokens int) {
	*c.set = append(slices.Clone(counts), tokens)
}

// passesBefore is a number of passes before one: two of 50 tokens each, and then others.
type passesBefore int

func (n passesBefore) Before() int { return int(n) }

func (passesBefore) Earlier(n int) (choices []int, tokens int) {
	return []int{5 * n, 10 * n}, 50 * n
}

// TestShareCounts adds up the choices of all ranks and of the passes before.
func TestShareCounts(t *testing.T) {
	var sets [3][]int
	ranktest.Succeed(t, onRanks(t, 3, 1, router.TopK{K: 1}, func(me int, plain *rank) error {
		s, with := routing.New(routing.Config{Gate: counting{set: &sets[me]}, Comm: plain.comm}), routing.Ranks{Comm: plain.comm}
		r := routing.Result{
			Decision: &router.Decision{Counts: []int{me, 1}}, Global: batch.Global{Tokens: []int{4, 5, 6}},
		}
		if err := s.ShareCounts(t.Context(), with, &r, nil, false); err != nil {
			return err
		}
		require.Equal(t, []int{3, 3, 15}, sets[me], "nothing came before")
		require.Equal(t, []int{3, 3}, r.Counted)
		if err := s.ShareCounts(t.Context(), with, &r, passesBefore(2), false); err != nil {
			return err
		}
		require.Equal(t, []int{13, 23, 115}, sets[me])
		require.Equal(t, []int{3, 3}, r.Counted, "this pass alone")
		err := s.ShareCounts(t.Context(), with, &r, passesBefore(2+me), true)
		require.Equal(t, []int{13, 23, 115}, sets[me], "rank 0 knows of two")
		none := routing.Result{Decision: r.Decision}
		require.NoError(t, plain.ShareCounts(t.Context(), with, &none, nil, true))
		require.Nil(t, none.Counted, "this gate has no such loss")
		return err
	}))
}

// balanced is a gate with a bias.
type balanced struct {
	fixed
	tally []int64
	moved *[]int64
}

func (b balanced) Bias() []float32       { return nil }
func (b balanced) Tally() []int64        { return b.tally }
func (b balanced) Rebalance(sum []int64) { *b.moved = slices.Clone(sum) }

// TestUpdateBias goes by the load of all ranks, and leaves the tally as it is.
func TestUpdateBias(t *testing.T) {
	ranktest.Succeed(t, onRanks(t, 2, 1, router.TopK{K: 1}, func(me int, plain *rank) error {
		var moved []int64
		of := func(tally []int64) *routing.Stage {
			return routing.New(routing.Config{Gate: balanced{tally: tally, moved: &moved}, Comm: plain.comm})
		}
		tally := []int64{1, int64(me)}
		if err := of(tally).UpdateBias(t.Context()); err != nil {
			return err
		}
		require.Equal(t, []int64{2, 1}, moved)
		require.Equal(t, []int64{1, int64(me)}, tally)
		moved = nil
		require.NoError(t, of(nil).UpdateBias(t.Context()))
		require.Nil(t, moved)
		of(tally).DropTally()
		require.Equal(t, tally, moved)
		return plain.UpdateBias(t.Context())
	}))
}

// gradientGate is a gate that notes the gradient that it is given.
type gradientGate struct {
	fixed
	got *router.Gradient
	err error
}

func (g gradientGate) Backward(_ *router.Decision, _ blas32.General, from router.Gradient) error {
	*g.got = from
	return g.err
}

// TestBackward says which leaves the rank's token groups are, and how much their losses count.
func TestBackward(t *testing.T) {
	ranktest.Succeed(t, onRanks(t, 2, 1, router.TopK{K: 1}, func(me int, plain *rank) error {
		var got router.Gradient
		s := routing.New(routing.Config{Gate: gradientGate{got: &got}, Comm: plain.comm, Passes: 2})
		r := routing.Result{Global: batch.Global{Tokens: []int{3, 5}, Leaves: []int{2, 3}}}
		if err := s.Backward(tokens(t, me, 4), &r, router.Gradient{Weights: []float32{9}}); err != nil {
			return err
		}
		require.Equal(t, router.Gradient{
			Weights: []float32{9}, LossScale: []float32{1. / 16, 2. / 16}, FirstLeaf: 2 * me,
		}, got)
		why := errors.New("no saved state")
		failing := routing.New(routing.Config{Gate: gradientGate{got: &got, err: why}, Comm: plain.comm, Passes: 1})
		err := failing.Backward(tokens(t, me, 4), &r, router.Gradient{})
		require.ErrorIs(t, err, why)
		require.ErrorContains(t, err, "switchyard: gradient of the gate: ")
		return nil
	}))
}
