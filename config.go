package switchyard

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/hook"
	"github.com/switchyard-moe/switchyard/internal/agreement"
	"github.com/switchyard-moe/switchyard/internal/check"
	"github.com/switchyard-moe/switchyard/internal/errtext"
	"github.com/switchyard-moe/switchyard/internal/gradients"
	"github.com/switchyard-moe/switchyard/internal/layout"
	"github.com/switchyard-moe/switchyard/router"
)

// Config describes a [Layer]. Every rank gives the same; NewLayer checks that they do.
type Config struct {
	// Dim is the number of columns of the tokens, at most 2²⁴.
	Dim int
	// Experts is the number of experts over all ranks, at most 2²⁴. It need not be a multiple of
	// the ranks, nor as large. No tensor of parameters may have more than 2³⁴ elements on one rank.
	Experts int
	// Router decides which expert takes which token.
	Router router.Router
	// Expert is what the experts compute.
	Expert expert.Expert
	// Shared, if it is not nil, is one more expert, which answers every token with weight 1.
	// Every rank keeps a copy of it.
	Shared expert.Expert
	// ExpertParallel is the number of consecutive ranks that share one copy of the experts. The
	// world is cut into replicas of that many ranks, which see different tokens and sum their
	// gradients. It must divide the world's size; 0 means all of it: one copy.
	ExpertParallel int
	// Hosted is the number of experts of each rank of a copy, for machines that are unequal:
	// schedule.PlaceExperts finds it. nil is what [World.SetMachine] has set, else spreads them
	// evenly.
	Hosted []int
	// Order lists all experts by the ranks of a copy that host them, the first Hosted[0] for the first
	// rank, so that any can be on any rank; nil is 0, 1, 2 and so on. It changes no bit, and
	// checkpoints load into any other. It goes with neither Compression, Sums nor mixtures of tokens.
	Order []int
	// Compression sends rows that are alike as one, in training. Its zero value compresses nothing.
	Compression Compression
	// Group is the number of consecutive tokens in which capacity, drops and auxiliary losses are
	// counted, and whose gradient is one leaf of the tree of sums. The same global batch gives the
	// same bits on any number of ranks if every rank, except the last one with tokens, holds a
	// multiple of Group tokens. [PerRank] makes the tokens of each rank one group. A world of one
	// rank may leave Group 0, which means PerRank there; a larger one must say which of the two it
	// wants.
	Group int
	// MicroBatches is how many backward passes of equal size make a step; 0 means 1. It is an
	// estimate for auxiliary losses, which count as means over the tokens of the step, padding left
	// out. The gradient of the gate's parameters is exact for any number of passes of any size. The
	// gradient of the tokens is returned with its pass: it is scaled as if all passes of the step
	// were like this one, unless router.Batch.StepTokens gives the number of tokens of the step, as
	// it should if passes differ in size. A trainer scales its own loss by the same number.
	MicroBatches int
	// Seed, with the number of the layer among those made on its world, fixes the initial
	// parameters, the noise of routing and the rotations of compression. So layers of one Config
	// differ, on any number of ranks alike, and a job that makes its layers in the same order has
	// the same ones. The first layer of a world has Seed itself. [Layer.Load] makes layers alike.
	Seed uint64
	// Algorithm says through which ranks messages go to their experts. On a world of [Join] the
	// environment variable SWITCHYARD_ALGORITHM overrides it.
	Algorithm alltoall.Algorithm
	// Topology says which ranks of the world share a node, for exchanges and for long sums of
	// gradients; its zero value is what [World.SetMachine] has set, else all on one.
	Topology alltoall.Topology
	// Links are the costs of messages, by which alltoall.Auto chooses; if neither this nor
	// [World.SetMachine] gives them it takes alltoall.Direct.
	Links links.Links
	// Wire is the format of rows in messages, for each of the four exchanges, or a codec of the
	// program's own; its zero value is float32, or bf16 with CompressAlways. Rows are rounded
	// whether they leave their rank or not, so that results do not depend on the number of ranks;
	// sums stay float32. For what formats cost see docs/tuning.md. With Wire.Finite a number that
	// is not finite is an error of the pass on every rank, also in what experts compute and where a
	// format has no room for a number. It names the rank where the number arose: each rank sends 8
	// bytes to each of the others at the end of the pass. Without Wire.Finite x and dy alone are
	// checked.
	Wire alltoall.Wire
	// Sums is the codec in which gradients are summed over the ranks that share parameters, as the
	// gate's and those of copies of experts; nil is for exact sums. With 8 bits a quarter travels,
	// with 4 an eighth, once a step ([collective.Comm.AllReduceQuantized]). What rounding loses is
	// kept for the next step, in 4 bytes a parameter that is shared (State has them, for the same
	// number of ranks), and 4 for the passes of a step; DiscardGradients forgets it with gradients
	// that were summed. All ranks get the same bits, which depend on the number of ranks.
	Sums alltoall.Codec
	// Hooks are functions that are called as rows pass through the layer, and may replace them: see
	// package hook. The ranks agree on which are set.
	Hooks hook.Hooks
	// Overlap lets experts compute while rows travel. Its zero value does one after the other.
	Overlap Overlap
	// Balance has other ranks compute rows of experts that have too many for the rank that hosts
	// them, with the same bits. Its zero value has every expert computed where it is hosted.
	Balance balance.Config
	// MaxRows bounds the rows that a rank receives in one dispatch, at most 2³¹−1; 0 means
	// alltoall.DefaultMaxRows. In the backward pass of a compressed one all rows count, not their
	// centroids alone. The number of groups of tokens times that of experts has a bound of
	// its own, alltoall.MaxCounts.
	MaxRows int
}

