package law

import (
	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/quality"
	"github.com/switchyard-moe/switchyard/internal/quant"
	"github.com/switchyard-moe/switchyard/lsh"
)

// variant is a way to send rows. Variants of one name in other commands of bench lsh are the same.
type variant struct {
	name       string
	way        quality.Way
	rates      []float64 // of clusters, nil where all rows travel
	stochastic bool
}

// variants lists them, the most telling first.
func variants() []variant {
	few, many := []float64{0.2}, []float64{0.2, 0.1, 0.4, 0.05}
	interpolated := lsh.Config{Compensation: lsh.Interpolate}
	list := []variant{
		clustered("clusters-all-legs", interpolated, many),
		clustered("none-refined", lsh.Config{Compensation: lsh.None}, many),
		clustered("paper", lsh.Config{Compensation: lsh.Identity, Refine: -1}, many),
		clustered("interpolate", lsh.Config{Bandwidth: 3, Ridge: 0.03, Refine: -1}, few),
		clustered("bandwidth-3", lsh.Config{Bandwidth: 3, Ridge: 0.03}, few),
		clustered("none", lsh.Config{Compensation: lsh.None, Refine: -1}, few),
		clustered("identity-refined", lsh.Config{Compensation: lsh.Identity}, few),
		clustered("bandwidth-10", lsh.Config{Bandwidth: 10, Ridge: 0.003}, few),
		clustered("bandwidth-30", lsh.Config{Bandwidth: 30, Ridge: 0.003}, few),
		clustered("bandwidth-100", lsh.Config{Bandwidth: 100, Ridge: 0.003}, few),
		{name: "fp8", way: quality.Everywhere(quant.FP8)},
		{name: "nvfp4", way: quality.Everywhere(quant.NVFP4H)},
		{name: "mxfp4", way: quality.Everywhere(quant.MXFP4H)},
		{name: "int4", way: quality.Everywhere(quant.Int4H)},
	}
	for _, f := range []quant.Format{quant.NVFP4, quant.MXFP4, quant.Int4} {
		list = append(list, variant{name: f.String() + "-unrotated", way: quality.Everywhere(f)})
		list = append(list, variant{name: f.String() + "-stochastic", way: quality.Everywhere(rotated[f]), stochastic: true})
	}
	for _, f := range []quant.Format{quant.BF16, quant.FP16, quant.Int8, quant.FP8Expanded, quant.MXFP8} {
		list = append(list, variant{name: f.String(), way: quality.Everywhere(f)})
	}
	for leg, name := range []string{"dispatch", "combine", "dispatch-back", "combine-back"} {
		v := variant{name: "nvfp4-" + name}
		v.way.Legs[leg] = quant.NVFP4H
		list = append(list, v)
	}
	return list
}

var rotated = map[quant.Format]quant.Format{quant.NVFP4: quant.NVFP4H, quant.MXFP4: quant.MXFP4H, quant.Int4: quant.Int4H}

// clustered is a variant whose four legs carry clusters.
func clustered(name string, c lsh.Config, rates []float64) variant {
	return variant{name: name, way: quality.Way{Clusters: quality.Clusters{Config: c}, ClusterGradients: true}, rates: rates}
}

// at is the variant's way for a rate and a number of rows in a group.
func (v variant) at(rate float64, rows int) quality.Way {
	w := v.way
	if v.rates != nil {
		w.Clusters.Config.Rate, w.Clusters.Rows = rate, rows
	}
	return w
}

// config is a layer that sends rows in this way.
func (v variant) config(w quality.Way, seed int) switchyard.Config {
	cfg := switchyard.Config{Seed: uint64(seed)}
	legs := [4]*alltoall.Codec{&cfg.Wire.Dispatch, &cfg.Wire.Combine, &cfg.Wire.DispatchBack, &cfg.Wire.CombineBack}
	for leg, f := range w.Legs {
		*legs[leg] = alltoall.Format(f)
		if v.stochastic {
			*legs[leg] = alltoall.Stochastic{Format: alltoall.Format(f), Seed: uint64(leg)}
		}
	}
	if v.rates != nil {
		cfg.Compression = switchyard.Compression{When: switchyard.CompressAlways, LSH: w.Clusters.Config}
		cfg.Compression.LSH.Seed = uint64(seed)
	}
	return cfg
}
