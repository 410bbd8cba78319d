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

// Parts of names of variants that have the bits, and so the losses, of the variant without them:
// exchanges in parts, and over nodes.
const overlapSuffix, nodesSuffix = "+overlap", "+nodes"

// lossesOf is the variant whose losses one has.
func lossesOf(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, overlapSuffix, ""), nodesSuffix, "")
}

// variants are all there are; the first two are what others are measured by.
func variants() []variant { return slices.Concat(lossVariants(), nodeVariants(), wireVariants()) }

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
// say otherwise clusters are as hashes make them, and go in float32, as do their gradients.
func compressed(name string, rate, times float64, flags ...string) variant {
	for _, is := range [][]string{{"-refine", "-1"}, {"-compress-gradients", "clusters"}, {"-wire", "float32"}} {
		if !slices.Contains(flags, is[0]) {
			flags = append(is, flags...)
		}
	}
	return variant{name: name, rate: rate, times: times, flags: append([]string{"-compress", fmt.Sprint(rate)}, flags...)}
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
