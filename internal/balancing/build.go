package balancing

import (
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/transport"
)

// Ranks is what a stage takes to be connected with other ranks.
type Ranks struct {
	Layout layout.Layout
	// Exchange is that of the layer's rows.
	Exchange alltoall.Config
	// Experts is those hosted here.
	Experts *experts.Stage
	// View makes a view of some ranks, and Known is the links between all, measured by Links if the
	// planner goes by them and they are not known.
	View  func(members []transport.Rank) (transport.Transport, error)
	Known links.Links
	Links func() (links.Links, error)
}

// Build makes a stage together with the other ranks, or nil if nothing is to be shared out.
func Build(how balance.Config, r Ranks) (*Stage, error) {
	if how.When == balance.Never {
		return nil, nil
	}
	numbers, err := r.Experts.Numbers()
	if err != nil {
		return nil, err
	}
	if how.When == balance.Auto && r.Known == (links.Links{}) {
		if r.Known, err = r.Links(); err != nil {
			return nil, err
		}
	}
	view, err := r.View(r.Layout.OneCopy())
	if err != nil {
		return nil, err
	}
	d := newDecider(how, r.Exchange, r.Known, 4*int64(numbers))
	return New(Config{
		View: view, Placement: r.Exchange.Placement, Experts: r.Experts, Decide: d.decide, Slots: d.problem.Limits.Slots,
	})
}
