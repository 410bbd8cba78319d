package dispatch

import (
	"errors"
	"fmt"
	"sync"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/compression"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
)

// Config describes a [Dispatcher]. Every rank gives the same; [New] checks that they do.
type Config struct {
	// Dim is the number of columns of a token, at most 2²⁴.
	Dim int
	// Experts is the number of experts over all ranks, at most 2²⁴.
	Experts int
	// Hosted is the number of experts of each rank, in order: rank 0 has the first Hosted[0] of
	// them. nil spreads them as evenly as possible. A rank may have none.
	Hosted []int
	// Wire is the format of rows in messages, for each of the four exchanges; its zero value is
	// float32. Rows are rounded whether they leave their rank or not. With Wire.Finite a number that
	// a format has no room for is an error too.
	Wire alltoall.Wire
	// Algorithm says through which ranks messages go. Its zero value is alltoall.Auto.
	Algorithm alltoall.Algorithm
	// Topology says which ranks share a node; its zero value puts all on one.
	Topology alltoall.Topology
	// Links are the costs of messages, by which alltoall.Auto chooses; if they are not given it
	// takes alltoall.Direct.
	Links links.Links
	// Compression, if not nil, sends rows for one expert that are alike as one, their mean, and
	// makes their answers of that one's (LSH-MoE, Nie et al. 2024; see package lsh), both ways: the
	// gradients too are those of means. Each rank compresses its own rows, and experts get fewer of
	// them. It is for training: it is not causal, and [Pass.DispatchExact] leaves it out. Its zero
	// value, &lsh.Config{}, sends a fifth of the rows. A compensation with parameters (LearnedGain,
	// LearnedChannels) needs a layer.
	Compression *lsh.Config
	// MaxRows bounds the rows that a rank receives in one dispatch, at most 2³¹−1; 0 means
	// alltoall.DefaultMaxRows. One rank's rows beyond it are refused on every rank. If only those of
	// several together are beyond it, the dispatcher of the rank that would receive them ends, with
	// transport.ErrTooLarge, and the others' when that rank closes its transport.
	MaxRows int
}

// Validate reports every fault that can be seen without the other ranks. ranks is their number.
func (c Config) Validate(ranks int) error {
	var faults []error
	for _, of := range []struct {
		field string
		err   error
	}{
		{"Dim is", check.Size(c.Dim, 1)},
		{"Experts is", check.Size(c.Experts, 1)},
		{"Hosted:", layout.CheckHosted(c.Hosted, c.Experts, ranks)},
		{"Algorithm:", c.Algorithm.Validate()},
		{"Topology:", c.Topology.Validate(ranks)},
		{"Links:", c.Links.Validate()},
		{"Wire:", c.Wire.Validate(c.Dim)},
	} {
		if of.err != nil {
			faults = append(faults, errtext.Errorf("dispatch: Config."+of.field+" %w", of.err))
		}
	}
	if err := c.validateCompression(); err != nil {
		faults = append(faults, errtext.Errorf("dispatch: Config.Compression: %w", err))
	}
	if c.MaxRows < 0 || c.MaxRows > mostRows {
		faults = append(faults, fmt.Errorf("dispatch: Config.MaxRows is %d, want 0 to %d", c.MaxRows, mostRows))
	}
	return errors.Join(faults...)
}

func (c Config) validateCompression() error {
	if c.Compression == nil {
		return nil
	}
	if how := c.Compression.Compensation; how.Learned() {
		return fmt.Errorf("compensation %v has parameters, which only a layer trains", how)
	}
	return c.Compression.Validate()
}

// compressor is the stage that compresses, or nil.
func (c Config) compressor(placement alltoall.Placement, rank int) (*compression.Stage, error) {
	if c.Compression == nil {
		return nil, nil
	}
	return compression.New(compression.Config{
		Dim: c.Dim, Experts: c.Experts, LSH: *c.Compression, Placement: placement, Rank: rank,
		Topology: c.Topology, Turn: &lifecycle.Turn{Lock: new(sync.Mutex)},
	})
}

// settings are all fields, in which ranks must agree.
func (c Config) settings() *agreement.Settings {
	s := new(agreement.Settings)
	s.Add("Dim", "%d", c.Dim)
	s.Add("Experts", "%d", c.Experts)
	s.Add("Hosted", "%v", c.Hosted)
	s.Add("Wire", "%v", c.Wire)
	s.Add("Algorithm", "%s", c.Algorithm)
	s.Add("Topology", "%v", c.Topology.Node)
	s.Add("Links", "%+v", c.Links)
	if c.Compression != nil {
		how := *c.Compression
		how.Workers = 0 // on which nothing depends
		s.Add("Compression", "%+v", how)
	}
	s.Add("MaxRows", "%d", c.MaxRows)
	return s
}

// placement says which rank hosts which experts.
func (c Config) placement(ranks int) alltoall.Placement {
	return layout.New(layout.Config{Size: ranks, Experts: c.Experts, Hosted: c.Hosted}).Placement
}

// exchange is the configuration of what moves the rows.
func (c Config) exchange(placement alltoall.Placement) alltoall.Config {
	x := alltoall.Config{
		Placement: placement, Dim: c.Dim, MaxRows: c.MaxRows,
		Algorithm: c.Algorithm, Topology: c.Topology, Wire: c.Wire,
	}
	x.Wire.Finite = false // an exchange can only refuse alone: a dispatcher does it on all ranks
	if c.Links != (links.Links{}) {
		x.Costs = c.Links
	}
	return x
}

// checkTransport returns an error unless t is a transport.
func checkTransport(t transport.Transport) error {
	if check.Nil(t) {
		return errors.New("dispatch: New: the transport is nil")
	}
	return nil
}
