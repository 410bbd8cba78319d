package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/dispatch"
	"github.com/switchyard-moe/switchyard/internal/leaktest"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/neartest"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// onRanks runs do on n ranks, and returns their errors.
func onRanks(n int, do func(t transport.Transport) error) []error {
	errs := make([]error, n)
	var ranks sync.WaitGroup
	for r, t := range inproc.New(n) {
		ranks.Go(func() {
			defer t.Close() // the others would wait for a rank that failed
			errs[r] = do(t)
		})
	}
	ranks.Wait()
	return errs
}

// problem is tokens of all ranks, what they choose, and the gradient of their outputs.
type problem struct {
	cfg     dispatch.Config
	k       int
	x, dy   blas32.General
	indices []int32
	weights []float32
	cuts    []int // where the tokens of each rank end
}

// newProblem draws one. Every seventh choice or so is none.
func newProblem(r *rand.Rand, ranks, tokens, experts, k int) problem {
	p := problem{
		cfg: dispatch.Config{Dim: 3, Experts: experts}, k: k,
		x: matrix(r, tokens, 3), dy: matrix(r, tokens, 3),
		indices: make([]int32, 0, tokens*k), weights: make([]float32, tokens*k), cuts: make([]int, ranks),
	}
	for range tokens {
		chosen := r.Perm(experts)[:k]
		for _, e := range chosen {
			if r.IntN(7) == 0 {
				e = -1
			}
			p.indices = append(p.indices, int32(e))
		}
	}
	for i := range p.weights {
		p.weights[i] = float32(r.NormFloat64())
	}
	for i := range p.cuts[:ranks-1] {
		p.cuts[i] = r.IntN(tokens + 1) // some ranks have no tokens
	}
	p.cuts[ranks-1] = tokens
	slices.Sort(p.cuts)
	return p
}

func matrix(r *rand.Rand, rows, cols int) blas32.General {
	m := mat.Resize(blas32.General{}, rows, cols)
	for i := range m.Data {
		m.Data[i] = float32(r.NormFloat64())
	}
	return m
}

// outcome is what a step leaves, of the tokens of all ranks in order.
type outcome struct{ y, dx, dweights []float32 }

// answer and slope are what expert e makes of a number, and its derivative.
func answer(e int, v float32) float32 { return float32(v*v) + float32(float32(e+1)*v) }
func slope(e int, v float32) float32  { return 2*v + float32(e+1) }

// run takes a problem through a dispatcher on as many ranks as it has cuts.
func (p *problem) run(t *testing.T) outcome {
	t.Helper()
	parts := make([]outcome, len(p.cuts))
	for _, err := range onRanks(len(p.cuts), func(tr transport.Transport) error {
		part, err := p.onRank(t.Context(), tr)
		parts[tr.Rank()] = part
		return err
	}) {
		require.NoError(t, err)
	}
	return joined(parts)
}

func joined(parts []outcome) (all outcome) {
	for _, part := range parts {
		all.y, all.dx = append(all.y, part.y...), append(all.dx, part.dx...)
		all.dweights = append(all.dweights, part.dweights...)
	}
	return all
}

// part is the share of a rank in the problem.
func (p *problem) part(rank int) (x, dy blas32.General, indices []int32, weights []float32) {
	begin, end := 0, p.cuts[rank]
	if rank > 0 {
		begin = p.cuts[rank-1]
	}
	return mat.Rows(p.x, begin, end), mat.Rows(p.dy, begin, end), p.indices[begin*p.k : end*p.k], p.weights[begin*p.k : end*p.k]
}

func (p *problem) onRank(ctx context.Context, tr transport.Transport) (o outcome, err error) {
	d, err := dispatch.New(ctx, tr, p.cfg)
	if err != nil {
		return o, err
	}
	return p.step(ctx, d, int(tr.Rank()))
}

// step is one rank's forward and backward pass.
func (p *problem) step(ctx context.Context, d *dispatch.Dispatcher, rank int) (o outcome, err error) {
	pass, err := d.NewPass()
	if err != nil {
		return o, err
	}
	return p.through(ctx, d, pass, rank)
}

