package lsh

import (
	"fmt"
	"slices"
	"strings"
)

// variant is a way to compress, as flags of examples/train.
type variant struct {
	name  string
	rate  float64
	times float64 // as many steps
	flags []string
	until float64 // the part of the steps that is compressed, where that is not all of them
	// nodes: clusters are those of all four ranks, as of one node; for quality alone, as the ranks of
	// a cluster are several.
	nodes bool
	pairs bool // clusters are those of a node of two ranks
}

// Parts of names of variants that have the losses of the variant without them: exchanges in parts
// and over nodes change no bit, and sums of dense gradients in fp8 none on the one rank on which
// quality is measured.
const overlapSuffix, nodesSuffix, sumsSuffix = "+overlap", "+nodes", "+sums"

// lossesOf is the variant whose losses one has.
func lossesOf(name string) string {
	return strings.NewReplacer(overlapSuffix, "", nodesSuffix, "", sumsSuffix, "").Replace(name)
}

// variants are all there are; the first two are what others are measured by.
func variants() []variant {
	return slices.Concat(lossVariants(), clusterVariants(), nodeVariants(), wireVariants())
}

// clusterVariants compress as the library does by default, or nearly so: the gradients of all rows
// travel in four bits.
func clusterVariants() []variant {
	return []variant{
		clusters("clusters", 0.2),
		clusters("clusters-fp8", 0.2, "-wire", "fp8"),
		clusters("clusters-float32", 0.2, "-wire", "float32", "-compress-gradients", "float32"),
		clusters("clusters-10", 0.1),
		clusters("clusters-40", 0.4),
		clusters("clusters-all-legs", 0.2, "-compress-gradients", "clusters"),
		clusters("none-refined", 0.2, "-compensation", "none", "-compress-gradients", "clusters", "-wire", "float32"),
		clusters("clusters-none", 0.2, "-compensation", "none"),
		clusters("interpolate-20", 0.2, "-bandwidth", "20", "-ridge", "0.003"),
		clusters("clusters-anneal", 0.2, "-compress-anneal", "0.4"),
		until(0.75, clusters("clusters-until-3/4", 0.2)),
		clusters("clusters+overlap", 0.2, "-overlap", "2"),
		clusters("clusters+nodes", 0.2, "-algorithm", "rails"),
		clusters("clusters+micro", 0.2, "-micro", "2"),
		clusters("clusters+nodes+micro", 0.2, "-algorithm", "rails", "-micro", "2"),
		clusters("clusters-fp8+micro", 0.2, "-wire", "fp8", "-micro", "2"),
		clusters("clusters-fp8+nodes+micro", 0.2, "-wire", "fp8", "-algorithm", "rails", "-micro", "2"),
		clusters("clusters-fp8+micro+sums", 0.2, "-wire", "fp8", "-micro", "2", "-sums", "fp8"),
		clusters("clusters-fp8+nodes+micro+sums", 0.2, "-wire", "fp8", "-algorithm", "rails", "-micro", "2", "-sums", "fp8"),
	}
}

// lossVariants are measured for their losses, after the two that others are measured by.
func lossVariants() []variant {
	return []variant{
		{name: plainName, rate: 1, times: 1},
		{name: noExpertsName, rate: 1, times: 1, flags: []string{"-no-experts"}},
		compressed("paper", 0.2, 1, "-compensation", "identity"),
		compressed("none", 0.2, 1, "-compensation", "none"),
		compressed("learned-gain", 0.2, 1, "-compensation", "learned-gain"),
		compressed("learned-channels", 0.2, 1, "-compensation", "learned-channels"),
		compressed("interpolate", 0.2, 1, "-compensation", "interpolate"),
		compressed("interpolate-refined", 0.2, 1, "-compensation", "interpolate", "-refine", "1"),
		compressed("hyperplane", 0.2, 1, "-compensation", "identity", "-hash", "hyperplane"),
		compressed("random", 0.2, 1, "-compensation", "identity", "-hash", "random"),
		compressed("random-none", 0.2, 1, "-compensation", "none", "-hash", "random"),
		{name: "dropping", rate: 0.2, times: 1, flags: []string{"-capacity", "0.2"}},
		compressed("paper-10", 0.1, 1, "-compensation", "identity"),
		compressed("paper-40", 0.4, 1, "-compensation", "identity"),
		compressed("interpolate-40", 0.4, 1, "-compensation", "interpolate"),
	}
}

