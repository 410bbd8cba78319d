package router

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/param"
)

// Replay is a router that takes its decisions from a file: a batch gets the experts that the batch
// of the same layer, Step, Micro and Train got when it was recorded. Batches may come in any order
// and repeatedly. It trains a policy with the experts that its rollouts used, or repeats one step
// while something else changes. A batch that was not recorded, or that has another size or other
// token groups, is an error that names layer, step and micro-batch.
//
// Without Live the weights are the recorded ones, and the gate has no parameters, no losses and no
// gradient. With Live they come from a trainable gate, of which only the choice is replayed.
//
// (Megatron-Core's router replay is the latter.)
type Replay struct {
	// From is the file. Each rank replays its own.
	From *Recording
	// Layer is the layer's number in the file.
	Layer int
	// Live, if it is not nil, computes logits, weights, losses and gradients as usual, but for the
	// recorded experts. Choices that had been dropped stay dropped, with a weight as if the best of
	// the other experts had dropped the token. K is at least the largest number of recorded experts
	// of a token. If no evaluation of the layer was recorded, Live alone decides in evaluation, so
	// that a training with replay can evaluate other text.
	Live *TopK
}

var _ Router = Replay{}

// String leaves out the file, which differs between ranks.
func (r Replay) String() string {
	if r.Live == nil {
		return fmt.Sprintf("{Layer:%d}", r.Layer)
	}
	return fmt.Sprintf("{Layer:%d Live:%s}", r.Layer, describe(*r.Live))
}

// New is described at [Router].
func (r Replay) New(s Shape) (Gate, error) {
	faults := checkShape(s)
	if r.From == nil {
		faults = append(faults, errors.New("router: Replay without a Recording"))
	} else if n, ok := r.From.experts[r.Layer]; ok && n != s.Experts {
		faults = append(faults, fmt.Errorf("router: Replay: layer %d was recorded with %d experts, and now has %d", r.Layer, n, s.Experts))
	}
	if r.From == nil || r.Live == nil {
		if err := errors.Join(faults...); err != nil {
			return nil, err
		}
		return &replayed{layerRoutes: layerRoutes{r.From, r.Layer, s.Experts}, shape: s}, nil
	}
	chooser := &replayChooser{layerRoutes: layerRoutes{r.From, r.Layer, s.Experts}, k: r.Live.K, biased: r.Live.Bias != nil || r.Live.BiasRate != 0}
	g, err := r.Live.build(s, overrides{name: "Replay", chooser: chooser, faults: faults})
	if err != nil {
		return nil, err
	}
	live := &liveReplay{g.(*tokenChoice), chooser}
	chooser.own.bias = live.bias
	return live, nil
}

// layerRoutes is a layer's recorded routes.
type layerRoutes struct {
	from    *Recording
	layer   int
	experts int
}

// find returns the route of a batch of that many tokens.
func (p *layerRoutes) find(tokens int, b Batch) (*RecordedRoute, error) {
	key := RouteKey{p.layer, b.Step, b.Micro, b.Train}
	r, err := p.from.Route(key)
	if err != nil {
		return nil, err
	}
	if r.Experts != p.experts {
		return nil, fmt.Errorf("router: replay: %v was recorded with %d experts, and now has %d", key, r.Experts, p.experts)
	}
	if r.Tokens != tokens || !slices.Equal(r.Groups, b.Ends) {
		return nil, fmt.Errorf("router: replay: %v was recorded with %d tokens in %d groups, and now has %d in %d, or others",
			key, r.Tokens, len(r.Groups), tokens, len(b.Ends))
	}
	for _, t := range r.Token {
		if b.padded(int(t)) {
			return nil, fmt.Errorf("router: replay: token %d of %v was recorded, and now is padding", t, key)
		}
	}
	return r, nil
}

// replayed is the gate of a [Replay] of recorded weights.
type replayed struct {
	layerRoutes
	shape Shape
	free  []*Decision
}

// replaySaved marks a decision as the gate's.
type replaySaved struct {
	owner *replayed
	spent bool
}

// Params returns nil.
func (g *replayed) Params() *param.Set { return nil }

