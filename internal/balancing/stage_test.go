package balancing

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/ranktest"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	dim       = 3
	hidden    = 2
	all       = 5  // experts
	leaves    = 11 // of the exchange
	firstLeaf = 4
	numbers   = 3 * dim * hidden
)

// node is one rank of a test.
type node struct {
	stage   *Stage
	experts *experts.Stage
	rank    int
}

// nodeOf makes the stage of a rank.
func nodeOf(tr transport.Transport, of expert.Expert) (*node, error) {
	place := alltoall.Even(all, tr.Size())
	first, end := place.Of(int(tr.Rank()))
	hosted, err := experts.New(experts.Config{
		Expert: of, Shape: expert.Shape{Dim: dim, First: first, Count: end - first, Seed: 5}, Chunks: 2,
	})
	if err != nil {
		return nil, err
	}
	stage, err := New(Config{View: tr, Placement: place, Experts: hosted, Slots: 1})
	return &node{stage: stage, experts: hosted, rank: int(tr.Rank())}, err
}

// randomAllocation shares some of the experts out.
func randomAllocation(r *rand.Rand, ranks int) (a alltoall.Allocation) {
	for e := range all {
		if r.IntN(3) == 0 {
			continue
		}
		first := 0
		for i, rank := range r.Perm(ranks) {
			end := first + 1 + r.IntN(leaves-first)
			if i == ranks-1 {
				end = leaves
			}
			a = append(a, alltoall.Run{Expert: e, Rank: rank, First: first, End: end})
			if first = end; first == leaves {
				break
			}
		}
	}
	return a
}

// leaf is the gradient of an expert in a leaf, which only the expert's number and the leaf's say.
func leaf(e, l int) []float32 {
	r := rand.New(rand.NewPCG(uint64(e), uint64(l)))
	v := make([]float32, numbers)
	for i := range v {
		v[i] = float32(r.NormFloat64())
	}
	return v
}

// enter enters the leaves of an expert that a run has.
func enter(sum *tree.Sum, r alltoall.Run) {
	for l := firstLeaf + r.First; l < firstLeaf+r.End; l++ {
		copy(sum.Leaf(l), leaf(r.Expert, l))
	}
}

// pass runs a pass of the node, there and back, and checks what arrives.
func (n *node) pass(t *testing.T, p *Pass, a alltoall.Allocation) error {
	ctx := t.Context()
	p.Start(ctx, a, firstLeaf)
	if err := p.EndForward(p.Await()); err != nil {
		return err
	}
	here := a[:0:0]
	for _, r := range a {
		if r.Rank == n.rank {
			here = append(here, r)
		}
	}
	for i, run := range p.Runs() {
		require.Equal(t, valueOf(t, here[i].Expert, float32(n.stage.version)), run.Value)
	}
	if !p.train {
		return nil
	}
	p.Back(ctx)
	for i, run := range p.Runs() {
		enter(run.Gradient, here[i])
	}
	p.Send(ctx)
	if err := p.EndBackward(nil); err != nil {
		return err
	}
	n.enterHosted(a)
	return p.Join()
}

// enterHosted enters the leaves of the experts hosted here, with zeros for those that are shared
// out.
func (n *node) enterHosted(a alltoall.Allocation) {
	e := n.experts.First()
	for _, set := range n.experts.Params() {
		count := set.Tensors()[0].Shape[0]
		for l := firstLeaf; l < firstLeaf+leaves; l++ {
			row := set.Grad.Leaf(l)
			for i := range count {
				if !slices.ContainsFunc(a, func(r alltoall.Run) bool { return r.Expert == e+i }) {
					put(set, row, i, leaf(e+i, l))
				}
			}
		}
		e += count
	}
}

// put puts the numbers of one expert of a set into a vector.
func put(set *param.Set, to []float32, i int, row []float32) {
	for k, tensor := range set.Tensors() {
		n := tensor.Len() / tensor.Shape[0]
		copy(set.Of(to, k)[i*n:], row[:n])
		row = row[n:]
	}
}

// check compares the gradients of the experts hosted here with those of experts that nobody shares
// out, and forgets them.
func (n *node) check(t *testing.T) {
	e := n.experts.First()
	for _, set := range n.experts.Params() {
		count := set.Tensors()[0].Shape[0]
		want := make([]float32, len(set.Value))
		for i := range count {
			sum := tree.NewSum(numbers)
			enter(sum, alltoall.Run{Expert: e + i, End: leaves})
			put(set, want, i, sum.Total())
		}
		require.Equal(t, want, set.Grad.Total())
		set.Grad.Reset()
		e += count
	}
}

