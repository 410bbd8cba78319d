package goldens

import (
	"fmt"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/router"
)

// checkSinkhorn compares the transport matrix, and who goes where by it.
func (c *routerCase) checkSinkhorn() (worst float64, err error) {
	matrix := func(data []float32) blas32.General {
		return blas32.General{Rows: c.Tokens, Cols: c.Experts, Stride: c.Experts, Data: data}
	}
	got := matrix(make([]float32, len(c.Logits)))
	router.Sinkhorn{K: c.K}.Transport(got, matrix(c.Logits))
	have := make([]float64, len(got.Data))
	for i, v := range got.Data {
		have[i] = float64(v)
	}
	var into comparison
	into.numbers("transport", have, c.Transport, largest(c.Transport), weightTolerance)
	r, err := c.run(false)
	if err != nil {
		return into.worst, err
	}
	experts := make([][]int, c.Tokens)
	for _, e := range entries(&r.Assignment) {
		experts[int(e[0])] = append(experts[int(e[0])], int(e[1]))
	}
	for t, want := range c.Assignment {
		if want = slices.Sorted(slices.Values(want)); !slices.Equal(experts[t], want) {
			return into.worst, fmt.Errorf("token %d goes to %v, want %v", t, experts[t], want)
		}
	}
	return into.worst, into.err
}
