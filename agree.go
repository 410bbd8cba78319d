package switchyard

import (
	"context"
	"fmt"

	"github.com/switchyard-moe/switchyard/transport"
)

// maxFields bounds the text of a peer's configuration, so that its announced length is not simply believed.
const maxFields = 1 << 16

// agree checks that every rank has the same configuration, by its text, so that an error can name the field.
func (l *Layer) agree(ctx context.Context) error {
	mine := l.cfg.fields()
	all, err := l.everyone.AllGatherAny(ctx, []byte(mine), maxFields)
	if err != nil {
		return fmt.Errorf("switchyard: NewLayer: %w", err)
	}
	for r, text := range all {
		if theirs := string(text); theirs != mine {
			return &transport.Error{Rank: l.world.joined(transport.Rank(r)), Op: "NewLayer",
				Err: fmt.Errorf("%w: %s", transport.ErrMismatch, difference(mine, theirs))}
		}
	}
	return nil
}