// valueOf is the parameters of an expert in a version, by which they are multiplied.
func valueOf(t *testing.T, e int, version float32) []float32 {
	g, err := expert.SwiGLU{Hidden: hidden}.New(expert.Shape{Dim: dim, First: e, Count: 1, Seed: 5})
	require.NoError(t, err)
	v := g.Params().Value
	for i := range v {
		v[i] *= version
	}
	return v
}

// change gives the experts their parameters of the next version.
func (n *node) change(t *testing.T) {
	n.stage.Changed()
	e := n.experts.First()
	for _, set := range n.experts.Params() {
		for i := range set.Tensors()[0].Shape[0] {
			put(set, set.Value, i, valueOf(t, e+i, float32(n.stage.version)))
		}
		e += set.Tensors()[0].Shape[0]
	}
}

// TestParametersAndGradientsOfRuns: in passes one after another and such that come between, in
// training and evaluation, runs have the parameters of their experts as they are now, and homes the
// gradients of theirs as without sharing.
func TestParametersAndGradientsOfRuns(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for ranks := 1; ranks <= 4; ranks++ {
		ranktest.Succeed(t, ranktest.Errors(t, ranks, func(tr transport.Transport) error {
			n, err := nodeOf(tr, expert.SwiGLU{Hidden: hidden})
			if err != nil {
				return err
			}
			r := rand.New(rand.NewPCG(seed, uint64(ranks)))
			a := randomAllocation(r, ranks)
			for number := range uint64(40) {
				if r.IntN(2) == 0 {
					a = randomAllocation(r, ranks)
				}
				if r.IntN(4) == 0 {
					n.change(t)
				}
				p := n.stage.Begin(number, r.IntN(2) == 0)
				if err := n.pass(t, p, a); err != nil {
					return err
				}
				if p.train {
					n.check(t)
				}
				p.Release()
			}
			return nil
		}))
	}
}

// toOther shares expert 0, of rank 0, out to rank 1.
func toOther() alltoall.Allocation { return alltoall.Allocation{{Expert: 0, Rank: 1, End: leaves}} }

// TestParametersTravelOnceWhileTheyStay: what rank 1 gets in each of some passes, all of which are
// in flight at the end.
func TestParametersTravelOnceWhileTheyStay(t *testing.T) {
	const whole = 4*numbers + versionBytes
	toOne := func(e int) alltoall.Allocation { return alltoall.Allocation{{Expert: e, Rank: 1, End: leaves}} }
	ranktest.Succeed(t, ranktest.Errors(t, 2, func(tr transport.Transport) error {
		c := &sent{Transport: tr}
		n, err := nodeOf(c, expert.SwiGLU{Hidden: hidden})
		if err != nil {
			return err
		}
		var passes []*Pass
		for number, of := range []struct {
			a    alltoall.Allocation
			want []int
		}{
			{toOne(0), []int{whole}},
			{toOne(0), []int{0}},
			{nil, nil},
			{toOne(1), []int{whole}},
			{toOne(0), []int{0}},
			{nil, nil}, // after which parameters change
			{toOne(0), []int{whole}},
			{toOne(1), []int{whole}},
			{toOne(1), []int{0}},
		} {
			if c.bytes = nil; number == 6 {
				for _, p := range passes {
					p.Release()
				}
				passes = nil
				n.change(t)
			}
			p := n.stage.Begin(uint64(number), false)
			if err := n.pass(t, p, of.a); err != nil {
				return err
			}
			passes = append(passes, p)
			if n.rank == 0 {
				require.Equal(t, of.want, c.bytes, "pass %d", number)
			}
		}
		return nil
	}))
}

// TestWhatIsKeptIsBounded by the slots, besides what passes use.
func TestWhatIsKeptIsBounded(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 2, func(tr transport.Transport) error {
		n, err := nodeOf(tr, expert.SwiGLU{Hidden: hidden})
		if err != nil {
			return err
		}
		for number := range 20 {
			p := n.stage.Begin(uint64(number), true)
			if err := n.pass(t, p, alltoall.Allocation{{Expert: number % 5, Rank: (number + number/5) % 2, End: leaves}}); err != nil {
				return err
			}
			n.check(t)
			p.Release()
			require.LessOrEqual(t, len(n.stage.kept), 2)
			require.LessOrEqual(t, len(n.stage.spare)+len(n.stage.kept), 8)
		}
		return nil
	}))
}

// sent notes how long the messages are that a rank sends.
type sent struct {
	transport.Transport
	bytes []int
}

func (s *sent) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	n := 0
	for _, b := range bufs {
		n += len(b)
	}
	s.bytes = append(s.bytes, n)
	return s.Transport.Send(ctx, to, tag, bufs...)
}

