package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Mixture is a decision that sends no tokens but mixtures of them: in each token group every expert
// has the same number of slots, a slot's row is a weighted sum of the group's tokens, and a token's
// output a weighted sum of the answers to the group's slots. A group without tokens has no slots.
// (Puigcerver et al. 2024.)
//
// The rows are sorted by expert, then by group, then by slot.
type Mixture struct {
	// Slots is the number of slots of each expert in each token group.
	Slots int
	// Ends cuts the tokens into token groups, as [Batch.Ends] does.
	Ends []int
	// Empty marks the token groups that have no slots: those without tokens, or with none but padding.
	Empty []bool
	// Dispatch and Combine are tokens × (Experts·Slots), the column of slot s of expert e being
	// e·Slots+s. Row j of a token group is the sum of Dispatch[t, j] times token t over the group's
	// tokens; the output of token t is the sum of Combine[t, j] times answer j.
	Dispatch, Combine blas32.General
}

// groups is the number of token groups that have slots.
func (m *Mixture) groups() int {
	n := 0
	for _, empty := range m.Empty {
		if !empty {
			n++
		}
	}
	return n
}

// slotBlock is one expert's slots in one token group.
type slotBlock struct {
	begin, end int // tokens
	column     int // of the first slot in the matrices
	row        int // of the first slot among the rows that are sent
}

// each calls do for every expert and token group with slots, groups in order and in each the
// experts in order.
func (m *Mixture) each(do func(p slotBlock)) {
	groups := m.groups()
	experts := m.Dispatch.Cols / m.Slots
	begin, at := 0, 0
	for g, end := range m.Ends {
		if !m.Empty[g] {
			for e := range experts {
				do(slotBlock{begin, end, e * m.Slots, (e*groups + at) * m.Slots})
			}
			at++
		}
		begin = end
	}
}

// of returns the block's columns of its tokens' rows of d, which it aliases.
func (m *Mixture) of(d blas32.General, p slotBlock) blas32.General {
	d = mat.Rows(d, p.begin, p.end)
	return blas32.General{Rows: d.Rows, Cols: m.Slots, Stride: d.Stride, Data: d.Data[p.column:]}
}

// NumRows returns the number of rows that are sent to experts.
func (d *Decision) NumRows() int {
	if m := d.Mixture; m != nil {
		return m.groups() * m.Dispatch.Cols
	}
	return len(d.Token)
}

// NumWeights is the number of factors with which answers enter outputs: one for each entry of the
// assignment, or the elements of the mixture's Combine, row by row.
func (d *Decision) NumWeights() int {
	if m := d.Mixture; m != nil {
		return m.Combine.Rows * m.Combine.Cols
	}
	return len(d.Weight)
}

// CountRows counts the rows that are sent to each expert from each token group: element
// e·len(ends)+g of dst, which has Experts·len(ends). ends is the Ends of the routed [Batch].
func (d *Decision) CountRows(dst []int, ends []int) {
	if len(dst) != d.Experts*len(ends) {
		panic(fmt.Sprintf("router: CountRows: %d counts for %d experts × %d groups", len(dst), d.Experts, len(ends)))
	}
	clear(dst)
	for e := range d.Experts {
		counts := dst[e*len(ends) : (e+1)*len(ends)]
		if d.Mixture != nil {
			d.Mixture.count(counts)
			continue
		}
		begin, end := d.Of(ExpertID(e))
		g := 0
		for _, token := range d.Token[begin:end] {
			for int(token) >= ends[g] {
				g++
			}
			counts[g]++
		}
	}
}

// count fills in the slots of one expert in each token group.
func (m *Mixture) count(counts []int) {
	for g, empty := range m.Empty {
		if !empty {
			counts[g] = m.Slots
		}
	}
}

// Order computes the rows that are sent, NumRows of them in dst, from the tokens x: it gathers them
// by the assignment, as [Assignment.Order] does, or mixes them.
//
// A mixed element starts at +0 and adds Dispatch·x token by token, each product rounded to float32
// before it is added.
func (d *Decision) Order(dst, x blas32.General) {
	m := d.Mixture
	if m == nil {
		d.Assignment.Order(dst, x)
		return
	}
	d.checkMixed("Order", dst, x)
	m.each(func(p slotBlock) {
		gemm.Gemm(blas.Trans, blas.NoTrans, m.of(m.Dispatch, p), mat.Rows(x, p.begin, p.end), 0, mat.Rows(dst, p.row, p.row+m.Slots))
	})
}

