package expert

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// rowGradients is a call of RowGradients: its arguments, and where the rows of each expert end.
type rowGradients struct {
	of     []int32
	dy, dx blas32.General
	ends   []int
}

// beginRows checks the arguments of RowGradients and makes them the current ones, and their pass.
func (b *base) beginRows(saved Saved, of []int32, dy, dx blas32.General) {
	p := b.own(saved)
	if p.state != wentForward {
		panic("expert: RowGradients after the backward of that pass")
	}
	b.checkGradients("dy", dy, len(of))
	b.checkGradients("dx", dx, len(of))
	b.cur, b.rows = p, rowGradients{of: of, dy: dy, dx: dx, ends: b.rows.ends[:0]}
	row := 0
	for e := range p.rows.Experts {
		for begin, end := p.rows.Of(e); row < len(of) && begin <= int(of[row]) && int(of[row]) < end; {
			row++
		}
		b.rows.ends = append(b.rows.ends, row)
	}
	if row < len(of) {
		panic(fmt.Sprintf("expert: RowGradients: row %d is of row %d of %d, or not sorted by expert", row, of[row], p.x.Rows))
	}
}

func (b *base) checkGradients(name string, m blas32.General, rows int) {
	if m.Rows != rows {
		panic(fmt.Sprintf("expert: RowGradients: %s has %d rows, want %d", name, m.Rows, rows))
	}
	if err := check.Matrix(m, b.shape.Dim); err != nil {
		panic(fmt.Sprintf("expert: RowGradients: %s has %v", name, err))
	}
}

// endRows forgets the arguments of RowGradients.
func (b *base) endRows() { b.cur, b.rows = nil, rowGradients{ends: b.rows.ends} }

// span is the rows of expert e.
func (r *rowGradients) span(e int) (begin, end int) {
	if e > 0 {
		begin = r.ends[e-1]
	}
	return begin, r.ends[e]
}

// RowGradients implements [RowGradients].
func (g *ffnGroup) RowGradients(saved Saved, of []int32, dy, dx blas32.General) {
	g.beginRows(saved, of, dy, dx)
	g.dAct = g.dActBuf.Matrix(dy.Rows, g.Hidden)
	each(g.workers, g.work(dy.Rows*dy.Cols), g.shape.Count, g, (*ffnGroup).rowGradients)
	g.endRows()
}

func (g *ffnGroup) rowGradients(e int) {
	begin, end := g.rows.span(e)
	dAct, value := mat.Rows(g.dAct, begin, end), g.params.Value
	gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(g.rows.dy, begin, end), g.params.Slice(value, g.w2, e), 0, dAct)
	for i, row := range g.rows.of[begin:end] {
		d := mat.Row(dAct, i)
		g.Activation.chain(d, g.keptSpan(ffnPre, int(row), int(row)+1).Data, d)
	}
	gemm.Gemm(blas.NoTrans, blas.Trans, dAct, g.params.Slice(value, ffnW1, e), 0, mat.Rows(g.rows.dx, begin, end))
}

// RowGradients implements [RowGradients].
func (g *swigluGroup) RowGradients(saved Saved, of []int32, dy, dx blas32.General) {
	g.beginRows(saved, of, dy, dx)
	g.dAct, g.dGate = g.dActBuf.Matrix(dy.Rows, g.Hidden), g.dGateBuf.Matrix(dy.Rows, g.Hidden)
	each(g.workers, g.work(dy.Rows*dy.Cols), g.shape.Count, g, (*swigluGroup).rowGradients)
	g.endRows()
}

func (g *swigluGroup) rowGradients(e int) {
	begin, end := g.rows.span(e)
	dGate, dUp, dx := mat.Rows(g.dGate, begin, end), mat.Rows(g.dAct, begin, end), mat.Rows(g.rows.dx, begin, end)
	gemm.Gemm(blas.NoTrans, blas.Trans, mat.Rows(g.rows.dy, begin, end), g.weight(wDown, e), 0, dUp)
	for i, row := range g.rows.of[begin:end] {
		gate, up := g.keptSpan(keptGate, int(row), int(row)+1), g.keptSpan(keptUp, int(row), int(row)+1)
		f32.SwiGLUGrad(mat.Row(dGate, i), mat.Row(dUp, i), gate.Data, up.Data, mat.Row(dUp, i))
	}
	gemm.Gemm(blas.NoTrans, blas.Trans, dGate, g.weight(wGate, e), 0, dx)
	gemm.Gemm(blas.NoTrans, blas.Trans, dUp, g.weight(wUp, e), 1, dx)
}

// RowGradients implements [RowGradients].
func (g *identityGroup) RowGradients(saved Saved, of []int32, dy, dx blas32.General) {
	g.beginRows(saved, of, dy, dx)
	mat.Copy(dx, dy)
	g.endRows()
}
