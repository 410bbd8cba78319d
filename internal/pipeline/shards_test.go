package pipeline

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
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/batch"
	"github.com/switchyard-moe/switchyard/internal/experts"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/internal/passcheck"
	"github.com/switchyard-moe/switchyard/internal/sharding"
	"github.com/switchyard-moe/switchyard/param/tree"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

// A batch of leaves of two tokens, whose rows for each expert are the same however the leaves are
// spread over ranks.
const (
	shardLeaves  = 8
	shardExperts = 8
	shardHidden  = 9
)

// shardRows is how many rows a leaf has for an expert.
func shardRows(expert, leaf int) int { return (expert + leaf) % 3 }

// shardInput is the rows of leaves begin to end for experts, and the gradients of their answers,
// sorted by expert and leaf.
func shardInput(firstExpert, endExpert, begin, end int) (x, dy blas32.General, counts []int) {
	x, dy = blas32.General{Cols: dim, Stride: dim}, blas32.General{Cols: dim, Stride: dim}
	for e := firstExpert; e < endExpert; e++ {
		for leaf := begin; leaf < end; leaf++ {
			r, n := rand.New(rand.NewPCG(uint64(e), uint64(leaf))), shardRows(e, leaf)
			for range n * dim {
				x.Data, dy.Data = append(x.Data, r.Float32()-0.5), append(dy.Data, r.Float32()-0.5)
			}
			x.Rows, dy.Rows = x.Rows+n, dy.Rows+n
			counts = append(counts, n)
		}
	}
	return x, dy, counts
}

// shardWorld is nodes of places, each pair of which is a rank.
type shardWorld struct {
	nodes, places, chunks int
	one                   bool // stream
	between, within       [][]transport.Transport
}

func newShardWorld(t *testing.T, nodes, places, chunks int, one bool) *shardWorld {
	w := &shardWorld{nodes: nodes, places: places, chunks: chunks, one: one}
	open := func(n int) (list []transport.Transport) {
		for _, tr := range inproc.New(n) {
			list = append(list, tr)
			t.Cleanup(func() { require.NoError(t, tr.Close()) })
		}
		return list
	}
	for range places {
		w.between = append(w.between, open(nodes))
	}
	for range nodes {
		w.within = append(w.within, open(places))
	}
	return w
}

// shardOutcome is what a rank gets: answers and gradients of its rows, and the gradients of its
// parts of the experts of its node.
type shardOutcome struct {
	answers, drows []float32
	grads          [][]float32
	lines          []schedule.Timeline
}

// path builds the path of a rank, and its exchange.
func (w *shardWorld) path(node, place int) (*Path, *alltoall.Exchange, error) {
	at := alltoall.Even(shardExperts, w.nodes)
	exchange, err := alltoall.New(w.between[place][node], alltoall.Config{Placement: at, Dim: dim, Groups: w.chunks})
	if err != nil {
		return nil, nil, err
	}
	part, err := expert.SwiGLU{Hidden: shardHidden}.Shard(place, w.places)
	if err != nil {
		return nil, nil, err
	}
	first, _ := at.Of(node)
	own, err := experts.New(experts.Config{
		Expert: part, Total: shardExperts, Chunks: w.chunks,
		Shape: expert.Shape{Dim: dim, First: first, Count: at.Count(node), Seed: 7},
	})
	return &Path{
		Stage:   newStage(Config{Most: w.chunks, SplitBackward: true, Sharded: true, OneStream: w.one}),
		Experts: own, Checks: passcheck.New(passcheck.Config{}), Turn: &lifecycle.Turn{Lock: new(sync.Mutex)},
		Rank:   transport.Rank(node*w.places + place),
		Shards: &sharding.Stage{Comm: collective.New(w.within[node][place]), Dim: dim},
	}, exchange, err
}

// run takes the rows of a rank to the experts and back, twice: a path is used again. broken ends
// the rank before a step.
func (w *shardWorld) run(ctx context.Context, node, place int) (o shardOutcome, err error) {
	path, exchange, err := w.path(node, place)
	if err != nil {
		return o, err
	}
	path.Observe(func(_ schedule.Pass, line schedule.Timeline) { o.lines = append(o.lines, line) })
	for number := range uint64(2) {
		for _, set := range path.Experts.Params() {
			set.Grad.Reset()
		}
		if err := w.pass(ctx, path, exchange, number, &o); err != nil {
			return o, err
		}
	}
	for _, set := range path.Experts.Params() {
		o.grads = append(o.grads, slices.Clone(set.Grad.Total()))
	}
	return o, nil
}

