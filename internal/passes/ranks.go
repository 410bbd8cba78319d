package passes

import (
	"context"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/routing"
)

// Ranks is what connects the ranks of a layer, and in a pass its own part of each.
type Ranks struct {
	// Everyone and Checks connect all ranks, Checks for what is found while others are used.
	// Replicas connects those that host the same experts.
	Everyone, Checks, Replicas *collective.Comm
	// Exchange carries rows between the ranks of one copy of the experts.
	Exchange *alltoall.Exchange
}

// opened is what a pass has from Open to Close.
type opened struct {
	number uint64
	plain  bool
	alone  bool           // see pipeline.Stage.Open
	ranks  Ranks          // its part of what connects the ranks
	grads  gradients.Pass // of parameters
}

// Open gives pass p, which has none, its part of what connects the ranks: the messages of a pass
// meet those of the same number. Passes are opened in the order of their numbers. The gradients of
// parameters of a plain pass are summed over the ranks at the next Backward of a plain one, or at
// the end of the step: of such passes all ranks have one at a time.
func (s *Stages) Open(p *Pass, number uint64, plain bool) {
	r := &s.Ranks
	p.number, p.plain, p.alone = number, plain, s.Path.Open(plain)
	p.ranks = Ranks{
		Everyone: r.Everyone.Pass(number), Checks: r.Checks.Pass(number),
		Replicas: r.Replicas.Pass(number), Exchange: r.Exchange.Pass(number),
	}
	var comms gradients.Comms
	if !plain {
		comms = gradients.Comms{World: p.ranks.Everyone, Replicas: p.ranks.Replicas}
	}
	p.grads = s.Gradients.Begin(number, comms)
	s.Compression.Open()
}

// Close ends a pass: it releases p, which has then no part any more.
func (s *Stages) Close(p *Pass) {
	s.Release(p)
	r := &p.ranks
	if r.Exchange == nil { // closed before
		return
	}
	p.grads.End()
	s.Compression.Close()
	s.Path.Close(p.plain)
	r.Everyone.End()
	r.Checks.End()
	r.Replicas.End()
	r.Exchange.End()
	p.opened = opened{}
}

// routing is what the gate's stage needs.
func (r *Ranks) routing() routing.Ranks {
	return routing.Ranks{Comm: r.Everyone, Dispatch: dispatch{r.Exchange}}
}

// dispatch is the exchange of a pass that does not begin.
type dispatch struct{ exchange *alltoall.Exchange }

func (d dispatch) Abort(ctx context.Context) error { return d.exchange.Refuse(ctx) }

func (d dispatch) AwaitAbort(ctx context.Context) error {
	_, err := d.exchange.Begin(ctx, alltoall.Request{Counts: alltoall.Counts{Rows: []int{}}})
	return err
}
