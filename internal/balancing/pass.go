package balancing

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/transport"
)

// Pass is what one pass shares out, from Begin to Release. One goroutine at a time uses it, but for
// Failed. A nil Pass shares nothing out.
type Pass struct {
	stage     *Stage
	number    uint64
	train     bool
	stats     Stats
	rows      []int  // of each expert hosted here, wherever it is computed
	firstLeaf int    // of the exchange's
	version   uint64 // of the parameters hosted here

	here, away []run // computed here, and by others of experts hosted here
	runs       []experts.Run
	out, in    transfer // of parameters, to other ranks and from them
	back, home transfer // of gradients, from other ranks and to them

	nanos    int64 // in which experts computed
	computed int   // rows, and LeafRows for each leaf that is trained
	wentBack bool
}

// run is a run of an allocation that concerns this rank.
type run struct {
	alltoall.Run
	home   int
	values *values // of runs computed here
	stale  bool    // they are to be copied
	nodes  []tree.Node

	// Of runs computed here whose home is another rank: what may be received, in place of version
	// claim.
	into    *values
	claim   uint64
	version [versionBytes]byte
}

// Begin begins the pass of a number.
func (s *Stage) Begin(number uint64, train bool) *Pass {
	if s == nil {
		return nil
	}
	return &Pass{stage: s, number: number, train: train}
}

// has reports whether rows of an expert are computed here.
func (p *Pass) has(expert int) bool {
	return slices.ContainsFunc(p.here, func(r run) bool { return r.Expert == expert })
}

// Allocate decides which ranks compute what, by the counts of all ranks.
func (p *Pass) Allocate(l *alltoall.Loads) (alltoall.Allocation, error) {
	s := p.stage
	s.deciding.Lock()
	defer s.deciding.Unlock()
	a, stats, err := s.cfg.Decide(l, p.train, p.trains())
	p.stats = stats
	if len(a) > 0 {
		p.countRows(l)
	}
	return a, err
}

// countRows counts the rows of the experts hosted here.
func (p *Pass) countRows(l *alltoall.Loads) {
	first, end := l.Placement.Of(p.stage.rank())
	leaves := len(l.Rows) / l.Placement.Experts()
	p.rows = make([]int, end-first)
	for e := first; e < end; e++ {
		for _, n := range l.Rows[e*leaves : (e+1)*leaves] {
			p.rows[e-first] += int(n)
		}
	}
}

// Rows is the number of rows of each expert hosted here, of those computed elsewhere too; nil if
// none are.
func (p *Pass) Rows() []int {
	if p == nil {
		return nil
	}
	return p.rows
}

// Stats describes what was decided.
func (p *Pass) Stats() Stats {
	if p == nil {
		return Stats{}
	}
	return p.stats
}

// Start begins to move the parameters by the allocation that the ranks have agreed on. The leaves
// of the exchange are those from firstLeaf on of the tree in which gradients are summed.
func (p *Pass) Start(ctx context.Context, a alltoall.Allocation, firstLeaf int) {
	if p == nil || len(a) == 0 {
		return
	}
	p.firstLeaf = firstLeaf
	p.take(a)
	if len(p.here) > 0 {
		p.in.begin(ctx, p.receiveParameters)
	}
	if len(p.away) > 0 && p.stage.numbers > 0 {
		p.out.begin(ctx, p.sendParameters)
	}
}

// take lists the runs that concern this rank.
func (p *Pass) take(a alltoall.Allocation) {
	s := p.stage
	me := s.rank()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, of := range a {
		r := run{Run: of, home: s.cfg.Placement.Home(of.Expert)}
		switch {
		case of.Rank != me && r.home == me:
			p.away = append(p.away, r)
			continue
		case of.Rank != me:
			continue
		case r.home == me:
			s.toOwn(&r)
		default:
			s.toReceive(&r)
		}
		p.here = append(p.here, r)
		p.runs = append(p.runs, experts.Run{First: of.First, End: of.End, Gradient: p.sum()})
	}
	p.version = s.version
	s.drop(p)
}

// trains reports whether the experts get gradients.
func (p *Pass) trains() bool { return p.train && p.stage.numbers > 0 && !p.stage.cfg.Experts.Frozen() }

// sum is what a run's gradient is added up in, nil if it has none.
func (p *Pass) sum() *tree.Sum {
	if !p.trains() {
		return nil
	}
	if sum := p.stage.sums.Take(); sum != nil {
		return sum
	}
	return tree.NewSum(p.stage.numbers)
}

// Runs is what is computed here besides the experts hosted here.
func (p *Pass) Runs() []experts.Run {
	if p == nil {
		return nil
	}
	return p.runs
}

// Await waits until the parameters of all runs are here.
func (p *Pass) Await() error { return p.in.wait() }

// Failed returns why parameters did not come, once that is known.
func (p *Pass) Failed() error {
	if p == nil {
		return nil
	}
	return p.in.failed()
}

// EndForward ends the moving of parameters, at once if the pass has failed, and returns the first
// error.
func (p *Pass) EndForward(err error) error {
	if p == nil {
		return err
	}
	err = cmp.Or(err, p.in.end(err != nil))
	return cmp.Or(err, p.out.end(err != nil))
}

// exchange moves messages.
func (p *Pass) exchange(ctx context.Context, what string, sends, recvs []transport.Message) error {
	if len(sends)+len(recvs) == 0 {
		return nil
	}
	if err := transport.Exchange(ctx, p.stage.cfg.View, sends, recvs); err != nil {
		return errtext.Errorf("switchyard: %s of experts that are shared out: %w", what, err)
	}
	return nil
}

// Computed notes that experts have computed for a time.
func (p *Pass) Computed(took time.Duration) {
	if p != nil {
		p.nanos += int64(took)
	}
}

// Release ends a pass, and gives its memory to later ones.
func (p *Pass) Release() {
	if p == nil {
		return
	}
	s := p.stage
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range p.here {
		s.unref(r.values)
		if r.into != r.values { // if it was not received
			s.unref(r.into)
		}
	}
	for _, r := range p.runs {
		if r.Gradient != nil {
			r.Gradient.Reset()
			s.sums.Give(r.Gradient)
		}
	}
	for _, r := range p.away {
		for _, n := range r.nodes {
			s.spare = append(s.spare, n.Sum)
		}
	}
	p.learn()
	*p = Pass{stage: s}
}
