package switchyard

import (
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/estimate"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/schedule/memory"
)

// Estimate tells, before anything is made, the memory that a layer and its passes take on one of
// ranks ranks, each of which brings this number of tokens, and the bytes of their rows. An error
// says what is wrong with the configuration, that even a balanced pass has more rows than its
// MaxRows, or names an expert from outside that does not say what it keeps ([expert.Sizer]). The
// router routes 64 random tokens, which tells how many experts a token chooses.
func (c Config) Estimate(ranks, tokens int) (e memory.Estimate, err error) {
	if ranks < 1 || tokens < 0 || tokens > math.MaxInt32 {
		return e, fmt.Errorf("switchyard: Config.Estimate: %d ranks with %d tokens each, want 1 rank or more, and 0 to %d tokens",
			ranks, tokens, math.MaxInt32)
	}
	if err := c.Validate(ranks); err != nil {
		return e, err
	}
	at := layout.New(layout.Config{Size: ranks, ExpertParallel: c.ExpertParallel, Experts: c.Experts, Hosted: c.Hosted})
	e, err = estimate.Layer(estimate.Config{
		Ranks: ranks, Tokens: tokens, Dim: c.Dim, Experts: c.Experts, Router: c.Router,
		Expert: c.Expert, Shared: c.Shared, Placement: at.Placement, Group: c.Group,
		MaxRows: c.MaxRows, Seed: c.Seed, Wire: c.Compression.wire(c.Wire), Sums: c.Sums, Balance: c.Balance,
	})
	if err != nil {
		err = errtext.Errorf("switchyard: %w", err)
	}
	return e, err
}
