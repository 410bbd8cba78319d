package router

import (
	"cmp"
	"math"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/f32"
	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Constants of the capped choice: the default λ and the largest number of rounds of projections
// (both of Zhou et al. 2022), the change of ln A below which they have converged; the first λ, if
// the configured one is less, and its factor from round to round.
const (
	defaultEntropy = 0.001
	cappedRounds   = 100
	cappedChange   = 1e-6
	hottest        = 0.2
	cooling        = 0.95
)

// capped is the choice of experts in which no token goes to more than most of them. It maximises
//
//	Σ S∘A + λ·H(A)   over 0 ≤ A ≤ 1, each expert's row sums to k, each token's column to ≤ most
//
// by Dykstra's alternating projections from A = exp(S/λ), in the Kullback-Leibler divergence: rows
// are scaled to their sum, columns that are above theirs scaled down, elements cut at 1, over and
// over, the last two with their corrections. It is done on ln A, which S/λ of 1000 would overflow.
// (Zhou et al. 2022, section 3.3; Benamou et al. 2015 for the projections.)
//
// A hundred rounds with the paper's λ of 0.001 are far from enough to converge, and what is taken
// then falls short of the best by up to a quarter. So λ begins at 0.2 and falls by a twentieth each
// round, which leaves it at 0.0012 after the last. (Scaling of ε: Schmitzer 2019.)
//
// What is taken are the largest elements of A, as long as expert and token have room: the paper's
// top k of each row, but never above the cap where the projections have not converged. Then an
// expert may get fewer than k. Equal elements go to the first token, and of one token to the lowest
// expert.
//
// 100 rounds take 200 exponentials for each token and expert.
type capped struct {
	most   int
	lambda float64

	now     float64 // λ of this round
	tokens  []int32 // those of the token group that are not padding
	a       matrix64
	old     matrix64
	box     matrix64  // correction of the cut at 1
	column  []float64 // correction of the columns
	line    []float32
	order   []int32
	perHead []int // experts that took each token
}

// matrix64 has a row an expert and a column a token.
type matrix64 struct {
	cols int
	data []float64
}

func (m *matrix64) reset(rows, cols int) { m.cols, m.data = cols, mat.Reuse(m.data, rows*cols) }

func (m *matrix64) row(e int) []float64 { return m.data[e*m.cols : (e+1)*m.cols] }

// choose marks what the experts take of rows [begin, end).
func (p *capped) choose(c *election, begin, end int) {
	p.tokens = p.tokens[:0]
	for t := begin; t < end; t++ {
		if c.class[t] != none {
			p.tokens = append(p.tokens, int32(t))
		}
	}
	k := c.gate.quota(0, int64(len(p.tokens)))
	if k == 0 {
		return
	}
	p.start(c)
	for range cappedRounds {
		copy(p.old.data, p.a.data)
		p.fillRows(float64(k))
		p.capColumns()
		p.cutElements()
		if p.now == p.lambda && p.change() < cappedChange {
			break
		}
		p.cool()
	}
	p.take(c, int(k))
}

// start sets ln A = S/λ, and no corrections.
func (p *capped) start(c *election) {
	experts, n := c.gate.experts, len(p.tokens)
	p.now = max(p.lambda, hottest)
	p.a.reset(experts, n)
	p.old.reset(experts, n)
	p.box.reset(experts, n)
	clear(p.box.data)
	p.column, p.line = mat.Reuse(p.column, n), mat.Reuse(p.line, max(n, experts))
	clear(p.column)
	for i, t := range p.tokens {
		for e, s := range c.scores.row(int(t)) {
			p.a.row(e)[i] = float64(s) / p.now
		}
	}
}

// cool lowers λ by one step. The result of the projections so far is kept, in units of S.
func (p *capped) cool() {
	next := max(p.now*cooling, p.lambda)
	if next == p.now {
		return
	}
	for _, logs := range [][]float64{p.a.data, p.box.data, p.column} {
		for i := range logs {
			logs[i] *= p.now / next
		}
	}
	p.now = next
}

// fillRows scales each row to the sum k.
func (p *capped) fillRows(k float64) {
	for e := range len(p.a.data) / p.a.cols {
		row := p.a.row(e)
		shift := ln(k) - p.logSum(len(row), func(i int) float64 { return row[i] })
		for i := range row {
			row[i] += shift
		}
	}
}

// capColumns scales down each column whose sum is above the cap.
func (p *capped) capColumns() {
	experts := len(p.a.data) / p.a.cols
	for i := range p.tokens {
		for e := range experts {
			p.a.row(e)[i] += p.column[i]
		}
		over := p.logSum(experts, func(e int) float64 { return p.a.row(e)[i] }) - ln(float64(p.most))
		p.column[i] = max(over, 0)
		for e := range experts {
			p.a.row(e)[i] -= p.column[i]
		}
	}
}

// cutElements cuts each element at 1.
func (p *capped) cutElements() {
	for i, v := range p.a.data {
		v += p.box.data[i]
		p.a.data[i] = min(v, 0)
		p.box.data[i] = max(v, 0)
	}
}

// logSum returns ln Σ e^v of n numbers, the exponentials in float32, whose bits are the same
// everywhere.
func (p *capped) logSum(n int, v func(int) float64) float64 {
	top := math.Inf(-1)
	for i := range n {
		top = max(top, v(i))
	}
	line := p.line[:n]
	for i := range line {
		line[i] = float32(v(i) - top)
	}
	f32.Exp(line, line)
	return top + ln(sum(line))
}

// change returns the largest change of an element of ln A in this round, of those that are not next
// to nothing.
func (p *capped) change() float64 {
	const nothing = -50
	most := 0.0
	for i, v := range p.a.data {
		if v > nothing || p.old.data[i] > nothing {
			most = max(most, math.Abs(v-p.old.data[i]))
		}
	}
	return most
}

// take marks the largest elements for which there is room.
func (p *capped) take(c *election, k int) {
	experts, n := c.gate.experts, len(p.tokens)
	p.order = mat.Reuse(p.order, len(p.a.data))
	for i := range p.order {
		p.order[i] = int32(i)
	}
	slices.SortFunc(p.order, func(a, b int32) int {
		return cmp.Or(cmp.Compare(p.a.data[b], p.a.data[a]), cmp.Compare(int(a)%n, int(b)%n), cmp.Compare(a, b))
	})
	p.perHead = mat.Reuse(p.perHead, n+experts)
	clear(p.perHead)
	perToken, perExpert := p.perHead[:n], p.perHead[n:]
	for _, at := range p.order {
		e, i := int(at)/n, int(at)%n
		if perExpert[e] < k && perToken[i] < p.most {
			perExpert[e]++
			perToken[i]++
			c.taken[e*c.tokens+int(p.tokens[i])] = true
		}
	}
}