func (w *shardWorld) pass(ctx context.Context, path *Path, exchange *alltoall.Exchange, number uint64, o *shardOutcome) error {
	ranks := w.nodes * w.places
	each, me := shardLeaves/ranks, int(path.Rank)
	x, dy, counts := shardInput(0, shardExperts, me*each, (me+1)*each)
	own, err := batch.New(batch.Shape{Dim: dim, Experts: shardExperts, Train: true}, &batch.Pool{}, x, router.Batch{})
	if err != nil {
		return err
	}
	p := &Pass{Number: number}
	p.Handle, err = exchange.Begin(ctx, alltoall.Request{
		Counts: alltoall.Counts{Tokens: 2 * each, Leaves: each, Rows: counts},
		Rows:   x, Cut: path.Cut(kind(schedule.Forward)),
	})
	if err != nil {
		return err
	}
	defer path.Release(p)
	global := &batch.Global{Tokens: slices.Repeat([]int{2 * each}, ranks), Leaves: slices.Repeat([]int{each}, ranks)}
	answers, err := path.Forward(ctx, p, &own, global)
	if err != nil {
		return err
	}
	o.answers = slices.Clone(answers.Data)
	drows, err := path.Backward(ctx, p, dy, dy)
	o.drows = slices.Clone(drows.Data)
	return err
}

// all runs every rank.
func (w *shardWorld) all(ctx context.Context) ([]shardOutcome, []error) {
	ranks := w.nodes * w.places
	outcomes, errs := make([]shardOutcome, ranks), make([]error, ranks)
	var running sync.WaitGroup
	for r := range ranks {
		running.Go(func() { outcomes[r], errs[r] = w.run(ctx, r/w.places, r%w.places) })
	}
	running.Wait()
	return outcomes, errs
}

// shardReference computes the parts of all experts for the rows of all leaves, one after the other
// and without a rank. It returns the sums over the parts, and the gradients of each.
func shardReference(t *testing.T, places int) (answers, drows blas32.General, grads [][]float32) {
	x, dy, counts := shardInput(0, shardExperts, 0, shardLeaves)
	ends := make([]int, len(counts))
	for i := range counts {
		ends[i] = mat.Sum(counts[:i+1])
	}
	var y, dx []tree.Node
	for place := range places {
		part, err := expert.SwiGLU{Hidden: shardHidden}.Shard(place, places)
		require.NoError(t, err)
		g, err := part.New(expert.Shape{Dim: dim, Count: shardExperts, Seed: 7})
		require.NoError(t, err)
		to, saved := g.Forward(x, expert.Rows{Experts: shardExperts, Leaves: shardLeaves, Ends: ends})
		y = append(y, tree.Node{Index: place, Sum: slices.Clone(to.Data)})
		dx = append(dx, tree.Node{Index: place, Sum: slices.Clone(g.Backward(saved, dy).Data)})
		grads = append(grads, g.Params().Grad.Total())
	}
	answers, drows = x, x
	answers.Data, drows.Data = tree.Fold(y), tree.Fold(dx)
	return answers, drows, grads
}

// ofRank takes the rows of leaves begin to end from those of all.
func ofRank(all blas32.General, begin, end int) (data []float32) {
	row := 0
	for e := range shardExperts {
		for leaf := range shardLeaves {
			n := shardRows(e, leaf)
			if begin <= leaf && leaf < end {
				data = append(data, all.Data[row*dim:(row+n)*dim]...)
			}
			row += n
		}
	}
	return data
}

// ofExperts takes experts begin to end from the vector of all of a part.
func ofExperts(all []float32, begin, end int) (data []float32) {
	matrix := len(all) / 3 / shardExperts // the three tensors are equally large
	for t := range 3 {
		data = append(data, all[(t*shardExperts+begin)*matrix:(t*shardExperts+end)*matrix]...)
	}
	return data
}

