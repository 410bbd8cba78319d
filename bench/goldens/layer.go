package goldens

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// layerTensor is a matrix or a stack of them, row-major.
type layerTensor struct {
	Shape []int     `json:"shape"`
	Data  []float32 `json:"data"`
}

// layerCase is one case of a layer file: a whole mixture-of-experts layer, forward and backward.
type layerCase struct {
	Kind        string                 `json:"kind"`
	Score       string                 `json:"score"`
	Tokens      int                    `json:"tokens"`
	Dim         int                    `json:"dim"`
	Hidden      int                    `json:"hidden"`
	Experts     int                    `json:"experts"`
	K           int                    `json:"k"`
	Compression *layerCompression      `json:"compression"`
	Inputs      map[string]layerTensor `json:"inputs"`
	Outputs     map[string]layerTensor `json:"outputs"`

	// of some kinds alone
	Slots        int         `json:"slots_per_expert"`
	Proj         int         `json:"proj"`
	Temperature  float32     `json:"temperature"`
	TextExperts  int         `json:"text_experts"`
	ImageExperts int         `json:"image_experts"`
	Modality     []int32     `json:"modality"`
	Routed       [][]float64 `json:"routed"` // token, expert, weight
	TopK         [][]int     `json:"topk"`
	Weights      []float64   `json:"weights"` // of TopK

	given router.Router // in place of what Score says, if it is not nil
}

// layerCompression says which of the tokens routed to each expert travel as one.
type layerCompression struct {
	Clusters [][]int32 `json:"clusters"`
}

// layerRanks are the numbers of ranks that each case runs on.
var layerRanks = []int{1, 2, 4}

// runLayerCase runs one case on every number of ranks and reports the worst error of all.
func runLayerCase(ctx context.Context, raw json.RawMessage) result {
	var c layerCase
	if err := json.Unmarshal(raw, &c); err != nil {
		return result{label: "layer case", err: err}
	}
	res := result{label: c.label()}
	if res.skipped = c.unsupported(); res.skipped != "" {
		return res
	}
	if res.err = c.validate(); res.err != nil {
		return res
	}
	if c.gateAlone() {
		res.err = c.runGate(&res.worst)
		return res
	}
	for _, ranks := range layerRanks {
		got, err := c.run(ctx, ranks)
		if err == nil {
			err = c.compare(got, &res.worst)
		}
		if err != nil {
			res.err = fmt.Errorf("%d ranks: %w", ranks, err)
			return res
		}
	}
	return res
}

func (c layerCase) label() string {
	label := fmt.Sprintf("%s T=%d D=%d E=%d", c.Kind, c.Tokens, c.Dim, c.experts())
	if c.K > 0 {
		label += fmt.Sprintf(" k=%d", c.K)
	}
	if c.Score != "" {
		label += " " + c.Score
	}
	if c.Compression != nil {
		label += " compressed"
	}
	return label
}

// unsupported says why the library cannot run a case, or nothing.
func (c layerCase) unsupported() string {
	if c.gateAlone() {
		return ""
	}
	if _, err := c.expert(); err != nil {
		return err.Error()
	}
	if _, err := c.router(); err != nil {
		return err.Error()
	}
	return ""
}

func (c layerCase) expert() (expert.Expert, error) {
	switch c.Kind {
	case "swiglu":
		return expert.SwiGLU{Hidden: c.Hidden}, nil
	case "gelu":
		return expert.FFN{Hidden: c.Hidden, Activation: expert.GELU}, nil
	case "relu", softKind:
		return expert.FFN{Hidden: c.Hidden, Activation: expert.ReLU}, nil
	}
	return nil, fmt.Errorf("layers of kind %q", c.Kind)
}

// softKind is a case whose experts have no bias, which ours get as zeros.
const softKind = "soft_moe_relu_ffn_no_bias"

// gateAlone tells whether the case is of a gate alone.
func (c layerCase) gateAlone() bool { return c.Kind == cosineKind || c.Kind == modalityKind }

func (c layerCase) router() (router.Router, error) {
	if c.given != nil {
		return c.given, nil
	}
	if c.Kind == softKind {
		return router.SoftMoE{Slots: c.Slots}, nil
	}
	switch c.Score {
	case "softmax_after":
		return router.TopK{K: c.K, Score: router.SoftmaxAfter}, nil
	case "softmax_before":
		return router.TopK{K: c.K, Score: router.SoftmaxBefore}, nil
	case "sigmoid":
		return router.TopK{K: c.K, Score: router.Sigmoid}, nil
	}
	return nil, fmt.Errorf("scores by %q", c.Score)
}

