package compression

import (
	"cmp"
	"context"
	"slices"
	"sync/atomic"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/quality"
	"github.com/switchyard-moe/switchyard/internal/quant"
)

// Policy is what automatic compression goes by.
type Policy struct {
	// Budget is the share of the gain of training that may be lost.
	Budget float64
	// Given says that the formats of rows are given, so that clusters alone are chosen.
	Given bool
	// Rates are the shares of rows of which clusters are considered; Config.Rates, if there are any,
	// go before.
	Rates []float64
	// Gradients is the codec of the gradients of all rows where rows are clustered; nil says that
	// gradients are clustered too.
	Gradients alltoall.Codec
	// Sum sums numbers over the ranks of a copy. All of them call it.
	Sum func(ctx context.Context, x []float64) error
}

// NewPolicy is one with a budget, or by default if that is 0, or of nothing if it is negative. w is
// the wire of the layer, and rate that of clusters, 0 if any may be tried; gradients is as in
// [Policy]. comm connects the ranks of a copy.
func NewPolicy(budget float64, w alltoall.Wire, rate float64, gradients alltoall.Codec, comm *collective.Comm) *Policy {
	const usual = 0.05
	p := &Policy{
		Budget: max(cmp.Or(budget, usual), 0), Given: w != (alltoall.Wire{Finite: w.Finite}),
		Rates: []float64{0.1, 0.2, 0.4}, Gradients: gradients,
		Sum: func(ctx context.Context, x []float64) error { return comm.AllReduceFloat64(ctx, x, collective.Sum) },
	}
	if rate > 0 {
		p.Rates = []float64{rate}
	}
	return p
}

// policy decides how the rows of a copy travel. Its ranks decide alike, since they go by means of
// what each of them has found.
type policy struct {
	cfg    *Config
	prices prices
	chosen choice
	text   string
	rows   int     // of a pass of a rank, the mean; 0 before the first steps
	rate   float64 // of the clusters chosen, or to be timed
	next   int     // the number of steps after which it decides again
	probes bool    // passes are timed in clusters, which do not travel
	tally  tally   // since the last decision
	known  tally   // seconds of a row in clustering and computing, as far as they are known

	computing atomic.Int64 // nanoseconds of experts, in training
}

// tally is what a rank has found in its passes: their number and rows, the rows that it clustered,
// and the seconds that these took; and the seconds of experts, for rows that were not.
type tally struct{ passes, rows, clustered, clustering, computed, computing float64 }

const (
	finding   = 1. / 3 // of compression is finding centroids, until a pass has shown what all takes
	longest   = 128    // steps from one decision to the next
	advantage = 0.9    // of the time of what is chosen another choice must take at most
)

// newPolicy makes a policy of cfg, with Auto, together with the other ranks of the copy. It chooses
// formats, by what the ranks find that these take.
func newPolicy(ctx context.Context, cfg *Config) (*policy, error) {
	p := &policy{cfg: cfg, next: 1}
	codecs := codecSeconds(cfg.Dim)
	if err := p.mean(ctx, codecs); err != nil {
		return nil, err
	}
	p.prices = prices{
		links:   linkPrices(cfg.Links, cfg.Topology, cfg.Placement),
		formats: formatPrices(cfg.Dim, codecs), budget: cfg.Auto.Budget,
	}
	if cfg.Auto.Given {
		p.prices.given = givenBytes(cfg.Wire, cfg.Dim)
	}
	p.choose()
	return p, nil
}

// mean makes of a list of each rank the mean of all.
func (p *policy) mean(ctx context.Context, list []float64) error {
	if err := p.cfg.Auto.Sum(ctx, list); err != nil {
		return err
	}
	for i := range list {
		list[i] /= float64(p.cfg.Placement.Ranks())
	}
	return nil
}

// choose chooses by the prices. What was chosen before stays unless another takes clearly less.
func (p *policy) choose() {
	c := p.prices.choose()
	if now, ok := p.prices.again(&p.chosen); ok && now.clusters.rate != c.clusters.rate && c.seconds > advantage*now.seconds {
		c = now
	}
	p.chosen, p.rate = c, c.clusters.rate
	p.text = c.explain(cmp.Or(p.rows, 1000), p.cfg.Auto.Given)
}

// clusters reports whether rows are clustered.
func (p *policy) clusters() bool { return p.chosen.clusters.rate > 0 }