// through is step in a pass that has begun.
func (p *problem) through(ctx context.Context, d *dispatch.Dispatcher, pass *dispatch.Pass, rank int) (o outcome, err error) {
	defer func() { err = errors.Join(err, pass.Release()) }()
	x, dy, indices, weights := p.part(rank)
	if err := pass.Dispatch(ctx, x, indices, weights); err != nil {
		return o, err
	}
	y, err := pass.Combine(ctx, applied(d, pass, pass.Rows(), nil))
	if err != nil {
		return o, err
	}
	o.y = slices.Clone(y.Data)
	danswers, dweights, err := pass.CombineBackward(ctx, dy)
	if err != nil {
		return o, err
	}
	o.dweights = slices.Clone(dweights)
	dx, err := pass.DispatchBackward(ctx, applied(d, pass, pass.Rows(), danswers.Data))
	o.dx = slices.Clone(dx.Data)
	return o, err
}

// applied is the answers to rows, or with gradients of the answers those of the rows.
func applied(d *dispatch.Dispatcher, p *dispatch.Pass, rows blas32.General, gradients []float32) blas32.General {
	m := mat.Resize(blas32.General{}, rows.Rows, rows.Cols)
	first, _ := d.Hosted()
	row := 0
	for i, end := range p.Ends() {
		for ; row < end; row++ {
			for j, v := range mat.Row(rows, row) {
				at := row*rows.Cols + j
				if gradients == nil {
					m.Data[at] = answer(first+i, v)
				} else {
					m.Data[at] = gradients[at] * slope(first+i, v)
				}
			}
		}
	}
	return m
}

// reference is y as it is defined.
func (p *problem) reference() []float32 {
	y := make([]float32, len(p.x.Data))
	for t := range p.x.Rows {
		for e := range p.cfg.Experts {
			i := slices.Index(p.indices[t*p.k:(t+1)*p.k], int32(e))
			for j := 0; i >= 0 && j < p.x.Cols; j++ {
				y[t*p.x.Cols+j] += float32(p.weights[t*p.k+i] * answer(e, p.x.Data[t*p.x.Cols+j]))
			}
		}
	}
	return y
}

// loss is the sum of y times dy in float64.
func (p *problem) loss(x, weights []float64) (loss float64) {
	for i, e := range p.indices {
		for j := 0; e >= 0 && j < p.x.Cols; j++ {
			at := i/p.k*p.x.Cols + j
			loss += weights[i] * (x[at]*x[at] + float64(e+1)*x[at]) * float64(p.dy.Data[at])
		}
	}
	return loss
}

// differences are the central differences of the loss by each element of list, which loss reads.
func differences(list []float64, loss func() float64) []float32 {
	const h = 1e-4
	gradient := make([]float32, len(list))
	for i, v := range list {
		list[i] = v + h
		above := loss()
		list[i] = v - h
		gradient[i] = float32((above - loss()) / (2 * h))
		list[i] = v
	}
	return gradient
}

func wide(list []float32) []float64 {
	w := make([]float64, len(list))
	for i, v := range list {
		w[i] = float64(v)
	}
	return w
}

// TestAgainstTheDefinition: random routes on one to five ranks with unequal numbers of experts. y
// has the bits of the definition, and gradients are finite differences in float64.
func TestAgainstTheDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for ranks := range 6 {
		for k := 1; ranks > 0 && k <= 4; k++ {
			p := newProblem(r, ranks, 11, 6, k)
			p.cfg.Hosted = hosted(r, 6, ranks)
			t.Run(fmt.Sprintf("%d ranks, k %d", ranks, k), func(t *testing.T) {
				got := p.run(t)
				require.Equal(t, p.reference(), got.y)
				x, weights := wide(p.x.Data), wide(p.weights)
				loss := func() float64 { return p.loss(x, weights) }
				neartest.Equal(t, differences(x, loss), got.dx, 1e-3)
				neartest.Equal(t, differences(weights, loss), got.dweights, 1e-3)
			})
		}
	}
}

// hosted divides experts over ranks at random.
func hosted(r *rand.Rand, experts, ranks int) []int {
	list := make([]int, ranks)
	for range experts {
		list[r.IntN(ranks)]++
	}
	return list
}

