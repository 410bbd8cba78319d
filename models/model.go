package models

import (
	"errors"
	"fmt"
	"strings"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/errtext"
)

// ErrUnsupported is what errors wrap that say that a model needs what this library does not have.
var ErrUnsupported = errors.New("not supported")

// Model is an open checkpoint. Its methods may be called at the same time.
type Model struct {
	// Type is the model_type of config.json.
	Type string
	// Blocks describes the mixture-of-experts blocks, in the order of the layers.
	Blocks []Block
	// Loss is the coefficient of the auxiliary loss that [Model.BalanceLoss] computes; 0 if the
	// model has none.
	Loss float32

	folder *folder
}

// Open opens the checkpoint in folder dir: config.json, and model.safetensors or an index with its
// shards. It reads no weights; what config.json and the files say of the blocks must agree. The
// files stay open until Close. An error that wraps [ErrUnsupported] says what this library lacks,
// of a model that may be valid.
func Open(dir string) (*Model, error) {
	c, err := readConfig(dir)
	if err != nil {
		return nil, err
	}
	m := &Model{Type: c.text("", "model_type")}
	of, err := familyOf(m.Type)
	if err != nil {
		return nil, err
	}
	if m.folder, err = openFolder(dir); err != nil {
		return nil, err
	}
	if err := m.describe(c, of); err != nil {
		return nil, errors.Join(err, m.folder.close())
	}
	return m, nil
}

// Close closes the files. Layers that were built do not need them.
func (m *Model) Close() error { return m.folder.close() }

// describe fills the blocks and checks them against the files.
func (m *Model) describe(c *config, of family) error {
	c.holds = m.folder.holds
	for layer := range c.layers() {
		b := of.block(c, layer)
		if err := c.err(); err != nil {
			return errtext.Errorf("models: %s: %w", m.folder.dir, err)
		}
		if b == nil {
			continue
		}
		b.Layer = layer
		if err := m.locate(b); err != nil {
			return err
		}
		m.Blocks = append(m.Blocks, *b)
	}
	if of.loss != nil {
		m.Loss = of.loss(c)
	}
	if err := c.err(); err != nil {
		return errtext.Errorf("models: %s: %w", m.folder.dir, err)
	}
	if len(m.Blocks) == 0 {
		return fmt.Errorf("models: %s: by config.json no layer of the %s has experts", m.folder.dir, m.Type)
	}
	return nil
}

// roots are what stands before the number of a layer. Tools that read or write a part of a
// multimodal model change it.
func roots() []string {
	return []string{
		"model.layers.", "model.language_model.layers.", "language_model.model.layers.", "layers.",
		"transformer.blocks.", "backbone.layers.", "model.llm.layers.",
	}
}

// locate finds the prefix of a block's tensors and checks that they are there.
func (m *Model) locate(b *Block) error {
	for _, root := range roots() {
		prefix := fmt.Sprintf("%s%d.", root, b.Layer)
		if _, ok := m.folder.where[prefix+b.Routing.Weight]; ok {
			b.Prefix = prefix
		}
	}
	if b.Prefix == "" {
		return fmt.Errorf("models: %s: no tensor %q of layer %d, which has experts by config.json", m.folder.dir, b.Routing.Weight, b.Layer)
	}
	if b.Routing.Bias != "" {
		if err := m.checkBias(b); err != nil {
			return err
		}
	}
	return b.each(func(s slot) error { return m.folder.check(s.name, s.shape) })
}

// checkBias checks the bias of the choice, a vector or a matrix of one row.
func (m *Model) checkBias(b *Block) error {
	name := b.Prefix + b.Routing.Bias
	_, t, err := m.folder.lookup(name)
	if err != nil {
		return err
	}
	shape := []int{b.Experts}
	if len(t.Shape) == 2 && t.Shape[0] == 1 {
		shape = []int{1, b.Experts}
	}
	return m.folder.check(name, shape)
}

// Config returns the configuration of the layer of Blocks[block]: Dim, Experts, Router, Expert and
// Shared. The rest is the caller's to set; Group must be set for more than one rank. A layer that
// is built from it has the weights of the checkpoint, which must be open until then. It panics
// unless there is such a block.
func (m *Model) Config(block int) switchyard.Config {
	b := &m.Blocks[block]
	cfg := switchyard.Config{
		Dim: b.Dim, Experts: b.Experts, Router: gate{m, b},
		Expert: experts{model: m, block: b, of: &b.Expert},
	}
	if b.Shared != nil {
		cfg.Shared = expert.Expert(experts{model: m, block: b, of: b.Shared, shared: true})
	}
	return cfg
}

// Tensors returns tensors of the layer of Blocks[block], as [switchyard.Layer.Parameters] or
// [switchyard.Layer.Gradients] return them, in the names and shapes of the checkpoint, in no
// order. A tensor of which from has a part only has zeros for the rest.
func (m *Model) Tensors(block int, from []switchyard.Tensor) ([]switchyard.Tensor, error) {
	if err := m.checkBlock(block); err != nil {
		return nil, errtext.Errorf("models: Tensors: %w", err)
	}
	b, of := &m.Blocks[block], map[string]switchyard.Tensor{}
	for _, t := range from {
		of[t.Name] = t
	}
	made := map[string]int{}
	var list []switchyard.Tensor
	add := func(name string, shape []int, t switchyard.Tensor) []float32 {
		i, ok := made[name]
		if !ok {
			i = len(list)
			made[name] = i
			list = append(list, switchyard.Tensor{Name: name, Kind: t.Kind, Shape: shape, Data: make([]float32, elements(shape))})
		}
		return list[i].Data
	}
	err := b.each(func(s slot) error {
		t, ok := of[s.param]
		if !ok {
			return nil
		}
		n := s.rows * s.cols
		if len(t.Data) < (s.expert+1)*n {
			return fmt.Errorf("models: tensor %s of layer %d is %v, too few for %d experts of %d × %d", t.Name, b.Layer, t.Shape, b.Experts, s.rows, s.cols)
		}
		s.scatter(add(s.name, s.shape, t), t.Data[s.expert*n:(s.expert+1)*n])
		return nil
	})
	if t, ok := of["balance.bias"]; ok && b.Routing.Bias != "" && err == nil {
		name := b.Prefix + b.Routing.Bias
		if _, on, err := m.folder.lookup(name); err == nil && len(t.Data) == b.Experts {
			copy(add(name, on.Shape, t), t.Data)
		}
	}
	return list, err
}

// checkBlock returns an error unless there is a block of that number.
func (m *Model) checkBlock(block int) error {
	if block < 0 || block >= len(m.Blocks) {
		return fmt.Errorf("block %d of %d", block, len(m.Blocks))
	}
	return nil
}

func elements(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// familyOf returns the family of a model type.
func familyOf(name string) (family, error) {
	var near []string
	best := 4 // edits that a misspelt name has at most
	for _, f := range families() {
		for _, t := range f.types {
			if t == strings.ReplaceAll(name, "-", "_") {
				return f, nil
			}
			switch d := edits(t, name); {
			case d < best:
				best, near = d, []string{t}
			case d == best:
				near = append(near, t)
			}
		}
	}
	if len(near) == 0 {
		return family{}, errtext.Errorf("models: %w: model_type %q", ErrUnsupported, name)
	}
	return family{}, errtext.Errorf("models: %w: model_type %q; near it are %s", ErrUnsupported, name, strings.Join(near, ", "))
}

// edits is the number of letters to insert, remove or replace to make b of a (Levenshtein).
func edits(a, b string) int {
	if len(b) > 64 {
		return 64
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := diagonal
			if a[i] != b[j] {
				d = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