// nodeVariants make clusters of all rows of a node, or compress only at the start or the end.
func nodeVariants() []variant {
	return []variant{
		onNodes(compressed("paper-nodes", 0.2, 1, "-compensation", "identity")),
		onNodes(compressed("none-nodes", 0.2, 1, "-compensation", "none")),
		onNodes(compressed("interpolate-refined-nodes", 0.2, 1, "-compensation", "interpolate", "-refine", "1")),
		onNodes(compressed("interpolate-refined-nodes-40", 0.4, 1, "-compensation", "interpolate", "-refine", "1")),
		until(0.75, onNodes(compressed("interpolate-refined-nodes-until-3/4", 0.2, 1, "-compensation", "interpolate", "-refine", "1"))),
		until(0.75, onNodes(compressed("interpolate-refined-nodes-40-until-3/4", 0.4, 1, "-compensation", "interpolate", "-refine", "1"))),
		until(0.75, onNodes(compressed("paper-nodes-until-3/4", 0.2, 1, "-compensation", "identity"))),
		compressed("paper-warm", 0.2, 1, "-compensation", "identity", "-compress-from", "50"),
		until(0.75, compressed("paper-until-3/4", 0.2, 1, "-compensation", "identity")),
		until(0.75, compressed("interpolate-refined-until-3/4", 0.2, 1, "-compensation", "interpolate", "-refine", "1")),
	}
}

// wireVariants encode rows in fewer bits, or exchange them in parts.
func wireVariants() []variant {
	return []variant{
		wire("bf16", "bf16"),
		wire("fp8", "fp8"),
		wire("fp8-expanded", "fp8-expanded"),
		wire("mxfp4", "mxfp4-h"),
		wire("nvfp4", "nvfp4-h"),
		wire("int4", "int4-h"),
		wire("mxfp4-nvfp4", "mxfp4-h", "-wire-back", "nvfp4-h"),
		wire("mxfp4-stochastic", "mxfp4-h-stochastic"),
		wire("mxfp4-stochastic-back", "mxfp4-h", "-wire-back", "mxfp4-h-stochastic"),
		wire("nvfp4-unrotated", "nvfp4"),
		wire("mxfp4-unrotated", "mxfp4"),
		wire("mxfp4+overlap", "mxfp4-h", "-overlap", "2"),
		wire("nvfp4+overlap", "nvfp4-h", "-overlap", "2"),
		wire("mxfp4+nodes", "mxfp4-h", "-algorithm", "rails"),
		wire("nvfp4+nodes", "nvfp4-h", "-algorithm", "rails"),
		wire("mxfp4+micro", "mxfp4-h", "-micro", "2"),
		wire("nvfp4+micro", "nvfp4-h", "-micro", "2"),
		wire("mxfp4+nodes+micro", "mxfp4-h", "-algorithm", "rails", "-micro", "2"),
		wire("nvfp4+nodes+micro", "nvfp4-h", "-algorithm", "rails", "-micro", "2"),
		wire("mxfp4+micro+sums", "mxfp4-h", "-micro", "2", "-sums", "fp8"),
		wire("nvfp4+micro+sums", "nvfp4-h", "-micro", "2", "-sums", "fp8"),
		wire("mxfp4+nodes+micro+sums", "mxfp4-h", "-algorithm", "rails", "-micro", "2", "-sums", "fp8"),
		wire("nvfp4+nodes+micro+sums", "nvfp4-h", "-algorithm", "rails", "-micro", "2", "-sums", "fp8"),
		compressed("paper-bf16", 0.2, 1, "-compensation", "identity", "-wire", "bf16"),
		compressed("paper-bf16+overlap", 0.2, 1, "-compensation", "identity", "-wire", "bf16", "-overlap", "2"),
		compressed("paper-bf16×1.25", 0.2, 1.25, "-compensation", "identity", "-wire", "bf16"),
		{name: plainName + "+overlap", rate: 1, times: 1, flags: []string{"-overlap", "2"}},
		compressed("paper+overlap", 0.2, 1, "-compensation", "identity", "-overlap", "2"),
		compressed("paper×1.25", 0.2, 1.25, "-compensation", "identity"),
		wire("fp8+overlap", "fp8", "-overlap", "2"),
		compressed("paper-fp8+overlap", 0.2, 1, "-compensation", "identity", "-wire", "fp8", "-overlap", "2"),
		{name: plainName + nodesSuffix, rate: 1, times: 1, flags: []string{"-algorithm", "rails"}},
		wire("fp8+micro", "fp8", "-micro", "2"),
		wire("fp8+micro+overlap", "fp8", "-micro", "2", "-overlap", "2"),
		wire("fp8+nodes+overlap", "fp8", "-algorithm", "rails", "-overlap", "2"),
		wire("fp8+nodes+micro", "fp8", "-algorithm", "rails", "-micro", "2"),
		wire("fp8+nodes+micro+overlap", "fp8", "-algorithm", "rails", "-micro", "2", "-overlap", "2"),
		onPairs(compressed("lsh-pairs-bf16", 0.2, 1, "-compensation", "interpolate", "-refine", "1", "-wire", "bf16")),
		onPairs(compressed("lsh-pairs-bf16+overlap", 0.2, 1, "-compensation", "interpolate", "-refine", "1", "-wire", "bf16", "-overlap", "2")),
		onPairs(compressed("lsh-pairs-fp8", 0.2, 1, "-compensation", "interpolate", "-refine", "1", "-wire", "fp8")),
		onPairs(compressed("lsh-pairs-fp8+overlap", 0.2, 1, "-compensation", "interpolate", "-refine", "1", "-wire", "fp8", "-overlap", "2")),
		{name: torchModelName, rate: 1, times: 1},
		compressed("interpolate-40×1.25", 0.4, 1.25, "-compensation", "interpolate"),
	}
}

