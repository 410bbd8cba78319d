package compression

import (
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/internal/nodegather"
	"github.com/switchyard-moe/switchyard/internal/rowgradients"
	"github.com/switchyard-moe/switchyard/transport"
)

// Ranks is what a stage takes to be connected with other ranks.
type Ranks struct {
	Layout layout.Layout
	// Exchange is that of the layer's rows. Its LeafRows is the number of rows that a group of tokens
	// sends to each expert, if its rows are mixtures; else 0.
	Exchange alltoall.Config
	// View makes a view of some ranks, and Links measures the links between all.
	View  func(members []transport.Rank) (transport.Transport, error)
	Links func() (links.Links, error)
	// Nodes gathers the rows of a node. Gradients is the codec of the gradients of all rows, nil if
	// gradients are clustered.
	Nodes     bool
	Gradients alltoall.Codec
}

// Build makes a stage together with the other ranks, of cfg, which has no more to say of what
// connects them than Auto.
func Build(cfg Config, r Ranks) (s *Stage, err error) {
	x := &r.Exchange
	cfg.Dim, cfg.Experts, cfg.Wire = x.Dim, x.Placement.Experts(), x.Wire
	cfg.Placement, cfg.Rank, cfg.Topology = x.Placement, r.Layout.Rank, x.Topology
	if cfg.Auto != nil && cfg.Links == (links.Links{}) {
		if cfg.Links, err = r.Links(); err != nil {
			return nil, err
		}
	}
	if r.Nodes {
		if cfg.Gather, err = r.gatherer(); err != nil {
			return nil, err
		}
		x.LeafRows = alltoall.DefaultMaxRows // of other ranks too; MaxRows bounds all of them together
	}
	if r.Gradients != nil {
		view, err := r.View(r.Layout.OneCopy())
		if err != nil {
			return nil, err
		}
		if cfg.Gradients, err = rowgradients.New(view, *x, r.Gradients); err != nil {
			return nil, err
		}
	}
	return New(cfg)
}

func (r *Ranks) gatherer() (*nodegather.Gatherer, error) {
	x := &r.Exchange
	node := x.Topology.Node
	if len(node) == 0 {
		node = make([]int, r.Layout.Parallel)
	}
	return nodegather.New(r.View, nodegather.Config{
		Layout: r.Layout, Node: node, Dim: x.Dim, MaxRows: x.MaxRows, LeafRows: x.LeafRows,
	})
}