// decide chooses for the steps that follow the given number of them. Clusters may be among it or
// not. All ranks of the copy call it.
func (p *policy) decide(ctx context.Context, step int, clusters bool) error {
	if err := p.agree(ctx); err != nil {
		return err
	}
	p.prices.clusters, p.probes = nil, false
	p.next = min(2*step, step+longest)
	if clusters && p.rows > 0 {
		p.priceClusters(step)
	}
	p.choose()
	if p.clusters() && p.known.clustering == 0 {
		p.tryClusters(step)
	}
	return nil
}

// tryClusters has the passes of the next step time the clusters that would pay if they took no
// time, and chooses without them until then.
func (p *policy) tryClusters(step int) {
	rate := p.rate
	p.prices.clusters = nil
	p.choose()
	p.rate, p.probes, p.next = rate, true, step+1
}

// agree takes the mean over the ranks of what they have found.
func (p *policy) agree(ctx context.Context) error {
	t := &p.tally
	if t.computing = float64(p.computing.Swap(0)) * 1e-9; !p.clusters() {
		t.computed = t.rows
	}
	all := []float64{t.passes, t.rows, t.clustered, t.clustering, t.computed, t.computing}
	*t = tally{}
	if err := p.mean(ctx, all); err != nil {
		return err
	}
	if all[0] > 0 {
		p.rows = int(all[1] / all[0])
	}
	if all[2] > 0 {
		p.known.clustering = all[3] / all[2]
	}
	if all[4] > 0 {
		p.known.computing = all[5] / all[4]
	}
	return nil
}

// record takes what a pass tells.
func (p *policy) record(n *note) {
	p.tally.passes++
	p.tally.rows += float64(n.rows)
	if n.took > 0 {
		p.tally.clustered += float64(n.rows)
		p.tally.clustering += n.took.Seconds()
	}
}

// priceClusters prices clusters for the next step.
func (p *policy) priceClusters(step int) {
	formats := []alltoall.Format{alltoall.BF16, alltoall.FP8}
	if p.cfg.Auto.Given {
		formats = []alltoall.Format{alltoall.Float32} // which stands for those given
	}
	rates := p.cfg.Auto.Rates
	if len(p.cfg.Rates) > 0 {
		rates = []float64{p.cfg.Rates.At(step)}
	}
	for _, rate := range rates {
		for _, f := range formats {
			p.prices.clusters = append(p.prices.clusters, p.priceOf(rate, f))
		}
	}
}

// priceOf prices clusters of a rate, of which rows in a format stand for each: on three legs if the
// gradients of all rows travel, else on four.
func (p *policy) priceOf(rate float64, f alltoall.Format) clusterPrice {
	at, g := p.prices.at(f), p.cfg.Auto.Gradients
	c := clusterPrice{rate: rate, format: f, gradients: g, seconds: p.known.clustering}
	legs := [4]quant.Format{quant.Format(f), quant.Format(f), quant.Format(f), quant.Format(f)}
	bytes, centroids, computed := at.bytes, 4., rate
	if p.prices.given != nil {
		bytes = p.prices.meanGiven() / 4
	}
	if g != nil {
		centroids, computed = 3, rate+(1-rate)/3 // rows' gradients are a third of what experts compute
		like := p.like(g)
		legs[2], legs[3] = quant.Format(like.format), quant.Format(like.format)
		c.bytes, c.seconds = 2*float64(g.Bytes(p.cfg.Dim)), c.seconds+2*like.seconds
	}
	c.bytes += rate * centroids * bytes
	c.seconds += rate*centroids*at.seconds - (1-computed)*p.known.computing
	config := p.cfg.LSH
	config.Rate = rate
	c.lost = quality.Way{
		Legs: legs, ClusterGradients: g == nil,
		Clusters: quality.Clusters{Config: config, Rows: p.rows / max(p.cfg.Experts, 1)},
	}.Lost()
	if p.rows < p.cfg.Experts { // of which quality knows nothing
		c.lost = 1
	}
	return c
}

// like is the price of the candidate that a codec is most like: itself, or of four bits.
func (p *policy) like(c alltoall.Codec) formatPrice {
	if f, ok := c.(alltoall.Format); ok && slices.Contains(candidates(), f) {
		return p.prices.at(f)
	}
	return p.prices.at(alltoall.NVFP4H)
}

// at is the price of a format.
func (p *prices) at(f alltoall.Format) formatPrice {
	return p.formats[slices.IndexFunc(p.formats, func(p formatPrice) bool { return p.format == f })]
}