// Route is described at [Gate].
func (g *replayed) Route(x blas32.General, b Batch) (*Decision, error) {
	checkBatch(x, b.Ends, g.shape.Dim)
	checkPadding(x, b)
	r, err := g.find(x.Rows, b)
	if err != nil {
		return nil, err
	}
	d := g.take()
	d.Tokens, d.Experts = r.Tokens, r.Experts
	d.Ends, d.Counts = append(d.Ends[:0], r.Ends...), append(d.Counts[:0], r.Counts...)
	d.Token, d.Weight = append(d.Token[:0], r.Token...), append(d.Weight[:0], r.Weight...)
	d.Dropped = -len(r.Token)
	for _, n := range r.Counts {
		d.Dropped += n
	}
	d.GroupLoss, d.GroupCapacity = mat.Reuse(d.GroupLoss, len(b.Ends)), mat.Reuse(d.GroupCapacity, len(b.Ends))
	clear(d.GroupLoss)
	for i := range d.GroupCapacity {
		d.GroupCapacity[i] = math.MaxInt
	}
	return d, nil
}

// take returns a decision and its memory.
func (g *replayed) take() *Decision {
	n := len(g.free)
	if n == 0 {
		return &Decision{Losses: map[string]float64{}, Saved: &replaySaved{owner: g}}
	}
	d := g.free[n-1]
	g.free = g.free[:n-1]
	d.Saved.(*replaySaved).spent = false
	return d
}

// Backward adds nothing. It takes the decision's memory back.
func (g *replayed) Backward(d *Decision, x blas32.General, grad Gradient) error {
	s, ok := d.Saved.(*replaySaved)
	if !ok || s.owner != g {
		panic("router: a decision of another gate")
	}
	if s.spent {
		panic("router: a decision that the gate has got back")
	}
	checkGradient(d, x, grad)
	s.spent = true
	g.free = append(g.free, d)
	return nil
}

// liveReplay is the gate of a [Replay] with Live.
type liveReplay struct {
	*tokenChoice
	replay *replayChooser
}

// Route is described at [Gate].
func (g *liveReplay) Route(x blas32.General, b Batch) (*Decision, error) {
	if err := g.replay.load(x, b); err != nil {
		return nil, err
	}
	return g.tokenChoice.Route(x, b)
}

// RouteLogits is described at [LogitRouter].
func (g *liveReplay) RouteLogits(logits blas32.General, b Batch) (*Decision, error) {
	if err := g.replay.load(logits, b); err != nil {
		return nil, err
	}
	return g.tokenChoice.RouteLogits(logits, b)
}

// replayChooser is the chooser of a live replay.
type replayChooser struct {
	layerRoutes
	k        int
	own      best    // chooses if nothing is replayed
	free     bool    // so it is for this batch
	biased   bool    // own compares scores
	recorded []int32 // k experts of each row
	counts   []int   // how many of them there are
}

func (c *replayChooser) forAll() bool { return c.biased }

// load lists each row's experts of a batch.
func (c *replayChooser) load(x blas32.General, b Batch) error {
	if c.free = !b.Train && !c.from.evaluated[c.layer]; c.free {
		return nil
	}
	r, err := c.find(x.Rows, b)
	if err != nil {
		return err
	}
	c.recorded, c.counts = mat.Reuse(c.recorded, r.Tokens*c.k), mat.Reuse(c.counts, r.Tokens)
	clear(c.counts)
	for e := range r.Experts {
		begin, end := r.Of(ExpertID(e))
		for _, t := range r.Token[begin:end] {
			n := c.counts[t]
			if n == c.k {
				return fmt.Errorf("router: replay: token %d of %v was recorded with more experts than K = %d", t, r.RouteKey, c.k)
			}
			c.recorded[int(t)*c.k+n] = int32(e)
			c.counts[t]++
		}
	}
	return nil
}

// choose makes the recorded experts the choices of each token, the one with the largest logit
// first. The choices left over are withdrawn. They hold the best of the other experts: most likely
// those that had dropped the token.
func (c *replayChooser) choose(g *choosing) {
	if c.free {
		c.own.choose(g)
		return
	}
	for i := range g.tokens {
		t, logits, chosen := g.row(i), g.logits(i), g.choices(i)
		experts := c.recorded[t*c.k : t*c.k+c.counts[t]]
		for j, e := range experts {
			insert(chosen[:j+1], logits, e)
		}
		if len(experts) == len(chosen) {
			continue
		}
		others := g.scratch()
		copy(others, logits)
		for _, e := range experts {
			others[e] = float32(math.Inf(-1))
		}
		topK(chosen[len(experts):], others)
		for j := len(experts); j < len(chosen); j++ {
			g.withdraw(i, j)
		}
	}
}
