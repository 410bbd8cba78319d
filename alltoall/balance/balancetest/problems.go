package balancetest

import (
	"fmt"
	"iter"
	"math"
	"math/rand/v2"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
)

// random is how many random problems a rule tries.
const random = 100

// problems yields the hostile problems in a fixed order, and random ones.
func (s suite) problems() iter.Seq2[string, *balance.Problem] {
	return func(yield func(string, *balance.Problem) bool) {
		for _, h := range Hostile() {
			if !yield(h.Name, h.Problem) {
				return
			}
		}
		for i := range random {
			if !yield(fmt.Sprint("random problem ", i), Random(s.rand)) {
				return
			}
		}
	}
}

// Random draws a problem of up to eight ranks: any placement, any leaves, loads from even ones to
// those of one expert, costs of any kind, and limits that may be tight.
func Random(r *rand.Rand) *balance.Problem {
	ranks := 1 + r.IntN(8)
	hosted, leaves := make([]int, ranks), make([]int, ranks)
	for i := range ranks {
		hosted[i], leaves[i] = r.IntN(5), r.IntN(7)
	}
	p := problem(hosted, leaves, func(int, int) int32 { return 0 })
	skew, most := r.Float64()*3, 1+r.IntN(200)
	experts := p.Loads.Placement.Experts()
	total := len(p.Loads.Rows) / max(experts, 1)
	for i, e := range r.Perm(experts) {
		for l := range total {
			p.Loads.Rows[e*total+l] = int32(float64(r.IntN(most+1)) / math.Pow(float64(i+1), skew))
		}
	}
	p.Limits = alltoall.Limits{Slots: r.IntN(4)}
	if r.IntN(3) == 0 {
		p.Limits.Rows = r.IntN(4 * most * max(total, 1))
	}
	draw := func(most int64) int64 { return r.Int64N(most) * r.Int64N(2) }
	for i := range p.Costs.Row {
		p.Costs.Row[i] = 1 + draw(1000)
	}
	p.Costs.RowBytes, p.Costs.Params, p.Costs.Gradient = draw(100), draw(1000), draw(1000)
	p.Costs.Within, p.Costs.Between, p.Costs.Leaf = draw(10), draw(100), draw(20)
	if r.IntN(2) == 0 {
		for i := range ranks {
			p.Node = append(p.Node, i/2)
		}
	}
	return p
}

// problem makes one of the rows that each expert has in each leaf, with costs and limits that let
// much be shared.
func problem(hosted, leaves []int, rows func(e, leaf int) int32) *balance.Problem {
	l := &alltoall.Loads{Placement: alltoall.Hosted(hosted), Leaves: leaves, Rows: []int32{}}
	total := 0
	for _, n := range leaves {
		total += n
	}
	for e := range l.Placement.Experts() {
		for leaf := range total {
			l.Rows = append(l.Rows, rows(e, leaf))
		}
	}
	p := &balance.Problem{Loads: l, Limits: alltoall.Limits{Slots: 4}}
	for range hosted {
		p.Costs.Row = append(p.Costs.Row, 1000)
	}
	p.Costs.RowBytes, p.Costs.Params, p.Costs.Gradient, p.Costs.Within, p.Costs.Between = 16, 100, 100, 1, 10
	return p
}

// Named is a problem and what is special about it.
type Named struct {
	Name    string
	Problem *balance.Problem
}

// Hostile returns problems that are easily got wrong: nothing to share, nobody to share with,
// everything in one place, counts and costs as large as they may be.
func Hostile() []Named {
	const huge = math.MaxInt32
	each := func(n, of int) (list []int) {
		for range of {
			list = append(list, n)
		}
		return list
	}
	all := func(n int32) func(e, l int) int32 { return func(int, int) int32 { return n } }
	on := func(expert int, n int32) func(e, l int) int32 {
		return func(e, _ int) int32 {
			if e == expert {
				return n
			}
			return 0
		}
	}
	list := []Named{
		{"one rank", problem([]int{3}, []int{4}, on(1, 50))},
		{"no tokens", problem(each(2, 4), each(0, 4), all(1))},
		{"no rows", problem(each(2, 4), each(3, 4), all(0))},
		{"no experts", problem(each(0, 4), each(3, 4), all(1))},
		{"tokens on one rank", problem(each(2, 4), []int{0, 0, 9, 0}, on(1, 50))},
		{"one expert", problem([]int{0, 1, 0, 0}, each(3, 4), all(9))},
		{"all rows for one expert", problem(each(4, 4), each(4, 4), on(5, 100))},
		{"one leaf a rank", problem(each(2, 4), each(1, 4), on(0, 100))},
		{"one leaf of all", problem(each(2, 4), []int{1, 0, 0, 0}, on(0, 100))},
		{"rows in one leaf", problem(each(2, 4), each(4, 4), func(e, l int) int32 {
			if l == 7 {
				return 100
			}
			return 0
		})},
		{"unequal leaves", problem(each(2, 4), []int{1, 7, 0, 30}, on(3, 10))},
		{"even", problem(each(2, 4), each(4, 4), all(10))},
		{"huge counts", problem([]int{1, 0, 2, 1}, each(2, 4), on(0, huge))},
		{"huge counts of all", problem(each(2, 4), each(3, 4), all(huge))},
		{"256 experts on 64 ranks", problem(each(4, 64), each(2, 64), func(e, l int) int32 { return int32(6000/(e+1) + l%3) })},
	}
	limited := func(name string, change func(*balance.Problem)) {
		p := problem(each(4, 4), each(4, 4), on(5, 100))
		change(p)
		list = append(list, Named{name, p})
	}
	limited("no slots", func(p *balance.Problem) { p.Limits.Slots = 0 })
	limited("one slot", func(p *balance.Problem) { p.Limits.Slots = 1 })
	limited("one row", func(p *balance.Problem) { p.Limits.Rows = 1 })
	limited("few rows", func(p *balance.Problem) { p.Limits.Rows = 410 })
	limited("free rows", func(p *balance.Problem) { clear(p.Costs.Row) })
	limited("nothing costs", func(p *balance.Problem) { p.Costs = balance.Costs{Row: p.Costs.Row[:4]}; clear(p.Costs.Row) })
	limited("a fast rank", func(p *balance.Problem) { p.Costs.Row[2] = 1 })
	limited("dear", func(p *balance.Problem) {
		const most = 1 << 40
		p.Costs = balance.Costs{Row: []int64{most, most, 0, 1}, RowBytes: most, Params: most, Gradient: most, Within: most, Between: most}
		p.Loads.Rows[5*16] = huge
		p.Node = []int{7, 7, -1, 0}
	})
	return list
}
