package switchyard

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/gemm"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/schedule"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/inproc"
)

var update = flag.Bool("update", false, "write the golden files of testdata; read the difference before keeping it")

// goldenCase is a layer on some ranks. Each rank runs two training steps and an evaluation.
type goldenCase struct {
	name  string
	ranks int
	cfg   Config
	held  bool // a step has two passes, which the test holds
	split []int
}

// goldenCases cover each way in which a layer cuts, sends, compresses and computes rows.
func goldenCases() []goldenCase {
	base := layersUnderTest()["dropless"] // 8 experts, 2 of them for each token
	with := func(change func(*Config)) Config {
		c := base
		change(&c)
		return c
	}
	degree := func(n int) func(*Config) { return func(c *Config) { c.Overlap.Degree = n } }
	compressed := Compression{When: CompressAlways, LSH: lsh.Config{Rate: 0.4, Compensation: lsh.LearnedGain, Refine: -1}}
	cases := []goldenCase{
		{name: "one rank", ranks: 1, cfg: base},
		{name: "one chunk", ranks: 3, cfg: base},
		{name: "two chunks, cut by experts", ranks: 3, cfg: with(degree(2))},
		{name: "four chunks, cut by ranks", ranks: 4, cfg: with(degree(4))},
		{name: "three chunks, cut by ranks, ranks without tokens", ranks: 4, cfg: with(degree(3)), split: splits[4][1]},
		{name: "copies of experts", ranks: 4, cfg: with(func(c *Config) { c.ExpertParallel = 2 })},
		{name: "copies of experts, two chunks", ranks: 4, cfg: with(func(c *Config) { c.ExpertParallel, c.Overlap.Degree = 2, 2 })},
		{name: "shared expert, two chunks", ranks: 2, cfg: with(func(c *Config) {
			c.Shared, c.Overlap.Degree = expert.SwiGLU{Hidden: 5}, 2
		})},
		{name: "uneven experts", ranks: 3, cfg: with(func(c *Config) { c.Hosted = []int{5, 0, 3} })},
		{name: "capacity", ranks: 4, cfg: layersUnderTest()["drops"]},
		{name: "two passes held, two chunks", ranks: 2, held: true, cfg: with(func(c *Config) { c.MicroBatches, c.Overlap.Degree = 2, 2 })},
		{name: "background collectives", ranks: 2, cfg: with(func(c *Config) {
			c.Overlap.Degree, c.Overlap.Background = 2, waiting(3)
		})},
		{name: "compression", ranks: 3, cfg: with(func(c *Config) { c.Compression = compressed })},
		{name: "compression, two chunks", ranks: 3, cfg: with(func(c *Config) { c.Compression, c.Overlap.Degree = compressed, 2 })},
		{name: "compression from the second step", ranks: 2, cfg: with(func(c *Config) {
			c.Compression = compressed
			c.Compression.From = 1
		})},
		{name: "compression, assigned clusters", ranks: 2, cfg: with(func(c *Config) {
			c.Compression = Compression{When: CompressAlways, Assign: roundRobin(2), LSH: lsh.Config{Bandwidth: 3, Ridge: 0.03}}
		})},
		{name: "node-wide compression", ranks: 4, cfg: with(func(c *Config) {
			c.Compression, c.Topology = compressed, alltoall.Nodes(4, 2)
			c.Compression.Nodes = true
		})},
		{name: "node-wide compression, two chunks, copies of experts", ranks: 4, cfg: with(func(c *Config) {
			c.Compression, c.Topology, c.ExpertParallel, c.Overlap.Degree = compressed, alltoall.Nodes(4, 2), 2, 2
			c.Compression.Nodes = true
		})},
		{name: "node-wide compression, a rank without tokens", ranks: 4, split: splits[4][1], cfg: with(func(c *Config) {
			c.Compression, c.Topology = compressed, alltoall.Nodes(4, 2)
			c.Compression.Nodes = true
		})},
		{name: "bf16", ranks: 3, cfg: with(func(c *Config) { c.Wire = alltoall.Everywhere(alltoall.BF16) })},
		{name: "checks of all numbers", ranks: 3, cfg: with(func(c *Config) { c.Wire.Finite = true })},
	}
	for _, a := range alltoall.Algorithms() {
		cases = append(cases, goldenCase{name: "algorithm " + a.String(), ranks: 4, cfg: with(func(c *Config) {
			c.Algorithm, c.Topology, c.Overlap.Degree = a, alltoall.Nodes(4, 2), 2
		})})
	}
	for i := range cases {
		if c := &cases[i].cfg; c.Compression.When != CompressNever {
			c.Compression.ClusterGradients, c.Wire = true, alltoall.Everywhere(alltoall.Float32)
		}
	}
	routers := routersUnderTest()
	for _, name := range []string{"groups", "wholeBatch", "modalityWhole", "softMoESlots", "shared", "balancedByBias"} {
		cases = append(cases, goldenCase{name: "router " + name, ranks: 3, cfg: routers[name]})
	}
	return cases
}

