package lsh

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Pass is the way of one batch's rows, from [Compressor.Compress] until it is released. Its methods
// go in the order
//
//	Restore, RestoreBackward, CompressBackward, Release
//
// of which any number from the end but Release may be left out; another order panics. It is not
// safe for concurrent use, nor together with its compressor.
type Pass struct {
	c         *Compressor
	stage     stage
	x         blas32.General // the caller's
	centroids blas32.General
	clusters  Clusters
	order     []int32 // rows sorted by cluster
	begin     []int32 // where each cluster's begin in it, and where the last one's end
	whole     []bool  // by row group: its rows are not clustered
	parts     [][]int // by row group: where the centroids of each class of rows end, among the group's
	gains     []float32
	gainGrads []float32
	weights   [][]block      // of Interpolate, by row group
	ready     bool           // weights are computed
	dy        blas32.General // the caller's
	dAnswers  blas32.General

	// what the row groups' work of one leg reads and writes
	to, of, own, from, off blas32.General
	mean                   bool

	means, offsets, gathered mat.Buffer
}

// stage is how far a pass has come.
type stage int

const (
	released stage = iota
	compressed
	restored
	restoredBackward
	compressedBackward
)

func (p *Pass) advance(from, to stage, method string) {
	if p.stage != from {
		panic("lsh: " + method + " out of turn")
	}
	p.stage = to
}

// resetParts makes room for the parts of each row group.
func (p *Pass) resetParts() {
	for len(p.parts) < p.c.groups {
		p.parts = append(p.parts, nil)
	}
	for g := range p.parts {
		p.parts[g] = p.parts[g][:0]
	}
}

// Clusters returns the clusters, which belong to the pass.
func (p *Pass) Clusters() *Clusters { return &p.clusters }

// Release gives the pass's memory back to the compressor. Nothing of it may be used any more.
func (p *Pass) Release() {
	if p.stage == released {
		panic("lsh: Release of what is released")
	}
	p.stage, p.ready = released, false
	p.x, p.dy, p.to, p.of, p.own, p.from = blas32.General{}, blas32.General{}, blas32.General{}, blas32.General{}, blas32.General{}, blas32.General{}
	p.c.free = append(p.c.free, p)
}
