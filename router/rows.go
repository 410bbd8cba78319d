package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// grid is a dense matrix of rows of width cols, whose memory is used again from batch to batch.
type grid struct {
	cols int
	data []float32
}

// reset makes room for rows × cols elements of any value.
func (g *grid) reset(rows, cols int) { g.cols, g.data = cols, mat.Reuse(g.data, rows*cols) }

func (g *grid) row(i int) []float32 { return g.data[i*g.cols : (i+1)*g.cols : (i+1)*g.cols] }

// matrix returns all rows; it aliases the grid.
func (g *grid) matrix() blas32.General {
	return blas32.General{Rows: len(g.data) / max(g.cols, 1), Cols: g.cols, Stride: max(g.cols, 1), Data: g.data}
}

// checkBatch panics unless x is a matrix of dim columns and ends cuts exactly its rows into token
// groups.
func checkBatch(x blas32.General, ends []int, dim int) {
	if err := check.Matrix(x, dim); err != nil {
		panic(fmt.Sprintf("router: a batch has %v", err))
	}
	begin := 0
	for g, end := range ends {
		if end < begin {
			panic(fmt.Sprintf("router: group %d ends at row %d, before its begin at %d", g, end, begin))
		}
		begin = end
	}
	if begin != x.Rows {
		panic(fmt.Sprintf("router: groups end at row %d of %d", begin, x.Rows))
	}
}

// checkPadding panics unless b marks none or each of x's rows.
func checkPadding(x blas32.General, b Batch) {
	if b.Padding != nil && len(b.Padding) != x.Rows {
		panic(fmt.Sprintf("router: %d marks of padding for %d tokens", len(b.Padding), x.Rows))
	}
}

// padded tells whether token t is padding.
func (b *Batch) padded(t int) bool { return len(b.Padding) != 0 && b.Padding[t] }

// checkGradient panics unless g has the sizes of d.
func checkGradient(d *Decision, x blas32.General, g Gradient) {
	switch {
	case x.Rows != d.Tokens:
		panic(fmt.Sprintf("router: backward of %d tokens with the decision of %d", x.Rows, d.Tokens))
	case len(g.Weights) != len(d.Weight):
		panic(fmt.Sprintf("router: gradient of %d weights for %d entries", len(g.Weights), len(d.Weight)))
	case len(g.LossScale) != len(d.GroupLoss):
		panic(fmt.Sprintf("router: loss scale of %d groups for %d", len(g.LossScale), len(d.GroupLoss)))
	case g.DX.Rows != x.Rows:
		panic(fmt.Sprintf("router: gradient of %d rows for %d tokens", g.DX.Rows, x.Rows))
	}
	if err := check.AnyMatrix(x); err != nil {
		panic(fmt.Sprintf("router: backward: x has %v", err))
	}
	if err := check.Matrix(g.DX, x.Cols); err != nil {
		panic(fmt.Sprintf("router: backward: DX has %v", err))
	}
}
