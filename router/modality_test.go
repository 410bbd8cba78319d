package router

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"
)

type modalityGolden struct {
	Kind         string
	Tokens, Dim  int
	TextExperts  int `json:"text_experts"`
	ImageExperts int `json:"image_experts"`
	Modality     []int32
	Inputs       map[string]struct{ Data []float32 }
	Routed       [][]float64
}

func TestModalityGolden(t *testing.T) {
	seen := 0
	for _, c := range goldens[modalityGolden](t, "layer.json") {
		if c.Kind != "modality_expert_choice" {
			continue
		}
		seen++
		for _, over := range []Scope{EachGroup, WholeBatch} {
			config := Modality{Groups: []ModalityGroup{{"text", c.TextExperts}, {"image", c.ImageExperts}}, Over: over}
			g, err := config.New(Shape{Dim: c.Dim, Experts: c.TextExperts + c.ImageExperts})
			require.NoError(t, err)
			for i, tensor := range g.Params().Tensors() {
				copy(g.Params().Of(g.Params().Value, i), c.Inputs[tensor.Name].Data)
			}
			d, err := g.Route(dense(c.Tokens, c.Dim, c.Inputs["x"].Data), Batch{Ends: []int{c.Tokens}, Train: true, Modality: c.Modality})
			require.NoError(t, err)
			require.NoError(t, d.Validate())
			require.Len(t, d.Token, len(c.Routed))
			for _, r := range c.Routed {
				i := find(d, int(r[0]), int(r[1]))
				require.GreaterOrEqual(t, i, 0, "%v", r)
				require.InDelta(t, r[2], float64(d.Weight[i]), 1e-6*r[2])
			}
		}
	}
	require.NotZero(t, seen)
}

// slowModality is MoMa's layer's gate in float64: two modalities, three experts and two.
type slowModality struct {
	dim, hidden int
	p           [][]float64 // gates, first and second matrices, as the gate's tensors
	first       [3]int      // first expert of each modality, and their number
}

// logits are those of token x for its modality's experts.
func (s *slowModality) logits(x []float64, m int) []float64 {
	return slowProduct(x, s.p[m], s.first[m+1]-s.first[m])
}

// guess are the auxiliary logits.
func (s *slowModality) guess(x []float64, m int) []float64 {
	h := slowProduct(x, s.p[2+m], s.hidden)
	for i, v := range h {
		h[i] = v / (1 + math.Exp(-v))
	}
	return slowProduct(h, s.p[4+m], s.first[m+1]-s.first[m])
}

// slowProduct is x times a matrix of len(x) × cols.
func slowProduct(x, w []float64, cols int) []float64 {
	y := make([]float64, cols)
	for i, v := range x {
		for j := range y {
			y[j] += v * w[i*cols+j]
		}
	}
	return y
}

// loss is Σ upstream·weight over the entries of d, which are held fixed, and each group's scale
// times its auxiliary loss.
func (s *slowModality) loss(x [][]float64, b Batch, d *Decision, grad Gradient, coefficient float64) float64 {
	total := 0.0
	taken := make([]map[int]bool, len(x))
	for t := range taken {
		taken[t] = map[int]bool{}
	}
	for e := range d.Experts {
		begin, end := d.Of(ExpertID(e))
		for i := begin; i < end; i++ {
			token := d.Token[i]
			m := int(b.Modality[token])
			total += float64(grad.Weights[i]) / (1 + math.Exp(-s.logits(x[token], m)[e-s.first[m]]))
			taken[token][e] = true
		}
	}
	for g, loss := range s.groupLosses(x, b, taken) {
		total += float64(grad.LossScale[g]) * coefficient * loss
	}
	return total
}

// groupLosses are the groups' binary cross-entropies.
func (s *slowModality) groupLosses(x [][]float64, b Batch, taken []map[int]bool) []float64 {
	losses, begin := make([]float64, len(b.Ends)), 0
	for g, end := range b.Ends {
		n := 0.0
		for t := begin; t < end; t++ {
			if b.Padding[t] {
				continue
			}
			n++
			m := int(b.Modality[t])
			guess := s.guess(x[t], m)
			for e, z := range guess {
				p := 1 / (1 + math.Exp(-z))
				if !taken[t][s.first[m]+e] {
					p = 1 - p
				}
				losses[g] -= math.Log(p) / float64(len(guess))
			}
		}
		losses[g] /= max(n, 1)
		begin = end
	}
	return losses
}

