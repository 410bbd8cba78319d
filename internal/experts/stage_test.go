package experts_test

import (
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

const (
	dim   = 6
	local = 4 // experts hosted here
)

var kind = expert.SwiGLU{Hidden: 5}

func shape() expert.Shape { return expert.Shape{Dim: dim, First: 3, Count: local, Seed: 7} }

// plan is that of a rank that hosts all experts, and gets rows of itself in two token groups and of
// another rank in one.
func plan() *alltoall.Plan {
	own := alltoall.Counts{Tokens: 9, Leaves: 2, Rows: []int{1, 2, 0, 3, 2, 0, 1, 1}}
	other := alltoall.Counts{Tokens: 4, Leaves: 1, Rows: []int{2, 1, 0, 1}}
	return alltoall.NewPlan(0, alltoall.Hosted([]int{local, 0}), []int{10, 0}, []alltoall.Counts{own, other})
}

// chunks cuts the rows of a plan: by experts into runs that end at ends, or by ranks.
type chunks struct {
	plan *alltoall.Plan
	ends []int
}

func (c chunks) Plan() *alltoall.Plan { return c.plan }

func (c chunks) Chunk(chunk int) alltoall.Chunk {
	if c.ends == nil {
		return alltoall.Chunk{EndExpert: c.plan.Experts, Ranks: []int{chunk}}
	}
	begin := 0
	if chunk > 0 {
		begin = c.ends[chunk-1]
	}
	return alltoall.Chunk{FirstExpert: begin, EndExpert: c.ends[chunk]}
}

func random(seed uint64, rows int) blas32.General {
	r := rand.New(rand.NewPCG(seed, 3))
	m := mat.Resize(blas32.General{}, rows, dim)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// outcome is what a pass gives: answers and gradients of rows in the plan's order, and gradients of
// parameters tensor by tensor, the first dimension being the expert.
type outcome struct {
	y, dx []float32
	grads [][]float32
}

// wanted is a pass of one group of all experts over all rows.
func wanted(t *testing.T, p *alltoall.Plan, x, dy blas32.General) (o outcome) {
	t.Helper()
	g, err := kind.New(shape())
	require.NoError(t, err)
	y, saved := g.Forward(x, expert.Rows{Experts: local, FirstLeaf: 5, Leaves: p.TotalLeaves(), Ends: p.Ends})
	o.y = append(o.y, y.Data...)
	o.dx = append(o.dx, g.Backward(saved, dy).Data...)
	o.grads = gradients([]*param.Set{g.Params()})
	return o
}

// gradients puts those of groups of experts together.
func gradients(sets []*param.Set) [][]float32 {
	list := make([][]float32, len(sets[0].Tensors()))
	for _, set := range sets {
		total := set.Grad.Total()
		for i := range list {
			list[i] = append(list[i], set.Of(total, i)...)
		}
	}
	return list
}

// TestChunksByExpertsHaveTheBitsOfOne, for each number of groups that the experts may be cut into;
// the backward pass may be cut otherwise.
func TestChunksByExpertsHaveTheBitsOfOne(t *testing.T) {
	p := plan()
	x, dy := random(1, p.Received()), random(2, p.Received())
	want := wanted(t, p, x, dy)
	for _, c := range []struct{ most, forward, backward int }{{0, 1, 1}, {1, 1, 1}, {2, 2, 1}, {4, 4, 2}, {4, 2, 4}, {9, 4, 4}} {
		s, err := experts.New(experts.Config{Expert: kind, Shape: shape(), Chunks: c.most})
		require.NoError(t, err)
		require.True(t, s.Splits())
		cut := &chunks{plan: p}
		pass := s.Begin(cut, 5)
		var got outcome
		cut.ends = runs(c.forward)
		for i := range c.forward {
			rows, ends := ofExperts(p, cut, i, x)
			for _, m := range s.Forward(&pass, i, rows, ends) {
				got.y = append(got.y, m.Data...)
			}
		}
		cut.ends = runs(c.backward)
		for i := range c.backward {
			rows, _ := ofExperts(p, cut, i, dy)
			for _, m := range s.Backward(&pass, i, rows) {
				got.dx = append(got.dx, m.Data...)
			}
			s.BackwardWeights(&pass, i)
		}
		got.grads = gradients(s.Params())
		require.Equal(t, want, got, "%+v", c)
	}
}

// runs cuts the experts into n runs as even as can be.
func runs(n int) (ends []int) {
	for i := range n {
		ends = append(ends, local*(i+1)/n)
	}
	return ends
}

// ofExperts are the rows of a chunk of experts, and where those of each expert and leaf end.
func ofExperts(p *alltoall.Plan, c *chunks, chunk int, m blas32.General) (rows blas32.General, ends []int) {
	of := c.Chunk(chunk)
	begin, end := of.FirstExpert, of.EndExpert
	leaves, first := p.TotalLeaves(), 0
	if begin > 0 {
		first = p.Ends[begin*leaves-1]
	}
	for _, e := range p.Ends[begin*leaves : end*leaves] {
		ends = append(ends, e-first)
	}
	return mat.Rows(m, first, p.Ends[end*leaves-1]), ends
}

// TestChunksByRanksHaveTheBitsOfOne: each rank's rows are a chunk.
func TestChunksByRanksHaveTheBitsOfOne(t *testing.T) {
	p := plan()
	x, dy := random(1, p.Received()), random(2, p.Received())
	want := wanted(t, p, x, dy)
	s, err := experts.New(experts.Config{Expert: kind, Shape: shape(), Chunks: 4, ByRanks: true})
	require.NoError(t, err)
	require.Len(t, s.Params(), 1)
	pass := s.Begin(&chunks{plan: p}, 5)
	y, dx := mat.Resize(blas32.General{}, x.Rows, dim), mat.Resize(blas32.General{}, x.Rows, dim)
	for peer, leaves := range p.Leaves {
		rows, ends := ofRank(p, peer, leaves, x)
		answers := s.Forward(&pass, peer, rows, ends)
		require.Len(t, answers, 1)
		putBack(p, peer, y, answers[0])
	}
	for peer, leaves := range p.Leaves {
		rows, _ := ofRank(p, peer, leaves, dy)
		back := s.Backward(&pass, peer, rows)
		require.Len(t, back, 1)
		putBack(p, peer, dx, back[0])
		s.BackwardWeights(&pass, peer)
	}
	require.Equal(t, want, outcome{y: y.Data, dx: dx.Data, grads: gradients(s.Params())})
}

// ofRank are the rows of one rank, packed, and where those of each expert and leaf end.
func ofRank(p *alltoall.Plan, peer, leaves int, m blas32.General) (rows blas32.General, ends []int) {
	rows = blas32.General{Cols: dim, Stride: dim}
	at := 0
	for e := range p.Experts {
		s := p.Segment(e, peer)
		rows.Data = append(rows.Data, m.Data[s.First*dim:(s.First+s.Rows)*dim]...)
		first := mat.Sum(p.Leaves[:peer])
		before := s.First
		for l := range leaves {
			end := p.Ends[e*p.TotalLeaves()+first+l]
			at += end - before
			before = end
			ends = append(ends, at)
		}
	}
	rows.Rows = at
	return rows, ends
}

// putBack puts the rows of one rank where they stand in the plan.
func putBack(p *alltoall.Plan, peer int, to, rows blas32.General) {
	at := 0
	for e := range p.Experts {
		s := p.Segment(e, peer)
		copy(to.Data[s.First*dim:(s.First+s.Rows)*dim], rows.Data[at*dim:])
		at += s.Rows
	}
}

// TestARankWithoutTokensSendsNoRows, and its leaves are none.
func TestARankWithoutTokensSendsNoRows(t *testing.T) {
	own := alltoall.Counts{Tokens: 2, Leaves: 1, Rows: []int{1, 0, 1, 0}}
	p := alltoall.NewPlan(0, alltoall.Hosted([]int{local, 0}), []int{2, 0}, []alltoall.Counts{own, {Rows: []int{}}})
	s, err := experts.New(experts.Config{Expert: kind, Shape: shape(), ByRanks: true})
	require.NoError(t, err)
	pass := s.Begin(&chunks{plan: p}, 0)
	none := blas32.General{Cols: dim, Stride: dim}
	require.Empty(t, s.Forward(&pass, 1, none, nil))
	require.Empty(t, s.Backward(&pass, 1, none))
	s.BackwardWeights(&pass, 1) // nothing is saved of it
}

// TestARankWithoutExperts has one empty group, in the first chunk.
func TestARankWithoutExperts(t *testing.T) {
	none := shape()
	none.Count = 0
	s, err := experts.New(experts.Config{Expert: kind, Shape: none, Chunks: 3})
	require.NoError(t, err)
	require.Len(t, s.Params(), 1)
	p := alltoall.NewPlan(1, alltoall.Hosted([]int{local, 0}), []int{0, 0}, []alltoall.Counts{{Tokens: 1, Leaves: 1, Rows: []int{}}, {Rows: []int{}}})
	pass := s.Begin(&chunks{plan: p, ends: []int{0, 0, 0}}, 0)
	empty := blas32.General{Cols: dim, Stride: dim}
	require.Len(t, s.Forward(&pass, 0, empty, nil), 1)
	require.Empty(t, s.Forward(&pass, 1, empty, nil))
	require.Len(t, s.Backward(&pass, 0, empty), 1)
	s.BackwardWeights(&pass, 0)
}

// plain is an expert whose backward pass has no halves.
type plain struct{ expert.Expert }

func (p plain) New(s expert.Shape) (expert.Group, error) {
	g, err := p.Expert.New(s)
	return struct{ expert.Group }{g}, err
}

// TestExpertsWithoutHalves compute all gradients in Backward.
func TestExpertsWithoutHalves(t *testing.T) {
	p := plan()
	x, dy := random(1, p.Received()), random(2, p.Received())
	want := wanted(t, p, x, dy)
	s, err := experts.New(experts.Config{Expert: plain{kind}, Shape: shape()})
	require.NoError(t, err)
	require.False(t, s.Splits())
	pass := s.Begin(&chunks{plan: p, ends: []int{local}}, 5)
	got := outcome{
		y:  append([]float32(nil), s.Forward(&pass, 0, x, p.Ends)[0].Data...),
		dx: append([]float32(nil), s.Backward(&pass, 0, dy)[0].Data...),
	}
	got.grads = gradients(s.Params())
	require.Equal(t, want, got)
}

var errBuild = errors.New("cannot be built")

type unbuildable struct{}

func (unbuildable) New(expert.Shape) (expert.Group, error) { return nil, errBuild }

func TestExpertsThatCannotBeBuilt(t *testing.T) {
	for _, count := range []int{0, 1} {
		_, err := experts.New(experts.Config{Expert: unbuildable{}, Shape: expert.Shape{Dim: dim, Count: count}, Chunks: 2})
		require.ErrorIs(t, err, errBuild)
	}
	s, err := experts.New(experts.Config{Expert: kind, Shape: shape()})
	require.NoError(t, err)
	require.Equal(t, 3, s.First())
	_, err = experts.New(experts.Config{Expert: kind, Shape: shape(), Shared: unbuildable{}, Total: 9})
	require.ErrorIs(t, err, errBuild)
}
