package gpt

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/param"
)

// Model is a language model on one rank. It is not safe for concurrent use.
type Model struct {
	config Config
	embed  *embedding
	blocks []*block
	head   *head

	finished func(*param.Set)
	turn     func(do func()) // runs what is computed between layers

	grad  matrix    // tokens × Dim: the gradient on its way back
	batch Batch     // what Forward was given, for Backward
	sums  []float64 // Forward's result
}

// block is one of a model's blocks: attention, then either ffn or moe.
type block struct {
	attention *attention
	ffn       *feedForward
	moe       *sparse

	in, mid, out matrix // the stream before attention, between, and after
}

// New builds a model. layers has an element for each block: the Layer that replaces its
// feed-forward layer, or nil if the block is dense. Parameters depend on the configuration alone.
func New(c Config, layers []Layer) (*Model, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if len(layers) != c.Layers {
		return nil, fmt.Errorf("gpt: %d layers given for %d blocks", len(layers), c.Layers)
	}
	in := newInitializer(c.Seed)
	m := &Model{config: c, embed: newEmbedding(c, in), turn: func(do func()) { do() }}
	for _, layer := range layers {
		b := &block{attention: newAttention(c, in)}
		if layer != nil {
			b.moe = newSparse(c, layer)
		} else {
			b.ffn = newFeedForward(c, in)
		}
		m.blocks = append(m.blocks, b)
	}
	m.head = newHead(c, in)
	return m, nil
}

// Copy returns another model with the parameters of m and the same sums of gradients, for a
// micro-batch in flight beside that of m: their passes may run at the same time. turn runs what the
// two compute between layers, one at a time. layers are the copy's own.
func (m *Model) Copy(layers []Layer, turn func(do func())) (*Model, error) {
	t, err := New(m.config, layers)
	if err != nil {
		return nil, err
	}
	m.turn, t.turn = turn, turn
	t.embed.set, t.head.set = m.embed.set, m.head.set
	for i, b := range m.blocks {
		t.blocks[i].attention.set = b.attention.set
		if b.ffn != nil {
			t.blocks[i].ffn.set = b.ffn.set
		} else {
			t.blocks[i].moe.set = b.moe.set
		}
	}
	return t, nil
}

// Config returns what the model was built from.
func (m *Model) Config() Config { return m.config }

// Params returns the dense parameters, a set for each embedding, attention, feed-forward layer and
// head, from the first to the last. Those of Layers are not among them.
func (m *Model) Params() []*param.Set {
	sets := []*param.Set{m.embed.set}
	for _, b := range m.blocks {
		sets = append(sets, b.attention.set)
		if b.ffn != nil {
			sets = append(sets, b.ffn.set)
		} else {
			sets = append(sets, b.moe.set)
		}
	}
	return append(sets, m.head.set)
}

// Names returns what the sets of Params are called: "embedding", "block0.attention", "block0.ffn",
// or "block1.moe" where the feed-forward layer is a Layer, and "head".
func (m *Model) Names() []string {
	names := []string{"embedding"}
	for i, b := range m.blocks {
		second := "ffn"
		if b.ffn == nil {
			second = "moe"
		}
		names = append(names, fmt.Sprintf("block%d.attention", i), fmt.Sprintf("block%d.%s", i, second))
	}
	return append(names, "head")
}

// OnGradient has Backward call do with each set of Params once its gradient is complete, from the
// last to the first.
func (m *Model) OnGradient(do func(*param.Set)) { m.finished = do }

// Forward returns the sum of the loss, in nats, over the tokens of each leaf of b, and keeps what
// Backward needs. The result is valid until the next call.
func (m *Model) Forward(ctx context.Context, b Batch) ([]float64, error) {
	b.check(m.config)
	m.batch = b
	return m.losses(ctx, b, Layer.Forward)
}

// Evaluate returns what Forward would, outside training: nothing is kept for a Backward.
func (m *Model) Evaluate(ctx context.Context, b Batch) ([]float64, error) {
	b.check(m.config)
	return m.losses(ctx, b, Layer.Eval)
}

// ask is how a block asks its Layer: Layer.Forward or Layer.Eval.
type ask func(l Layer, ctx context.Context, x blas32.General) (blas32.General, error)

