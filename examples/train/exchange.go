package main

import (
	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/lsh"
)

// compensations are the values of -compensation. The first of the sorted names is the default.
var compensations = map[string]lsh.Compensation{
	"identity": lsh.Identity, "none": lsh.None, "learned-gain": lsh.LearnedGain, "interpolate": lsh.Interpolate,
}

// compression is what -compress and its companions ask for.
func (o *options) compression() switchyard.Compression {
	if o.compress == 0 {
		return switchyard.Compression{}
	}
	return switchyard.Compression{When: switchyard.Always, LSH: lsh.Config{
		Rate: o.compress, Compensation: compensations[o.compensation], Refine: o.refine, Seed: o.seed,
	}}
}

// exchangeAlgorithm is that of -algorithm, which parse has checked.
func (o *options) exchangeAlgorithm() alltoall.Algorithm {
	a, err := alltoall.ParseAlgorithm(o.algorithm)
	if err != nil {
		panic(err)
	}
	return a
}

// algorithmNames are the values of -algorithm.
func algorithmNames() []string {
	names := []string{alltoall.Direct.String()}
	for _, a := range alltoall.Algorithms()[1:] {
		names = append(names, a.String())
	}
	return names
}