// messages counts what one end of a mesh sends to others.
type messages struct {
	*inproc.Transport
	sent atomic.Int64
}

func (m *messages) count(to transport.Rank) {
	if to != m.Rank() {
		m.sent.Add(1)
	}
}

func (m *messages) Send(ctx context.Context, to transport.Rank, tag transport.Tag, bufs ...[]byte) error {
	m.count(to)
	return m.Transport.Send(ctx, to, tag, bufs...)
}

func (m *messages) Exchange(ctx context.Context, sends, recvs []transport.Message) error {
	for i := range sends {
		m.count(sends[i].Peer)
	}
	return m.Transport.Exchange(ctx, sends, recvs)
}

// waiting is a background of a number of collectives, which do nothing.
type waiting int

func (w waiting) Ready() int              { return int(w) }
func (waiting) Run(context.Context) error { return nil }

// goldenRank is what one rank leaves: the order of its tasks, and its bytes, messages, Stats and
// results.
type goldenRank struct {
	t       *messages
	layer   *Layer
	through []forwarder // the batches of a step
	tasks   []string
	wire    []string
	stats   []string
	bits    []string

	bytes uint64
	sent  int64
}

func (g *goldenRank) observe(_ schedule.Pass, line schedule.Timeline) {
	var b strings.Builder
	for i := range line.Graph.Tasks {
		task := &line.Graph.Tasks[i]
		fmt.Fprintf(&b, "    %2d %-16s resource %d", i, task, task.Resource)
		if len(task.After) > 0 {
			fmt.Fprintf(&b, " after %v", task.After)
		}
		b.WriteByte('\n')
	}
	g.tasks = append(g.tasks, b.String())
}

// travelled notes what the rank has sent since the call before.
func (g *goldenRank) travelled(what string) {
	bytes, sent := g.t.WireBytes(), g.t.sent.Load()
	g.wire = append(g.wire, fmt.Sprintf("%s %d B in %d", what, bytes-g.bytes, sent-g.sent))
	g.bytes, g.sent = bytes, sent
}

// noteStats prints all of Stats but what a clock tells.
func (g *goldenRank) noteStats(what string, s Stats) {
	var losses []string
	for name, v := range s.Losses {
		losses = append(losses, fmt.Sprintf("%s=%.4g", name, v))
	}
	slices.Sort(losses)
	c := s.Compression
	g.stats = append(g.stats, fmt.Sprintf(
		"%s: tokens %d, padding %d, choices %v, dropped %d, unanswered %d, rounds %d, load %v from %d, losses %v, "+
			"compression {rows %d of %d, bytes %d of %d, residual %.3f}, chunks {%t %d %d}",
		what, s.Tokens, s.Padding, s.Choices, s.Dropped, s.Unanswered, s.Rounds, s.Load, s.FirstExpert, losses,
		c.Travelled, c.Rows, c.BytesAfter, c.BytesBefore, c.Residual, s.Overlap.Auto, s.Overlap.Forward, s.Overlap.Backward))
}

// noteBits keeps a digest of values.
func (g *goldenRank) noteBits(what string, lists ...[]float32) {
	h := sha256.New()
	for _, list := range lists {
		for _, v := range list {
			h.Write(binary.LittleEndian.AppendUint32(nil, math.Float32bits(v)))
		}
	}
	g.bits = append(g.bits, fmt.Sprintf("%s %x", what, h.Sum(nil)[:8]))
}

// run trains the rank's tokens for two steps and evaluates them.
func (g *goldenRank) run(w *World, c *goldenCase, x, dy blas32.General, side router.Batch) error {
	cfg := c.cfg
	cfg.Overlap.Observe = g.observe
	l, err := NewLayer(w, cfg)
	if err != nil {
		return err
	}
	g.layer, g.through = l, []forwarder{l}
	if c.held {
		g.through = []forwarder{&heldPasses{Layer: l}, &heldPasses{Layer: l}}
	}
	g.travelled("make")
	optimizer := expert.NewAdam(0.01)
	for range 2 {
		if err := g.step(x, dy, side, optimizer); err != nil {
			return err
		}
	}
	y, err := l.EvalBatch(context.Background(), x, side)
	if err != nil {
		return err
	}
	g.travelled("eval")
	g.noteStats("eval", l.Stats())
	g.noteBits("eval", y.Data)
	return g.parameters(l)
}

