package switchyard

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
)

// slowLayer is the layer in float64, token by token, with all its parameters at hand: top-2 of
// softmax after the selection, SwiGLU experts, balance loss by group. Nothing in it is shared with
// the library.
type slowLayer struct {
	dim, hidden, experts, group int
	balance                     float64
	gate, wGate, wUp, wDown     []float64
}

const slowK = 2

// loss is Σ y·dy plus the mean over tokens of the groups' balance losses. chosen fixes the choice
// of experts where it is not nil, and is filled where it is empty.
func (s *slowLayer) loss(x, dy []float64, chosen *[][]int) (loss float64, y []float64) {
	tokens := len(x) / s.dim
	if len(*chosen) == 0 {
		for t := range tokens {
			*chosen = append(*chosen, s.choose(s.logits(x[t*s.dim:(t+1)*s.dim])))
		}
	}
	for t := range tokens {
		row := s.token(x[t*s.dim:(t+1)*s.dim], (*chosen)[t])
		for i, v := range row {
			loss += v * dy[t*s.dim+i]
		}
		y = append(y, row...)
	}
	for begin := 0; begin < tokens; begin += s.group {
		end := min(begin+s.group, tokens)
		loss += s.balanceLoss(x[begin*s.dim:end*s.dim], (*chosen)[begin:end]) * float64(end-begin) / float64(tokens)
	}
	return loss, y
}

func (s *slowLayer) logits(x []float64) []float64 {
	list := make([]float64, s.experts)
	for e := range list {
		for i, v := range x {
			list[e] += v * s.gate[i*s.experts+e]
		}
	}
	return list
}

func (s *slowLayer) choose(logits []float64) []int {
	order := make([]int, s.experts)
	for e := range order {
		order[e] = e
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case logits[a] > logits[b]:
			return -1
		case logits[a] < logits[b]:
			return 1
		}
		return 0
	})
	return order[:slowK]
}

func (s *slowLayer) token(x []float64, chosen []int) []float64 {
	logits, y, total := s.logits(x), make([]float64, s.dim), 0.0
	for _, e := range chosen {
		total += math.Exp(logits[e])
	}
	for _, e := range chosen {
		for j := range s.hidden {
			a, b := 0.0, 0.0
			for i, v := range x {
				a += v * s.wGate[(e*s.dim+i)*s.hidden+j]
				b += v * s.wUp[(e*s.dim+i)*s.hidden+j]
			}
			h := a / (1 + math.Exp(-a)) * b
			for i := range y {
				y[i] += math.Exp(logits[e]) / total * h * s.wDown[(e*s.hidden+j)*s.dim+i]
			}
		}
	}
	return y
}

func (s *slowLayer) balanceLoss(x []float64, chosen [][]int) float64 {
	tokens := len(chosen)
	counts, scores := make([]float64, s.experts), make([]float64, s.experts)
	for t := range tokens {
		logits, total := s.logits(x[t*s.dim:(t+1)*s.dim]), 0.0
		for _, l := range logits {
			total += math.Exp(l)
		}
		for e, l := range logits {
			scores[e] += math.Exp(l) / total
		}
		for _, e := range chosen[t] {
			counts[e]++
		}
	}
	loss := 0.0
	for e := range counts {
		loss += counts[e] * scores[e]
	}
	return s.balance * float64(s.experts) / float64(slowK*tokens*tokens) * loss
}

func widen(list []float32) []float64 {
	out := make([]float64, len(list))
	for i, v := range list {
		out[i] = float64(v)
	}
	return out
}

// TestLayerAgainstSlowReference compares outputs with the float64 layer, and every gradient with
// its central differences, on several ranks.
func TestLayerAgainstSlowReference(t *testing.T) {
	const tokens, dim, hidden, experts, group, balance = 10, 6, 5, 4, 4, 0.3
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	x, dy := randomMatrix(r, tokens, dim), randomMatrix(r, tokens, dim)
	cfg := Config{Dim: dim, Experts: experts, Group: group, Seed: seed, Expert: expert.SwiGLU{Hidden: hidden},
		Router: router.TopK{K: slowK, Losses: []router.Loss{router.Balance(balance)}}}
	for _, cuts := range [][]int{{tokens}, {4, 8, 10}} {
		worlds := inprocWorlds(len(cuts))
		var parameters, gradients []Tensor
		y, dx := make([]float32, tokens*dim), make([]float32, tokens*dim)
		for _, err := range onRanks(worlds, func(w *World) error {
			begin := 0
			if w.Rank() > 0 {
				begin = cuts[w.Rank()-1]
			}
			ctx := context.Background()
			layer, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			p, err := layer.Parameters(ctx)
			if err != nil {
				return err
			}
			out, err := layer.Forward(ctx, part(x, begin, cuts[w.Rank()]))
			if err != nil {
				return err
			}
			copy(y[begin*dim:], out.Data)
			in, err := layer.Backward(ctx, part(dy, begin, cuts[w.Rank()]))
			if err != nil {
				return err
			}
			copy(dx[begin*dim:], in.Data)
			g, err := layer.Gradients(ctx)
			if w.Rank() == 0 {
				parameters, gradients = p, g
			}
			return err
		}) {
			require.NoError(t, err)
		}
		slow := &slowLayer{dim: dim, hidden: hidden, experts: experts, group: group, balance: balance}
		values := map[string]*[]float64{"gate": &slow.gate, "w_gate": &slow.wGate, "w_up": &slow.wUp, "w_down": &slow.wDown}
		wide, wideDY := widen(x.Data), widen(dy.Data)
		for _, p := range parameters {
			*values[shortName(p.Name)] = widen(p.Data)
		}
		var chosen [][]int
		_, want := slow.loss(wide, wideDY, &chosen)
		requireClose(t, seed, "y", want, y)
		difference := func(v []float64) []float64 {
			return centralDifferences(v, func() float64 { l, _ := slow.loss(wide, wideDY, &chosen); return l })
		}
		requireClose(t, seed, "dx", difference(wide), dx)
		for _, g := range gradients {
			requireClose(t, seed, g.Name, difference(*values[shortName(g.Name)]), g.Data)
		}
	}
}

func shortName(tensor string) string {
	for _, prefix := range []string{"gate.", "expert."} {
		if len(tensor) > len(prefix) && tensor[:len(prefix)] == prefix {
			return tensor[len(prefix):]
		}
	}
	return tensor
}

// centralDifferences is the gradient of f with respect to v, which f reads.
func centralDifferences(v []float64, f func() float64) []float64 {
	const h = 1e-5
	g := make([]float64, len(v))
	for i, at := range v {
		v[i] = at + h
		up := f()
		v[i] = at - h
		g[i] = (up - f()) / (2 * h)
		v[i] = at
	}
	return g
}

// requireClose allows the error of float32 arithmetic: a few units in the last place of the
// tensor's largest element.
func requireClose(t *testing.T, seed uint64, what string, want []float64, got []float32) {
	t.Helper()
	require.Len(t, got, len(want), what)
	scale := 0.0
	for _, w := range want {
		scale = max(scale, math.Abs(w))
	}
	for i, w := range want {
		require.InDelta(t, w, float64(got[i]), 1e-5*scale, "%s[%d], seed %d", what, i, seed)
	}
}