// OrderBackward is the backward pass of Order: it adds to dx the gradient of the tokens for drows,
// that of the rows sent. The gate computes the gradient of the mixture's Dispatch from
// [Gradient.Rows].
func (d *Decision) OrderBackward(dx, drows blas32.General) {
	m := d.Mixture
	if m == nil {
		d.Assignment.OrderBackward(dx, drows)
		return
	}
	d.checkMixed("OrderBackward", drows, dx)
	m.each(func(p slotBlock) {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, m.of(m.Dispatch, p), mat.Rows(drows, p.row, p.row+m.Slots), 1, mat.Rows(dx, p.begin, p.end))
	})
}

// Restore turns the experts' answers, rows, into the layer's output, a row of dst a token: as
// [Assignment.Restore] does, or as Combine says. A token that nobody answers, and padding, gets
// zeros.
//
// The order of reduction is the same: from +0, in ascending order of experts and within one of
// slots, each product rounded to float32 before it is added.
func (d *Decision) Restore(dst, rows blas32.General) {
	m := d.Mixture
	if m == nil {
		d.Assignment.Restore(dst, rows)
		return
	}
	d.checkMixed("Restore", rows, dst)
	for t := range d.Tokens {
		clear(mat.Row(dst, t))
	}
	m.each(func(p slotBlock) {
		gemm.Gemm(blas.NoTrans, blas.NoTrans, m.of(m.Combine, p), mat.Rows(rows, p.row, p.row+m.Slots), 1, mat.Rows(dst, p.begin, p.end))
	})
}

// RestoreBackward takes the gradient back through Restore, of which rows was the input: it fills
// drows, the gradient with respect to rows, and dweights, NumWeights long, with that of the
// factors. drows may be rows itself.
func (d *Decision) RestoreBackward(drows blas32.General, dweights []float32, rows, dy blas32.General) {
	m := d.Mixture
	if m == nil {
		d.Assignment.RestoreBackward(drows, dweights, rows, dy)
		return
	}
	d.checkMixed("RestoreBackward", rows, dy)
	d.checkMixed("RestoreBackward", drows, dy)
	if len(dweights) != d.NumWeights() {
		panic(fmt.Sprintf("router: RestoreBackward: %d gradients of weights for %d", len(dweights), d.NumWeights()))
	}
	clear(dweights)
	m.each(func(p slotBlock) {
		m.dot(dweights, p, mat.Rows(dy, p.begin, p.end), mat.Rows(rows, p.row, p.row+m.Slots))
		gemm.Gemm(blas.Trans, blas.NoTrans, m.of(m.Combine, p), mat.Rows(dy, p.begin, p.end), 0, mat.Rows(drows, p.row, p.row+m.Slots))
	})
}

// dot fills the block of a matrix laid out as Dispatch and Combine with the products of tokens and
// slots.
func (m *Mixture) dot(matrix []float32, p slotBlock, tokens, slots blas32.General) {
	for i := range tokens.Rows {
		line := matrix[(p.begin+i)*m.Combine.Cols+p.column:]
		for s := range slots.Rows {
			line[s] = f32.Dot(mat.Row(tokens, i), mat.Row(slots, s))
		}
	}
}

// checkMixed panics unless slots has a row for each slot and tokens one for each token, of as many
// columns.
func (d *Decision) checkMixed(op string, slots, tokens blas32.General) {
	switch {
	case slots.Rows != d.NumRows():
		panic(fmt.Sprintf("router: %s: %d rows for %d slots", op, slots.Rows, d.NumRows()))
	case tokens.Rows != d.Tokens:
		panic(fmt.Sprintf("router: %s: %d rows for %d tokens", op, tokens.Rows, d.Tokens))
	case slots.Rows != 0 && slots.Cols != tokens.Cols:
		panic(fmt.Sprintf("router: %s: rows of %d columns for tokens of %d", op, slots.Cols, tokens.Cols))
	}
}