// compressed is a variant that sends rate of the rows, and trains times as many steps. Unless flags
// say otherwise clusters are as hashes make them, and go in float32, as do their gradients, and
// interpolation is narrow.
func compressed(name string, rate, times float64, flags ...string) variant {
	former := [][2]string{{"-refine", "-1"}, {"-bandwidth", "3"}, {"-ridge", "0.03"}, {"-compress-gradients", "clusters"}, {"-wire", "float32"}}
	return variant{name: name, rate: rate, times: times, flags: slices.Concat([]string{"-compress", fmt.Sprint(rate)}, unlessSet(flags, former...))}
}

// unlessSet adds values of flags to those that have none.
func unlessSet(flags []string, values ...[2]string) []string {
	flags = slices.Clone(flags)
	for _, v := range values {
		if !slices.Contains(flags, v[0]) {
			flags = append(flags, v[:]...)
		}
	}
	return flags
}

// clusters is a variant whose clusters are those of the library's defaults unless flags say
// otherwise: centroids and their answers in bf16, and the gradients of all rows in four bits.
func clusters(name string, rate float64, flags ...string) variant {
	flags = unlessSet(flags, [2]string{"-compensation", "interpolate"}, [2]string{"-wire", "bf16"}, [2]string{"-compress-gradients", "nvfp4-h"})
	return variant{name: name, rate: rate, times: 1, flags: slices.Concat([]string{"-compress", fmt.Sprint(rate)}, flags)}
}

// onNodes makes clusters of the rows of all four ranks.
func onNodes(v variant) variant {
	v.nodes = true
	v.flags = append(v.flags, "-compress-nodes", "-node-ranks", "4")
	return v
}

// onPairs makes clusters of the rows of a node of two ranks.
func onPairs(v variant) variant {
	v.pairs = true
	v.flags = append(v.flags, "-compress-nodes", "-node-ranks", "2", "-algorithm", "rails")
	return v
}

// until compresses only a part of the steps.
func until(part float64, v variant) variant {
	v.until = part
	return v
}

// wire is a variant that sends all rows, in another format.
func wire(name, format string, flags ...string) variant {
	return variant{name: name, rate: 1, times: 1, flags: append([]string{"-wire", format}, flags...)}
}
