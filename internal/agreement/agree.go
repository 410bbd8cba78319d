// Package agreement has ranks agree on what they build together: all must have the same
// configuration, and if one cannot build its part none of them goes on.
package agreement

import (
	"cmp"
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/collective"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// maxText bounds what a peer says of its configuration or of why it failed, so that its announced
// length is not simply believed. Settings are far shorter, whatever is in the fields.
const maxText = 1 << 16

// Ranks are those that build a layer.
type Ranks struct {
	// Comm connects them.
	Comm *collective.Comm
	// Joined is the number by which errors name a rank.
	Joined func(transport.Rank) transport.Rank
	// Op is what errors call the operation; "" is NewLayer.
	Op string
}

// Compare returns an error that names the field and the rank if any has other settings than this
// one. Settings are compared as text.
func (r Ranks) Compare(ctx context.Context, mine *Settings) error {
	all, err := r.exchange(ctx, mine.text.String())
	if err != nil {
		return err
	}
	for rank, theirs := range all {
		if theirs != mine.text.String() {
			return r.fault(rank, fmt.Errorf(
				"%w: %s", transport.ErrMismatch, difference(mine.text.String(), theirs)))
		}
	}
	return nil
}

// Built returns an error on every rank if any has a fault, which it names: the file of routes that
// a router reads, say, may be missing on one rank alone.
func (r Ranks) Built(ctx context.Context, fault error) error {
	const longest = 1 << 10
	mine := ""
	if fault != nil {
		mine = printable.Text(fault.Error(), longest)
	}
	all, err := r.exchange(ctx, mine)
	if err != nil {
		return err
	}
	if fault != nil {
		return r.fault(int(r.Comm.Rank()), fault)
	}
	for rank, text := range all {
		if text != "" {
			return r.fault(rank, fmt.Errorf("it failed there: %s", printable.Text(text, longest)))
		}
	}
	return nil
}

// exchange returns the texts of all ranks.
func (r Ranks) exchange(ctx context.Context, mine string) ([]string, error) {
	all, err := r.Comm.AllGatherAny(ctx, []byte(mine), maxText)
	if err != nil {
		return nil, errtext.Errorf("switchyard: %s: %w", r.op(), err)
	}
	texts := make([]string, len(all))
	for rank, text := range all {
		texts[rank] = string(text)
	}
	return texts, nil
}

func (r Ranks) fault(rank int, err error) error {
	return &transport.Error{Rank: r.Joined(transport.Rank(rank)), Op: r.op(), Err: err}
}

func (r Ranks) op() string { return cmp.Or(r.Op, "NewLayer") }
