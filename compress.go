package switchyard

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/lsh"
)

// When says when a layer compresses.
type When int

const (
	// CompressNever sends every row as it is.
	CompressNever When = iota
	// CompressAlways compresses every pass of training.
	CompressAlways
	// CompressAuto compresses what goes to a peer while the link there is so slow that the bytes
	// saved take longer than the hashing. The links are Config.Links, which NewLayer measures where
	// they are not given. What hashing takes each rank measures itself, and decides for its own
	// rows, so that results depend on the clock.
	CompressAuto

	whens int = iota
)

// Compression has the rows that are bound for one expert, and are alike, travel as their centroid,
// and be computed as one: LSH-MoE (Nie et al. 2024), as package lsh tells. Its zero value is none.
//
// A compressed pass is not causal: what a token gets back depends on later tokens of its sequence
// and on the rest of the batch. So Eval never compresses, and the loss of an uncompressed
// evaluation is the figure to quote. Nor has a compressed pass the same bits on another number of
// ranks: rows are compressed where they leave, and others meet there.
type Compression struct {
	// When says when to compress.
	When When
	// LSH says how rows become clusters, and their answers those of the rows.
	LSH lsh.Config
	// Nodes has clusters made once a node (Config.Topology) instead of once a rank: the rows of its
	// ranks that are bound for one expert meet on one of them first. The more rows are clustered
	// together, the nearer they are to their centroids. It needs CompressAlways, as a node's ranks
	// have to compress the same passes.
	Nodes bool
	// From is the first step that may be compressed, the ones before warm up; and Until, where it
	// is not 0, the first one after that may not: the last steps of training teach the experts rows
	// as they are, which evaluation sends them. Steps count calls of Layer.Step, from 0.
	From, Until int
	// Assign, where it is not nil, says which rows travel as one in place of LSH's hashing: rows x
	// of experts that end at ends, those of one rank. It is for studies, and must be the same
	// function on every rank.
	Assign func(x blas32.General, ends []int) *lsh.Clusters
}

// validate returns all that is wrong with c.
func (c Compression) validate() error {
	var faults []error
	if c.When < 0 || int(c.When) >= whens {
		faults = append(faults, fmt.Errorf("switchyard: Config.Compression.When is %d, want 0 to %d", c.When, whens-1))
	}
	if c.From < 0 || c.Until < 0 {
		faults = append(faults, fmt.Errorf("switchyard: Config.Compression.From is %d and Until %d, must not be negative", c.From, c.Until))
	}
	if c.Nodes && c.When == CompressAuto {
		faults = append(faults, errors.New("switchyard: Config.Compression.Nodes with When CompressAuto, want CompressAlways or CompressNever"))
	}
	if err := c.LSH.Validate(); err != nil {
		faults = append(faults, errtext.Errorf("switchyard: Config.Compression.LSH: %w", err))
	}
	return errors.Join(faults...)
}

// String is the settings that all ranks must share.
func (c Compression) String() string {
	c.LSH.Workers = 0
	return fmt.Sprintf("{When:%d LSH:%+v Nodes:%t From:%d Until:%d Assign:%t}", c.When, c.LSH, c.Nodes, c.From, c.Until, c.Assign != nil)
}

// CompressionStats is what compression did to a rank's rows in one forward pass, and the backward
// pass before it.
type CompressionStats struct {
	// Rows is the number of rows, with Compression.Nodes those of the node that were gathered here,
	// and Travelled how many went in their place; as many if the pass was not compressed.
	Rows, Travelled int
	// BytesBefore and BytesAfter are the bytes of those that leave this rank, one way of the four.
	BytesBefore, BytesAfter int
	// Residual is how far rows are from what travels in their place: the root of the mean square of
	// the differences over that of the rows, of a sample of them.
	Residual float64
	// Time is what hashing, centroids and compensation took.
	Time time.Duration
}

// newCompression makes the compression of a layer, or nil if it has none. slots is the number of
// rows that a group of tokens sends to each expert, if its rows are mixtures; else 0. exchanging
// gets the nanoseconds that exchanges of the stage take.
func newCompression(
	c Config, w *World, at layout.Layout, slots int, exchanging *atomic.Int64,
) (*compression.Stage, error) {
	how := c.Compression
	if how.When == CompressNever {
		return nil, nil
	}
	var err error
	cfg := compression.Config{
		Dim: c.Dim, Experts: c.Experts, LSH: how.LSH, From: how.From, Until: how.Until,
		Assign: how.Assign, Placement: at.Placement, Rank: at.Rank, Topology: at.Topology(c.Topology),
		Auto: how.When == CompressAuto, Links: c.Links, RowBytes: rowBytes(c.Wire, c.Dim),
		Exchanging: exchanging,
	}
	if cfg.Auto && cfg.Links == (links.Links{}) {
		if cfg.Links, err = w.linksOf(c.Topology); err != nil {
			return nil, err
		}
	}
	if how.Nodes {
		node := cfg.Topology.Node
		if len(node) == 0 {
			node = make([]int, at.Parallel)
		}
		if cfg.Gather, err = nodegather.New(w.View, nodegather.Config{
			Layout: at, Node: node, Dim: c.Dim, MaxRows: c.MaxRows, LeafRows: slots,
		}); err != nil {
			return nil, err
		}
	}
	return compression.New(cfg)
}

// rowBytes is the bytes of a row in the four exchanges of a step together.
func rowBytes(w alltoall.Wire, dim int) int {
	return w.Dispatch.Bytes(dim) + w.Combine.Bytes(dim) + w.DispatchBack.Bytes(dim) +
		w.CombineBack.Bytes(dim)
}

// uncompressed describes the pass's rows before they are compressed.
func (p *pass) uncompressed() compression.Rows {
	return compression.Rows{
		Counts: p.counts(), Order: func(to blas32.General) { p.Decision.Order(to, p.X) },
	}
}
