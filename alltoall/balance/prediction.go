package balance

import (
	"math/bits"
	"slices"
	"sort"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// Prediction is what every rank has to do by an allocation, and how long it takes by the costs of
// the problem. Its zero value is ready for [Prediction.Fill], which uses its memory again.
//
// A rank takes the time to compute its rows, and the leaves in which they are, and, for its links
// within the node and to other nodes each, that of the larger of the rows that leave and those that
// arrive, and of the parameters and gradients both ways.
type Prediction struct {
	// Rows is the number of rows that each rank computes, and Time the picoseconds that it takes.
	Rows, Time []int64
	// Copies is the number of runs of which the rank is not the home, and Moved their rows.
	Copies int
	Moved  int64
	// Bytes is the parameters and gradients that travel, of all ranks.
	Bytes int64

	problem *Problem
	home    []int32 // the rank of each expert
	total   []int64 // the rows of each expert
	filled  []int64 // the leaves of each expert that have rows, if those cost anything
	busy    []int64 // the leaves with rows that each rank computes, of all experts
	first   []int   // the first leaf of each rank, and at the end the number of all
	flows   []flow  // of each rank: within its node, and to others
	leaf    []int64 // the rows of each leaf for one home
}

// flow is what a rank sends and receives over one kind of link.
type flow struct {
	leave, arrive int64 // rows
	moved         int64 // bytes of parameters and gradients
}

// Finish is the picoseconds until the last rank is done with what a gives it.
func Finish(p *Problem, a alltoall.Allocation) int64 {
	var q Prediction
	q.Fill(p, a)
	return q.Finish()
}

// Fill makes q that of a, both of which are valid for each other.
func (q *Prediction) Fill(p *Problem, a alltoall.Allocation) {
	q.reset(p)
	for r := range q.Rows {
		q.addHome(r)
	}
	q.Share(a)
}

// Share makes q, which is that without sharing, that of a.
func (q *Prediction) Share(a alltoall.Allocation) {
	for _, r := range a {
		q.move(r, 1)
	}
	q.retime()
}

// Finish is the picoseconds until the last rank is done.
func (q *Prediction) Finish() int64 { return slices.Max(q.Time) }

// MaxOverMean is the largest of values as a multiple of their mean, or 1 if all are 0.
func MaxOverMean(values []int64) float64 {
	sum := 0.0
	for _, v := range values {
		sum += float64(v)
	}
	if sum == 0 {
		return 1
	}
	return float64(slices.Max(values)) * float64(len(values)) / sum
}

// reset empties q for p.
func (q *Prediction) reset(p *Problem) {
	place := p.Loads.Placement
	ranks, experts := place.Ranks(), place.Experts()
	q.problem, q.Copies, q.Moved, q.Bytes = p, 0, 0, 0
	q.Rows, q.Time = zeros(q.Rows, ranks), zeros(q.Time, ranks)
	q.flows, q.total = zeros(q.flows, 2*ranks), zeros(q.total, experts)
	q.busy, q.filled = zeros(q.busy, ranks), zeros(q.filled, experts)
	q.home, q.first = q.home[:0], append(q.first[:0], 0)
	for r := range ranks {
		for range place.Count(r) {
			q.home = append(q.home, int32(r))
		}
		q.first = append(q.first, q.first[r]+p.Loads.Leaves[r])
	}
}

// leaves is the number of leaves of all ranks.
func (q *Prediction) leaves() int { return q.first[len(q.first)-1] }

// addHome adds the rows of all experts of a rank, which are all computed there.
func (q *Prediction) addHome(home int) {
	leaves := q.leaves()
	q.leaf = zeros(q.leaf, leaves)
	begin, end := q.problem.Loads.Placement.Of(home)
	for e := begin; e < end; e++ {
		rows := q.problem.Loads.Rows[e*leaves : (e+1)*leaves]
		q.total[e] = addRows(q.leaf, rows)
		q.filled[e] = q.leavesOf(rows)
		q.Rows[home] += q.total[e]
		q.busy[home] += q.filled[e]
	}
	at, arrive := 0, q.flows[2*home:2*home+2]
	for s, end := range q.first[1:] {
		n := int64(0)
		for _, rows := range q.leaf[at:end] {
			n += rows
		}
		if at = end; n > 0 && s != home {
			class := q.class(s, home)
			q.flows[2*s+class].leave += n
			arrive[class].arrive += n
		}
	}
}

// leavesOf is how many of some leaves have rows, or 0 if that costs nothing.
func (q *Prediction) leavesOf(rows []int32) (n int64) {
	if q.problem.Costs.Leaf == 0 {
		return 0
	}
	for _, r := range rows {
		if r > 0 {
			n++
		}
	}
	return n
}

// addRows adds counts to numbers as many, and returns the sum of the counts.
func addRows(to []int64, rows []int32) (n int64) {
	to = to[:len(rows)]
	for i, v := range rows {
		to[i] += int64(v)
		n += int64(v)
	}
	return n
}

// move has the rank of a run compute it in place of its home; sign −1 takes that back.
func (q *Prediction) move(r alltoall.Run, sign int64) {
	home := int(q.home[r.Expert])
	if home == r.Rank {
		return
	}
	rows := q.problem.Loads.Rows[r.Expert*q.leaves():]
	for s, at := q.source(r.First), r.First; at < r.End; s++ {
		end := min(q.first[s+1], r.End)
		q.reroute(s, home, r.Rank, sign*sum(rows[at:end]))
		at = end
	}
	filled := sign * q.leavesOf(rows[r.First:r.End])
	q.busy[home] -= filled
	q.busy[r.Rank] += filled
	c := &q.problem.Costs
	bytes := sign * (c.Params + c.Gradient*int64(nodes(r.First, r.End)))
	class := q.class(home, r.Rank)
	q.flows[2*home+class].moved += bytes
	q.flows[2*r.Rank+class].moved += bytes
	q.Bytes += bytes
	q.Copies += int(sign)
}

// source is the rank whose leaf it is.
func (q *Prediction) source(leaf int) int { return sort.SearchInts(q.first, leaf+1) - 1 }

// reroute has n rows of rank s computed by another rank than their home.
func (q *Prediction) reroute(s, home, other int, n int64) {
	q.Rows[home] -= n
	q.Rows[other] += n
	q.Moved += n
	if s != home {
		class := q.class(s, home)
		q.flows[2*s+class].leave -= n
		q.flows[2*home+class].arrive -= n
	}
	if s != other {
		class := q.class(s, other)
		q.flows[2*s+class].leave += n
		q.flows[2*other+class].arrive += n
	}
}

// class is 0 for ranks that share a node, and 1 for others.
func (q *Prediction) class(a, b int) int {
	if node := q.problem.Node; len(node) > 0 && node[a] != node[b] {
		return 1
	}
	return 0
}

// perByte is the picoseconds of a byte over a link of a class.
func (q *Prediction) perByte(class int) int64 {
	if class == 1 {
		return q.problem.Costs.Between
	}
	return q.problem.Costs.Within
}

// retime sets the times by rows and flows.
func (q *Prediction) retime() {
	c := &q.problem.Costs
	for r := range q.Time {
		t := times(c.Row[r], q.Rows[r]+c.Leaf*q.busy[r])
		for class := range 2 {
			f := &q.flows[2*r+class]
			t += times(q.perByte(class), times(c.RowBytes, max(f.leave, f.arrive))+f.moved)
		}
		q.Time[r] = t
	}
}

// ceiling is what a product is at most: a sum of a few is an int64.
const ceiling = 1 << 60

// times is a·b, or ceiling if that is less. Neither is negative.
func times(a, b int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	if hi > 0 || lo > ceiling {
		return ceiling
	}
	return int64(lo)
}

// nodes is the number of complete subtrees of the gradient tree that leaves [first, end) are, as
// param/tree.Cover lists them.
func nodes(first, end int) (n int) {
	for ; first < end; n++ {
		level := bits.Len(uint(end-first)) - 1
		if first > 0 {
			level = min(level, bits.TrailingZeros(uint(first)))
		}
		first += 1 << level
	}
	return n
}

func sum(rows []int32) (n int64) {
	for _, r := range rows {
		n += int64(r)
	}
	return n
}

// zeros is n zeros, in memory that list has if it is enough.
func zeros[T any](list []T, n int) []T {
	list = slices.Grow(list[:0], n)[:n]
	clear(list)
	return list
}
