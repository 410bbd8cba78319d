package experts_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param/tree"
)

const leafCount = 7

// shared is rows of two ranks for the experts hosted here, and which of these are cut into runs,
// one after another, all of them computed here.
type shared struct {
	counts [2]alltoall.Counts // of all rows, by the rank that they come from
	runs   []experts.Run
	expert []int // of each run, among those hosted here
}

// randomShared cuts some of the experts at random leaves.
func randomShared(r *rand.Rand) (s shared) {
	own := 1 + r.IntN(leafCount-1)
	for rank, leaves := range [2]int{own, leafCount - own} {
		c := alltoall.Counts{Tokens: 99, Leaves: leaves}
		for range local * leaves {
			c.Rows = append(c.Rows, r.IntN(4)*r.IntN(2))
		}
		s.counts[rank] = c
	}
	for e := range local {
		if r.IntN(2) == 0 {
			continue
		}
		for first := 0; first < leafCount; {
			end := first + 1 + r.IntN(leafCount-first)
			s.runs = append(s.runs, experts.Run{First: first, End: end})
			s.expert = append(s.expert, e)
			first = end
		}
	}
	return s
}

// rows is how many rows a leaf of all has for an expert.
func (s *shared) rows(e, leaf int) *int {
	c := &s.counts[0]
	if leaf >= c.Leaves {
		leaf, c = leaf-c.Leaves, &s.counts[1]
	}
	return &c.Rows[e*c.Leaves+leaf]
}

// plans returns the plan without runs, that with them, and for each row of the second, which are by
// expert, the row of the first that it is.
func (s *shared) plans() (plain, cut *alltoall.Plan, order []int) {
	all := func(counts [2]alltoall.Counts, n int) *alltoall.Plan {
		return alltoall.NewPlan(0, alltoall.Hosted([]int{n, 0}), []int{0, 0}, counts[:])
	}
	plain = all(s.counts, local)
	parts := *s
	for rank := range parts.counts {
		c := &parts.counts[rank]
		c.Rows = append(slices.Clone(c.Rows), make([]int, len(s.runs)*c.Leaves)...)
	}
	rowsOf := func(e, leaf int) {
		end := plain.Ends[e*leafCount+leaf]
		for i := end - *s.rows(e, leaf); i < end; i++ {
			order = append(order, i)
		}
	}
	for e := range local {
		for leaf := range leafCount {
			if slices.Contains(s.expert, e) {
				*parts.rows(e, leaf) = 0
			} else {
				rowsOf(e, leaf)
			}
		}
	}
	for i, run := range s.runs {
		for leaf := run.First; leaf < run.End; leaf++ {
			*parts.rows(local+i, leaf) = *s.rows(s.expert[i], leaf)
			rowsOf(s.expert[i], leaf)
		}
	}
	return plain, all(parts.counts, local+len(s.runs)), order
}

func picked(m blas32.General, order []int) blas32.General {
	p := mat.Resize(blas32.General{}, len(order), m.Cols)
	for i, row := range order {
		copy(mat.Row(p, i), mat.Row(m, row))
	}
	return p
}

func scattered(list []float32, order []int) []float32 {
	all := make([]float32, len(list))
	for i, row := range order {
		copy(all[row*dim:(row+1)*dim], list[i*dim:])
	}
	return all
}

// load gives runs the parameters of their experts, and sums for their gradients.
func (s *shared) load(stage *experts.Stage) {
	for i := range s.runs {
		for _, tensor := range stage.Values(s.expert[i]) {
			s.runs[i].Value = append(s.runs[i].Value, tensor...)
		}
		s.runs[i].Gradient = tree.NewSum(len(s.runs[i].Value))
	}
}

