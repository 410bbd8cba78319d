package views

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/lifecycle"
)

// channels are those of one rank, which all views of a job that it is in share. No two of these
// views have the same channel, so views of the same channel share no rank.
//
// As long as the job has no groups, each rank takes the next channel, and all count alike. Then
// they do not: ranks are in different groups, which make different numbers of views. So the ranks
// that make a view agree on a channel that is free on all of them, as the ranks of an MPI
// communicator do on its context: the largest of their next ones.
type channels struct {
	busy sync.Mutex // held while a channel is taken
	next int        // the first that this rank has never used; 0 is for messages without a view
}

// block is how many channels ranks agree on at a time: those of a layer or two.
const block = 16

// one takes the channel of the next view, on which nobody has to agree.
func (c *channels) one() (first, end int, err error) {
	if err := c.lock(); err != nil {
		return 0, 0, err
	}
	defer c.busy.Unlock()
	return c.take(c.next, 1)
}

// agree takes channels of the next views, on which the ranks connected by control agree.
func (c *channels) agree(control *collective.Comm) (first, end int, err error) {
	if err := c.lock(); err != nil {
		return 0, 0, err
	}
	defer c.busy.Unlock()
	next := []int64{int64(c.next)}
	if err := control.AllReduceInt64(context.Background(), next, collective.Max); err != nil {
		return 0, 0, err
	}
	return c.take(int(next[0]), block)
}

// take takes n channels from first on, or those that are left.
func (c *channels) take(first, n int) (int, int, error) {
	end := min(first+n, math.MaxUint16+1)
	if first >= end {
		return 0, 0, fmt.Errorf("switchyard: no view is left: a rank has at most %d, those of layers "+
			"and groups included", math.MaxUint16)
	}
	c.next = end
	return first, end, nil
}

// lock begins to take channels, on one goroutine at a time: the ranks could wait for each other.
func (c *channels) lock() error {
	if c.busy.TryLock() {
		return nil
	}
	return errtext.Errorf("switchyard: %w: this rank is making a view, a layer or a group", lifecycle.ErrInUse)
}
