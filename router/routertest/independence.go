package routertest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/router"
)

// groupResult is what a pass computes for one token group, to the bit.
type groupResult struct {
	entries []entry
	loss    float64
	dx      []float32
	leaf    []float32 // of the first group: the first node of the parameters' gradient
}

// pass routes x and takes a gradient back that depends on token, expert and token group alone, and
// returns each group's result. base is the number of x's first group.
func (s suite) pass(t *testing.T, x blas32.General, ends []int, base int) []groupResult {
	g := s.gate(t)
	d, kept := s.route(t, g, x, ends)
	grad := router.Gradient{DX: matrix(x.Rows, dim), FirstLeaf: base}
	begin := 0
	for i, end := range ends {
		grad.LossScale = append(grad.LossScale, 1/float32(base+i+2))
		begin = end
	}
	require.Equal(t, x.Rows, begin)
	for e := range d.Experts {
		from, to := d.Of(router.ExpertID(e))
		for _, token := range d.Token[from:to] {
			row := x.Data[int(token)*x.Stride:]
			grad.Weights = append(grad.Weights, row[0]*float32(e+1))
		}
	}
	require.NoError(t, g.Backward(d, x, grad))
	results := make([]groupResult, len(ends))
	begin = 0
	for i, end := range ends {
		results[i] = groupResult{entriesOf(&kept.Assignment, begin, end), kept.GroupLoss[i], slices.Clone(grad.DX.Data[begin*dim : end*dim]), nil}
		begin = end
	}
	if p := g.Params(); p != nil {
		nodes := p.Grad.Nodes()
		require.NotEmpty(t, nodes, "no leaf was written")
		results[0].leaf = slices.Clone(nodes[0].Sum)
	}
	return results
}

// testGroupsIndependent compares token groups routed together with each routed alone.
func testGroupsIndependent(t *testing.T, s suite) {
	if s.gate(t).Params() == nil {
		t.Skip("routes may go by the row, not by the token")
	}
	x, ends := s.tokens(41), []int{16, 16, 17, 41}
	together := s.pass(t, x, ends, 0)
	together[0].leaf = nil
	begin := 0
	for i, end := range ends {
		alone := s.pass(t, rows(x, begin, end), []int{end - begin}, i)[0]
		alone.leaf = nil
		require.Equal(t, alone, together[i], "group %d", i)
		begin = end
	}
}

// testRowsIndependent puts other tokens around each token. What capacity does depends on those, so
// it looks only at tokens without drops around them.
func testRowsIndependent(t *testing.T, s suite) {
	if s.has(TokensTogether) {
		t.Skip("tokens are routed together")
	}
	if s.gate(t).Params() == nil {
		t.Skip("routes may go by the row, not by the token")
	}
	x, ends := s.tokens(19), []int{19}
	_, want := s.route(t, s.gate(t), x, ends)
	for i := range x.Rows {
		other := s.tokens(x.Rows)
		copy(other.Data[i*dim:(i+1)*dim], x.Data[i*dim:(i+1)*dim])
		_, got := s.route(t, s.gate(t), other, ends)
		if want.Dropped > 0 || got.Dropped > 0 {
			t.Skip("capacity dropped tokens")
		}
		require.Equal(t, entriesOf(&want.Assignment, i, i+1), entriesOf(&got.Assignment, i, i+1), "token %d", i)
	}
}

// testStride compares tokens and gradients that lie apart in memory with those that do not.
func testStride(t *testing.T, s suite) {
	x, ends := s.tokens(11), []int{5, 11}
	wide := blas32.General{Rows: x.Rows, Cols: dim, Stride: dim + 3, Data: make([]float32, x.Rows*(dim+3))}
	for i := range x.Rows {
		copy(wide.Data[i*wide.Stride:], x.Data[i*dim:(i+1)*dim])
	}
	require.Equal(t, s.pass(t, x, ends, 0), s.pass(t, wide, ends, 0))

	s.testAdded(t, x, wide, ends)
}

// testAdded checks that Backward adds to DX, and leaves alone what lies between its rows. wide is x
// with a larger stride.
func (s suite) testAdded(t *testing.T, x, wide blas32.General, ends []int) {
	g, h := s.gate(t), s.gate(t)
	d, _ := s.route(t, g, x, ends)
	into := s.gradient(d)
	require.NoError(t, g.Backward(d, x, into))

	d, _ = s.route(t, h, wide, ends)
	onto := into
	onto.DX = wide
	onto.DX.Data = slices.Repeat([]float32{1}, len(wide.Data))
	require.NoError(t, h.Backward(d, wide, onto))
	for i := range x.Rows {
		line := onto.DX.Data[i*wide.Stride : (i+1)*wide.Stride]
		for c, v := range into.DX.Data[i*dim : (i+1)*dim] {
			neartest.Number(t, float64(1+v), float64(line[c]), 1e-5, "row %d, column %d", i, c)
		}
		require.Equal(t, []float32{1, 1, 1}, line[dim:], "between rows %d and %d", i, i+1)
	}
}

// testLeaves checks that each token group gives the parameters a leaf under its number, the empty
// ones too, and that the leaf is the one of the group alone.
func testLeaves(t *testing.T, s suite) {
	if s.gate(t).Params() == nil {
		t.Skip("no parameters")
	}
	// Leaves 4 to 7 are the subtree (4+5)+(6+7).
	const first = 4
	x, ends := s.tokens(6), []int{0, 2, 2, 6}
	var alone [4][]float32
	begin := 0
	for i, end := range ends {
		alone[i] = s.pass(t, rows(x, begin, end), []int{end - begin}, first+i)[0].leaf
		begin = end
	}
	want := make([]float32, len(alone[0]))
	require.Equal(t, want, alone[0], "the gradient of no tokens")
	for i := range want {
		want[i] = (alone[0][i] + alone[1][i]) + (alone[2][i] + alone[3][i])
	}
	require.Equal(t, want, s.pass(t, x, ends, first)[0].leaf)
}