// merge adds the gradients of the runs of each expert up, and hands them over.
func (s *shared) merge(t *testing.T, stage *experts.Stage) {
	t.Helper()
	for i, run := range s.runs {
		if i > 0 && s.expert[i-1] == s.expert[i] {
			continue
		}
		for j := i + 1; j < len(s.runs) && s.expert[j] == s.expert[i]; j++ {
			for _, n := range s.runs[j].Gradient.Nodes() {
				copy(run.Gradient.Subtree(n.Position()), n.Sum)
			}
		}
		require.NoError(t, stage.Merge(s.expert[i], run.Gradient.Nodes()))
	}
}

// TestRunsHaveTheBitsOfTheWhole: experts that are computed in runs, in slots that are used again,
// with gradients put together by the tree, in chunks by experts.
func TestRunsHaveTheBitsOfTheWhole(t *testing.T) {
	for name, of := range map[string]expert.Expert{"holds": kind, "in halves": halved{kind}, "in one": plain{kind}} {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 1))
		stage, err := experts.New(experts.Config{Expert: of, Shape: shape(), Chunks: 2})
		require.NoError(t, err)
		for range 20 {
			s := randomShared(r)
			whole, p, order := s.plans()
			x, dy := random(r.Uint64(), whole.Received()), random(r.Uint64(), whole.Received())
			want := wanted(t, whole, x, dy)
			s.load(stage)
			experts.Eager(stage, r.IntN(2) == 0)
			cut := &chunks{plan: p, ends: []int{local / 2, p.Experts}}
			pass := stage.Begin(cut, 5)
			require.NoError(t, stage.Share(&pass, s.runs))
			got := computed(stage, &pass, cut, picked(x, order), picked(dy, order))
			s.merge(t, stage)
			got.y, got.dx = scattered(got.y, order), scattered(got.dx, order)
			got.grads = gradients(stage.Params())
			require.Equal(t, want, got, "%s, seed %d", name, seed)
			stage.End(&pass)
			for _, set := range stage.Params() {
				set.Grad.Reset()
			}
		}
	}
}

// computed runs a pass there and back in the chunks of a cut.
func computed(s *experts.Stage, pass *experts.Pass, cut *chunks, x, dy blas32.General) (o outcome) {
	for i := range cut.ends {
		rows, ends := ofExperts(cut.plan, cut, i, x)
		answers := s.Forward(pass, i, rows, ends)
		s.ForwardRuns(pass, i, rows, ends, answers)
		o.y = append(o.y, together(answers)...)
	}
	for i := range cut.ends {
		rows, _ := ofExperts(cut.plan, cut, i, dy)
		o.dx = append(o.dx, together(s.Backward(pass, i, rows))...)
		if s.Splits() {
			s.BackwardWeightsOfRuns(pass, i)
			s.BackwardWeights(pass, i)
		}
	}
	return o
}

// TestRunsOfRanks: the rows of each rank are a chunk.
func TestRunsOfRanks(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	stage, err := experts.New(experts.Config{Expert: kind, Shape: shape(), Chunks: 4, ByRanks: true})
	require.NoError(t, err)
	for range 20 {
		s := randomShared(r)
		whole, p, order := s.plans()
		x, dy := random(r.Uint64(), whole.Received()), random(r.Uint64(), whole.Received())
		want := wanted(t, whole, x, dy)
		s.load(stage)
		experts.Eager(stage, r.IntN(2) == 0)
		pass := stage.Begin(&chunks{plan: p}, 5)
		require.NoError(t, stage.Share(&pass, s.runs))
		var got outcome
		got.y, got.dx = byRank(stage, &pass, p, picked(x, order), picked(dy, order))
		s.merge(t, stage)
		got.y, got.dx = scattered(got.y, order), scattered(got.dx, order)
		got.grads = gradients(stage.Params())
		require.Equal(t, want, got, "seed %d", seed)
		stage.End(&pass)
		stage.Params()[0].Grad.Reset()
	}
}

