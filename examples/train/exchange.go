package main

import (
	"math/rand/v2"
	"strings"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
)

// compensations are the values of -compensation; that of lsh.Config's zero value is the default.
var compensations = map[string]lsh.Compensation{
	"identity": lsh.Identity, "none": lsh.None, "learned-gain": lsh.LearnedGain, "learned-channels": lsh.LearnedChannels, "interpolate": lsh.Interpolate,
}

// compression is what -compress and its companions ask for.
func (o *options) compression() switchyard.Compression {
	if o.compress == 0 && !o.compressAuto {
		return switchyard.Compression{}
	}
	c := switchyard.Compression{When: switchyard.CompressAlways, LSH: lsh.Config{
		Rate: o.compress, Compensation: compensations[o.compensation], Refine: o.refine, Seed: o.seed,
		Bandwidth: float32(o.bandwidth), Ridge: float32(o.ridge),
	}, Nodes: o.compressNode, From: o.compressFrom, Until: o.compressTill, MaxError: o.maxError}
	if o.anneal > 0 {
		c.LSH.Rate, c.Rates = 0, o.annealed()
	}
	if o.compressAuto {
		c.When, c.Budget = switchyard.CompressAuto, o.budget
	}
	if c.ClusterGradients = o.gradients == clustered; !c.ClusterGradients {
		c.Gradients = formatNamed(o.gradients)
	}
	if o.hash == "hyperplane" {
		c.LSH.Family = lsh.Hyperplane
	}
	return c
}

// annealed is the rate from that of -compress in the first step that is compressed to that of
// -compress-anneal in the last one.
func (o *options) annealed() lsh.Rates {
	last := o.steps - 1
	if o.compressTill > 0 {
		last = min(last, o.compressTill-1)
	}
	return lsh.Rates{
		{Step: o.compressFrom, Rate: o.compress}, {Step: max(last, o.compressFrom+1), Rate: o.anneal},
	}
}

// randomClusters puts rows together as chance will have it, as many as the rate says.
func randomClusters(rate float64, source rand.Source) func(blas32.General, []int) *lsh.Clusters {
	random := rand.New(source)
	return func(_ blas32.General, ends []int) *lsh.Clusters {
		var groups [][]int32
		begin := 0
		for _, end := range ends {
			n := end - begin
			m := min(max(int(rate*float64(n)+0.5), 1), n)
			of := make([]int32, n)
			for i, place := range random.Perm(n) {
				of[place] = int32(i % max(m, 1))
			}
			groups = append(groups, of)
			begin = end
		}
		return lsh.NewClusters(groups)
	}
}

// layerExpert is what the experts compute.
func (o *options) layerExpert() expert.Expert {
	if o.noExperts {
		return silent{}
	}
	return expert.FFN{Hidden: o.expertHidden, Activation: expert.GELU}
}

// silent is experts that answer zeros.
type silent struct{}

func (silent) New(expert.Shape) (expert.Group, error) { return silent{}, nil }
func (silent) Params() *param.Set                     { return nil }

func (silent) Forward(x blas32.General, _ expert.Rows) (blas32.General, expert.Saved) {
	return silence(x), nil
}

func (silent) Backward(_ expert.Saved, dy blas32.General) blas32.General { return silence(dy) }

// RowGradients sets dx to zeros.
func (silent) RowGradients(_ expert.Saved, _ []int32, _, dx blas32.General) {
	for i := range dx.Rows {
		clear(dx.Data[i*dx.Stride : i*dx.Stride+dx.Cols])
	}
}

// silence is zeros in the shape of m.
func silence(m blas32.General) blas32.General {
	return blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols, Data: make([]float32, m.Rows*m.Cols)}
}

// exchangeAlgorithm is that of -algorithm, which parse has checked.
func (o *options) exchangeAlgorithm() alltoall.Algorithm {
	a, err := alltoall.ParseAlgorithm(o.algorithm)
	if err != nil {
		panic(err)
	}
	return a
}

// defaultWire is the -wire that leaves the formats to the layer.
const defaultWire = "default"

// wireFormat is that of -wire and -wire-back, which parse has checked.
func (o *options) wireFormat() alltoall.Wire {
	var w alltoall.Wire
	if o.wire != defaultWire {
		w = alltoall.Everywhere(o.codecNamed(o.wire))
	}
	if o.wireBack != defaultWire {
		back := o.codecNamed(o.wireBack)
		w.DispatchBack, w.CombineBack = back, back
	}
	return w
}

// stochastic ends the names of formats of four bits that round at random.
const stochastic = "-stochastic"

// wireNames are the values of -wire and -wire-back.
func wireNames() []string {
	names := append([]string{defaultWire}, alltoall.FormatNames()...)
	for _, f := range []alltoall.Format{alltoall.MXFP4H, alltoall.NVFP4H, alltoall.Int4H} {
		names = append(names, f.String()+stochastic)
	}
	return names
}

// codecNamed is the codec of one of wireNames.
func (o *options) codecNamed(name string) alltoall.Codec {
	format, random := strings.CutSuffix(name, stochastic)
	if random {
		return alltoall.Stochastic{Format: formatNamed(format), Seed: o.seed}
	}
	return formatNamed(format)
}

// formatNamed is the format of a name, which parse has checked.
func formatNamed(name string) alltoall.Format {
	f, err := alltoall.ParseFormat(name)
	if err != nil {
		panic(err)
	}
	return f
}

// clustered is the -compress-gradients that sends gradients of centroids alone.
const clustered = "clusters"

// gradientFormats are the values of -compress-gradients, the default first.
func gradientFormats() []string {
	first := alltoall.NVFP4H.String()
	list := []string{first, clustered}
	for _, name := range alltoall.FormatNames() {
		if name != first {
			list = append(list, name)
		}
	}
	return list
}

// sumsFormat is that of -sums, which parse has checked.
func (o *options) sumsFormat() alltoall.Codec {
	f, err := alltoall.ParseFormat(o.sums)
	if err != nil {
		panic(err)
	}
	return f
}

// algorithmNames are the values of -algorithm.
func algorithmNames() []string {
	names := []string{alltoall.Direct.String()}
	for _, a := range alltoall.Algorithms()[1:] {
		names = append(names, a.String())
	}
	return names
}
