package compression

import (
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
)

// Stats is what compression did to the rows of a forward pass.
type Stats struct {
	// Rows is the number of rows, if they are gathered those that were gathered here, and Travelled
	// how many went in their place.
	Rows, Travelled int
	// BytesBefore and BytesAfter are the bytes of those that are for other ranks, as the mean of the
	// four legs of a step: of all rows in float32, and of what travels as it is written.
	BytesBefore, BytesAfter int
	// Residual is the distance of rows from their centroids: the root of the mean square of the
	// differences over that of the rows, of a sample.
	Residual float64
	// Error is the relative error of answers in the last sample, over all ranks, if there is a
	// bound of it.
	Error float64
	// Time is what compression took in the forward and the backward pass before.
	Time time.Duration
	// Choice says what the policy has chosen, and why; empty if there is none.
	Choice string
}

// Stats returns what compression did to a forward pass of training, dispatched by plan. counts are
// those of the rank's rows.
func (s *Stage) Stats(p *Pass, counts alltoall.Counts, plan *alltoall.Plan) Stats {
	if s == nil {
		return Stats{}
	}
	stats := Stats{Rows: mat.Sum(counts.Rows), Travelled: plan.SentRows(), Choice: s.choice()}
	stats.Time, stats.Error = s.lastLearned()
	first, end := s.cfg.Placement.Of(s.cfg.Rank)
	own := 0
	if p != nil {
		clusters := p.lsh.Clusters()
		stats.Rows, stats.Residual = len(clusters.Of), p.residual
		for e := first; e < end; e++ {
			row, rowEnd, _, _ := clusters.Group(e)
			own += rowEnd - row
		}
	} else {
		own = mat.Sum(counts.Rows[first*counts.Leaves : end*counts.Leaves])
	}
	stats.BytesBefore = (stats.Rows - own) * 4 * s.cfg.Dim
	stats.BytesAfter = s.bytes(p, stats.Rows-own, plan.Sent) / 4
	return stats
}

// choice is what the policy says of its choice.
func (s *Stage) choice() string {
	if s.policy == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch != nil && s.watch.off {
		return fmt.Sprintf("%s; no clusters while the error of answers is %.3g", s.policy.text, s.watch.error)
	}
	return s.policy.text
}

// bytes is that of rows for other ranks on the four legs of a step together, if the given numbers
// are sent to each rank in their place.
func (s *Stage) bytes(p *Pass, rows int, sent []int) (n int) {
	dim, wire, top := s.cfg.Dim, s.Wire(s.cfg.Wire), s.cfg.Topology
	separate := p != nil && s.cfg.Gradients != nil
	for r, centroids := range sent {
		w := wire
		if w.Within != nil && top.NodeOf(r) == top.NodeOf(s.cfg.Rank) {
			w = *w.Within
		}
		if r != s.cfg.Rank {
			n += centroids * w.RowBytes(dim)
			if separate {
				n -= centroids * w.Legs()[3].Bytes(dim)
			}
		}
	}
	if separate {
		n += rows * s.cfg.Gradients.RowBytes()
	}
	return n
}

// residual measures the distance of a sample of rows from their centroids.
func residual(clusters *lsh.Clusters, x, centroids blas32.General) float64 {
	const most = 128
	var off, all float64
	for i := 0; i < x.Rows; i += (x.Rows + most - 1) / most {
		mean := mat.Row(centroids, int(clusters.Of[i]))
		for j, v := range mat.Row(x, i) {
			d := float64(v) - float64(mean[j])
			off += d * d
			all += float64(v) * float64(v)
		}
	}
	if all == 0 {
		return 0
	}
	return math.Sqrt(off / all)
}
