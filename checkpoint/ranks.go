package checkpoint

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/switchyard-moe/switchyard"
	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// Limits of what a rank tells the others, so that an announced length is not simply believed.
const (
	maxShort    = 1 << 24 // a step, names of folders, a fault
	maxManifest = 1 << 30 // names of tensors
	maxFault    = 1 << 12
)

// ranks are all ranks of the world, in what they say to each other about a save or a load. Their
// messages meet none of the layers.
type ranks struct {
	view transport.Transport
	comm *collective.Comm
	beat time.Duration // how often one that is busy with its disk says so
}

// newRanks makes a view of the world. Every rank does.
func newRanks(w *switchyard.World) (ranks, error) {
	all := make([]transport.Rank, w.Size())
	for r := range all {
		all[r] = transport.Rank(r)
	}
	view, err := w.View(all)
	if err != nil {
		return ranks{}, err
	}
	return ranks{view, collective.New(view), 5 * time.Second}, nil
}

func (r ranks) rank() int { return int(r.view.Rank()) }

// said is what each message has beside its content: why the rank cannot go on, or "".
type said struct{ Fault string }

// saying puts a fault into a message.
func saying(fault error) said {
	if fault == nil {
		return said{}
	}
	return said{readable(fault.Error())}
}

func (s said) fault() string { return readable(s.Fault) }

// readable makes text from elsewhere fit for an error. Line breaks stay.
func readable(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines[:min(len(lines), maxListed+2)] {
		lines[i] = printable.Text(line, maxFault)
	}
	return strings.Join(lines[:min(len(lines), maxListed+2)], "\n")
}

// gather returns what every rank gives, by rank. An error says that the ranks could not speak to
// each other.
func gather[T any](ctx context.Context, r ranks, op string, mine T, limit int) ([]T, error) {
	text, err := json.Marshal(mine)
	if err != nil {
		return nil, err
	}
	all, err := r.comm.AllGatherAny(ctx, text, limit)
	if err != nil {
		return nil, errtext.Errorf("checkpoint: %s: %w", op, err)
	}
	list := make([]T, len(all))
	for from, text := range all {
		if err := json.Unmarshal(text, &list[from]); err != nil {
			return nil, r.fault(op, from, fmt.Errorf("%w: %v", transport.ErrProtocol, err))
		}
	}
	return list, nil
}

// firstFault returns an error if any rank has said that it cannot go on. Its text is what the
// lowest such rank has said; it wraps this rank's own fault.
func firstFault[T interface{ fault() string }](r ranks, op string, mine error, list []T) error {
	for from, s := range list {
		if s.fault() != "" {
			return r.fault(op, from, &fault{s.fault(), mine})
		}
	}
	return nil
}

// fault is the error of a rank in the words of the lowest that has one.
type fault struct {
	text string
	mine error
}

func (f *fault) Error() string { return f.text }
func (f *fault) Unwrap() error { return f.mine }

// busy runs do, which may take longer than an operation of the transport may wait: until all ranks
// have done theirs they tell each other, from time to time, that they are at it. An error says that
// they can no longer; then the context of do has ended.
func (r ranks) busy(ctx context.Context, op string, do func(context.Context)) error {
	work, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do(work)
	}()
	for {
		all, err := gather(ctx, r, op, r.ended(done), maxShort)
		if err != nil {
			stop()
			<-done
			return err
		}
		if !slices.Contains(all, false) {
			return nil
		}
	}
}

// ended waits for the end of what this rank does, but not for long.
func (r ranks) ended(done <-chan struct{}) bool {
	timer := time.NewTimer(r.beat)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// agree is for a stage after which a rank has nothing to say but whether it can go on. fault is the
// error of a rank, the same verdict on all of them; err says that they could not speak.
func (r ranks) agree(ctx context.Context, op string, mine error) (fault, err error) {
	list, err := gather(ctx, r, op, saying(mine), maxShort)
	if err != nil {
		return nil, err
	}
	return firstFault(r, op, mine, list), nil
}

// fault names a rank as it joined.
func (r ranks) fault(op string, rank int, err error) error {
	return &transport.Error{Rank: transport.Joined(r.view, transport.Rank(rank)), Op: op, Err: err}
}
