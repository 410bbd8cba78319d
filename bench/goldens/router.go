package goldens

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// routerCase is one case of a router file, as its makers wrote it.
type routerCase struct {
	Name    string          `json:"name"`
	Tokens  int             `json:"tokens"`
	Experts int             `json:"experts"`
	K       int             `json:"k"`
	RawOpts json.RawMessage `json:"options"`
	Logits  []float32       `json:"logits"`
	Bias    []float32       `json:"bias"`

	Capacity *int        `json:"capacity"`
	Routed   [][]float64 `json:"routed"` // token, expert, weight, and in some files slot
	Counts   []int       `json:"tokens_per_expert_before_drop"`

	AuxCoeff    float64  `json:"aux_loss_coeff"`
	Aux         *float64 `json:"aux_loss"`
	AuxUnscaled *float64 `json:"aux_loss_unscaled"`
	ZCoeff      float64  `json:"z_loss_coeff"`
	Z           *float64 `json:"z_loss"`

	Upstream        [][]float64 `json:"upstream"` // token, expert, value
	GradWeights     []float64   `json:"grad_logits_from_weights"`
	GradAux         []float64   `json:"grad_logits_from_aux"`
	GradAuxUnscaled []float64   `json:"grad_logits_from_aux_unscaled"`
	GradZ           []float64   `json:"grad_logits_from_z"`

	Transport  []float64 `json:"transport"`  // tokens × experts
	Assignment [][]int   `json:"assignment"` // experts of each token

	options routerOptions
}

// routerOptions is a case's options. A key that is not here asks for something the library does not
// have.
type routerOptions struct {
	Pre            bool    `json:"pre"`
	Score          string  `json:"score"`
	Bias           bool    `json:"bias"`
	Groups         int     `json:"groups"`
	GroupTopK      int     `json:"group_topk"`
	Scale          float32 `json:"scale"`
	CapacityFactor float64 `json:"capacity_factor"`
	Drop           string  `json:"drop"`
	Renormalize    string  `json:"renormalize"`
}

// runRouterCase computes one case and compares.
func runRouterCase(raw json.RawMessage) result {
	var c routerCase
	if err := json.Unmarshal(raw, &c); err != nil {
		return result{label: "router case", err: err}
	}
	r := result{label: c.label()}
	if r.skipped = c.unsupported(); r.skipped != "" {
		return r
	}
	if r.err = c.validate(); r.err != nil {
		return r
	}
	r.worst, r.err = c.check()
	return r
}

func (c *routerCase) label() string {
	l := fmt.Sprintf("%s T=%d E=%d k=%d", c.Name, c.Tokens, c.Experts, c.K)
	if c.Name == expertChoiceName && c.Capacity != nil {
		l = fmt.Sprintf("%s T=%d E=%d capacity=%d", c.Name, c.Tokens, c.Experts, *c.Capacity)
	}
	if o := bytes.TrimSpace(c.RawOpts); len(o) > len("{}") {
		l += " " + string(o)
	}
	return l
}

// unsupported says why the library cannot compute the case, or nothing. It fills the options.
func (c *routerCase) unsupported() string {
	if !slices.Contains(routers, c.Name) {
		return fmt.Sprintf("router %q", c.Name)
	}
	if len(c.RawOpts) != 0 {
		d := json.NewDecoder(bytes.NewReader(c.RawOpts))
		d.DisallowUnknownFields()
		if err := d.Decode(&c.options); err != nil {
			return fmt.Sprintf("options: %v", err)
		}
	}
	if _, err := c.router(); err != nil {
		return err.Error()
	}
	return ""
}

// validate returns what would keep the case from being computed or compared.
func (c *routerCase) validate() error {
	var faults []error
	fault := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	n := c.Tokens * c.Experts
	fault(c.Tokens < 0 || c.Experts < 1 || c.Name != expertChoiceName && (c.K < 1 || c.K > c.Experts), "%d tokens, %d experts, k = %d", c.Tokens, c.Experts, c.K)
	fault(len(c.Logits) != n, "%d logits, want %d", len(c.Logits), n)
	fault(c.options.Bias && len(c.Bias) != c.Experts, "bias of %d experts, want %d", len(c.Bias), c.Experts)
	fault(c.Counts != nil && len(c.Counts) != c.Experts, "%d counts, want %d", len(c.Counts), c.Experts)
	fault(c.Routed == nil && c.Name != sinkhornName, "no \"routed\"")
	fault(c.Capacity == nil && c.Name == expertChoiceName, "no \"capacity\"")
	fault(c.Name == sinkhornName && (len(c.Assignment) != c.Tokens || len(c.Transport) != n), "%d tokens assigned, transport of %d", len(c.Assignment), len(c.Transport))
	fault(c.GradWeights != nil && len(c.Upstream) != len(c.Routed), "%d upstream gradients for %d routes", len(c.Upstream), len(c.Routed))
	for name, g := range map[string][]float64{
		"weights": c.GradWeights, "aux": c.GradAux, "aux_unscaled": c.GradAuxUnscaled, "z": c.GradZ,
	} {
		fault(g != nil && len(g) != n, "grad_logits_from_%s has %d numbers, want %d", name, len(g), n)
	}
	for i, r := range slices.Concat(c.Routed, c.Upstream) {
		fault(len(r) < 3 || len(r) > 4, "route %d has %d numbers, want token, expert, weight", i, len(r))
	}
	return errors.Join(faults...)
}