// TestShardedExpertsHaveTheBitsOfTheReference: for any number of nodes, of chunks and of streams,
// answers, gradients of rows and gradients of parameters are those of the same parts computed in
// one place; the graph that runs is that of a pass whose experts are sharded.
func TestShardedExpertsHaveTheBitsOfTheReference(t *testing.T) {
	for _, places := range []int{1, 2, 4} {
		answers, drows, grads := shardReference(t, places)
		for _, nodes := range []int{1, 2, 4} {
			for _, chunks := range []int{1, 2} {
				if nodes*places > shardLeaves {
					continue
				}
				for _, one := range []bool{false, true} {
					what := fmt.Sprintf("%d nodes of %d, %d chunks, one stream %v", nodes, places, chunks, one)
					outcomes, errs := newShardWorld(t, nodes, places, chunks, one).all(t.Context())
					each, hosts := shardLeaves/(nodes*places), shardExperts/nodes
					for r, o := range outcomes {
						require.NoError(t, errs[r], what)
						require.Equal(t, ofRank(answers, r*each, (r+1)*each), o.answers, "%s: answers of rank %d", what, r)
						require.Equal(t, ofRank(drows, r*each, (r+1)*each), o.drows, "%s: gradients of rank %d", what, r)
						node := r / places
						for g, grad := range o.grads {
							begin, end := node*hosts+hosts*g/chunks, node*hosts+hosts*(g+1)/chunks
							require.Equal(t, ofExperts(grads[r%places], begin, end), grad, "%s: group %d of rank %d", what, g, r)
						}
						require.Len(t, o.lines, 4)
						want := schedule.Pipeline{Pass: schedule.Backward, Chunks: chunks, SplitBackward: true, Sharded: true, OneStream: one}.Graph()
						require.Equal(t, want.String(), o.lines[3].Graph.String())
					}
				}
			}
		}
	}
}

// counting counts what a rank sends.
type counting struct {
	transport.Transport
	mu              sync.Mutex
	messages, bytes int
}

func (c *counting) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	c.mu.Lock()
	c.messages++
	for _, b := range bufs {
		c.bytes += len(b)
	}
	c.mu.Unlock()
	return c.Transport.Send(ctx, to, tag, bufs...)
}

// TestShardedMessages: for each chunk a rank sends each other of its node its ends, rows, addends,
// the gradients of answers and addends of gradients.
func TestShardedMessages(t *testing.T) {
	const nodes, places, chunks = 2, 2, 2
	w := newShardWorld(t, nodes, places, chunks, false)
	var counted [nodes][places]*counting
	for n := range nodes {
		for p := range places {
			counted[n][p] = &counting{Transport: w.within[n][p]}
			w.within[n][p] = counted[n][p]
		}
	}
	_, errs := w.all(t.Context())
	require.NoError(t, errors.Join(errs...))
	for n := range nodes {
		var rows [places]int // that come to each from all nodes
		for e := n * shardExperts / nodes; e < (n+1)*shardExperts/nodes; e++ {
			for leaf := range shardLeaves {
				rows[leaf*nodes*places/shardLeaves%places] += shardRows(e, leaf)
			}
		}
		for p, c := range counted[n] {
			ends := 4 * shardExperts / nodes * shardLeaves / places
			row := 4 * dim
			want := ends + row*(2*rows[p]+2*rows[1-p]) // to gather its own, twice, and to sum the other's
			require.Equal(t, 2*5*chunks, c.messages, "of two passes")
			require.Equal(t, 2*want, c.bytes, "rank %d", n*places+p)
		}
	}
}

// dying is a transport that closes itself before it sends message number left from now.
type dying struct {
	transport.Transport
	mu   sync.Mutex
	left int
}

func (d *dying) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	d.mu.Lock()
	d.left--
	dead := d.left < 0
	d.mu.Unlock()
	if dead {
		d.Transport.Close()
	}
	return d.Transport.Send(ctx, to, tag, bufs...)
}

// TestShardedRankDies: in whichever step a rank leaves its node, its neighbour gets an error that
// names it, and no rank hangs.
func TestShardedRankDies(t *testing.T) {
	for message := range 8 {
		w := newShardWorld(t, 2, 2, 2, false)
		w.within[1][1] = &dying{Transport: w.within[1][1], left: message}
		ctx, cancel := context.WithCancel(t.Context())
		var failed sync.WaitGroup
		errs := make([]error, 4)
		for r := range 4 {
			failed.Go(func() {
				if _, errs[r] = w.run(ctx, r/2, r%2); r == 2 {
					cancel() // a layer tells the other nodes by closing its world
				}
			})
		}
		failed.Wait()
		cancel()
		var e *transport.Error
		require.ErrorAs(t, errs[2], &e, "message %d", message)
		require.EqualValues(t, 1, e.Rank, "the second of its node: %v", errs[2])
		require.Error(t, errs[3])
	}
}