// TestMessagesOfOtherLengthsAreRefused, with the name of their rank. Among them is one without
// bytes for a rank that has nothing.
func TestMessagesOfOtherLengthsAreRefused(t *testing.T) {
	for _, c := range []struct {
		what string
		kind transport.Tag
		from int
		long int
	}{
		{"parameters", reply, 0, 8}, {"parameters", reply, 0, 0}, {"parameters", request, 1, 3}, {"gradient", gradient, 1, 8},
	} {
		errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
			n, err := nodeOf(tr, expert.SwiGLU{Hidden: hidden})
			if err != nil {
				return err
			}
			p := n.stage.Begin(7, true)
			if n.rank == c.from {
				return misbehave(t.Context(), tr, p, c.kind, make([]byte, c.long))
			}
			p.Start(t.Context(), toOther(), firstLeaf)
			if err := p.EndForward(nil); err != nil {
				return err
			}
			p.Back(t.Context())
			return p.EndBackward(nil)
		})
		require.NoError(t, errs[c.from])
		require.ErrorIs(t, errs[1-c.from], transport.ErrProtocol)
		require.ErrorContains(t, errs[1-c.from], fmt.Sprintf("%d bytes of ", c.long))
		require.ErrorContains(t, errs[1-c.from], c.what)
		require.Equal(t, transport.Rank(c.from), transport.CulpritOf(errs[1-c.from]))
	}
}

// misbehave does what a rank does up to a message, in whose place it sends another.
func misbehave(ctx context.Context, tr transport.Transport, p *Pass, kind transport.Tag, message []byte) error {
	other := 1 - tr.Rank()
	if kind == reply {
		if _, err := tr.Recv(ctx, other, p.tag(request, 0), make([]byte, versionBytes)); err != nil {
			return err
		}
	}
	if kind == gradient {
		if err := tr.Send(ctx, other, p.tag(request, 0), make([]byte, versionBytes)); err != nil {
			return err
		}
		if _, err := tr.Recv(ctx, other, p.tag(reply, 0), make([]byte, 4*numbers+versionBytes)); err != nil {
			return err
		}
	}
	return tr.Send(ctx, other, p.tag(kind, 0), message)
}

// TestAPassThatFailsWaitsForNobody.
func TestAPassThatFailsWaitsForNobody(t *testing.T) {
	errs := ranktest.Errors(t, 2, func(tr transport.Transport) error {
		n, err := nodeOf(tr, expert.SwiGLU{Hidden: hidden})
		if err != nil || n.rank == 0 { // which never sends
			return err
		}
		p := n.stage.Begin(7, true)
		p.Start(t.Context(), toOther(), firstLeaf)
		return p.EndForward(context.Canceled)
	})
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], context.Canceled)
}

// TestNothingIsSharedOut by a stage that is nil, nor moved by an empty allocation.
func TestNothingIsSharedOut(t *testing.T) {
	var none *Stage
	none.Changed()
	p := none.Begin(1, true)
	require.Nil(t, p)
	p.Start(t.Context(), nil, 0)
	require.Empty(t, p.Runs())
	require.Nil(t, p.Rows())
	require.Zero(t, p.Stats())
	require.NoError(t, p.Failed())
	p.Computed(1)
	p.Count([]int{1})
	require.NoError(t, p.EndForward(nil))
	p.Back(t.Context())
	p.Send(t.Context())
	require.NoError(t, p.EndBackward(nil))
	require.NoError(t, p.Join())
	p.Release()
}

// TestRowTime is what the last passes have taken for a row, most of all the last.
func TestRowTime(t *testing.T) {
	ranktest.Succeed(t, ranktest.Errors(t, 1, func(tr transport.Transport) error {
		n, err := nodeOf(tr, expert.SwiGLU{Hidden: hidden})
		if err != nil {
			return err
		}
		run := func(train, back bool, nanos int64, rows int) {
			p := n.stage.Begin(1, train)
			p.nanos, p.computed, p.wentBack = nanos, rows, back
			p.Release()
		}
		of := func(train bool) int64 { return n.stage.Begin(1, train).RowTime() }
		require.Zero(t, of(true))
		run(true, false, 99, 1) // without a backward pass it is not known what a row takes
		run(true, true, 0, 0)
		require.Zero(t, of(true))
		run(true, true, 500, 100)
		run(false, false, 7, 700)
		require.EqualValues(t, 5000, of(true))
		require.EqualValues(t, 10, of(false))
		for range 100 {
			run(true, true, 100, 100)
		}
		for train, want := range map[bool]int{true: 6 + 3*LeafRows, false: 6} {
			p := n.stage.Begin(1, train)
			p.Count([]int{0, 2, 2, 3, 6, 6})
			require.Equal(t, want, p.computed)
		}
		require.InDelta(t, 1000, of(true), 10)
		return nil
	}))
}