// batches is how many passes of equal size a step is taken to have.
func (c Config) batches() int { return max(c.MicroBatches, 1) }

// PerRank is the [Config].Group that makes the tokens of each rank one group. Then capacity, drops,
// noise, auxiliary losses and the last bits of gradients depend on the number of ranks and on how
// the tokens are spread over them.
const PerRank = -1

// Validate reports every fault that can be seen without the other ranks, and changes nothing. ranks
// is the size of the world.
func (c Config) Validate(ranks int) error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("switchyard: Config."+format, args...))
		}
	}
	size := func(field string, value, low int) {
		err := check.Size(value, low)
		fault(err != nil, field+" is %w", err)
	}
	size("Dim", c.Dim, 1)
	size("Experts", c.Experts, 1)
	fault(check.Nil(c.Router), "Router is nil")
	fault(check.Nil(c.Expert), "Expert is nil")
	fault(c.Shared != nil && check.Nil(c.Shared), "Shared is a nil %T, want an expert, or no value for none", c.Shared)
	fault(c.Group > math.MaxInt32, "Group is %d, must be at most %d", c.Group, math.MaxInt32)
	fault(c.Group < PerRank, "Group is %d, must be a number of tokens, or PerRank (%d)", c.Group, PerRank)
	fault(c.Group == 0 && ranks > 1, "Group is 0 on %d ranks: set the number of tokens in which capacity and losses are counted, "+
		"which gives the same bits on any number of ranks, or PerRank, with which results depend on it", ranks)
	size("MicroBatches", c.MicroBatches, 0)
	size("Overlap.GradientPiece", c.Overlap.GradientPiece, 0)
	o, most := &c.Overlap, 64 // chunks, each of which is a message to every rank
	fault(o.Degree < 0 || o.Degree > most, "Overlap.Degree is %d, want 0 to %d", o.Degree, most)
	fault(o.Background != nil && check.Nil(o.Background), "Overlap.Background is a nil %T, want collectives, or no value for none", o.Background)
	fault(c.MaxRows < 0 || c.MaxRows > math.MaxInt32, "MaxRows is %d, want 0 to %d", c.MaxRows, math.MaxInt32)
	fault(c.ExpertParallel < 0 || c.ExpertParallel > 0 && ranks%c.ExpertParallel != 0,
		"ExpertParallel is %d, must divide the %d ranks", c.ExpertParallel, ranks)
	hosted := layout.CheckHosted(c.Hosted, c.Experts, cmp.Or(max(c.ExpertParallel, 0), ranks))
	for _, err := range []error{hosted, layout.CheckExperts(c.Order, c.Experts, c.Compression.When != CompressNever, c.Sums != nil)} {
		fault(err != nil, "%w", err)
	}
	if err := c.Topology.Validate(ranks); err != nil {
		faults = append(faults, errtext.Errorf("switchyard: Config.Topology: %w", err))
	}
	faults = append(faults, c.Compression.validate(c.Dim))
	for i, err := range []error{c.Algorithm.Validate(), c.Balance.Validate(), c.Links.Validate(), c.Wire.Validate(c.Dim), gradients.CheckSums(c.Sums)} {
		fault(err != nil, [...]string{"Algorithm", "Balance", "Links", "Wire", "Sums"}[i]+": %w", err)
	}
	return errors.Join(faults...)
}

// settings are all fields in which ranks must agree.
func (c Config) settings() *agreement.Settings {
	return agreement.Fields("Dim", c.Dim, "Experts", c.Experts, "Router", agreement.Describe(c.Router),
		"Expert", agreement.Describe(c.Expert), "Shared", agreement.Describe(c.Shared),
		"ExpertParallel", c.ExpertParallel, "Hosted", layout.Hosting(c.Hosted, c.Order), "Compression", c.Compression, "Group", c.Group,
		"MicroBatches", c.MicroBatches, "Algorithm", c.Algorithm, "Topology", c.Topology.Node, "Links", c.Links,
		"Wire", c.Wire, "Sums", agreement.Describe(c.Sums), "Hooks", c.Hooks, "Overlap", []any{c.Overlap.Degree, c.Overlap.Auto, c.Overlap.GradientPiece}[:2+min(c.Overlap.GradientPiece, 1)],
		"Overlap.Profile", agreement.Describe(c.Overlap.Profile), "Overlap.Background", c.Overlap.Background != nil,
		"Balance", c.Balance.String(), "MaxRows", c.MaxRows, "Seed", c.Seed)
}
