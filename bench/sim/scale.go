package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// runScale simulates clusters of growing size with the same tokens a rank.
func (o *options) runScale(ctx context.Context, stdout io.Writer) error {
	var all []simulated
	var best []string
	for _, ranks := range o.scale {
		if ctx.Err() != nil {
			break
		}
		c := o.cluster
		c.Nodes = ranks / c.PerNode
		if err := c.validate(&o.model); err != nil {
			return fmt.Errorf("%d ranks: %w", ranks, err)
		}
		some, err := o.simulate(c)
		if err != nil {
			return err
		}
		f := fastest(some)
		best = append(best, fmt.Sprintf("%d: %s", ranks, f.Policy))
		all = append(all, some...)
	}
	if len(all) == 0 {
		return context.Cause(ctx)
	}
	fmt.Fprintf(stdout, "%s\n\n", o.assumptions())
	writeSimulated(stdout, all)
	fmt.Fprintln(stdout, "\nfastest by ranks:")
	for _, b := range best {
		fmt.Fprintln(stdout, " ", b)
	}
	if o.svgFile != "" {
		if err := drawScale(o.svgFile, all); err != nil {
			return err
		}
	}
	return errors.Join(o.saveSimulated(all), context.Cause(ctx))
}

// assumptions says in words what was simulated.
func (o *options) assumptions() string {
	m, c := &o.model, &o.cluster
	experts := "one expert a node"
	if m.Experts > 0 {
		experts = fmt.Sprintf("%d experts", m.Experts)
	}
	return fmt.Sprintf("Simulated, not measured: %d layers of dimension %d, experts' hidden size %g times that, %s, k %d; %d sequences of %d tokens a rank; %d ranks a node;\n"+
		"links between nodes %g µs a message and %g Gb/s a node, within nodes %g µs and %g Gb/s a rank; %g TFLOP/s a rank; noise %g, skew %g; mean of %d steps.",
		m.Layers, m.Dim, m.Ratio, experts, m.TopK, m.Batch, m.Seq, c.PerNode, c.Alpha, c.Gbps, c.IntraAlpha, c.IntraGbps, c.TFLOPS, c.Noise, c.Skew, o.steps)
}
