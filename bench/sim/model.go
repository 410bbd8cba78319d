package sim

import (
	"errors"
	"flag"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/schedule/simulate"
)

// model is the model that sim trains.
type model struct {
	Layers  int     `json:"layers"`
	Dim     int     `json:"dim"`
	Ratio   float64 `json:"ratio"`
	Experts int     `json:"experts"`
	TopK    int     `json:"k"`
	Seq     int     `json:"seq"`
	Batch   int     `json:"batch"`
	Shared  int     `json:"shared"`
	Bytes   float64 `json:"bytes"`
	Micro   int     `json:"micro"`
	PerPeer int     `json:"per_peer"`
}

func (m *model) define(f *flag.FlagSet) {
	f.IntVar(&m.Layers, "layers", 12, "layers")
	f.IntVar(&m.Dim, "dim", 2048, "model dimension")
	f.Float64Var(&m.Ratio, "ratio", 4, "hidden size of an expert over the model dimension")
	f.IntVar(&m.Experts, "experts", 0, "experts; 0 for one a node")
	f.IntVar(&m.TopK, "k", 2, "experts of a token")
	f.IntVar(&m.Seq, "seq", 1024, "tokens of a sequence")
	f.IntVar(&m.Batch, "batch", 4, "sequences of a rank in a step")
	f.IntVar(&m.Shared, "shared", 0, "experts that every token passes")
	f.Float64Var(&m.Bytes, "bytes", 2, "bytes of a number in a row that is sent")
	f.IntVar(&m.Micro, "micro", 1, "micro-batches in flight")
	f.IntVar(&m.PerPeer, "per-peer", 1, "messages of an all-to-all on which experts start one by one")
}

func (m *model) validate() error {
	var faults []error
	for _, v := range []struct {
		name  string
		value float64
		least float64
	}{
		{"-layers", float64(m.Layers), 1}, {"-dim", float64(m.Dim), 1}, {"-experts", float64(m.Experts), 0}, {"-k", float64(m.TopK), 1},
		{"-seq", float64(m.Seq), 1}, {"-batch", float64(m.Batch), 1}, {"-shared", float64(m.Shared), 0}, {"-micro", float64(m.Micro), 1},
		{"-per-peer", float64(m.PerPeer), 1},
	} {
		if v.value < v.least {
			faults = append(faults, fmt.Errorf("%s %v; must be at least %v", v.name, v.value, v.least))
		}
	}
	if !(m.Ratio > 0 && m.Bytes > 0) || math.IsInf(m.Ratio*m.Bytes, 0) {
		faults = append(faults, fmt.Errorf("-ratio %v, -bytes %v; must be above 0", m.Ratio, m.Bytes))
	}
	if m.Experts > 0 && m.TopK > m.Experts {
		faults = append(faults, fmt.Errorf("-k %d of %d experts", m.TopK, m.Experts))
	}
	return errors.Join(faults...)
}

// layers returns the work of the model's layers on one rank, for one micro-batch. Sizes are
// multiply-adds, bytes and, of gradients, numbers.
func (m *model) layers(c *cluster) []simulate.Layer {
	tokens := float64(m.Seq*m.Batch) / float64(m.Micro)
	dim, node := float64(m.Dim), float64(c.PerNode)
	rows := tokens * float64(m.TopK) * dim // numbers sent by a rank
	ffn := 2 * m.Ratio * dim               // multiply-adds a number
	l := simulate.Layer{
		// A node's ranks share the computing for the tokens of all of them, which comes to that for
		// a rank's own tokens.
		schedule.Dense:      {Starts: 4, Size: tokens * (4*dim*dim + 2*float64(m.Seq)*dim)},
		schedule.Route:      {Starts: 1, Size: tokens * dim * float64(m.experts(c))},
		schedule.Counts:     {Starts: 1, Size: 4 * float64(m.experts(c))},
		schedule.Dispatch:   {Starts: 1, Size: rows * m.Bytes},
		schedule.Expert:     {Starts: 2, Size: rows * ffn},
		schedule.Combine:    {Starts: 1, Size: rows * m.Bytes},
		schedule.GradReduce: {Starts: 1, Size: (4*dim*dim + dim*float64(m.experts(c))) / node},
	}
	if c.PerNode > 1 { // each rank of a node multiplies its part of the expert by the rows of all
		l[schedule.Gather] = schedule.Work{Starts: 1, Size: rows * m.Bytes * (node - 1)}
		l[schedule.Scatter] = l[schedule.Gather]
	}
	if m.Shared > 0 {
		l[schedule.Shared] = schedule.Work{Starts: 2, Size: float64(m.Shared) * tokens * dim * ffn}
	}
	layers := make([]simulate.Layer, m.Layers)
	for i := range layers {
		layers[i] = l
	}
	return layers
}

// experts returns their number.
func (m *model) experts(c *cluster) int {
	if m.Experts == 0 {
		return c.Nodes
	}
	return m.Experts
}

// options returns the graph options that the model asks for.
func (m *model) options() simulate.Options {
	return simulate.Options{SharedInGap: m.Shared > 0, Batches: m.Micro, PerPeer: m.PerPeer}
}
