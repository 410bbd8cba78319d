package switchyard

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/lsh"
)

// When says when a layer compresses.
type When int

const (
	// CompressNever sends every row as it is.
	CompressNever When = iota
	// CompressAlways compresses every pass of training.
	CompressAlways
	// CompressAuto has the layer choose what takes least time of what loses no more than Budget: for
	// links within a node and between nodes, and for each of the four exchanges, a format, float32
	// to four bits, unless Config.Wire gives them; or clusters of all rows. Stats say what and why.
	// Time is predicted by bytes on Config.Links, which NewLayer measures if they are not given, by
	// what ranks find that formats take, and clusters in passes whose rows travel as they are, and
	// by what experts save; loss by the number of rows of an expert, on the experience of small
	// models. The ranks of a copy decide together, in NewLayer and in some calls of Step, ever fewer,
	// and by the clock: so results depend on it, and on where experts are, as rows that stay on
	// their rank are not rounded. Eval takes the same formats, but no clusters.
	CompressAuto

	whens int = iota
)

// Compression sends one centroid in place of rows for one expert that are alike, and the expert
// computes it as one row: LSH-MoE (Nie et al. 2024), see package lsh. Its zero value compresses
// nothing.
//
// A compressed pass is not causal: the output for a token depends on later tokens of its sequence
// and on the rest of the batch. So Eval never compresses, and the loss of an uncompressed
// evaluation is the figure to quote. Nor has a compressed pass the same bits on another number of
// ranks, since each rank compresses its own rows.
type Compression struct {
	// When says when to compress.
	When When
	// Budget is the share of what training gains by the experts that CompressAuto may lose, by
	// prediction; 0 means 0.05, a negative number that nothing may be lost.
	Budget float64
	// LSH says how rows become clusters, and their answers those of the rows. CompressAuto tries
	// rates of 0.1, 0.2 and 0.4 unless it gives one.
	LSH lsh.Config
	// Gradients is the format in which the gradients of all rows travel; nil is alltoall.NVFP4H. The
	// gradient of an answer is no function of its row, so clusters would lose it. So in the backward
	// pass of a compressed one the gradient of every row's answer goes to its expert, which multiplies
	// it by its Jacobian at the row's centroid: that is the gradient of the row. The experts'
	// parameters learn from centroids. A kind of expert from outside has to be an
	// [expert.RowGradients] for that.
	Gradients alltoall.Codec
	// ClusterGradients has gradients of centroids travel, and no others, as in LSH-MoE; then the
	// gradient of the tokens is exact for clusters that are held.
	ClusterGradients bool
	// Nodes makes clusters of the rows of a node (Config.Topology) instead of those of a rank: the
	// rows of its ranks for one expert are gathered on one of them first. The more rows are
	// clustered together, the nearer they are to their centroids. It needs CompressAlways, since
	// the ranks of a node have to compress the same passes.
	Nodes bool
	// From is the first step that may be compressed; the steps before it warm up. Until, if it is
	// not 0, is the first step after From that may not: in the last steps of training the experts
	// learn from rows as evaluation will send them. Steps count calls of Layer.Step, from 0.
	From, Until int
	// Rates, if there are any, is the rate by the step, in place of LSH.Rate.
	Rates lsh.Rates
	// MaxError, if it is not 0, turns compression off while the relative error of the answers that
	// it restores, ‖restored − true‖ / ‖true‖, is above it, and on again below 0.8 of it. In each
	// 32nd step, compressed anyway, some rows travel as well to see that, and in the first step in
	// which CompressAuto has chosen clusters; all ranks go by all.
	MaxError float64
	// Assign, if it is not nil, replaces LSH's hashing: it says which of the rows x of one rank
	// travel as one, those of expert e being rows [ends[e-1], ends[e]). It is for studies, and must
	// be the same function on every rank.
	Assign func(x blas32.General, ends []int) *lsh.Clusters
}

