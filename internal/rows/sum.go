package rows

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// most is the number of a token's rows up to which they are added up in registers.
const most = 16

// Sum sets row t of dst to the sum over the rows i of token t, in ascending order, of weight[i]
// times row i of rows, or of row i itself if weight is nil. It starts from +0 and rounds each
// product to float32 before it is added. A token without rows gets zeros.
func Sum(dst, rows blas32.General, x *Index, weight []float32) {
	switch {
	case dst.Rows != len(x.ends) || rows.Rows != len(x.row):
		panic(fmt.Sprintf("rows: Sum: %d rows for %d tokens with an index of %d for %d", rows.Rows, dst.Rows, len(x.row), len(x.ends)))
	case rows.Rows > 0 && rows.Cols != dst.Cols:
		panic(fmt.Sprintf("rows: Sum: rows of %d columns for tokens of %d", rows.Cols, dst.Cols))
	case weight != nil && len(weight) != rows.Rows:
		panic(fmt.Sprintf("rows: Sum: %d weights for %d rows", len(weight), rows.Rows))
	}
	past := 4*rows.Rows*dst.Cols >= farBytes
	begin := 0
	for t := range dst.Rows {
		end := int(x.ends[t])
		next := x.row[end:]
		if len(next) == 0 {
			next = x.row[begin:]
		}
		sum(mat.Row(dst, t), rows, x.row[begin:end], next, weight, past)
		begin = end
	}
	if past {
		fence()
	}
}

// sumGeneric is sum for the elements of dst from first on.
func sumGeneric(dst []float32, first int, rows blas32.General, list []int32, weight []float32) {
	if first == len(dst) {
		return
	}
	clear(dst[first:])
	for _, i := range list {
		if weight == nil {
			f32.Add(dst[first:], mat.Row(rows, int(i))[first:])
		} else {
			f32.Axpy(dst[first:], weight[i], mat.Row(rows, int(i))[first:])
		}
	}
}

// SumBackward takes the gradient back through [Sum] with weights, of which rows was the input: row
// i of drows becomes weight[i] times row token[i] of dy, and dweight[i] the product ([f32.Dot]) of
// row i of rows with it. drows shares no memory with rows.
func SumBackward(drows blas32.General, dweight []float32, rows, dy blas32.General, token []int32, weight []float32) {
	if drows.Rows != rows.Rows || rows.Rows != len(token) || len(token) != len(weight) || len(weight) != len(dweight) {
		panic(fmt.Sprintf("rows: SumBackward: %d gradients of %d rows, %d tokens, %d weights, %d gradients of those",
			drows.Rows, rows.Rows, len(token), len(weight), len(dweight)))
	}
	past := 4*rows.Rows*dy.Cols >= farBytes
	for i, t := range token {
		d, drow := mat.Row(dy, int(t)), mat.Row(drows, i)
		dweight[i] = f32.Dot(mat.Row(rows, i), d)
		if past {
			next := min(i+1, len(token)-1)
			scaleFar(drow, d, weight[i], mat.Row(dy, int(token[next])), mat.Row(rows, next))
		} else {
			scaleGeneric(drow, d, weight[i])
		}
	}
	if past {
		fence()
	}
}

func scaleGeneric(dst, x []float32, weight float32) {
	copy(dst, x)
	f32.Scale(dst, weight)
}
