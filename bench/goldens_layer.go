package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/expert"
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
	Compression json.RawMessage        `json:"compression"`
	Inputs      map[string]layerTensor `json:"inputs"`
	Outputs     map[string]layerTensor `json:"outputs"`
}

// layerRanks are the numbers of ranks that each case runs on.
var layerRanks = []int{1, 2, 4}

// runLayerCase runs one case on every number of ranks and reports the worst error of all.
func runLayerCase(ctx context.Context, raw json.RawMessage) goldenResult {
	var c layerCase
	if err := json.Unmarshal(raw, &c); err != nil {
		return goldenResult{label: "layer case", err: err}
	}
	res := goldenResult{label: c.label()}
	if res.skipped = c.unsupported(); res.skipped != "" {
		return res
	}
	if res.err = c.validate(); res.err != nil {
		return res
	}
	for _, ranks := range layerRanks {
		got, err := c.run(ctx, ranks)
		if err == nil {
			err = c.compare(got, ranks, &res.worst)
		}
		if err != nil {
			res.err = fmt.Errorf("%d ranks: %w", ranks, err)
			return res
		}
	}
	return res
}

func (c layerCase) label() string {
	label := fmt.Sprintf("%s T=%d D=%d E=%d", c.Kind, c.Tokens, c.Dim, c.Experts)
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
	if c.Compression != nil {
		return "compression"
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
	case "relu":
		return expert.FFN{Hidden: c.Hidden, Activation: expert.ReLU}, nil
	}
	return nil, fmt.Errorf("layers of kind %q", c.Kind)
}

func (c layerCase) router() (router.Router, error) {
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
	for _, name := range []string{"x", "dy"} {
		if t := c.Inputs[name]; len(t.Shape) != 2 || t.Shape[0] != c.Tokens || t.Shape[1] != c.Dim {
			return fmt.Errorf("input %q has shape %v, want [%d %d]", name, t.Shape, c.Tokens, c.Dim)
		}
	}
	return nil
}

// run gives each rank its share of the tokens and collects what all of them compute, by the file's names.
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
			begin, end := r*c.Tokens/ranks, (r+1)*c.Tokens/ranks
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

func (c layerCase) runRank(ctx context.Context, world *switchyard.World, begin, end int, put func(name string, data []float32)) error {
	routing, _ := c.router()
	experts, _ := c.expert()
	layer, err := switchyard.NewLayer(world, switchyard.Config{Dim: c.Dim, Experts: c.Experts, Router: routing, Expert: experts})
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

// inputOf is the file's name for one of the layer's tensors.
func (c layerCase) inputOf(tensor string) string {
	if strings.HasPrefix(tensor, "gate.") {
		return "gate"
	}
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

// layerTolerance is the largest relative error that counts as equal.
const layerTolerance = 1e-5

// compare holds every output of the file against what was computed.
func (c layerCase) compare(got map[string][]float32, ranks int, worst *float64) error {
	for name, want := range c.Outputs {
		have, ok := got[name]
		if !ok || len(have) != len(want.Data) {
			return fmt.Errorf("output %q: %d numbers, want %d", name, len(have), len(want.Data))
		}
		e := relativeError(want.Data, have)
		*worst = max(*worst, e)
		if !(e <= layerTolerance) {
			return fmt.Errorf("output %q is off by %.2g, tolerance %.0g", name, e, layerTolerance)
		}
	}
	return nil
}

// relativeError is the largest |got-want| / max(|want|, mean |want|): relative to each number, but not to one that
// is next to nothing beside its neighbours, where sums of them cancelled.
func relativeError(want, got []float32) float64 {
	mean := 0.0
	for _, w := range want {
		mean += math.Abs(float64(w)) / float64(len(want))
	}
	worst := 0.0
	for i, w := range want {
		diff := math.Abs(float64(got[i]) - float64(w))
		if math.IsNaN(diff) {
			return math.Inf(1)
		}
		if diff > 0 {
			worst = max(worst, diff/max(math.Abs(float64(w)), mean))
		}
	}
	return worst
}
