// Package compression is the stage of a layer that sends centroids in place of rows that are alike:
// LSH-MoE (Nie et al. 2024), as package lsh computes it. In a forward pass Begin makes the rows'
// centroids, which travel, and Restore makes the rows' answers of the centroids'. In the backward
// pass RestoreBackward and CompressBackward are their gradients. RowGradients, if gradients are not
// clustered, are those of all rows, in place of what CompressBackward makes of the centroids'.
package compression

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/internal/rowgradients"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
)

// Config describes the compression of one rank of a copy of the experts.
type Config struct {
	// Dim is the number of columns of a row, and Experts the number of experts of the copy.
	Dim, Experts int
	// LSH says how rows become clusters, and the centroids' answers those of the rows.
	LSH lsh.Config
	// From is the first step that may be compressed, and Until, if it is not 0, the first one after
	// that may not.
	From, Until int
	// Rates, if there are any, are the rates of LSH by the step.
	Rates lsh.Rates
	// MaxError, if it is not 0, is the relative error of answers above which compression is turned
	// off, until it is below that again.
	MaxError float64
	// Assign, if it is not nil, makes the clusters of rows x of experts that end at ends, in place
	// of hashing.
	Assign func(x blas32.General, ends []int) *lsh.Clusters
	// Placement says which rank of the copy hosts which experts, and Rank is this rank's number in
	// the copy.
	Placement alltoall.Placement
	Rank      int
	// Gradients, if it is not nil, carries the gradients of all rows of a compressed pass, which are
	// then not clustered. Wire is the formats in which all else travels.
	Gradients *rowgradients.Stage
	// Auto, if it is not nil, chooses how rows travel by what that takes on Links, between the
	// copy's ranks on the nodes of Topology, and what is lost.
	Auto     *Policy
	Links    links.Links
	Topology alltoall.Topology
	Wire     alltoall.Wire
	// Turn has passes compute in turn.
	Turn *lifecycle.Turn
	// Gather, if it is not nil, gathers the rows of the node's ranks before they are compressed.
	Gather *nodegather.Gatherer
	// Exchanging, if it is not nil, gets the nanoseconds that gathering took in Restore,
	// RestoreBackward and CompressBackward; Begin is timed by its caller.
	Exchanging *atomic.Int64
}

// Stage compresses the rows of a rank. Any number of passes may be in flight, on any goroutines.
// What is learned from one, by the control loop of lsh.Controlled or by the policy, counts for the
// passes that begin when none is in flight, in the order of their numbers. A nil Stage never
// compresses.
type Stage struct {
	cfg   Config
	lsh   *lsh.Compressor // used in turn
	gains *param.Set      // if compensation learns them, else nil
	free  freelist.List[memory]

	mu     sync.Mutex
	flight int    // number of passes in flight
	notes  []note // of passes that have ended, since the last time that none was in flight
	policy *policy
	watch  *watch // nil without a bound of the error
	spent  time.Duration
}

// New makes a stage, which takes over cfg.Gather.
func New(cfg Config) (*Stage, error) {
	s := &Stage{cfg: cfg}
	var err error
	if s.lsh, err = lsh.New(cfg.LSH, cfg.Dim, cfg.Experts); err != nil {
		return nil, err
	}
	if err := cfg.Rates.Validate(); err != nil {
		return nil, err
	}
	if cfg.LSH.Compensation.Learned() {
		shape := []int{cfg.Experts}
		if cfg.LSH.Compensation == lsh.LearnedChannels {
			shape = append(shape, cfg.Dim)
		}
		s.gains = param.NewSet(param.Tensor{Name: "gain", Shape: shape})
		copy(s.gains.Value, s.lsh.Gains())
	}
	if cfg.MaxError > 0 {
		s.watch = &watch{most: cfg.MaxError}
	}
	if cfg.Auto != nil {
		s.policy, err = newPolicy(context.Background(), &s.cfg)
	}
	return s, err
}

// Gains returns the parameters of learned compensation, or nil.
func (s *Stage) Gains() *param.Set {
	if s == nil {
		return nil
	}
	return s.gains
}

// Depths returns a copy of the state of the control loop, nil if there is none: see
// [lsh.Compressor.Depths].
func (s *Stage) Depths() []float64 {
	if s == nil {
		return nil
	}
	return s.lsh.Depths()
}

// SetDepths sets what Depths returns.
func (s *Stage) SetDepths(depths []float64) error { return s.lsh.SetDepths(depths) }

// setDepths is SetDepths of what Depths has returned.
func (s *Stage) setDepths(depths []float64) {
	if err := s.lsh.SetDepths(depths); err != nil {
		panic(err.Error())
	}
}

// Enabled reports whether to compress a pass of training of a step. Step counts the steps before
// it.
func (s *Stage) Enabled(step int) bool {
	if s == nil || !s.inWindow(step) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watch != nil && s.watch.off && !s.samples(step) {
		return false
	}
	return s.policy == nil || s.policy.clusters()
}

// inWindow reports whether a step is one of those that may be compressed.
func (s *Stage) inWindow(step int) bool {
	return step >= s.cfg.From && (s.cfg.Until == 0 || step < s.cfg.Until)
}

// rate is that of a step, 0 for the default of lsh.
func (s *Stage) rate(step int) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.policy != nil:
		return s.policy.rate
	case len(s.cfg.Rates) > 0:
		return s.cfg.Rates.At(step)
	}
	return s.cfg.LSH.Rate
}

// GathersNode reports whether rows of a node's ranks are gathered before they are compressed.
func (s *Stage) GathersNode() bool { return s != nil && s.cfg.Gather != nil }
