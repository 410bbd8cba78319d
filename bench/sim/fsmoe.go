package sim

import (
	"fmt"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// testbed is a cluster of FSMoE's evaluation (ASPLOS 2025, section 6): its fitted costs (figure 5)
// in milliseconds and milliseconds a float32 element or multiply-add, the GPUs of a node, and the
// sequence lengths of its grid (table 4).
type testbed struct {
	name                                  string
	gemm, a2a, gather, scatter, allReduce schedule.Linear
	perNode                               int
	lengths                               []int
}

// testbeds are the two of the paper. In the paper's figure the slopes of A's all-gather and
// all-reduce are ten times too large beside its reduce-scatter and beside table 2, which we take
// for a slip; "A as printed" has them as they stand there.
func testbeds() []testbed {
	a := testbed{
		name: "A", perNode: 8, lengths: []int{512, 1024, 2048},
		gemm: schedule.Linear{Alpha: 4.26e-2, Beta: 2.29e-11}, a2a: schedule.Linear{Alpha: 2.87e-1, Beta: 2.21e-7},
		gather: schedule.Linear{Alpha: 3.37e-1, Beta: 2.32e-7}, scatter: schedule.Linear{Alpha: 3.95e-1, Beta: 2.34e-7},
		allReduce: schedule.Linear{Alpha: 5.11e-1, Beta: 4.95e-7},
	}
	printed := a
	printed.name, printed.gather.Beta, printed.allReduce.Beta = "A as printed", 2.32e-6, 4.95e-6
	b := testbed{
		name: "B", perNode: 4, lengths: []int{256, 512, 1024},
		gemm: schedule.Linear{Alpha: 9.24e-2, Beta: 4.42e-11}, a2a: schedule.Linear{Alpha: 1.75e-1, Beta: 3.06e-7},
		gather: schedule.Linear{Alpha: 3.20e-2, Beta: 1.68e-7}, scatter: schedule.Linear{Alpha: 3.91e-2, Beta: 1.67e-7},
		allReduce: schedule.Linear{Alpha: 8.37e-2, Beta: 5.99e-7},
	}
	return []testbed{a, printed, b}
}

// costs returns the testbed's costs by operation.
func (t *testbed) costs() *schedule.Costs {
	return &schedule.Costs{
		schedule.Dense: t.gemm, schedule.Expert: t.gemm, schedule.Dispatch: t.a2a, schedule.Combine: t.a2a,
		schedule.Gather: t.gather, schedule.Scatter: t.scatter, schedule.GradReduce: t.allReduce,
	}
}

// gridConfig is one configuration of FSMoE's table 4.
type gridConfig struct {
	batch, heads, length, dim, ratio int // ratio: hidden over dim
	capacity                         float64
	mixtral                          bool
}

// grid returns all configurations of a testbed: 3^6 times two kinds of experts. A capacity of 1
// stands for "no drops", with experts evenly loaded.
func (t *testbed) grid() (all []gridConfig) {
	three := func(f func(i int)) {
		for i := range 3 {
			f(i)
		}
	}
	three(func(b int) {
		three(func(h int) {
			three(func(l int) {
				three(func(m int) {
					three(func(r int) {
						three(func(f int) {
							for _, mixtral := range []bool{false, true} {
								all = append(all, gridConfig{
									batch: 1 << b, heads: 8 << h, length: t.lengths[l], dim: 1024 << m, ratio: 2 + r,
									capacity: []float64{1.2, 2.4, 1}[f], mixtral: mixtral,
								})
							}
						})
					})
				})
			})
		})
	})
	return all
}

// gridTopK is how many experts a token has; the grid does not say, and the paper's models have 2.
const gridTopK = 2

// layer returns the work of one layer, by the paper's formulas. The dense part is the attention's
// matrix products, divided among the GPUs of a node; the number of heads does not change them.
func (t *testbed) layer(c gridConfig) simulate.Layer {
	node, tokens, dim := float64(t.perNode), float64(c.batch*c.length), float64(c.dim)
	rows := gridTopK * c.capacity * tokens * dim // k·f·B·L·M
	gemms, attention, gradient := 2.0, 4.0, (4*dim*dim+3*dim)/node+dim
	if c.mixtral {
		gemms, attention, gradient = 3, 2.5, 2.5*dim*dim/node
	}
	return simulate.Layer{
		schedule.Dense:      {Starts: 4, Size: tokens * (attention*dim*dim + 2*float64(c.length)*dim) / node},
		schedule.Dispatch:   {Starts: 1, Size: rows / node},
		schedule.Gather:     {Starts: 1, Size: rows},
		schedule.Expert:     {Starts: gemms, Size: rows * float64(c.ratio) * dim * gemms / node},
		schedule.Scatter:    {Starts: 1, Size: rows},
		schedule.Combine:    {Starts: 1, Size: rows / node},
		schedule.GradReduce: {Starts: 1, Size: gradient},
	}
}

func (c gridConfig) String() string {
	kind := "GPT"
	if c.mixtral {
		kind = "Mixtral"
	}
	return fmt.Sprintf("B=%d heads=%d L=%d M=%d H/M=%d f=%g %s", c.batch, c.heads, c.length, c.dim, c.ratio, c.capacity, kind)
}
