package switchyard

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/printable"
	"github.com/switchyard-moe/switchyard/router"
)

// Config describes a [Layer]. Every rank gives the same; NewLayer checks that they do.
type Config struct {
	// Dim is the number of columns of the tokens.
	Dim int
	// Experts is the number of experts over all ranks. It need not be a multiple of the ranks, nor as large.
	Experts int
	// Router decides which expert takes which token.
	Router router.Router
	// Expert is what the experts compute.
	Expert expert.Expert
	// Shared, where it is not nil, is one more expert, which answers every token with weight 1. Every rank keeps
	// a copy of it.
	Shared expert.Expert
	// ExpertParallel is the number of consecutive ranks that share one copy of the experts. The world is cut into
	// replicas of that many ranks, which see different tokens and sum their gradients. It must divide the
	// world's size; 0 means all of it: one copy.
	ExpertParallel int
	// Hosted is how many experts each rank of a copy has, where machines are unequal: schedule.PlaceExperts finds it. nil spreads them
	// evenly.
	Hosted []int
	// Compression has rows that are alike travel as one, in training. Its zero value is none.
	Compression Compression
	// Group is the number of consecutive tokens in which capacity, drops and auxiliary losses are counted, and
	// whose gradient is one leaf of the tree of sums. The same global batch gives the same bits on any number of
	// ranks if every rank, except the last one with tokens, holds a multiple of Group tokens. [PerRank] makes
	// the tokens of each rank one group. A world of one rank may leave Group 0, which means PerRank there; a
	// larger one must say which of the two it wants.
	Group int
	// MicroBatches is how many backward passes of equal size make a step, those of twins counted; 0 means 1. It is an estimate for auxiliary
	// losses, which count as means over the tokens of the step, padding left out. The gradient of the gate's parameters is so however many
	// passes come, and however large they are. The gradient of the tokens leaves with its pass: it takes the pass for one of so many that
	// are alike, unless router.Batch.StepTokens says how many tokens the step has, as it should where passes differ in size. A
	// trainer scales its own loss by the same number.
	MicroBatches int
	// Seed, with the number of the layer among those made on its world, fixes the initial parameters, the noise of
	// routing and the rotations of compression. So layers of one Config differ, on any number of ranks alike, and a job that makes its layers in the
	// same order has the same ones. The first layer of a world has Seed itself. [Layer.Load] makes layers alike.
	Seed uint64
	// Algorithm says through which ranks messages go to their experts; the environment variable SWITCHYARD_ALGORITHM overrides it.
	Algorithm alltoall.Algorithm
	// Topology says which ranks of the world share a node; its zero value puts all on one.
	Topology alltoall.Topology
	// Links are the costs of messages, by which alltoall.Auto chooses; where they are not given it takes alltoall.Direct.
	Links alltoall.Links
	// Wire is the format of rows where they travel, by leg; its zero value leaves them as they are. Rows are rounded whether they leave
	// their rank or not, so that results do not depend on the number of ranks; sums stay float32. Half the bytes (alltoall.BF16) cost
	// little, a quarter (FP8, Int8) has cost no more where that was measured: docs/compression.md.
	Wire alltoall.Wire
	// Overlap has experts compute while rows travel. Its zero value does one after the other.
	Overlap Overlap
	// MaxRows bounds the rows that a rank takes in from one dispatch; 0 means alltoall.DefaultMaxRows.
	MaxRows int
}

// PerRank is the [Config].Group that makes the tokens of each rank one group. Then capacity, drops, noise, auxiliary losses
// and the last bits of gradients depend on the number of ranks and on how the tokens are spread over them.
const PerRank = -1

