package allreduce

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/netns"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/transport"
)

const port = 29800

// The forms of a sum, in the order of reports.
const (
	direct = iota
	byNode
	numForms
)

var formNames = [numForms]string{"direct", "by node"}

// forms are those that there are with these nodes.
func (o *options) forms() int {
	if o.Nodes == 1 || o.Each == 1 {
		return byNode
	}
	return numForms
}

// rankReport is what a rank says at its end: what it saw of each size, in each form.
type rankReport struct {
	Rank    int
	Version string
	Sizes   [][]result
}

type result struct {
	Took     []time.Duration // of each timed iteration
	Crossing int             // bytes that this rank sends to other nodes
	Wrong    int
}

// form is one way to sum, over a view of its own.
type form struct {
	*counting
	comm *collective.Comm
}

func runRank(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	report, err := rankOf(ctx, args)
	return harness.Answer(ctx, report, err, stdout, stderr)
}

func rankOf(ctx context.Context, args []string) (report rankReport, err error) {
	var o options
	if report.Rank, err = harness.RankOptions(args, &o); err != nil {
		return report, err
	}
	report.Version = harness.Version()
	w, err := o.join(ctx, report.Rank)
	if err != nil {
		return report, err
	}
	defer func() {
		if closing := w.Close(); err == nil {
			err = closing
		}
	}()
	forms := make([]form, o.forms())
	for i := range forms {
		if forms[i], err = o.form(w, i); err != nil {
			return report, err
		}
	}
	for _, size := range o.Sizes {
		results, err := o.measure(ctx, forms, report.Rank, size)
		if err != nil {
			return report, fmt.Errorf("sums of %s: %w", harness.SizeName(size), err)
		}
		report.Sizes = append(report.Sizes, results)
	}
	return report, nil
}

func (o *options) join(ctx context.Context, rank int) (*switchyard.World, error) {
	if o.Nodes == 1 {
		return switchyard.Join(ctx, switchyard.JoinConfig{})
	}
	return netns.Join(ctx, rank, o.ranks(), o.Each, port)
}

func (o *options) form(w *switchyard.World, i int) (form, error) {
	view, err := w.View(layout.Ranks(0, w.Size(), 1))
	if err != nil {
		return form{}, err
	}
	f := form{counting: &counting{Transport: view, each: o.Each}}
	f.comm = collective.New(f.counting)
	if i == byNode {
		err = f.comm.SetNodes(alltoall.Nodes(o.ranks(), o.Each).Node, 1)
	}
	return f, err
}

// measure times sums of size bytes, after one that is not timed, by all forms in turns.
func (o *options) measure(ctx context.Context, forms []form, rank, size int) ([]result, error) {
	results, x, iterations := make([]result, len(forms)), make([]float32, size/4), o.iterations(size)
	for i := range iterations + 1 {
		for k := range forms {
			at := k
			if i%2 == 1 {
				at = len(forms) - 1 - k
			}
			took, err := forms[at].once(ctx, x, rank, i)
			if err != nil {
				return nil, err
			}
			r := &results[at]
			r.Crossing = forms[at].sent
			r.Wrong += wrong(x, o.ranks(), i, i == 0 || i == iterations)
			if i > 0 {
				r.Took = append(r.Took, took)
			}
		}
	}
	return results, nil
}

// once is one sum, begun when all are ready.
func (f *form) once(ctx context.Context, x []float32, rank, iteration int) (time.Duration, error) {
	for i := range x {
		x[i] = number(rank, i, iteration)
	}
	if err := f.comm.Barrier(ctx); err != nil {
		return 0, err
	}
	f.sent = 0
	begin := time.Now()
	err := f.comm.AllReduce(ctx, x)
	return time.Since(begin), err
}

// number is what a rank gives: small whole numbers, whose sums are exact in any order.
// bench/internal/peers/sources/allreduce.c does the same in C.
func number(rank, i, iteration int) float32 { return float32((i + 3*rank + 5*iteration) & 63) }

// probe is the distance of the numbers that are checked in each iteration.
const probe = 4099

// wrong counts the wrong numbers in a sum, among all or among some.
func wrong(x []float32, ranks, iteration int, all bool) (n int) {
	step := probe
	if all {
		step = 1
	}
	for i := 0; i < len(x); i += step {
		want := float32(0)
		for r := range ranks {
			want += number(r, i, iteration)
		}
		if x[i] != want {
			n++
		}
	}
	return n
}

// counting counts what a rank sends to other nodes.
type counting struct {
	transport.Transport
	each int // ranks of a node
	sent int
}

func (t *counting) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for _, m := range sends {
		if int(m.Peer)/t.each == int(t.Rank())/t.each {
			continue
		}
		for _, b := range m.Bufs {
			t.sent += len(b)
		}
	}
	return transport.Exchange(ctx, t.Transport, sends, recvs)
}
