package goldens

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/router"
)

// trainerTolerance is the largest relative error of any number of a trainer case that counts as
// equal.
const trainerTolerance = 1e-5

// trainerCase is one case of a file of trainers' losses, biases and capacities.
type trainerCase struct {
	name    string
	raw     trainerForm
	in      trainerInputs
	options trainerOptions
	out     trainerOutputs
	into    comparison
}

// trainerForm is the case as its makers wrote it.
type trainerForm struct {
	Name    string          `json:"name"`
	Library string          `json:"library"`
	Version string          `json:"version"`
	Inputs  json.RawMessage `json:"inputs"`
	Options json.RawMessage `json:"options"`
	Outputs json.RawMessage `json:"outputs"`
}

// trainerInputs are the inputs of all kinds. Those of one kind are in [trainerKinds].
type trainerInputs struct {
	Tokens   int         `json:"tokens"`
	Length   int         `json:"seq_length"` // row s·Batch + b is position s of sequence b
	Batch    int         `json:"batch"`
	Experts  int         `json:"experts"`
	Layers   int         `json:"layers"`
	K        int         `json:"k"`
	Logits   []float32   `json:"logits"`
	Bias     []float32   `json:"bias"`
	Padding  []int       `json:"padding"`
	Used     []int       `json:"used"`
	Upstream [][]float64 `json:"upstream"`           // token, expert, value
	ByChoice []float32   `json:"upstream_by_choice"` // choices × tokens
	Noise    []float32   `json:"noise_sample"`
	X        layerTensor `json:"x"`
	DY       layerTensor `json:"dy"`
	Gate     layerTensor `json:"gate"`
	W1       layerTensor `json:"w1"`
	W2       layerTensor `json:"w2"`
	W3       layerTensor `json:"w3"`
}

// trainerOptions are the options of all kinds.
type trainerOptions struct {
	Score          string  `json:"score_function"`
	Coefficient    float64 `json:"coefficient"`
	Seq            float64 `json:"seq_aux_loss"`
	Global         float64 `json:"global_aux_loss"`
	Z              float64 `json:"z_loss"`
	PerToken       bool    `json:"times_valid_tokens"`
	Groups         int     `json:"groups"`
	GroupTopK      int     `json:"group_topk"`
	GroupScore     string  `json:"group_score"`
	Scale          float32 `json:"scale"`
	RouteNorm      bool    `json:"route_norm"`
	RouteScale     float32 `json:"route_scale"`
	OnInput        bool    `json:"score_before_experts"`
	Rate           float32 `json:"rate"`
	EMA            float32 `json:"ema"`
	Capacity       int     `json:"capacity"`
	CapacityFactor float64 `json:"capacity_factor"`
	PadToCapacity  bool    `json:"pad_to_capacity"`
	MinCapacity    int     `json:"min_capacity"`
	DropTokens     bool    `json:"drop_tokens"`
	Prioritized    bool    `json:"batch_prioritized_routing"`
	NormalizeGate  bool    `json:"normalize_gate"`
	Alignment      int     `json:"alignment"`
	GateNoise      float64 `json:"gate_noise"`
}

// trainerOutputs are the outputs of all kinds.
type trainerOutputs struct {
	Loss           float64         `json:"loss"`
	Unscaled       float64         `json:"loss_unscaled"`
	Seq            float64         `json:"seq_aux_loss_unscaled"`
	Global         float64         `json:"global_aux_loss_unscaled"`
	Z              float64         `json:"z_loss_unscaled"`
	Aux            float64         `json:"aux_loss_unscaled"`
	GShard         float64         `json:"gshard_loss"`
	Grad           []float64       `json:"grad_logits"`
	GradAux        []float64       `json:"grad_logits_from_aux"`
	GradLoss       []float64       `json:"grad_logits_from_loss"`
	GradWeights    []float64       `json:"grad_logits_from_weights"`
	Routed         [][]float64     `json:"routed"` // token, expert, weight
	Slots          [][]int         `json:"slots"`  // token, expert, slot
	Counts         []int           `json:"tokens_per_expert"`
	Capacity       int             `json:"capacity"`
	Dispatch       []int           `json:"dispatch_count"`
	Kept           int             `json:"kept"`
	ExpertByChoice [][]int         `json:"expert_by_choice"`
	SlotByChoice   [][]int         `json:"slot_by_choice"`
	WeightByChoice [][]float64     `json:"weight_by_choice"`
	Steps          json.RawMessage `json:"steps"`
	Y              []float32       `json:"y"`
	DX             []float32       `json:"d_x"`
	DGate          []float32       `json:"d_gate"`
	DW1            []float32       `json:"d_w1"`
}

// trainerKind says which keys a kind of case has, those with ? not always, and computes it.
type trainerKind struct {
	inputs, options, outputs string
	check                    func(c *trainerCase) error
}

// trainerKinds lists the kinds by the names of cases.
func trainerKinds() map[string]trainerKind {
	kinds := map[string]trainerKind{}
	for _, some := range []map[string]trainerKind{megatronLosses(), megatronRouters(), torchtitanKinds(), tutelKinds(), deepspeedKinds()} {
		maps.Copy(kinds, some)
	}
	return kinds
}

// errCannot says why the library cannot compute a case.
var errCannot = errors.New("this library has no such thing")

func cannot(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errCannot, fmt.Sprintf(format, args...))
}

