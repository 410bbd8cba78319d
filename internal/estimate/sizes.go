package estimate

import (
	"errors"
	"fmt"
	"math/rand/v2"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/router"
)

// sizes is what an estimate goes by.
type sizes struct {
	dim, experts     int64
	parallel, hosted int64 // ranks of a copy of the experts, and the most experts of one
	tokens, groups   int64 // of a rank
	rows, most       int64 // that a rank sends, and the most of them that one rank's experts take
	gate             int64 // parameters
	expert, shared   expertSizes
	sharedRows       int64
}

// expertSizes are the numbers of parameters of an expert, and that it keeps of a row.
type expertSizes struct{ parameters, forward, backward int64 }

func sizesOf(cfg Config) (s sizes, err error) {
	place := cfg.Placement
	s = sizes{dim: int64(cfg.Dim), experts: int64(cfg.Experts), parallel: int64(place.Ranks()), tokens: int64(cfg.Tokens)}
	for r := range place.Ranks() {
		s.hosted = max(s.hosted, int64(place.Count(r)))
	}
	if s.expert, err = sizesOfExpert(cfg, cfg.Expert); err != nil {
		return s, fmt.Errorf("Config.Expert: %w", err)
	}
	if cfg.Shared != nil {
		s.sharedRows = s.tokens
		if s.shared, err = sizesOfExpert(cfg, cfg.Shared); err != nil {
			return s, fmt.Errorf("Config.Shared: %w", err)
		}
	}
	return s, s.route(cfg)
}

// sizesOfExpert makes one expert.
func sizesOfExpert(cfg Config, e expert.Expert) (s expertSizes, err error) {
	var forward, backward int
	switch of := e.(type) {
	case expert.FFN:
		forward, backward = 2*of.Hidden, of.Hidden
	case expert.SwiGLU:
		forward, backward = 3*of.Hidden, of.Hidden
	case expert.Identity:
	case expert.Sizer:
		forward, backward = of.Numbers(cfg.Dim)
	default:
		return s, fmt.Errorf("%T does not say what its passes keep, want one of package expert, or an expert.Sizer", e)
	}
	group, err := e.New(expert.Shape{Dim: cfg.Dim, Count: 1, Seed: cfg.Seed})
	if err != nil {
		return s, err
	}
	s = expertSizes{forward: int64(forward), backward: int64(backward)}
	if params := group.Params(); params != nil {
		s.parameters = int64(len(params.Value))
	}
	return s, nil
}

// route finds how many rows tokens become, by routing a few.
func (s *sizes) route(cfg Config) error {
	gate, err := cfg.Router.New(router.Shape{Dim: cfg.Dim, Experts: cfg.Experts, Seed: cfg.Seed})
	if err != nil {
		return fmt.Errorf("Config.Router: %w", err)
	}
	if params := gate.Params(); params != nil {
		s.gate = int64(len(params.Value))
	}
	group := int64(cfg.Group)
	if group <= 0 {
		group = max(s.tokens, 1)
	}
	s.groups = (s.tokens + group - 1) / group
	if slots := int64(routing.Slots(gate)); slots > 0 {
		each := float64(s.groups) * float64(slots)
		s.rows, s.most = rounded(each*float64(s.experts)), rounded(each*float64(s.hosted))
		return nil
	}
	choices, err := choicesOf(gate, cfg)
	if err != nil {
		return fmt.Errorf("Config.Router: %w", err)
	}
	s.rows = rounded(choices * float64(s.tokens))
	s.most = min(s.rows, s.tokens*s.hosted)
	if bounded, ok := cfg.Router.(router.BoundedRouter); ok {
		bound := bounded.Bound(int(min(group, s.tokens)), cfg.Experts, true)
		s.most = min(s.most, s.groups*s.hosted*min(int64(bound), group))
	}
	return nil
}

// rounded is a number of rows, or more than any MaxRows if it is that.
func rounded(rows float64) int64 { return int64(min(rows+0.5, 1<<38)) }

// choicesOf is the number of experts that a token chooses, before any are dropped.
func choicesOf(gate router.Gate, cfg Config) (float64, error) {
	const sample = 64
	r := rand.New(rand.NewPCG(1, 2))
	x := random(r, sample, cfg.Dim)
	b := router.Batch{Ends: []int{sample}, Train: true, IDs: make([]int32, sample), Modality: make([]int32, sample)}
	if of, ok := cfg.Router.(router.SideFeatures); ok {
		b.Features = random(r, sample, of.Columns)
	}
	d, err := gate.Route(x, b)
	if err != nil {
		return 0, err
	}
	if d == nil {
		return 0, errors.New("the gate made no decision")
	}
	choices := 0
	for _, n := range d.Counts {
		choices += n
	}
	return float64(choices) / sample, nil
}

func random(r *rand.Rand, rows, cols int) blas32.General {
	m := mat.Resize(blas32.General{}, rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}
