package lsh

import (
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
)

// Pass is one batch of rows between [Compressor.Compress] and Release. Its methods are called in
// the order
//
//	Restore, RestoreBackward, CompressBackward, Release
//
// and may end early, with Release; another order panics. It is not safe for concurrent use, nor
// together with its compressor.
type Pass struct {
	c         *Compressor
	stage     stage
	x         blas32.General // the caller's
	centroids blas32.General
	clusters  Clusters
	order     []int32 // rows sorted by cluster
	begin     []int32 // where each cluster's begin in it, and where the last one's end
	whole     []bool  // by row group: its rows are not clustered
	classEnds [][]int // by row group: where the centroids of each class of rows end, among the group's
	gains     []float32
	gainGrads []float32
	weights   [][]block      // of Interpolate, by row group
	ready     bool           // weights are computed
	dy        blas32.General // the caller's
	dAnswers  blas32.General

	// matrices that the row groups of one method read and write
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

// resetClassEnds empties the list of classes of each row group.
func (p *Pass) resetClassEnds() {
	for len(p.classEnds) < p.c.groups {
		p.classEnds = append(p.classEnds, nil)
	}
	for g := range p.classEnds {
		p.classEnds[g] = p.classEnds[g][:0]
	}
}

// Clusters returns the clusters, which belong to the pass.
func (p *Pass) Clusters() *Clusters { return &p.clusters }

// Release gives the pass's memory back to the compressor. Nothing that belongs to the pass may be
// used afterwards.
func (p *Pass) Release() {
	if p.stage == released {
		panic("lsh: Release of what is released")
	}
	p.stage, p.ready = released, false
	p.x, p.dy, p.to, p.of, p.own, p.from = blas32.General{}, blas32.General{}, blas32.General{}, blas32.General{}, blas32.General{}, blas32.General{}
	p.c.free = append(p.c.free, p)
}
