package experts_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param/tree"
)

// halved is an expert whose backward pass has halves, and which holds nothing.
type halved struct{ expert.Expert }

func (h halved) New(s expert.Shape) (expert.Group, error) {
	g, err := h.Expert.New(s)
	return struct{ expert.SplitBackward }{g.(expert.SplitBackward)}, err
}

// inFlight is a pass whose results are looked at when others have computed.
type inFlight struct {
	pass    experts.Pass
	x, dy   blas32.General
	y, dx   []blas32.General
	leaves  []*tree.Sum
	backOff bool // it never goes back
}

func (f *inFlight) forward(s *experts.Stage, p *alltoall.Plan, cut *chunks) {
	f.pass = s.Begin(cut, 5)
	for i := range cut.ends {
		rows, ends := ofExperts(p, cut, i, f.x)
		f.y = append(f.y, s.Forward(&f.pass, i, rows, ends)...)
	}
}

// backward goes back through a chunk. Its leaves take the place of those of the sets meanwhile.
func (f *inFlight) backward(s *experts.Stage, p *alltoall.Plan, cut *chunks, chunk int) {
	f.swap(s)
	defer f.swap(s)
	rows, _ := ofExperts(p, cut, chunk, f.dy)
	f.dx = append(f.dx, s.Backward(&f.pass, chunk, rows)...)
	if s.Splits() {
		s.BackwardWeights(&f.pass, chunk)
	}
}

func (f *inFlight) swap(s *experts.Stage) {
	for i, set := range s.Params() {
		if len(f.leaves) == i {
			f.leaves = append(f.leaves, tree.NewSum(len(set.Value)))
		}
		set.Grad.Swap(f.leaves[i])
	}
}

// TestPassesInFlight: chunk by chunk in turns they have the bits of one alone, of experts that hold
// what they return and of others, also in memory of passes that have ended.
func TestPassesInFlight(t *testing.T) {
	p := plan()
	for name, of := range map[string]expert.Expert{"holds": kind, "in halves": halved{kind}, "in one": plain{kind}} {
		s, err := experts.New(experts.Config{Expert: of, Shape: shape(), Chunks: 2})
		require.NoError(t, err)
		cut := &chunks{plan: p, ends: runs(2)}
		for round := range uint64(3) {
			var passes [3]inFlight
			for i := range passes {
				f := &passes[i]
				f.x, f.dy = random(10*round+uint64(i), p.Received()), random(99+10*round+uint64(i), p.Received())
				f.backOff = i == 1
				f.forward(s, p, cut)
			}
			for chunk := range cut.ends {
				for _, i := range []int{2, 0} {
					passes[i].backward(s, p, cut, chunk)
				}
			}
			for i := range passes {
				f := &passes[i]
				want := wanted(t, p, f.x, f.dy)
				require.Equal(t, want.y, together(f.y), "%s, pass %d", name, i)
				if !f.backOff {
					require.Equal(t, want.dx, together(f.dx), "%s, pass %d", name, i)
					f.swap(s)
					require.Equal(t, want.grads, gradients(s.Params()), "%s, pass %d", name, i)
					f.swap(s)
				}
				s.End(&f.pass)
				s.End(&f.pass) // does nothing
			}
		}
	}
}

func together(list []blas32.General) (all []float32) {
	for _, m := range list {
		all = append(all, m.Data...)
	}
	return all
}

// TestSharedPassesInFlight keep their answers and gradients until they end.
func TestSharedPassesInFlight(t *testing.T) {
	for _, of := range []expert.Expert{kind, plain{kind}} {
		stage, err := experts.New(experts.Config{Expert: kind, Shape: shape(), Shared: of, Total: 9})
		require.NoError(t, err)
		s := stage.Shared
		alone, err := kind.New(expert.Shape{Dim: dim, First: 9, Count: 1, Seed: 7})
		require.NoError(t, err)
		rows := expert.Rows{Experts: 1, Leaves: 1, Ends: []int{3}}
		for range 2 {
			var passes [2]experts.SharedPass
			for i := range passes {
				passes[i] = s.Forward(tokensOf(random(uint64(i), 3), rows.Ends), 0)
			}
			for i := range passes {
				s.Backward(&passes[i], random(uint64(10+i), 3))
				s.Params().Grad.Reset()
			}
			for i := range passes {
				y, saved := alone.Forward(random(uint64(i), 3), rows)
				wantY, gotY := ones(), ones()
				addTo(wantY, y)
				passes[i].AddTo(gotY)
				require.Equal(t, wantY, gotY)
				wantDX, gotDX := ones(), ones()
				addTo(wantDX, alone.Backward(saved, random(uint64(10+i), 3)))
				passes[i].AddGradientTo(gotDX)
				require.Equal(t, wantDX, gotDX)
				alone.Params().Grad.Reset()
				s.End(&passes[i])
				s.End(&passes[i]) // does nothing
			}
		}
	}
}

func addTo(to, m blas32.General) {
	for i := range m.Rows {
		for j, v := range mat.Row(m, i) {
			mat.Row(to, i)[j] += v
		}
	}
}
