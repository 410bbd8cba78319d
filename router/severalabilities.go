package router

import (
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// Causal is described at [CausalRouter]: all routers of the list are causal.
func (r Several) Causal() bool { return !slices.ContainsFunc(r.Routers, looksAhead) }

func looksAhead(r Router) bool { return !IsCausal(r) }

// Bound is described at [BoundedRouter]: the largest of the list.
func (r Several) Bound(tokens, experts int, train bool) int {
	most := 0
	for _, of := range r.Routers {
		most = max(most, boundOf(of, tokens, experts, train))
	}
	return most
}

// WeightSum is described at [WeightedRouter]: the widest bounds of the list.
func (r Several) WeightSum(experts int) (least, most float64) {
	least = math.Inf(1)
	for _, of := range r.Routers {
		low, high := weightSumOf(of, experts)
		least, most = min(least, low), max(most, high)
	}
	return least, most
}

// listBiases copies the biases of all gates into one slice.
func (m *several) listBiases() {
	m.bias = make([][]float32, len(m.gates))
	for _, g := range m.gates {
		m.biases = append(m.biases, biasOf(g)...)
	}
	at := 0
	for i, g := range m.gates {
		n := len(biasOf(g))
		m.bias[i] = m.biases[at : at+n : at+n]
		at += n
	}
}

// biasOf is the bias of any gate, nil without one.
func biasOf(g Gate) []float32 {
	if b, ok := g.(Balancer); ok {
		return b.Bias()
	}
	return nil
}

// Bias is described at [Balancer]: those of all gates, one after the other.
func (m *several) Bias() []float32 { return m.biases }

// Tally is described at [Balancer]: those of all gates, one after the other.
func (m *several) Tally() []int64 {
	m.tally = m.tally[:0]
	for _, g := range m.gates {
		if b, ok := g.(Balancer); ok {
			m.tally = append(m.tally, b.Tally()...)
		}
	}
	if len(m.tally) == 0 {
		return nil
	}
	return m.tally
}

// Rebalance is described at [Balancer]. A gate that has routed nothing since stays as it is.
func (m *several) Rebalance(sum []int64) {
	for i, g := range m.gates {
		b, ok := g.(Balancer)
		if !ok {
			continue
		}
		n := len(b.Tally())
		own := sum[:n:n]
		sum = sum[n:]
		if slices.ContainsFunc(own, func(v int64) bool { return v != 0 }) {
			m.prepare(i)
			b.Rebalance(own)
			copy(m.bias[i], b.Bias())
		}
	}
	if len(sum) != 0 {
		panic("router: sum of tallies of another gate")
	}
}

// State is described at [Stateful]: those of all gates, named by the number of the gate.
func (m *several) State() (list []param.Entry) {
	for i, g := range m.gates {
		for _, e := range stateOf(g) {
			e.Name = fmt.Sprintf("%d.%s", i, e.Name)
			list = append(list, e)
		}
	}
	return list
}

// WantsCounts is described at [GlobalCounter], for the gate that routed last.
func (m *several) WantsCounts() bool {
	g, ok := m.gates[m.last].(GlobalCounter)
	return ok && g.WantsCounts()
}

// SetCounts is described at [GlobalCounter].
func (m *several) SetCounts(d *Decision, counts []int, tokens int) {
	s := m.own(d)
	d.Saved = s.inner
	m.gates[s.gate].(GlobalCounter).SetCounts(d, counts, tokens)
	d.Saved = s
}

// severalLogits is the gate of [Several] if each of its gates can be given logits.
type severalLogits struct{ *several }

var _ LogitRouter = severalLogits{}

// withLogits returns the gate, with the ability to be given logits if all its gates have it.
func (m *several) withLogits() Gate {
	for _, g := range m.gates {
		if _, ok := g.(LogitRouter); !ok {
			return m
		}
	}
	return severalLogits{m}
}

// RouteLogits is described at [LogitRouter].
func (m severalLogits) RouteLogits(logits blas32.General, b Batch) (*Decision, error) {
	if err := m.checkGate(b); err != nil {
		return nil, err
	}
	m.prepare(b.Gate)
	d, err := m.gates[b.Gate].(LogitRouter).RouteLogits(logits, b)
	return m.routed(b.Gate, d, err)
}

// Release is described at [LogitRouter].
func (m severalLogits) Release(d *Decision) {
	s := m.several.release(d)
	m.gates[s.gate].(LogitRouter).Release(d)
}