// byRank runs a pass there and back, a chunk for each rank, and returns answers and gradients by
// expert.
func byRank(s *experts.Stage, pass *experts.Pass, p *alltoall.Plan, x, dy blas32.General) (y, dx []float32) {
	toY, toDX := mat.Resize(blas32.General{}, x.Rows, dim), mat.Resize(blas32.General{}, x.Rows, dim)
	for peer, leaves := range p.Leaves {
		rows, ends := ofRank(p, peer, leaves, x)
		answers := s.Forward(pass, peer, rows, ends)
		s.ForwardRuns(pass, peer, rows, ends, answers)
		putBack(p, peer, toY, matrix(together(answers)))
	}
	for peer, leaves := range p.Leaves {
		rows, _ := ofRank(p, peer, leaves, dy)
		putBack(p, peer, toDX, matrix(together(s.Backward(pass, peer, rows))))
		s.BackwardWeights(pass, peer)
		s.BackwardWeightsOfRuns(pass, peer)
	}
	return toY.Data, toDX.Data
}

// matrix is rows of numbers.
func matrix(list []float32) blas32.General {
	return blas32.General{Rows: len(list) / dim, Cols: dim, Stride: dim, Data: list}
}

// TestAGradientOfOtherLeavesIsRefused, as of an expert from outside that enters none for leaves
// without rows.
func TestAGradientOfOtherLeavesIsRefused(t *testing.T) {
	stage, err := experts.New(experts.Config{Expert: kind, Shape: shape()})
	require.NoError(t, err)
	n, err := stage.Numbers()
	require.NoError(t, err)
	require.Equal(t, 3*dim*5, n)
	sum := tree.NewSum(n)
	sum.Leaf(3)
	require.ErrorContains(t, stage.Merge(2, sum.Nodes()), "expert 5: its gradient has other leaves")
}

// meeting is experts of which a group of one computes when another one does at the same time.
type meeting struct {
	expert.SwiGLU
	meet chan struct{}
}

type meetingGroup struct {
	expert.Group
	meet chan struct{} // nil for those hosted here
}

func (m meeting) New(s expert.Shape) (expert.Group, error) {
	g, err := m.SwiGLU.New(s)
	if s.Count == 1 {
		return meetingGroup{g, m.meet}, err
	}
	return meetingGroup{Group: g}, err
}

func (meetingGroup) Parallelism() int { return 2 }

func (g meetingGroup) wait() {
	if g.meet == nil {
		return
	}
	select {
	case g.meet <- struct{}{}:
	case <-g.meet:
	}
}

func (g meetingGroup) Forward(x blas32.General, rows expert.Rows) (blas32.General, expert.Saved) {
	g.wait()
	return g.Group.Forward(x, rows)
}

func (g meetingGroup) Backward(saved expert.Saved, dy blas32.General) blas32.General {
	g.wait()
	return g.Group.Backward(saved, dy)
}

// TestRunsAreComputedAtTheSameTime, where groups compute on several goroutines.
func TestRunsAreComputedAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stage, err := experts.New(experts.Config{Expert: meeting{kind, make(chan struct{})}, Shape: shape()})
		require.NoError(t, err)
		experts.Eager(stage, true)
		s := shared{runs: []experts.Run{{First: 0, End: 3}, {First: 3, End: leafCount}}, expert: []int{1, 1}}
		for rank, leaves := range [2]int{4, leafCount - 4} {
			s.counts[rank] = alltoall.Counts{Tokens: 9, Leaves: leaves, Rows: slices.Repeat([]int{2}, local*leaves)}
		}
		_, p, _ := s.plans()
		s.load(stage)
		pass := stage.Begin(&chunks{plan: p, ends: []int{p.Experts}}, 0)
		require.NoError(t, stage.Share(&pass, s.runs))
		x := random(1, p.Received())
		got := computed(stage, &pass, &chunks{plan: p, ends: []int{p.Experts}}, x, x)
		require.Len(t, got.dx, p.Received()*dim)
		stage.End(&pass)
	})
}