// TestTheSameBits on one rank and on four, in every format and by every algorithm.
func TestTheSameBits(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, name := range alltoall.FormatNames() {
		format, err := alltoall.ParseFormat(name)
		require.NoError(t, err)
		p := newProblem(r, 4, 16, 5, 2)
		p.cfg.Wire = alltoall.Everywhere(format)
		alone := p
		alone.cuts = []int{16}
		want := alone.run(t)
		for a := range alltoall.NumAlgorithms {
			p.cfg.Algorithm, p.cfg.Topology = alltoall.Algorithm(a), alltoall.Nodes(4, 2)
			require.Equal(t, want, p.run(t), "%s by %v", name, p.cfg.Algorithm)
		}
	}
}

// TestRowsStandByExpertThenToken: each row says which expert and which token of all it is for.
func TestRowsStandByExpertThenToken(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(5, 6)), 3, 10, 4, 2)
	for i := range p.x.Rows {
		p.x.Data[i*p.x.Stride] = float32(i)
	}
	for _, err := range onRanks(3, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, p.cfg)
		if err != nil {
			return err
		}
		x, _, indices, weights := p.part(int(tr.Rank()))
		pass, err := d.Dispatch(t.Context(), x, indices, weights)
		if err != nil {
			return err
		}
		defer pass.Release()
		first, end := d.Hosted()
		require.Len(t, pass.Ends(), end-first)
		row := 0
		for i, stop := range pass.Ends() {
			for token := range p.x.Rows {
				if slices.Contains(p.indices[token*p.k:(token+1)*p.k], int32(first+i)) {
					require.Equal(t, mat.Row(p.x, token), mat.Row(pass.Rows(), row))
					sender, _ := slices.BinarySearch(p.cuts, token+1)
					require.Equal(t, sender, pass.Plan().Sender(row))
					row++
				}
			}
			require.Equal(t, row, stop)
		}
		require.Equal(t, row, pass.Rows().Rows)
		return nil
	}) {
		require.NoError(t, err)
	}
}

// TestPassesInFlight end in any order, the same on all ranks, with the bits of each alone.
func TestPassesInFlight(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	problems, want := make([]problem, 5), make([]outcome, 5)
	for i := range problems {
		problems[i] = newProblem(r, 3, 4+3*i, 6, 3)
		want[i] = problems[i].run(t)
	}
	order := r.Perm(len(problems))
	parts := make([][]outcome, len(problems))
	for i := range parts {
		parts[i] = make([]outcome, 3)
	}
	for _, err := range onRanks(3, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, problems[0].cfg)
		if err != nil {
			return err
		}
		passes := make([]*dispatch.Pass, len(problems))
		for i, p := range problems {
			x, _, indices, weights := p.part(int(tr.Rank()))
			if passes[i], err = d.Dispatch(t.Context(), x, indices, weights); err != nil {
				return err
			}
			defer passes[i].Release()
		}
		for _, i := range order {
			y, err := passes[i].Combine(t.Context(), applied(d, passes[i], passes[i].Rows(), nil))
			if err != nil {
				return err
			}
			parts[i][tr.Rank()].y = y.Data // it stays until Release
		}
		for _, i := range order {
			_, dy, _, _ := problems[i].part(int(tr.Rank()))
			danswers, dweights, err := passes[i].CombineBackward(t.Context(), dy)
			if err != nil {
				return err
			}
			dx, err := passes[i].DispatchBackward(t.Context(), applied(d, passes[i], passes[i].Rows(), danswers.Data))
			if err != nil {
				return err
			}
			o := &parts[i][tr.Rank()]
			o.dx, o.dweights = dx.Data, dweights
		}
		for i := range parts {
			o := &parts[i][tr.Rank()]
			o.y, o.dx, o.dweights = slices.Clone(o.y), slices.Clone(o.dx), slices.Clone(o.dweights)
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	for i := range want {
		require.Equal(t, want[i], joined(parts[i]), "pass %d", i)
	}
}

// TestPassesOnGoroutines run in another order on each rank, each a step, with the bits of each
// alone; then others do in the memory that they leave.
func TestPassesOnGoroutines(t *testing.T) {
	r := rand.New(rand.NewPCG(27, 28))
	problems, want := make([]problem, 6), make([]outcome, 6)
	for i := range problems {
		problems[i] = newProblem(r, 3, 4+9*i, 6, 3)
		problems[i].cfg.Compression = &lsh.Config{Rate: 0.5}
		want[i] = problems[i].run(t)
	}
	parts := make([][3]outcome, 2*len(problems))
	for _, err := range onRanks(3, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, problems[0].cfg)
		if err != nil {
			return err
		}
		for round := range 2 {
			passes, errs := make([]*dispatch.Pass, len(problems)), make([]error, len(problems))
			for i := range passes {
				if passes[i], err = d.NewPass(); err != nil {
					return err
				}
			}
			var group sync.WaitGroup
			for _, i := range rand.New(rand.NewPCG(uint64(tr.Rank()), 1)).Perm(len(problems)) {
				group.Go(func() {
					of := &parts[round*len(problems)+i][tr.Rank()]
					*of, errs[i] = problems[i].through(t.Context(), d, passes[i], int(tr.Rank()))
				})
			}
			group.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
		return nil
	}) {
		require.NoError(t, err)
	}
	for i := range parts {
		require.Equal(t, want[i%len(want)], joined(parts[i][:]), "pass %d", i)
	}
}

