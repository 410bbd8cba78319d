package simulate

import (
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/schedule"
)

// Options are how graphs are laid out, apart from the number of chunks. The zero value is FSMoE's
// layout.
type Options struct {
	// OneStream puts all communication on one resource, as systems with one kind of link do.
	OneStream bool
	// SharedInGap computes shared experts while the first rows travel, not after the last have
	// returned.
	SharedInGap bool
	// Batches is the number of micro-batches in flight; 0 means 1. With two, the dense part, the
	// router and the counts of the second run while the rows of the first travel, and so on through
	// the layers.
	Batches int
	// PerPeer is the number of messages that make up an all-to-all, if experts start on the rows of
	// each message as soon as it arrives; 0 or 1 means that they wait for all. A message has its
	// share of the starts of the all-to-all, so links pay nothing for it; experts and the links
	// within a node start once for each message.
	PerPeer int
}

// Plan says into how many chunks each layer is cut and where gradients are summed. Its zero value
// cuts nothing and sums all gradients at the end.
type Plan struct {
	Options
	// ForwardDegrees and BackwardDegrees hold the number of chunks of each layer; one entry stands
	// for all layers, none for 1.
	ForwardDegrees, BackwardDegrees []int
	// Within holds, for each layer, the sizes of the gradient pieces that are all-reduced after the
	// layer's last dispatch of the backward pass; Beside, of those that are during its dense part;
	// Tail, of those after the whole pass. The rest follows in one piece. A layer's gradient exists
	// once its dense part has run, so layers that come later in the pass send it.
	Within, Beside [][]float64
	Tail           []float64
	// Carried is the size of gradients that wait to be all-reduced when the backward pass begins.
	Carried float64
}

// Degree returns the number of chunks of a layer.
func (p *Plan) Degree(pass schedule.Pass, layer int) int {
	d := p.ForwardDegrees
	if pass == schedule.Backward {
		d = p.BackwardDegrees
	}
	switch len(d) {
	case 0:
		return 1
	case 1:
		return d[0]
	}
	return d[layer]
}

// Validate reports everything that makes the plan impossible for these layers.
func (p *Plan) Validate(layers []Layer) error {
	var faults []error
	for i, d := range [][]int{p.ForwardDegrees, p.BackwardDegrees} {
		if len(d) > 1 && len(d) != len(layers) {
			faults = append(faults, fmt.Errorf("simulate: %d %v degrees for %d layers; want 0, 1 or one a layer", len(d), schedule.Pass(i), len(layers)))
		}
		for _, r := range d {
			if r < 1 {
				faults = append(faults, fmt.Errorf("simulate: %v degree %d; must be at least 1", schedule.Pass(i), r))
			}
		}
	}
	if p.Batches < 0 || p.PerPeer < 0 {
		faults = append(faults, fmt.Errorf("simulate: Batches %d, PerPeer %d; must not be negative", p.Batches, p.PerPeer))
	}
	if len(p.Within) > len(layers) || len(p.Beside) > len(layers) {
		faults = append(faults, fmt.Errorf("simulate: gradients within %d and beside %d layers; there are %d", len(p.Within), len(p.Beside), len(layers)))
	} else {
		faults = append(faults, p.validateGradients(layers))
	}
	return errors.Join(faults...)
}

// validateGradients follows the backward pass and checks that no gradient is sent before it exists.
func (p *Plan) validateGradients(layers []Layer) error {
	total := p.Carried
	for i := range layers {
		total += layers[i][schedule.GradReduce].Size
	}
	slack := 1e-9 * total // of rounding
	waiting := p.Carried
	for i := len(layers) - 1; i >= 0; i-- {
		for _, pieces := range [][]float64{at(p.Within, i), at(p.Beside, i)} {
			sum, err := sumPieces(pieces)
			if err != nil {
				return err
			}
			if waiting -= sum; waiting < -slack {
				return fmt.Errorf("simulate: layer %d sums gradients of size %g, %g more than exist by then", i, sum, -waiting)
			}
		}
		waiting += layers[i][schedule.GradReduce].Size
	}
	sum, err := sumPieces(p.Tail)
	if err == nil && sum > waiting+slack {
		err = fmt.Errorf("simulate: the tail sums gradients of size %g, but %g are left", sum, waiting)
	}
	return err
}

func sumPieces(pieces []float64) (float64, error) {
	sum := 0.0
	for _, s := range pieces {
		if !(s >= 0) || math.IsInf(s, 0) {
			return 0, fmt.Errorf("simulate: a gradient piece of size %g; must not be negative", s)
		}
		sum += s
	}
	return sum, nil
}

// at returns the pieces of a layer.
func at(pieces [][]float64, layer int) []float64 {
	if layer < len(pieces) {
		return pieces[layer]
	}
	return nil
}

// left returns the size of the gradients that no piece of the plan covers; an amount within
// rounding counts as none.
func (p *Plan) left(layers []Layer) float64 {
	total := p.Carried
	for i := range layers {
		total += layers[i][schedule.GradReduce].Size
	}
	rest := total
	for _, lists := range [][][]float64{p.Within, p.Beside, {p.Tail}} {
		for _, pieces := range lists {
			for _, s := range pieces {
				rest -= s
			}
		}
	}
	if rest <= 1e-9*total {
		return 0
	}
	return rest
}