// runTrainerCase computes one case and compares.
func runTrainerCase(raw json.RawMessage) result {
	c := &trainerCase{}
	if err := strictly(raw, &c.raw); err != nil {
		return result{label: "trainer case", err: err}
	}
	c.name = c.raw.Name
	r := result{label: fmt.Sprintf("%s %s", c.name, bytes.TrimSpace(c.raw.Options))}
	kind, ok := trainerKinds()[c.name]
	if !ok {
		r.skipped = fmt.Sprintf("cases of name %q", c.name)
		return r
	}
	if r.err = c.read(kind); r.err != nil {
		return r
	}
	r.err = kind.check(c)
	r.worst = c.into.worst
	if errors.Is(r.err, errCannot) {
		r.err, r.skipped = nil, r.err.Error()
	}
	r.err = cmp.Or(r.err, c.into.err)
	return r
}

// read fills the case, which must have the keys of its kind and no others.
func (c *trainerCase) read(k trainerKind) error {
	for _, part := range []struct {
		name, keys string
		raw        json.RawMessage
		into       any
	}{{"inputs", k.inputs, c.raw.Inputs, &c.in}, {"options", k.options, c.raw.Options, &c.options}, {"outputs", k.outputs, c.raw.Outputs, &c.out}} {
		if err := checkKeys(part.raw, part.keys); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		if err := strictly(part.raw, part.into); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	if c.in.Length != 0 {
		c.in.Tokens = c.in.Length * c.in.Batch
	}
	return c.sizes()
}

// strictly decodes one object without unknown keys.
func strictly(raw json.RawMessage, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// checkKeys compares the keys of an object with a list.
func checkKeys(raw json.RawMessage, list string) error {
	var got map[string]json.RawMessage
	if err := json.Unmarshal(raw, &got); err != nil {
		return err
	}
	for _, key := range strings.Fields(list) {
		name, optional := strings.CutSuffix(key, "?")
		if _, ok := got[name]; !ok && !optional {
			return fmt.Errorf("no %q", name)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		return fmt.Errorf("%q is not known for this name", slices.Min(slices.Collect(maps.Keys(got))))
	}
	return nil
}

// mostTokens and mostCells are the largest numbers of tokens and of logits of a case.
const (
	mostTokens = 1 << 12
	mostCells  = 1 << 22
)

// sizes returns what keeps the case from being computed or compared.
func (c *trainerCase) sizes() error {
	in, n := &c.in, c.in.Tokens*c.in.Experts
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	if in.Tokens < 0 || in.Tokens > mostTokens || in.Experts < 1 || in.Experts > mostCells || n > mostCells || in.K < 0 || in.K > in.Experts || in.Layers < 0 || in.Layers > mostTokens {
		return fmt.Errorf("%d tokens, %d experts, k = %d, %d layers", in.Tokens, in.Experts, in.K, in.Layers)
	}
	length := func(what string, got, want int) {
		fault(got != 0 && got != want, "%s has %d elements, want %d", what, got, want)
	}
	fault(in.Logits != nil && len(in.Logits) != n, "%d logits, want %d", len(in.Logits), n)
	length("bias", len(in.Bias), in.Experts)
	length("padding", len(in.Padding), in.Tokens)
	length("used", len(in.Used), in.Tokens)
	length("upstream_by_choice", len(in.ByChoice), in.Tokens*in.K)
	length("noise_sample", len(in.Noise), n)
	for name, g := range map[string][]float64{"": c.out.Grad, "_from_aux": c.out.GradAux, "_from_loss": c.out.GradLoss, "_from_weights": c.out.GradWeights} {
		fault(g != nil && len(g) != n, "grad_logits%s has %d numbers, want %d", name, len(g), n)
	}
	for i, r := range slices.Concat(c.out.Routed, in.Upstream) {
		fault(len(r) != 3, "route %d has %d numbers, want 3", i, len(r))
	}
	fault(c.options.Scale < 0 || c.options.RouteScale < 0, "a scale below 0")
	return errors.Join(faults...)
}

// loss compares a loss.
func (c *trainerCase) loss(what string, got, want float64) {
	c.into.numbers(what, []float64{got}, []float64{want}, 0, trainerTolerance)
}

// gradient compares gradients, relative to the largest one or one term of the sum that each is.
func (c *trainerCase) gradient(what string, got []float32, want []float64, term float64) {
	c.into.numbers("gradient from "+what+" at logit", doubles(got), want, max(largest(want), term), trainerTolerance)
}

func doubles(x []float32) []float64 {
	list := make([]float64, len(x))
	for i, v := range x {
		list[i] = float64(v)
	}
	return list
}

// counts compares counts, exactly.
func (c *trainerCase) counts(what string, got, want []int) error {
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s are %v, want %v", what, got, want)
	}
	return nil
}

// routes compares who goes where, exactly, and the weights.
func (c *trainerCase) routes(got, want [][]float64) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d routes, want %d", len(got), len(want))
	}
	wanted := slices.SortedFunc(slices.Values(want), func(a, b []float64) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	var have, weights []float64
	for i, w := range wanted {
		if g := got[i]; g[0] != w[0] || g[1] != w[1] {
			return fmt.Errorf("route %d is token %v to expert %v, want %v to %v", i, g[0], g[1], w[0], w[1])
		}
		have, weights = append(have, got[i][2]), append(weights, w[2])
	}
	c.into.numbers("weight", have, weights, largest(weights), trainerTolerance)
	return nil
}

// sequences returns the rows of the file sorted by sequence, and a batch that says where they end
// and which rows are padding.
func (c *trainerCase) sequences(padding []int) (rows []int, b router.Batch) {
	for s := range c.in.Batch {
		for p := range c.in.Length {
			rows = append(rows, p*c.in.Batch+s)
		}
		b.Sequences = append(b.Sequences, len(rows))
	}
	if len(padding) != 0 {
		b.Padding = make([]bool, len(rows))
		for t, row := range rows {
			b.Padding[t] = padding[row] != 0
		}
	}
	return rows, b
}
