package balancing

import (
	"cmp"
	"context"
	"slices"

	"github.com/switchyard-moe/switchyard/internal/view"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// Back begins the backward pass: from now on gradients of experts hosted here are received.
func (p *Pass) Back(ctx context.Context) {
	if p == nil {
		return
	}
	p.wentBack = true
	if len(p.away) > 0 && p.trains() {
		p.back.begin(ctx, p.receiveGradients)
	}
}

// Send begins to send home the gradients of runs, all of which have been computed.
func (p *Pass) Send(ctx context.Context) {
	if p != nil && len(p.here) > 0 && p.trains() {
		p.home.begin(ctx, p.sendGradients)
	}
}

// receiveGradients receives what helpers have computed.
func (p *Pass) receiveGradients(ctx context.Context) error {
	s := p.stage
	s.mu.Lock()
	recvs := make([]transport.Message, len(p.away))
	for i := range p.away {
		r := &p.away[i]
		recvs[i] = transport.Message{Peer: transport.Rank(r.Rank), Tag: p.tag(gradient, r.Expert)}
		for _, at := range tree.Cover(p.firstLeaf+r.First, p.firstLeaf+r.End) {
			v := s.vector()
			r.nodes = append(r.nodes, tree.Node{Level: at.Level, Index: at.Index, Sum: v})
			recvs[i].Bufs = append(recvs[i].Bufs, view.Bytes(v))
		}
	}
	s.mu.Unlock()
	if err := p.exchange(ctx, "gradients", nil, recvs); err != nil {
		return err
	}
	for i, r := range p.away {
		if n, want := recvs[i].N, 4*s.numbers*len(r.nodes); n != want {
			return s.fault(r.Rank, "backward", "%w: %d bytes of the gradient of expert %d, want %d",
				transport.ErrProtocol, n, r.Expert, want)
		}
	}
	return nil
}

// sendGradients sends home those of runs computed here.
func (p *Pass) sendGradients(ctx context.Context) error {
	s := p.stage
	var sends []transport.Message
	for i, r := range p.here {
		if r.home == s.rank() {
			continue
		}
		m := transport.Message{Peer: transport.Rank(r.home), Tag: p.tag(gradient, r.Expert)}
		nodes := p.runs[i].Gradient.Nodes()
		if !slices.EqualFunc(nodes, tree.Cover(p.firstLeaf+r.First, p.firstLeaf+r.End), isAt) {
			return s.fault(s.rank(), "backward", "the gradient of expert %d has not exactly the leaves from %d to before %d",
				r.Expert, p.firstLeaf+r.First, p.firstLeaf+r.End)
		}
		for _, n := range nodes {
			m.Bufs = append(m.Bufs, view.Bytes(n.Sum))
		}
		sends = append(sends, m)
	}
	return p.exchange(ctx, "gradients", sends, nil)
}

func isAt(n tree.Node, p tree.Position) bool { return n.Position() == p }

// EndBackward ends the moving of gradients, at once if the pass has failed, and returns the first
// error.
func (p *Pass) EndBackward(err error) error {
	if p == nil {
		return err
	}
	err = cmp.Or(err, p.home.end(err != nil))
	return cmp.Or(err, p.back.end(err != nil))
}

// Join puts the gradients of experts hosted here that were shared out where those of the others
// are. It is called in turn, after EndBackward, while the leaves of the experts' sets are those of
// the pass.
func (p *Pass) Join() error {
	if p == nil || !p.trains() {
		return nil
	}
	for i, r := range p.here {
		if r.home == p.stage.rank() {
			if err := p.join(r.Expert, p.runs[i].Gradient); err != nil {
				return err
			}
		}
	}
	for i, r := range p.away {
		first := i == 0 || p.away[i-1].Expert != r.Expert
		if !first || p.has(r.Expert) {
			continue
		}
		sum := p.sum()
		if err := p.join(r.Expert, sum); err != nil {
			return err
		}
		sum.Reset()
		p.stage.sums.Give(sum)
	}
	return nil
}

// join adds what helpers have computed of an expert to sum, and hands it over.
func (p *Pass) join(expert int, sum *tree.Sum) error {
	for _, r := range p.away {
		if r.Expert != expert {
			continue
		}
		for _, n := range r.nodes {
			copy(sum.Subtree(n.Position()), n.Sum)
		}
	}
	return p.stage.cfg.Experts.Merge(p.stage.own(expert), sum.Nodes())
}