func (m *Model) losses(ctx context.Context, b Batch, how ask) ([]float64, error) {
	x, err := m.stream(ctx, b.Inputs, 0, how, b.LeafTokens)
	if err != nil {
		return nil, err
	}
	m.turn(func() {
		m.head.resize(len(b.Inputs))
		m.sums = m.sums[:0]
		for i := range b.Leaves() {
			l := b.leaf(i)
			m.sums = append(m.sums, m.head.forward(x, l.begin, l.end, b.Targets[l.begin:l.end], b.scoredOf(l)))
		}
	})
	return m.sums, nil
}

// stream takes tokens from row from on through all blocks and returns the residual stream at their
// end, whose rows before from are as they were. It works in runs of step rows, which keeps what it
// touches close.
func (m *Model) stream(ctx context.Context, tokens []byte, from int, how ask, step int) (blas32.General, error) {
	m.resize(len(tokens))
	n := len(tokens)
	x := m.blocks[0].in.General
	m.turn(func() { m.embed.forward(rows(x, from, n), tokens[from:], from) })
	for i, b := range m.blocks {
		next := b.out.General
		if i+1 < len(m.blocks) {
			next = m.blocks[i+1].in.General
		}
		m.turn(func() {
			for begin := from; begin < n; begin += step {
				end := min(begin+step, n)
				b.attention.forward(b.mid.General, b.in.General, begin, end)
				if b.ffn != nil {
					b.ffn.forward(next, b.mid.General, begin, end)
				}
			}
		})
		if b.moe != nil {
			if err := b.moe.forward(ctx, m, rows(next, from, n), rows(b.mid.General, from, n), tokens[from:], how); err != nil {
				return blas32.General{}, fmt.Errorf("block %d: %w", i, err)
			}
		}
		x = next
	}
	return x, nil
}

// resize makes room for a number of tokens.
func (m *Model) resize(tokens int) {
	for i, b := range m.blocks {
		b.in.resize(tokens, m.config.Dim)
		b.mid.resize(tokens, m.config.Dim)
		b.attention.resize(tokens)
		if b.ffn != nil {
			b.ffn.resize(tokens)
		}
		if i == len(m.blocks)-1 {
			b.out.resize(tokens, m.config.Dim)
		}
	}
}

// Backward gives each leaf's gradient of the loss, the mean over the global batch of the last
// Forward, to the Grad of every set of Params, and takes the gradient through the Layers.
func (m *Model) Backward(ctx context.Context) error {
	b := m.batch
	m.grad.resize(len(b.Inputs), m.config.Dim)
	d := m.grad.General
	share := float32(1 / float64(b.GlobalTokens))
	last := m.blocks[len(m.blocks)-1]
	m.eachLeaf(func(l leaf) {
		m.head.backward(d, last.out.General, l, b.Targets[l.begin:l.end], b.scoredOf(l), share, m.head.set.Grad.Leaf(l.number))
	})
	m.finish(m.head.set)
	for i := len(m.blocks) - 1; i >= 0; i-- {
		if err := m.blocks[i].backward(ctx, d, m); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	m.eachLeaf(func(l leaf) {
		m.embed.backward(rows(d, l.begin, l.end), b.Inputs[l.begin:l.end], m.embed.set.Grad.Leaf(l.number))
	})
	m.finish(m.embed.set)
	return nil
}

// finish tells that a set's gradient is complete.
func (m *Model) finish(set *param.Set) {
	if m.finished != nil {
		m.finished(set)
	}
}

func (b *block) backward(ctx context.Context, d blas32.General, m *Model) error {
	if b.moe != nil {
		if err := b.moe.backward(ctx, m, d, b.mid.General); err != nil {
			return err
		}
		m.finish(b.moe.set)
	}
	m.eachLeaf(func(l leaf) {
		if b.ffn != nil {
			b.ffn.backward(d, b.mid.General, l, b.ffn.set.Grad.Leaf(l.number))
		}
		b.attention.backward(d, b.in.General, l, b.attention.set.Grad.Leaf(l.number))
	})
	if b.ffn != nil {
		m.finish(b.ffn.set)
	}
	m.finish(b.attention.set)
	return nil
}

func (m *Model) eachLeaf(do func(leaf)) {
	m.turn(func() {
		for i := range m.batch.Leaves() {
			do(m.batch.leaf(i))
		}
	})
}
