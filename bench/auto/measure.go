package auto

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/quality"
	"github.com/switchyard-moe/switchyard/internal/quant"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
)

const (
	ranks = 4
	node  = 2 // ranks
)

// formats are those tried by hand.
func formats() []alltoall.Format {
	return []alltoall.Format{
		alltoall.Float32, alltoall.BF16, alltoall.FP8, alltoall.MXFP8, alltoall.NVFP4H, alltoall.MXFP4H, alltoall.Int4H,
	}
}

// ways are the rows to be measured, with the layer of each; that which chooses is the last.
func (o *options) ways(rate int) (rows []row, layers []switchyard.Config) {
	cfg := switchyard.Config{
		Dim: o.dim, Experts: 2 * ranks, Group: switchyard.PerRank, Router: router.TopK{K: 2},
		Expert: expert.FFN{Hidden: o.hidden}, Topology: alltoall.Nodes(ranks, node),
	}
	for _, f := range formats() {
		lost := quality.Everywhere(quant.Format(f)).Lost()
		for _, within := range []bool{false, true} {
			if within && f == alltoall.Float32 {
				continue
			}
			r, share := row{Rate: rate, Format: f.String(), Within: within}, 0.5 // of the rows cross
			if cfg.Wire = alltoall.Everywhere(f); within {
				share = 0.75
			} else {
				cfg.Wire.Within = &alltoall.Wire{}
			}
			r.Lost = share * lost
			rows, layers = append(rows, r), append(layers, cfg)
		}
	}
	cfg.Wire, cfg.Compression = alltoall.Wire{}, switchyard.Compression{When: switchyard.CompressAuto, Budget: o.budget}
	return append(rows, row{Rate: rate}), append(layers, cfg)
}

// measure times steps of all ways over links of a rate in Mbit/s.
func (o *options) measure(ctx context.Context, rate int) ([]row, error) {
	rows, layers := o.ways(rate)
	took := make([][]time.Duration, len(rows))
	errs := make([]error, ranks)
	var all sync.WaitGroup
	for r, t := range inproc.New(ranks) {
		all.Go(func() {
			w := switchyard.NewWorld(shaped.New(t, shaped.Config{
				Bandwidth: int64(rate) * 1e6 / 8,
				Link:      func(peer transport.Rank) bool { return int(peer)/node != r/node },
			}))
			defer w.Close()
			p := participant{options: o, world: w}
			if errs[r] = p.run(ctx, layers, func(i int, step time.Duration, choice string) {
				if r == 0 {
					took[i], rows[i].Choice = append(took[i], step), choice
				}
			}); errs[r] != nil {
				w.Close() // the others wait for it
			}
		})
	}
	all.Wait()
	for i := range rows {
		if len(took[i]) > 0 {
			slices.Sort(took[i])
			rows[i].Step = harness.Percentile(took[i], 0.25).Seconds() * 1e3
		}
	}
	return rows, errors.Join(errs...)
}

// participant is a rank that measures.
type participant struct {
	*options
	world *switchyard.World
	comm  *collective.Comm
	x     blas32.General
}

// run takes steps of the layers in turns, and tells how long each was on all ranks.
func (p *participant) run(ctx context.Context, configs []switchyard.Config, tell func(layer int, step time.Duration, choice string)) (err error) {
	random := rand.New(rand.NewPCG(uint64(p.world.Rank()), 1))
	p.x = blas32.General{Rows: p.tokens, Cols: p.dim, Stride: p.dim, Data: make([]float32, p.tokens*p.dim)}
	for i := range p.x.Data {
		p.x.Data[i] = float32(random.NormFloat64())
	}
	p.comm = p.world.Comm()
	layers := make([]*switchyard.Layer, len(configs))
	for i := range configs {
		if layers[i], err = switchyard.NewLayer(p.world, configs[i]); err != nil {
			return err
		}
	}
	const warmUp = 3
	for round := range warmUp + p.rounds {
		for i, l := range layers {
			step, err := p.step(ctx, l)
			if err != nil {
				return err
			}
			if round >= warmUp {
				tell(i, step, l.Stats().Compression.Choice)
			}
		}
	}
	return nil
}

// step times a step from one barrier to another.
func (p *participant) step(ctx context.Context, l *switchyard.Layer) (time.Duration, error) {
	if err := p.comm.Barrier(ctx); err != nil {
		return 0, err
	}
	begin := time.Now()
	y, err := l.Forward(ctx, p.x)
	if err != nil {
		return 0, err
	}
	if _, err := l.Backward(ctx, y); err != nil {
		return 0, err
	}
	if err := p.comm.Barrier(ctx); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	return took, l.Step(ctx, expert.NewSGD(0))
}
