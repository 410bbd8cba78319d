package router

import (
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Order gathers the tokens' rows in the order of the entries: row i of dst becomes row Token[i] of
// x. dst has a row for each entry, and as many columns as x.
func (a *Assignment) Order(dst, x blas32.General) {
	a.check("Order", dst, x)
	for i, t := range a.Token {
		copy(mat.Row(dst, i), mat.Row(x, int(t)))
	}
}

// OrderBackward takes the gradient back through Order: it adds row i of drows to row Token[i] of
// dx. Rows of one token are added in ascending order of their experts.
func (a *Assignment) OrderBackward(dx, drows blas32.General) {
	a.check("OrderBackward", drows, dx)
	for i, t := range a.Token {
		f32.Add(mat.Row(dx, int(t)), mat.Row(drows, i))
	}
}

// Restore turns the experts' answers into the layer's output: row t of dst becomes the sum of
// Weight[i] times row i of rows, over the entries i of token t. The order of reduction is part of
// the contract: from zero, in ascending order of experts, each product rounded to float32 before it
// is added.
func (a *Assignment) Restore(dst, rows blas32.General) {
	a.check("Restore", rows, dst)
	for t := range a.Tokens {
		clear(mat.Row(dst, t))
	}
	for i, t := range a.Token {
		f32.Axpy(mat.Row(dst, int(t)), a.Weight[i], mat.Row(rows, i))
	}
}

// RestoreBackward takes the gradient back through Restore, of which rows was the input: row i of
// drows becomes Weight[i] times row Token[i] of dy, and dweights[i] the product of row i of rows
// with it. drows may be rows itself.
func (a *Assignment) RestoreBackward(drows blas32.General, dweights []float32, rows, dy blas32.General) {
	a.check("RestoreBackward", rows, dy)
	a.check("RestoreBackward", drows, dy)
	if len(dweights) != len(a.Token) {
		panic(fmt.Sprintf("router: RestoreBackward: %d gradients of weights for %d entries", len(dweights), len(a.Token)))
	}
	for i, t := range a.Token {
		d := mat.Row(dy, int(t))
		dweights[i] = f32.Dot(mat.Row(rows, i), d)
		drow := mat.Row(drows, i)
		copy(drow, d)
		f32.Scale(drow, a.Weight[i])
	}
}

// check panics unless entries has a row for each entry and tokens one for each token, of as many
// columns.
func (a *Assignment) check(op string, entries, tokens blas32.General) {
	switch {
	case entries.Rows != len(a.Token):
		panic(fmt.Sprintf("router: %s: %d rows for %d entries", op, entries.Rows, len(a.Token)))
	case tokens.Rows != a.Tokens:
		panic(fmt.Sprintf("router: %s: %d rows for %d tokens", op, tokens.Rows, a.Tokens))
	case entries.Rows != 0 && entries.Cols != tokens.Cols:
		panic(fmt.Sprintf("router: %s: rows of %d columns for tokens of %d", op, entries.Cols, tokens.Cols))
	}
}