// validate returns all that is wrong with c.
func (c Compression) validate(dim int) error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			err := errtext.Errorf("switchyard: Config.Compression."+format, args...)
			faults = append(faults, err)
		}
	}
	fault(c.When < 0 || int(c.When) >= whens, "When is %d, want 0 to %d", c.When, whens-1)
	fault(c.From < 0 || c.Until < 0,
		"From is %d and Until %d, must not be negative", c.From, c.Until)
	fault(math.IsNaN(c.Budget), "Budget is %v", c.Budget)
	fault(!(c.MaxError >= 0), "MaxError is %v, must not be negative", c.MaxError)
	fault(c.Nodes && c.When == CompressAuto,
		"Nodes with When CompressAuto, want CompressAlways or CompressNever")
	fault(len(c.Rates) > 0 && c.LSH.Rate != 0, "LSH.Rate is %v beside Rates, want one of them", c.LSH.Rate)
	err := c.LSH.Validate()
	fault(err != nil, "LSH: %w", err)
	err = c.Rates.Validate()
	fault(err != nil, "Rates: %w", err)
	fault(c.When == CompressAuto && c.LSH.Bucketing == lsh.Joint,
		"LSH.Bucketing is Joint with When CompressAuto, which cannot know the rate beforehand")
	if c.Gradients != nil {
		err := alltoall.CheckCodec(c.Gradients, dim)
		fault(err != nil, "Gradients %w", err)
	}
	return errors.Join(faults...)
}

// String is the settings that all ranks must share.
func (c Compression) String() string {
	c.LSH.Workers = 0
	text := fmt.Sprintf("{When:%d LSH:%+v Nodes:%t From:%d Until:%d Assign:%t}",
		c.When, c.LSH, c.Nodes, c.From, c.Until, c.Assign != nil)
	if len(c.Rates) > 0 || c.MaxError > 0 {
		text += fmt.Sprintf(" Rates:%v MaxError:%v", c.Rates, c.MaxError)
	}
	if c.When == CompressAuto {
		text += fmt.Sprintf(" Budget:%v", c.Budget)
	}
	if codec := c.rowGradients(); codec != nil {
		text += fmt.Sprintf(" Gradients:%v", codec)
	}
	return text
}

// CompressionStats is what compression did to a rank's rows in one forward pass, and the backward
// pass before it.
type CompressionStats struct {
	// Rows is the number of rows, with Compression.Nodes those of the node that were gathered here.
	// Travelled is the number of rows sent in their place, the same if the pass was not compressed.
	Rows, Travelled int
	// BytesBefore and BytesAfter are the bytes of those that are for other ranks, as the mean of the
	// four exchanges of a step: of all rows in float32, and of what travels as it is written.
	BytesBefore, BytesAfter int
	// Residual is the distance of rows from their centroids: the root of the mean square of the
	// differences over that of the rows, of a sample of them.
	Residual float64
	// Error is the error of answers that MaxError bounds, of all ranks, when it was last measured.
	Error float64
	// Time is what hashing, centroids and compensation took.
	Time time.Duration
	// Choice is what CompressAuto has chosen, and the time and loss that it predicts, in one line.
	Choice string
}

// rowGradients is the codec of the gradients of all rows, or nil if gradients are clustered.
func (c Compression) rowGradients() alltoall.Codec {
	if c.When == CompressNever || c.ClusterGradients {
		return nil
	}
	return cmp.Or[alltoall.Codec](c.Gradients, alltoall.NVFP4H)
}

// wire is the format of all else, if w is the layer's: by default BF16 where rows are compressed.
func (c Compression) wire(w alltoall.Wire) alltoall.Wire {
	finite := w.Finite
	if c.When == CompressAlways && w == (alltoall.Wire{Finite: finite}) {
		w = alltoall.Everywhere(alltoall.BF16)
		w.Finite = finite
	}
	return w
}

// newCompression makes the compression of a layer whose rows travel by exchange, or nil if it has
// none.
func (b *builder) newCompression(exchange alltoall.Config) (*compression.Stage, error) {
	l, w, how := b.l, b.l.world, b.l.cfg.Compression
	if how.When == CompressNever {
		return nil, nil
	}
	cfg := compression.Config{
		LSH: how.LSH, From: how.From, Until: how.Until, Rates: how.Rates, MaxError: how.MaxError, Assign: how.Assign,
		Links: l.cfg.Links, Turn: l.stages.Turn, Exchanging: &l.stats.exchanging,
	}
	if how.When == CompressAuto {
		cfg.Auto = compression.NewPolicy(how.Budget, l.cfg.Wire, how.LSH.Rate, how.rowGradients(), b.oneCopy)
	}
	return compression.Build(cfg, compression.Ranks{
		Layout: b.at, Exchange: exchange, View: w.rows, Nodes: how.Nodes, Gradients: how.rowGradients(),
		Links: b.measureLinks,
	})
}
