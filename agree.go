package switchyard

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/transport"
)

// maxSettings bounds what a peer says of its configuration or of why it failed, so that its
// announced length is not simply believed. Settings are far shorter, whatever is in the fields.
const maxSettings = 1 << 16

// agree checks that every rank has the same configuration, by its text, so that an error can name
// the field.
func (l *Layer) agree(ctx context.Context) error {
	mine := l.cfg.settings()
	all, err := l.everyone.AllGatherAny(ctx, []byte(mine), maxSettings)
	if err != nil {
		return errtext.Errorf("switchyard: NewLayer: %w", err)
	}
	for r, text := range all {
		if theirs := string(text); theirs != mine {
			return &transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "NewLayer",
				Err: fmt.Errorf("%w: %s", transport.ErrMismatch, difference(mine, theirs))}
		}
	}
	return nil
}

// agreeBuilt has the layer fail on every rank where it could not be built on one, which names that:
// the file of routes that a router reads, say, may be missing on one rank alone.
func (l *Layer) agreeBuilt(ctx context.Context, fault error) error {
	const longest = 1 << 10
	mine := ""
	if fault != nil {
		mine = printable.Text(fault.Error(), longest)
	}
	all, err := l.everyone.AllGatherAny(ctx, []byte(mine), maxSettings)
	if err != nil {
		return errtext.Errorf("switchyard: NewLayer: %w", err)
	}
	if fault != nil {
		return l.guard.Misuse("NewLayer", "%w", fault)
	}
	for r, text := range all {
		if len(text) > 0 {
			return &transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "NewLayer",
				Err: fmt.Errorf("it failed there: %s", printable.Text(string(text), longest))}
		}
	}
	return nil
}
