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
	interpolated, none := lsh.Config{Compensation: lsh.Interpolate}, lsh.Config{Compensation: lsh.None}
	list := []variant{
		clustered("clusters", interpolated, many, quant.BF16, quant.NVFP4H),
		onAllLegs("clusters-all-legs", interpolated, many, quant.BF16),
		onAllLegs("none-refined", none, many, quant.Float32),
		onAllLegs("paper", lsh.Config{Compensation: lsh.Identity, Refine: -1}, many, quant.Float32),
		onAllLegs("bandwidth-3", lsh.Config{Bandwidth: 3, Ridge: 0.03}, few, quant.Float32),
		clustered("clusters-fp8", interpolated, few, quant.FP8, quant.NVFP4H),
		clustered("clusters-nvfp4", interpolated, few, quant.NVFP4H, quant.NVFP4H),
		clustered("clusters-float32", interpolated, few, quant.Float32, quant.Float32),
		clustered("clusters-none", none, few, quant.BF16, quant.NVFP4H),
		onAllLegs("interpolate", lsh.Config{Bandwidth: 3, Ridge: 0.03, Refine: -1}, few, quant.Float32),
		onAllLegs("none", lsh.Config{Compensation: lsh.None, Refine: -1}, few, quant.Float32),
		onAllLegs("identity-refined", lsh.Config{Compensation: lsh.Identity}, few, quant.Float32),
		onAllLegs("bandwidth-10", lsh.Config{Bandwidth: 10, Ridge: 0.003}, few, quant.Float32),
		onAllLegs("bandwidth-30", lsh.Config{Bandwidth: 30, Ridge: 0.003}, few, quant.Float32),
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

// clustered is a variant whose rows and answers travel as clusters in one format, and the gradients
// of all rows in another.
func clustered(name string, c lsh.Config, rates []float64, f, gradients quant.Format) variant {
	return variant{name: name, rates: rates, way: quality.Way{
		Legs: [4]quant.Format{f, f, gradients, gradients}, Clusters: quality.Clusters{Config: c},
	}}
}

// onAllLegs is a variant whose four legs carry clusters.
func onAllLegs(name string, c lsh.Config, rates []float64, f quant.Format) variant {
	v := clustered(name, c, rates, f, f)
	v.way.ClusterGradients = true
	return v
}

// at is the variant's way for a rate and a number of rows in a group.
func (v variant) at(rate float64, rows int) quality.Way {
	w := v.way
	if v.rates != nil {
		w.Clusters.Config.Rate, w.Clusters.Rows = rate, rows
	}
	return w
}

// config is a layer that sends rows in this way. Where gradients of all rows travel, those of the
// centroids' answers travel as answers do.
func (v variant) config(w quality.Way, seed int) switchyard.Config {
	cfg := switchyard.Config{Seed: uint64(seed)}
	formats := w.Legs
	if v.rates != nil {
		c := w.Clusters.Config
		c.Seed = uint64(seed)
		cfg.Compression = switchyard.Compression{When: switchyard.CompressAlways, LSH: c, ClusterGradients: w.ClusterGradients}
		if !w.ClusterGradients {
			cfg.Compression.Gradients = alltoall.Format(w.Legs[quality.DispatchBack])
			formats[quality.DispatchBack], formats[quality.CombineBack] = w.Legs[quality.Combine], w.Legs[quality.Combine]
		}
	}
	legs := [4]*alltoall.Codec{&cfg.Wire.Dispatch, &cfg.Wire.Combine, &cfg.Wire.DispatchBack, &cfg.Wire.CombineBack}
	for leg, f := range formats {
		*legs[leg] = alltoall.Format(f)
		if v.stochastic {
			*legs[leg] = alltoall.Stochastic{Format: alltoall.Format(f), Seed: uint64(leg)}
		}
	}
	return cfg
}