// TestModalityReference compares routes, losses and all gradients with the slow gate.
func TestModalityReference(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	const tokens, dim, experts, coefficient = 19, 6, 5, 0.5
	config := Modality{Groups: []ModalityGroup{{"text", 3}, {"image", 2}}, CapacityFactor: 1.5, Aux: true, AuxCoefficient: coefficient}
	g, err := config.New(Shape{Dim: dim, Experts: experts, Seed: seed})
	require.NoError(t, err)
	b := Batch{Ends: []int{8, 8, tokens}, Train: true, Padding: make([]bool, tokens), Modality: make([]int32, tokens)}
	x := blas32.General{Rows: tokens, Cols: dim, Stride: dim}
	slow := &slowModality{dim: dim, hidden: dim / 2, first: [3]int{0, 3, experts}}
	var slowX [][]float64
	for i := range tokens {
		b.Padding[i], b.Modality[i] = r.IntN(5) == 0, int32(r.IntN(2))
		slowX = append(slowX, make([]float64, dim))
		for c := range dim {
			x.Data = append(x.Data, float32(r.NormFloat64()))
			slowX[i][c] = float64(x.Data[i*dim+c])
		}
	}
	set := g.Params()
	for i := range set.Tensors() {
		slow.p = append(slow.p, nil)
		for _, v := range set.Of(set.Value, i) {
			slow.p[i] = append(slow.p[i], float64(v))
		}
	}
	d, err := g.Route(x, b)
	require.NoError(t, err)
	require.NoError(t, d.Validate())
	slow.compareRoutes(t, slowX, b, d, config)

	grad := Gradient{Weights: make([]float32, len(d.Weight)), LossScale: []float32{0.5, 0, 1.5}, DX: dense(tokens, dim, make([]float32, tokens*dim))}
	for i := range grad.Weights {
		grad.Weights[i] = float32(r.NormFloat64())
	}
	require.InDelta(t, slow.loss(slowX, b, d, grad, coefficient), decisionLoss(d, grad), 1e-5)
	byName, real := 0.0, 0.0
	for i, end := range b.Ends {
		n := 0.0
		for t := max(0, append([]int{0}, b.Ends...)[i]); t < end; t++ {
			if !b.Padding[t] {
				n++
			}
		}
		byName, real = byName+n*d.GroupLoss[i], real+n
	}
	require.InDelta(t, byName/real, d.Losses["auxiliary"], 1e-9)

	want := func(line []float64, loss func() float64) (list []float64) {
		const step = 1e-5
		for i := range line {
			line[i] += step
			above := loss()
			line[i] -= 2 * step
			list = append(list, (above-loss())/(2*step))
			line[i] += step
		}
		return list
	}
	// Tokens are not reached by the auxiliary loss.
	weightsOnly := Gradient{Weights: grad.Weights, LossScale: make([]float32, 3)}
	kept := *d
	var wantX, wantP []float64
	for i := range slowX {
		wantX = append(wantX, want(slowX[i], func() float64 { return slow.loss(slowX, b, &kept, weightsOnly, coefficient) })...)
	}
	for i := range slow.p {
		wantP = append(wantP, want(slow.p[i], func() float64 { return slow.loss(slowX, b, &kept, grad, coefficient) })...)
	}
	require.NoError(t, g.Backward(d, x, grad))
	for i, v := range wantX {
		require.InDelta(t, v, float64(grad.DX.Data[i]), 1e-5, "token element %d", i)
	}
	for i, v := range set.Grad.Total() {
		require.InDelta(t, wantP[i], float64(v), 1e-5, "parameter %d", i)
	}
}

// decisionLoss is the loss as the decision has it.
func decisionLoss(d *Decision, grad Gradient) float64 {
	s := 0.0
	for i, w := range d.Weight {
		s += float64(grad.Weights[i]) * float64(w)
	}
	for i, l := range d.GroupLoss {
		s += float64(grad.LossScale[i]) * l
	}
	return s
}

// compareRoutes holds the routes against experts that sort their modality's tokens.
func (s *slowModality) compareRoutes(t *testing.T, x [][]float64, b Batch, d *Decision, config Modality) {
	begin, total := 0, 0
	for _, end := range b.Ends {
		for m, group := range config.Groups {
			var mine []int
			for i := begin; i < end; i++ {
				if !b.Padding[i] && int(b.Modality[i]) == m {
					mine = append(mine, i)
				}
			}
			k := min(int(math.Floor(float64(len(mine))*config.CapacityFactor/float64(group.Experts))), len(mine))
			for e := range group.Experts {
				slices.SortStableFunc(mine, func(a, b int) int { return cmp.Compare(s.logits(x[b], m)[e], s.logits(x[a], m)[e]) })
				for _, token := range mine[:k] {
					require.GreaterOrEqual(t, find(d, token, s.first[m]+e), 0, "token %d, expert %d", token, s.first[m]+e)
					total++
				}
			}
		}
		begin = end
	}
	require.Len(t, d.Token, total)
}

func TestModalityFaults(t *testing.T) {
	_, err := Modality{Groups: []ModalityGroup{{"", 1}, {"a", 0}, {"a", 2}}, CapacityFactor: -1, Over: 9, AuxCoefficient: 2}.New(Shape{Dim: 2, Experts: 4})
	for _, text := range []string{"modality 0 has the name", `"a" has 0 experts`, "modality 2 has the name", "have 3 experts, the layer 4", "capacity factor is -1", "unknown scope 9", "AuxCoefficient goes with Aux"} {
		require.ErrorContains(t, err, text)
	}
	g, err := Modality{Groups: []ModalityGroup{{"a", 1}, {"b", 1}}}.New(Shape{Dim: 3, Experts: 2})
	require.NoError(t, err)
	_, err = g.Route(identity(3), Batch{Ends: []int{3}, Modality: []int32{0, 2, 1}})
	require.ErrorContains(t, err, "token 1 has modality 2 of 2")
	_, err = g.Route(identity(3), Batch{Ends: []int{3}})
	require.EqualError(t, err, "router: 0 modalities for 3 tokens")
}
