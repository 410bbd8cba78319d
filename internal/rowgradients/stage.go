// Package rowgradients carries the gradients of all rows of a layer whose rows went to their
// experts as clusters: those of the answers there, each with the number of its row's cluster, and
// those of the rows back, in a codec of their own. In between the expert multiplies each by its
// Jacobian at the centroid. Clusters would lose them: the gradient of an answer is no function of
// the row, so the mean over a cluster says little of one of its rows.
//
// The number of a cluster counts the centroids that its rank sent to the expert, and travels as one
// more column of the row.
package rowgradients

import (
	"context"
	"fmt"

	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/internal/freelist"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/transport"
)

// Stage carries gradients among the ranks of one copy of the experts. Any number of passes may be
// in flight, on any goroutines.
type Stage struct {
	view     transport.Transport
	exchange *alltoall.Exchange
	dim      int
	codec    alltoall.Codec
	free     freelist.List[Pass]
}

// New makes a stage over view, which carries nothing else. cfg is that of the exchange of rows; its
// Wire does not count, as gradients travel in codec.
func New(view transport.Transport, cfg alltoall.Config, codec alltoall.Codec) (*Stage, error) {
	s := &Stage{view: view, dim: cfg.Dim, codec: codec}
	cfg.Dim++
	cfg.Wire = alltoall.Wire{Dispatch: numbered{codec}, Combine: bare{codec}}
	var err error
	s.exchange, err = alltoall.New(view, cfg)
	return s, err
}

// RowBytes is the bytes of a row there and back.
func (s *Stage) RowBytes() int {
	return numbered{s.codec}.Bytes(s.dim+1) + bare{s.codec}.Bytes(s.dim+1)
}

// Pass is the gradients of one pass, from Begin to Release. Dispatch and Combine may run on another
// goroutine than what is between them.
type Pass struct {
	stage    *Stage
	exchange *alltoall.Exchange
	handle   *alltoall.Handle
	counts   alltoall.Counts
	rows     blas32.General // gradients of answers and numbers of clusters
	chunks   []Chunk
	of       []int32 // memory of all chunks' Of
	arrived  int     // rows of chunks that have arrived
}

// Chunk is what has come to the experts of a rank: the gradients of answers, in whose place those
// of the rows are to be put, and the row of the forward pass, among those that came to the rank, at
// which to take the Jacobian for each.
type Chunk struct {
	Gradients blas32.General
	Of        []int32
	// First is the number of rows that came before those of the chunk.
	First int
}

// Begin makes the pass of a number, of the gradients dy of the answers to rows, sorted by expert
// and counted by counts in the leaves of their centroids, which are in these clusters. It copies
// dy, and sends nothing.
func (s *Stage) Begin(number uint64, counts alltoall.Counts, dy blas32.General, clusters *lsh.Clusters) (*Pass, error) {
	p := s.free.Take()
	if p == nil {
		p = new(Pass)
	}
	p.stage, p.exchange, p.counts = s, s.exchange.Pass(number), counts
	p.rows = mat.Resize(p.rows, dy.Rows, s.dim+1)
	mat.Copy(narrow(p.rows), dy)
	for e := range clusters.Groups() {
		row, end, first, last := clusters.Group(e)
		if last-first > most {
			return p, s.fault(s.view.Rank(), fmt.Errorf("%w: %d clusters of expert %d, want at most %d",
				transport.ErrTooLarge, last-first, e, most))
		}
		for ; row < end; row++ {
			p.rows.Data[row*p.rows.Stride+s.dim] = float32(int(clusters.Of[row]) - first)
		}
	}
	return p, nil
}

// fault blames a rank of the copy.
func (s *Stage) fault(rank transport.Rank, err error) error {
	return &transport.Error{Rank: transport.Joined(s.view, rank), Op: "backward", Err: err}
}

// narrow is the columns of m that are of gradients.
func narrow(m blas32.General) blas32.General {
	m.Cols--
	return m
}

// Announce tells each rank how many rows it will get. The exchange is cut by cut, as that of the
// centroids, and each row goes where the centroids did of its expert and leaf.
func (p *Pass) Announce(ctx context.Context, cut alltoall.Cut, centroids *alltoall.Handle) (err error) {
	p.handle, err = p.exchange.Begin(ctx, alltoall.Request{Counts: p.counts, Rows: p.rows, Cut: cut, Like: centroids})
	if err != nil {
		return err
	}
	n := p.handle.Plan().Received()
	p.chunks, p.of, p.arrived = mat.Reuse(p.chunks, cut.Chunks()), mat.Reuse(p.of, n), 0
	return nil
}

// Handle is the exchange of the rows.
func (p *Pass) Handle() *alltoall.Handle { return p.handle }

// Dispatch moves the gradients of a chunk to the experts. centroids is the plan by which the
// centroids came; the number of a cluster that did not come is an error, which names its rank.
func (p *Pass) Dispatch(ctx context.Context, chunk int, centroids *alltoall.Plan) error {
	m, _, err := p.handle.Dispatch(ctx, chunk)
	if err != nil {
		return err
	}
	c := Chunk{Gradients: narrow(m), Of: p.of[p.arrived : p.arrived+m.Rows], First: p.arrived}
	if err := p.find(c.Of, m, centroids); err != nil {
		return err
	}
	p.chunks[chunk] = c
	p.arrived += m.Rows
	return nil
}

// find puts the rows of the forward pass in of, for the rows m that have come after those before.
func (p *Pass) find(of []int32, m blas32.General, centroids *alltoall.Plan) error {
	plan := p.handle.Plan()
	for e := range plan.Experts {
		for r := range plan.Ranks() {
			s, to := plan.Segment(e, r), centroids.Segment(e, r)
			begin := s.First - p.arrived
			if begin < 0 || begin >= m.Rows {
				continue
			}
			for i := begin; i < begin+s.Rows; i++ {
				number := int(m.Data[i*m.Stride+p.stage.dim])
				if number >= to.Rows {
					return p.stage.fault(transport.Rank(r), fmt.Errorf("%w: a gradient for its expert +%d here is of cluster %d, want less than %d",
						transport.ErrProtocol, e, number, to.Rows))
				}
				of[i] = int32(to.First + number)
			}
		}
	}
	return nil
}

// Chunk is a chunk that has arrived.
func (p *Pass) Chunk(chunk int) Chunk { return p.chunks[chunk] }

// Combine sends what stands in the place of a chunk's gradients back, and returns that of all
// chunks so far for the rows of Begin, whose rows stand apart. It is valid until Release.
func (p *Pass) Combine(ctx context.Context, chunk int) (blas32.General, error) {
	m := p.chunks[chunk].Gradients
	m.Cols++
	home, err := p.handle.Combine(ctx, chunk, m)
	return narrow(home), err
}

// Release ends the pass, wherever it is. Its memory is for later ones.
func (p *Pass) Release() {
	if p.handle != nil {
		p.handle.Release()
	}
	p.exchange.End()
	s := p.stage
	clear(p.chunks)
	*p = Pass{rows: p.rows, chunks: p.chunks[:0], of: p.of[:0]}
	s.free.Give(p)
}
