// Command minimal trains a model of its own with two layers of experts.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/checkpoint"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
)

// A batch is groups of tokens, of which each rank has some. A token has a column for each letter.
const dim, groups, groupTokens, tokens = 16, 8, 32, 8 * 32

// model predicts a letter from the two before it: the sum of their embeddings goes through layers
// of experts with residual connections, and is to end in the column of the letter.
type model struct {
	layers      [2]*switchyard.Layer
	embed       *param.Set // on every rank
	dense       *switchyard.Dense
	leaves      []int // groups of each rank
	rank, first int   // this rank, and its first group
}

func newModel(w *switchyard.World) (m *model, err error) {
	m = &model{embed: param.NewSet(param.Tensor{Name: "w", Shape: []int{2 * dim, dim}}), rank: int(w.Rank())}
	r := rand.New(rand.NewPCG(1, 1)) // the same on every rank
	for i := range m.embed.Value {
		m.embed.Value[i] = float32(r.NormFloat64() / 4)
	}
	for rank := range w.Size() {
		m.leaves = append(m.leaves, groups*(rank+1)/w.Size()-groups*rank/w.Size())
	}
	m.first = groups * m.rank / w.Size()
	for i := range m.layers {
		if m.layers[i], err = switchyard.NewLayer(w, switchyard.Config{
			Dim: dim, Experts: 8, Group: groupTokens,
			Router: router.TopK{K: 2, CapacityFactor: 2, Losses: []router.Loss{router.Balance(0.01)}},
			Expert: expert.SwiGLU{Hidden: 32},
		}); err != nil {
			return nil, err
		}
	}
	m.dense, err = switchyard.NewDense(w, switchyard.NamedSet{Name: "embed", Set: m.embed})
	return m, err
}

type token struct{ one, two, next int } // two letters, as rows of the embeddings, and what follows

// draw returns this rank's tokens of a batch that is the same on any number of ranks.
func (m *model) draw(number uint64) []token {
	language := rand.New(rand.NewPCG(7, 7)).Perm(dim * dim)
	r, all := rand.New(rand.NewPCG(number, 2)), make([]token, tokens)
	for i := range all {
		one, two := r.IntN(dim), r.IntN(dim)
		all[i] = token{one, dim + two, language[one*dim+two] % dim}
	}
	return all[m.first*groupTokens:][:m.leaves[m.rank]*groupTokens]
}

// forward returns the sum of this rank's losses, and the gradient of the mean over all ranks.
func (m *model) forward(ctx context.Context, batch []token, run func(*switchyard.Layer, context.Context, blas32.General) (blas32.General, error)) (sum float64, dx blas32.General, err error) {
	x := blas32.General{Rows: len(batch), Cols: dim, Stride: dim, Data: make([]float32, len(batch)*dim)}
	for i, t := range batch {
		add(x.Data[i*dim:], m.embed.Value[t.one*dim:][:dim])
		add(x.Data[i*dim:], m.embed.Value[t.two*dim:][:dim])
	}
	for _, l := range m.layers {
		y, err := run(l, ctx, x)
		if err != nil {
			return 0, y, err
		}
		x.Data = append([]float32(nil), x.Data...) // x must stay until Backward, and y is the layer's
		add(x.Data, y.Data)
	}
	for i, t := range batch {
		x.Data[i*dim+t.next]-- // the loss is half the square of the difference
	}
	for k, v := range x.Data {
		sum += float64(v) * float64(v) / 2
		x.Data[k] = v / tokens
	}
	return sum, x, nil
}

// backward takes dx down to the embeddings, where the gradient of each group is a leaf of its own:
// so sums have the same bits on any number of ranks.
func (m *model) backward(ctx context.Context, batch []token, dx blas32.General) error {
	for i := len(m.layers) - 1; i >= 0; i-- {
		through, err := m.layers[i].Backward(ctx, dx)
		if err != nil {
			return err
		}
		add(dx.Data, through.Data)
	}
	for g := range m.leaves[m.rank] {
		leaf := m.embed.Grad.Leaf(m.first + g) // zeros
		for i := g * groupTokens; i < (g+1)*groupTokens; i++ {
			add(leaf[batch[i].one*dim:], dx.Data[i*dim:][:dim])
			add(leaf[batch[i].two*dim:], dx.Data[i*dim:][:dim])
		}
	}
	return m.dense.SumGradients(ctx, m.leaves)
}

