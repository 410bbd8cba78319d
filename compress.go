package switchyard

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/internal/routing"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
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

// newCompression makes the layer's compression, if it has any.
func (l *Layer) newCompression() error {
	c := l.cfg.Compression
	if c.When == CompressNever {
		return nil
	}
	cfg := compression.Config{
		Dim: l.cfg.Dim, Experts: l.cfg.Experts, LSH: c.LSH, From: c.From, Until: c.Until, Assign: c.Assign,
		Placement: l.layout.Placement, Rank: l.layout.Rank, Auto: c.When == CompressAuto, Exchanging: &l.stats.exchanging,
	}
	var err error
	if c.Nodes {
		if cfg.Gather, err = l.newGatherer(); err != nil {
			return err
		}
	}
	if cfg.Auto {
		cfg.Topology, cfg.Links, cfg.RowBytes = l.layout.Topology(l.cfg.Topology), l.cfg.Links, l.cfg.rowBytes()
		if cfg.Links == (links.Links{}) {
			if cfg.Links, err = l.world.linksOf(l.cfg.Topology); err != nil {
				return err
			}
		}
	}
	l.compression, err = compression.New(cfg)
	return err
}

// rowBytes is the bytes of a row in the four exchanges of a step together.
func (c Config) rowBytes() int {
	bytes, w := 0, c.Wire
	for _, f := range []alltoall.Format{w.Dispatch, w.Combine, w.DispatchBack, w.CombineBack} {
		bytes += f.Bytes(c.Dim)
	}
	return bytes
}

// newGatherer connects the ranks of this one's node that share its copy of the experts.
func (l *Layer) newGatherer() (*nodegather.Gatherer, error) {
	top := l.layout.Topology(l.cfg.Topology)
	if len(top.Node) == 0 {
		top = alltoall.Nodes(l.layout.Parallel, l.layout.Parallel)
	}
	cfg := nodegather.Config{
		Placement: l.layout.Placement, Experts: l.cfg.Experts, Node: top.Node, Rank: l.layout.Rank,
		Dim: l.cfg.Dim, MaxRows: l.cfg.MaxRows, LeafRows: routing.Slots(l.gate),
	}
	members, mine := l.layout.OneCopy(), cfg.Peers()
	peers := make([]transport.Rank, len(mine))
	for i, r := range mine {
		peers[i] = members[r]
	}
	view, err := l.world.View(peers)
	if err != nil {
		return nil, err
	}
	return nodegather.New(view, cfg)
}

// compresses reports whether to compress the pass.
func (l *Layer) compresses(p *pass) bool { return p.Info.Train && l.compression.Enabled(l.steps) }

// beginCompressed begins the dispatch of the centroids of the tokens' rows.
func (l *Layer) beginCompressed(ctx context.Context, p *pass, cut alltoall.Cut) (h *alltoall.Handle, err error) {
	if p.compressed, err = l.compression.Begin(ctx, p.uncompressed()); err != nil {
		return nil, err
	}
	if fault := p.compressed.Fault; fault != nil {
		l.checks.Unassigned(&p.Fault, fault)
	}
	l.checks.Made(&p.Fault, "forward", "the centroids of its rows", p.compressed.Centroids)
	return l.exchange.Begin(ctx, alltoall.Request{Counts: p.compressed.Counts, Rows: p.compressed.Centroids, Cut: cut})
}

// uncompressed describes the pass's rows before they are compressed.
func (p *pass) uncompressed() compression.Rows {
	return compression.Rows{Counts: p.counts(), Order: func(to blas32.General) { p.Decision.Order(to, p.X) }}
}

// compressionStats is what compression did to a forward pass.
func (l *Layer) compressionStats(p *pass, plan *alltoall.Plan) CompressionStats {
	if l.compression == nil || !p.Info.Train {
		return CompressionStats{}
	}
	return CompressionStats(l.compression.Stats(p.compressed, p.counts(), plan))
}