// validate checks every tensor before a layer panics over one.
func (c layerCase) validate() error {
	for name, t := range c.Inputs {
		n := 1
		for _, d := range t.Shape {
			n *= d
		}
		if n != len(t.Data) || len(t.Shape) < 2 {
			return fmt.Errorf("input %q has shape %v and %d numbers", name, t.Shape, len(t.Data))
		}
	}
	needed := []string{"x", "dy"}
	if c.gateAlone() {
		needed = needed[:1]
		if n := len(c.Modality); c.Kind == modalityKind && n != c.Tokens {
			return fmt.Errorf("modality of %d tokens, want %d", n, c.Tokens)
		}
	}
	for _, name := range needed {
		if t := c.Inputs[name]; len(t.Shape) != 2 || t.Shape[0] != c.Tokens || t.Shape[1] != c.Dim {
			return fmt.Errorf("input %q has shape %v, want [%d %d]", name, t.Shape, c.Tokens, c.Dim)
		}
	}
	return nil
}

// run gives each rank its share of the tokens and collects what all of them compute, by the file's
// names.
func (c layerCase) run(ctx context.Context, ranks int) (map[string][]float32, error) {
	got := map[string][]float32{"y": make([]float32, c.Tokens*c.Dim), "d_x": make([]float32, c.Tokens*c.Dim)}
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		errs = make([]error, ranks)
	)
	for r, t := range inproc.New(ranks) {
		wg.Go(func() {
			world := switchyard.NewWorld(t)
			defer world.Close()
			begin, end := c.share(r, ranks)
			errs[r] = c.runRank(ctx, world, begin, end, func(name string, data []float32) {
				mu.Lock()
				defer mu.Unlock()
				switch name {
				case "y", "d_x":
					copy(got[name][begin*c.Dim:], data)
				default:
					got[name] = data
				}
			})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return got, nil
}

// share is the range of the tokens that a rank brings. Where all tokens are mixed with each other,
// or clusters are, they are one rank's, which the others compute for.
func (c layerCase) share(r, ranks int) (begin, end int) {
	if c.Kind != softKind && c.Compression == nil {
		return r * c.Tokens / ranks, (r + 1) * c.Tokens / ranks
	}
	if r == ranks-1 {
		return 0, c.Tokens
	}
	return c.Tokens, c.Tokens
}

func (c layerCase) runRank(ctx context.Context, world *switchyard.World, begin, end int, put func(name string, data []float32)) error {
	routing, _ := c.router()
	experts, _ := c.expert()
	cfg := switchyard.Config{Dim: c.Dim, Experts: c.Experts, Group: switchyard.PerRank, Router: routing, Expert: experts}
	if c.Compression != nil {
		cfg.Wire = alltoall.Everywhere(alltoall.Float32)
		cfg.Compression = switchyard.Compression{When: switchyard.CompressAlways, ClusterGradients: true, Assign: c.assign, LSH: lsh.Config{Compensation: lsh.Identity}}
	}
	layer, err := switchyard.NewLayer(world, cfg)
	if err != nil {
		return err
	}
	if err := c.load(ctx, layer); err != nil {
		return err
	}
	y, err := layer.Forward(ctx, c.rows("x", begin, end))
	if err != nil {
		return err
	}
	put("y", y.Data)
	dx, err := layer.Backward(ctx, c.rows("dy", begin, end))
	if err != nil {
		return err
	}
	put("d_x", dx.Data)
	gradients, err := layer.Gradients(ctx)
	for _, g := range gradients {
		put("d_"+c.inputOf(g.Name), g.Data)
	}
	return err
}

// assign returns the file's clusters for the rank that has the tokens, and none for the others.
func (c layerCase) assign(x blas32.General, ends []int) *lsh.Clusters {
	if x.Rows == 0 {
		return lsh.NewClusters(make([][]int32, len(ends)))
	}
	return lsh.NewClusters(c.Compression.Clusters)
}

// inputOf is the file's name for one of the layer's tensors.
func (c layerCase) inputOf(tensor string) string {
	if strings.HasPrefix(tensor, "gate.") && c.Kind != softKind {
		return "gate"
	}
	tensor = strings.TrimPrefix(tensor, "gate.")
	return strings.TrimPrefix(tensor, "expert.")
}

// load gives the layer the file's parameters.
func (c layerCase) load(ctx context.Context, layer *switchyard.Layer) error {
	tensors, err := layer.Parameters(ctx)
	if err != nil {
		return err
	}
	for i, t := range tensors {
		in, ok := c.Inputs[c.inputOf(t.Name)]
		if !ok && c.Kind == softKind && strings.HasPrefix(c.inputOf(t.Name), "b") {
			clear(tensors[i].Data)
			continue
		}
		if !ok {
			return fmt.Errorf("no input %q", c.inputOf(t.Name))
		}
		tensors[i].Shape, tensors[i].Data = in.Shape, in.Data
	}
	return layer.Load(tensors)
}

func (c layerCase) rows(name string, begin, end int) blas32.General {
	return blas32.General{Rows: end - begin, Cols: c.Dim, Stride: c.Dim, Data: c.Inputs[name].Data[begin*c.Dim : end*c.Dim]}
}