func add(to, from []float32) {
	for i, v := range from {
		to[i] += v
	}
}

// step is forward, backward, and an update with the gradient clipped to norm 1.
func (m *model) step(ctx context.Context, batch []token, adam *expert.Adam) (sum, norm float64, err error) {
	sum, dx, err := m.forward(ctx, batch, (*switchyard.Layer).Forward)
	if err == nil {
		err = m.backward(ctx, batch, dx)
	}
	if err == nil {
		norm, err = switchyard.ClipGradients(ctx, 1, m.dense, m.layers[0], m.layers[1])
	}
	if err != nil {
		return 0, 0, err
	}
	return sum, norm, errors.Join(m.dense.Step(ctx, adam), m.layers[0].Step(ctx, adam), m.layers[1].Step(ctx, adam))
}

// state is what a checkpoint holds.
func (m *model) state(adam *expert.Adam) ([]checkpoint.Part, error) {
	dense, err := m.dense.State(adam)
	parts := []checkpoint.Part{{Name: "dense", State: dense}}
	for i, l := range m.layers {
		s, errLayer := l.State(adam)
		parts, err = append(parts, checkpoint.Part{Name: fmt.Sprint("layers.", i), State: s}), errors.Join(err, errLayer)
	}
	return parts, err
}

// train goes on from the last checkpoint in dir up to a step, of a training of steps steps, and
// returns the mean loss of tokens that it has not seen.
func train(ctx context.Context, w *switchyard.World, steps, last int, dir string) (float64, error) {
	m, err := newModel(w)
	if err != nil {
		return 0, err
	}
	adam := expert.NewAdam(0)
	parts, err := m.state(adam)
	if err != nil {
		return 0, err
	}
	info, err := checkpoint.Load(ctx, w, dir, checkpoint.Options{}, parts...)
	if err != nil && !errors.Is(err, checkpoint.ErrNone) { // there is none at the first start
		return 0, err
	}
	saver, err := checkpoint.NewSaver(w, checkpoint.Config{Dir: dir, Keep: 2})
	if err != nil {
		return 0, err
	}
	defer saver.Close()
	for step := info.Step; step < last; step++ {
		adam.LR = float32(0.02 * min(1, float64(step+1)/20) * (1 + math.Cos(math.Pi*float64(step)/float64(steps))) / 2)
		sum, norm, err := m.step(ctx, m.draw(uint64(step)), adam)
		if err == nil && (step+1)%20 == 0 {
			fmt.Printf("rank %d, step %d: loss here %.3f, gradient %.3f, rows of the experts here %v\n", m.rank, step+1, sum/float64(m.leaves[m.rank]*groupTokens), norm, m.layers[0].Stats().Load)
			if parts, err = m.state(adam); err == nil {
				err = saver.Save(ctx, step+1, parts...) // files are written while training goes on
			}
		}
		if err != nil && !errors.Is(err, checkpoint.ErrWrite) { // a disk may be full: go on
			return 0, err
		}
	}
	sum, _, err := m.forward(ctx, m.draw(math.MaxUint64), (*switchyard.Layer).Eval)
	all := []float32{float32(sum)}
	if err == nil {
		err = w.Comm().AllReduce(ctx, all)
	}
	return float64(all[0]) / tokens, errors.Join(err, saver.Close()) // waits for the last save
}

func main() {
	ctx, held := context.Background(), 0.0
	w, err := switchyard.Join(ctx, switchyard.JoinConfig{})
	if err == nil {
		held, err = train(ctx, w, 200, 200, "checkpoints")
		err = errors.Join(err, w.Close())
	}
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("held-out loss %.3f\n", held)
}