// TestCompressionMayBeLeftOut of one pass; and at a rate of 1 nothing is changed.
func TestCompressionMayBeLeftOut(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(29, 30)), 1, 40, 3, 2)
	want := p.run(t)
	p.cfg.Compression = &lsh.Config{Rate: 1}
	require.Equal(t, want, p.run(t))
	p.cfg.Compression = &lsh.Config{}
	require.NotEqual(t, want, p.run(t))
	for _, err := range onRanks(1, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, p.cfg)
		if err != nil {
			return err
		}
		rows := len(p.indices) - count(p.indices, -1)
		pass, err := d.Dispatch(t.Context(), p.x, p.indices, p.weights)
		require.NoError(t, err)
		require.InDelta(t, 0.2*float64(rows), pass.Rows().Rows, 3)
		exact, err := d.NewPass()
		require.NoError(t, err)
		require.NoError(t, exact.DispatchExact(t.Context(), p.x, p.indices, p.weights))
		require.Equal(t, rows, exact.Rows().Rows)
		y, err := exact.Combine(t.Context(), applied(d, exact, exact.Rows(), nil))
		require.NoError(t, err)
		require.Equal(t, want.y, y.Data)
		return errors.Join(pass.Release(), exact.Release())
	}) {
		require.NoError(t, err)
	}
}

func count(list []int32, v int32) (n int) {
	for _, of := range list {
		if of == v {
			n++
		}
	}
	return n
}

// TestStridesAreHonoured in all that the caller gives.
func TestStridesAreHonoured(t *testing.T) {
	p := newProblem(rand.New(rand.NewPCG(33, 34)), 1, 12, 3, 2)
	want := p.run(t)
	for _, err := range onRanks(1, func(tr transport.Transport) error {
		d, err := dispatch.New(t.Context(), tr, p.cfg)
		if err != nil {
			return err
		}
		pass, err := d.Dispatch(t.Context(), strided(p.x), p.indices, p.weights)
		require.NoError(t, err)
		y, err := pass.Combine(t.Context(), strided(applied(d, pass, pass.Rows(), nil)))
		require.NoError(t, err)
		require.Equal(t, want.y, y.Data)
		danswers, dweights, err := pass.CombineBackward(t.Context(), strided(p.dy))
		require.NoError(t, err)
		require.Equal(t, want.dweights, dweights)
		dx, err := pass.DispatchBackward(t.Context(), strided(applied(d, pass, pass.Rows(), danswers.Data)))
		require.NoError(t, err)
		require.Equal(t, want.dx, dx.Data)
		return pass.Release()
	}) {
		require.NoError(t, err)
	}
}

// strided is m with NaN between its rows.
func strided(m blas32.General) blas32.General {
	wide := blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols + 2, Data: make([]float32, m.Rows*(m.Cols+2))}
	for i := range wide.Data {
		wide.Data[i] = nan
	}
	mat.Copy(wide, m)
	return wide
}
