package law

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/internal/quality"
)

// Task is the name by which bench lsh knows this.
const Task = "errors"

// outcome is what a variant does to a block, and a line of the JSON file.
type outcome struct {
	Task    string  `json:"task"`
	Seed    int     `json:"seed"`
	Block   string  `json:"block"`
	Variant string  `json:"variant"`
	Rate    float64 `json:"rate"`
	Rows    int     `json:"rows"`   // of a group; 0 where all rows travel
	Tokens  int     `json:"tokens"` // over which errors are taken
	Output  float64 `json:"error_output"`
	Weights float64 `json:"error_weights"`
	Values  float64 `json:"error_rows"` // of rows' gradients
	Bytes   float64 `json:"bytes_ratio"`
}

// point is one measurement: a variant at a rate with rows in a group.
type point struct {
	variant variant
	rate    float64
	rows    int
}

// points lists what is to be measured, for one number of rows after the other. Where all rows
// travel there are no groups.
func points(list []variant, rows []int) (all []point) {
	for _, v := range list {
		if v.rates == nil {
			all = append(all, point{v, 1, 0})
		}
	}
	for _, n := range rows {
		for _, v := range list {
			for _, rate := range v.rates {
				all = append(all, point{v, rate, n})
			}
		}
	}
	return all
}

// key is what of an outcome says what was measured.
func (o outcome) key() outcome {
	o.Output, o.Weights, o.Values, o.Bytes = 0, 0, 0, 0
	return o
}

// measurer measures points of one block.
type measurer struct {
	*block
	least int // tokens, if the block has them
	truth map[int]*results
}

// outcome is that of a point before it is measured; ok is false if the block has too few tokens.
func (m *measurer) outcome(p point) (o outcome, ok bool) {
	tokens := max(m.tokensFor(p.rows), min(m.least, m.x.Rows))
	return outcome{Task: Task, Seed: m.seed, Block: m.name, Variant: p.variant.name, Rate: p.rate, Rows: p.rows, Tokens: tokens}, tokens <= m.x.Rows
}

// measure fills in what is measured.
func (m *measurer) measure(ctx context.Context, p point, o *outcome) error {
	want := m.truth[o.Tokens]
	if want == nil {
		var err error
		if want, err = m.run(ctx, switchyard.Config{}, o.Tokens, m.rowsAtOnce(0)); err != nil {
			return err
		}
		m.truth = map[int]*results{o.Tokens: want} // of one number of tokens, to save memory
	}
	w := p.variant.at(p.rate, p.rows)
	got, err := m.run(ctx, p.variant.config(w, m.seed), o.Tokens, m.rowsAtOnce(p.rows))
	if err != nil {
		return fmt.Errorf("%s at %v: %w", o.Variant, o.Rate, err)
	}
	o.Output, o.Values = errorOf([][]float32{got.y}, [][]float32{want.y}), errorOf([][]float32{got.dx}, [][]float32{want.dx})
	o.Weights, o.Bytes = errorOf(got.weights, want.weights), w.BytesRatio(m.x.Cols)
	return nil
}

// rowsAtOnce is the rows of a group, or 1024 where there are no groups.
func (m *measurer) rowsAtOnce(rows int) int {
	if rows == 0 {
		return 1024
	}
	return rows
}

// predicted is what package quality says of an outcome's variant.
func (o outcome) predicted() (e quality.Errors, ok bool) {
	for _, v := range variants() {
		if v.name == o.Variant && !v.stochastic {
			return v.at(o.Rate, o.Rows).Errors(), true
		}
	}
	return e, false
}
