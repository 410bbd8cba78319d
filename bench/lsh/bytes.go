package lsh

import (
	"slices"
	"strings"

	"github.com/switchyard-moe/switchyard/alltoall"
)

// placeBytes says which centroid stands for a row, beside the gradient of the row's answer.
const placeBytes = 3

// bytesRatio is the bytes of a variant's rows on all four legs over those of float32, for rows of
// dim columns; 0 where they are chosen in training, and where
// the width is not known.
func (v variant) bytesRatio(dim int) float64 {
	if dim == 0 || slices.Contains(v.flags, "-compress-auto") {
		return 0
	}
	wire := v.flag("-wire", "float32")
	legs := 2 * v.rate * float64(rowBytes(wire, dim)+rowBytes(v.flag("-wire-back", wire), dim))
	if gradients := v.flag("-compress-gradients", "clusters"); gradients != "clusters" {
		legs = legs*3/4 + float64(2*rowBytes(gradients, dim)+placeBytes)
	}
	return legs / float64(4*4*dim)
}

// flag is the value that a variant gives to a flag.
func (v variant) flag(name, missing string) string {
	if i := slices.Index(v.flags, name); i >= 0 {
		return v.flags[i+1]
	}
	return missing
}

// rowBytes is the bytes of a row in a format, which the list of variants names.
func rowBytes(name string, dim int) int {
	f, err := alltoall.ParseFormat(strings.TrimSuffix(name, "-stochastic"))
	if err != nil {
		panic(err)
	}
	return f.Bytes(dim)
}