// Validate reports every fault that can be seen without the other ranks, and changes nothing. ranks is
// the size of the world.
func (c Config) Validate(ranks int) error {
	var faults []error
	fault := func(bad bool, format string, args ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("switchyard: Config."+format, args...))
		}
	}
	fault(c.Dim < 1, "Dim is %d, must be at least 1", c.Dim)
	fault(c.Experts < 1, "Experts is %d, must be at least 1", c.Experts)
	fault(c.Router == nil, "Router is nil")
	fault(c.Expert == nil, "Expert is nil")
	fault(c.Group < PerRank, "Group is %d, must be a number of tokens, or PerRank (%d)", c.Group, PerRank)
	fault(c.Group == 0 && ranks > 1, "Group is 0 on %d ranks: set the number of tokens in which capacity and losses are counted, "+
		"which gives the same bits on any number of ranks, or PerRank, with which results depend on it", ranks)
	fault(c.MicroBatches < 0, "MicroBatches is %d, must not be negative", c.MicroBatches)
	fault(c.MaxRows < 0, "MaxRows is %d, must not be negative", c.MaxRows)
	fault(c.ExpertParallel < 0 || c.ExpertParallel > 0 && ranks%c.ExpertParallel != 0,
		"ExpertParallel is %d, must divide the %d ranks", c.ExpertParallel, ranks)
	if len(c.Hosted) > 0 {
		most, total := ranks, 0
		if c.ExpertParallel > 0 {
			most = c.ExpertParallel
		}
		for _, n := range c.Hosted {
			fault(n < 0, "Hosted is %v, must not be negative", c.Hosted)
			total += n
		}
		fault(len(c.Hosted) != most || total != c.Experts, "Hosted is %v, want %d numbers whose sum is the %d experts", c.Hosted, most, c.Experts)
	}
	if err := c.Topology.Validate(ranks); err != nil {
		faults = append(faults, fmt.Errorf("switchyard: Config.Topology: %w", err))
	}
	faults = append(faults, c.Compression.validate(), c.Overlap.validate(), c.Wire.Validate())
	return errors.Join(faults...)
}

// fields is the configuration as text, a field a line, for comparing it between ranks.
func (c Config) fields() string {
	var b strings.Builder
	line := func(name, format string, value any) { fmt.Fprintf(&b, "%s="+format+"\n", name, value) }
	line("Dim", "%d", c.Dim)
	line("Experts", "%d", c.Experts)
	line("Router", "%s", describe(c.Router))
	line("Expert", "%s", describe(c.Expert))
	line("Shared", "%s", describe(c.Shared))
	line("ExpertParallel", "%d", c.ExpertParallel)
	line("Hosted", "%v", c.Hosted)
	line("Compression", "%s", c.Compression)
	line("Group", "%d", c.Group)
	line("MicroBatches", "%d", c.MicroBatches)
	line("Algorithm", "%s", cmp.Or(os.Getenv(alltoall.AlgorithmVariable), c.Algorithm.String()))
	line("Topology", "%v", c.Topology.Node)
	line("Links", "%v", c.Links)
	line("Wire", "%v", c.Wire)
	line("Overlap", "%v", [2]any{c.Overlap.Degree, c.Overlap.Auto})
	line("Overlap.Profile", "%v", describe(c.Overlap.Profile))
	line("Overlap.Background", "%t", c.Overlap.Background != nil)
	line("Seed", "%d", c.Seed)
	return b.String()
}

// describe prints a router or an expert by its type and settings, on one line. A type whose settings do not
// print alike on every rank (functions, pointers) says what it is by a String method.
func describe(v any) string {
	if s, ok := v.(fmt.Stringer); ok {
		return fmt.Sprintf("%T %s", v, s)
	}
	return strings.ReplaceAll(fmt.Sprintf("%T%+v", v, v), "\n", " ")
}

// maxShown bounds what an error says of one field.
const maxShown = 1 << 10

// difference names the first field in which two texts of fields differ.
func difference(mine, theirs string) string {
	a, b := strings.Split(mine, "\n"), strings.Split(theirs, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("here %s, there %s", printable.Text(a[i], maxShown), printable.Text(b[i], maxShown))
		}
	}
	return "their lengths differ"
}
