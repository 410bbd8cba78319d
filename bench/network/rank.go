package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/bench/internal/payload"
	"github.com/switchyard-moe/switchyard/transport"
)

const (
	// rankArg is the argument by which network starts itself as a rank.
	rankArg = harness.RankArg
	port    = 29600
)

// networkReport is what a rank says at its end.
type networkReport struct {
	Rank     int
	Measured links.Measured
	Results  []result // of each case, of each algorithm
}

// result is what a rank saw of one case by one algorithm.
type result struct {
	Dispatch, Combine []time.Duration // of each round
	Sent              int             // bytes of a dispatch to other nodes
	Predicted         alltoall.Prediction
	Auto              bool
	Wrong             int
}

// rank is one process of network.
type rank struct {
	options
	me    int
	world *switchyard.World
	top   alltoall.Topology
	t     transport.Transport // for waiting
	links links.Links
	sent  int // bytes to other nodes
}

func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	report, err := rankOf(ctx, args, stderr)
	if err == nil || len(report.Results) > 0 { // also of what was done before it was stopped
		err = errors.Join(err, json.NewEncoder(stdout).Encode(report))
	}
	return harness.Conclude(ctx, err, stderr)
}

func rankOf(ctx context.Context, args []string, stderr io.Writer) (report networkReport, err error) {
	var r rank
	if r.me, err = harness.RankOptions(args, &r.options); err != nil {
		return report, err
	}
	ranks := r.Nodes * r.Each
	w, err := netns.Join(ctx, r.me, ranks, r.Each, port)
	if err != nil {
		return report, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	r.top = alltoall.Nodes(ranks, r.Each)
	measured, err := w.MeasureLinks(ctx, r.top)
	if err != nil {
		return report, err
	}
	r.world, r.t, r.links = w, w.Transport(), measured.Links
	report = networkReport{Rank: r.me, Measured: measured}
	for i, c := range r.cases(r.me) {
		if r.me == 0 {
			fmt.Fprintf(stderr, "bench: case %d of %d: %s of %s\n", i+1, len(r.cases(r.me)), c.Name, harness.SizeName(c.Bytes))
		}
		c.load, c.share = r.load(&c)
		results, err := r.run(ctx, c)
		if err != nil {
			return report, fmt.Errorf("%s of %s: %w", c.Name, harness.SizeName(c.Bytes), err)
		}
		report.Results = append(report.Results, results...)
	}
	return report, nil
}

// turn is one algorithm on one case.
type turn struct {
	a      alltoall.Algorithm
	view   transport.Transport
	x      *alltoall.Exchange // nil where it is made anew every time
	result result
}

// keptBytes is up to which size exchanges, and with them their memory, are kept from round to
// round.
const keptBytes = 1 << 20

// run times a case by all algorithms, in turns, after a round that is not timed.
func (r *rank) run(ctx context.Context, c networkCase) ([]result, error) {
	rows := c.rows(r.me)
	auto := &turn{}
	if err := r.once(ctx, auto, c, rows, false); err != nil {
		return nil, err
	}
	var turns []*turn
	for _, p := range auto.x.Predict(c.load, c.share) {
		turns = append(turns, &turn{a: p.Algorithm, result: result{Predicted: p, Auto: p.Algorithm == auto.a}})
	}
	auto.x = nil
	for round := range r.Rounds + 1 {
		for _, t := range turns {
			if err := r.once(ctx, t, c, rows, round > 0); err != nil {
				return nil, fmt.Errorf("%s: %w", t.a, err)
			}
		}
	}
	var results []result
	for _, t := range turns {
		results = append(results, t.result)
	}
	return results, nil
}

// exchange returns the turn's, over a part of the transport of its own.
func (r *rank) exchange(t *turn, c networkCase) (*alltoall.Exchange, error) {
	if t.x != nil {
		return t.x, nil
	}
	if t.view == nil {
		all := make([]transport.Rank, r.world.Size())
		for i := range all {
			all[i] = transport.Rank(i)
		}
		view, err := r.world.View(all)
		if err != nil {
			return nil, err
		}
		t.view = &cost{Transport: view, rank: r}
	}
	return alltoall.New(t.view, alltoall.Config{
		Placement: alltoall.Even(c.each*len(r.top.Node), len(r.top.Node)), Dim: c.dim, Algorithm: t.a, Topology: r.top, Costs: r.links,
	})
}

func (r *rank) dispatch(ctx context.Context, x *alltoall.Exchange, c networkCase, rows blas32.General) (*alltoall.Handle, blas32.General, error) {
	h, err := x.Begin(ctx, alltoall.Request{Counts: c.counts, Rows: rows, Token: c.token})
	if err != nil {
		return nil, blas32.General{}, err
	}
	in, _, err := h.Dispatch(ctx, 0)
	return h, in, err
}

// once is a dispatch and the combine of what it brought, each begun when all are ready.
func (r *rank) once(ctx context.Context, t *turn, c networkCase, rows blas32.General, timed bool) error {
	x, err := r.exchange(t, c)
	if err != nil {
		return err
	}
	if t.a == alltoall.Auto || c.Bytes <= keptBytes {
		t.x = x
	} else {
		runtime.GC()
	}
	if err := r.wait(ctx); err != nil {
		return err
	}
	r.sent = 0
	begin := time.Now()
	h, in, err := r.dispatch(ctx, x, c, rows)
	dispatched := time.Since(begin)
	if err != nil {
		return err
	}
	defer h.Release()
	t.a, t.result.Sent = h.Algorithm(), r.sent
	if err := r.wait(ctx); err != nil {
		return err
	}
	begin = time.Now()
	home, err := h.Combine(ctx, 0, in)
	combined := time.Since(begin)
	if err != nil {
		return err
	}
	t.result.Wrong += c.wrong(rows, home)
	if timed {
		t.result.Dispatch, t.result.Combine = append(t.result.Dispatch, dispatched), append(t.result.Combine, combined)
	}
	return nil
}

// wait is a barrier.
func (r *rank) wait(ctx context.Context) error {
	var mine [1]byte
	var sends, recvs []transport.Message
	for p := range r.t.Size() {
		if p != r.me {
			sends = append(sends, transport.Message{Peer: transport.Rank(p), Tag: waitTag, Bufs: [][]byte{mine[:]}})
			recvs = append(recvs, transport.Message{Peer: transport.Rank(p), Tag: waitTag, Bufs: [][]byte{make([]byte, 1)}})
		}
	}
	return transport.Exchange(ctx, r.t, sends, recvs)
}

// load is what Auto predicts by: the bytes of messages, all alike, that would load every link as
// the busiest is; and what part of the rows remains where each token travels once.
func (r *rank) load(c *networkCase) (bytes int, share alltoall.Share) {
	var all crossed
	in, out := make([]int, r.Nodes), make([]int, r.Nodes)
	for rank := range len(r.top.Node) {
		for _, other := range r.cases(rank) {
			if other.Name != c.Name || other.Bytes != c.Bytes {
				continue
			}
			all.add(other.crossings(&r.options, rank))
			for e, n := range other.counts.Rows {
				if from, to := rank/r.Each, e/c.each/r.Each; from != to {
					out[from], in[to] = out[from]+n, in[to]+n
				}
			}
		}
	}
	share = all.share()
	if all.rows == 0 {
		return c.Bytes, share
	}
	pairs := r.Each * (len(r.top.Node) - r.Each)
	return 4 * c.dim * max(slices.Max(in), slices.Max(out)) / pairs, share
}

// rows is what a rank sends or routes: each number depends on rank, row and column.
func (c *networkCase) rows(rank int) blas32.General {
	m := blas32.General{Rows: c.tokens, Cols: c.dim, Stride: c.dim, Data: make([]float32, c.tokens*c.dim)}
	for i := range m.Data {
		m.Data[i] = float32(payload.Word(rank, i) >> 40)
	}
	return m
}

// wrong counts the numbers that came home from identity experts other than they left.
func (c *networkCase) wrong(rows, home blas32.General) (wrong int) {
	for i := range home.Rows {
		from := i
		if c.token != nil {
			from = int(c.token[i])
		}
		if slices.Equal(home.Data[i*c.dim:(i+1)*c.dim], rows.Data[from*c.dim:(from+1)*c.dim]) {
			continue
		}
		wrong++
	}
	return wrong
}

// cost counts what a rank sends to other nodes.
type cost struct {
	transport.Transport
	rank *rank
}

func (t *cost) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for _, m := range sends {
		if int(m.Peer)/t.rank.Each == t.rank.me/t.rank.Each {
			continue
		}
		for _, b := range m.Bufs {
			t.rank.sent += len(b)
		}
	}
	return transport.Exchange(ctx, t.Transport, sends, recvs)
}

// Capabilities and Alloc are those of the transport below.
func (t *cost) Capabilities() transport.Capabilities { return transport.CapabilitiesOf(t.Transport) }
func (t *cost) Alloc(n int) []byte                   { return transport.Alloc(t.Transport, n) }
func (t *cost) Free(b []byte) bool                   { transport.Free(t.Transport, b); return true }