func (g *goldenRank) step(x, dy blas32.General, side router.Batch, optimizer expert.Optimizer) error {
	ctx := context.Background()
	for i, through := range g.through {
		side.Micro = i
		y, err := through.ForwardBatch(ctx, x, side)
		if err != nil {
			return err
		}
		g.travelled("forward")
		g.noteStats("forward", g.layer.Stats())
		g.noteBits("y", y.Data)
		dx, err := through.Backward(ctx, dy)
		if err != nil {
			return err
		}
		g.travelled("backward")
		g.noteBits("dx", dx.Data)
	}
	err := g.layer.Step(ctx, optimizer)
	g.travelled("step")
	return err
}

func (g *goldenRank) parameters(l *Layer) error {
	list, err := l.Parameters(context.Background())
	data := make([][]float32, len(list))
	for i := range list {
		data[i] = list[i].Data
	}
	g.noteBits("parameters", data...)
	return err
}

// runGolden runs a case on all of its ranks. A sixth of the tokens is padding.
func runGolden(t *testing.T, c *goldenCase) []*goldenRank {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	side := router.Batch{Padding: make([]bool, bitsTokens), Modality: make([]int32, bitsTokens)}
	for i := range bitsTokens {
		side.Padding[i], side.Modality[i] = r.IntN(6) == 0, int32(r.IntN(2))
	}
	if c.split == nil {
		c.split = splits[c.ranks][0]
	}
	cuts := append([]int{0}, cutsOf(c.split)...)
	ranks, worlds := make([]*goldenRank, c.ranks), make([]*World, c.ranks)
	for i, tr := range inproc.New(c.ranks) {
		ranks[i] = &goldenRank{t: &messages{Transport: tr}}
		worlds[i] = NewWorld(ranks[i].t)
	}
	for i, err := range onRanks(worlds, func(w *World) error {
		begin, end := cuts[w.Rank()], cuts[w.Rank()+1]
		return ranks[w.Rank()].run(w, c, part(x, begin, end), part(dy, begin, end), sidePart(side, begin, end))
	}) {
		require.NoError(t, err, "%s, rank %d", c.name, i)
	}
	return ranks
}

// TestLayerGoldens holds the order of a layer's tasks, what each rank sends, its Stats and its
// results against files that can be read. Nothing in them comes from a clock.
func TestLayerGoldens(t *testing.T) {
	var tasks, wire, stats, bits strings.Builder
	for _, c := range goldenCases() {
		ranks := runGolden(t, &c)
		for _, b := range []*strings.Builder{&tasks, &wire, &stats, &bits} {
			fmt.Fprintf(b, "%s, %d ranks\n", c.name, c.ranks)
		}
		for r, g := range ranks {
			require.Equal(t, ranks[0].tasks, g.tasks, "%s: the tasks of rank %d are those of rank 0", c.name, r)
			fmt.Fprintf(&wire, "  rank %d: %s\n", r, strings.Join(g.wire, ", "))
			fmt.Fprintf(&stats, "  rank %d\n    %s\n", r, strings.Join(g.stats, "\n    "))
			fmt.Fprintf(&bits, "  rank %d: %s\n", r, strings.Join(g.bits, ", "))
		}
		writeTasks(&tasks, ranks[0].tasks)
	}
	requireGolden(t, "layer_tasks.txt", tasks.String())
	requireGolden(t, "layer_wire.txt", wire.String())
	requireGolden(t, "layer_stats.txt", stats.String())
	if gemm.Exact && runtime.GOARCH == "amd64" { // elsewhere the compiler may join a product and a sum
		requireGolden(t, "layer_bits.txt", bits.String())
	}
}

// writeTasks writes the graph of each pass, or by which earlier pass it is known.
func writeTasks(b *strings.Builder, passes []string) {
	for i, graph := range passes {
		if first := slices.Index(passes, graph); first < i {
			fmt.Fprintf(b, "  pass %d as %d\n", i, first)
			continue
		}
		fmt.Fprintf(b, "  pass %d\n%s", i, graph)
	}
}

// requireGolden compares got with a file of testdata, or writes it there under -update.
func requireGolden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, strings.ReplaceAll(string(want), "\r\n", "\n"), got)
}
