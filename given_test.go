package switchyard

import (
	"context"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/alltoall/balance"
	"github.com/switchyard-moe/switchyard/alltoall/links"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/internal/mat"
	"github.com/switchyard-moe/switchyard/lsh"
	"github.com/switchyard-moe/switchyard/param"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// wrongMatrices are matrices of 6 columns that contradict themselves, or have not 6.
func wrongMatrices() map[string]blas32.General {
	data := make([]float32, 24)
	return map[string]blas32.General{
		"stride 0": {Rows: 4, Cols: 6, Data: data}, "stride below columns": {Rows: 4, Cols: 6, Stride: 5, Data: data},
		"negative stride": {Rows: 4, Cols: 6, Stride: -6, Data: data}, "negative rows": {Rows: -4, Cols: 6, Stride: 6, Data: data},
		"negative columns": {Rows: 4, Cols: -6, Stride: 6, Data: data}, "no columns": {Rows: 4, Stride: 6, Data: data},
		"other columns": {Rows: 4, Cols: 5, Stride: 5, Data: data}, "one element short": {Rows: 4, Cols: 6, Stride: 6, Data: data[:23]},
		"no data": {Rows: 4, Cols: 6, Stride: 6}, "short rows": {Rows: 4, Cols: 6, Stride: 7, Data: data},
		"rows of 1<<40": {Rows: 1 << 40, Cols: 6, Stride: 6, Data: data}, "most rows": {Rows: math.MaxInt, Cols: 6, Stride: 6, Data: data},
		"columns of 1<<40": {Rows: 4, Cols: 1 << 40, Stride: 1 << 40, Data: data},
		"product of 0":     {Rows: 1 << 32, Cols: 6, Stride: 1 << 32, Data: data},
		"product of 6":     {Rows: 1<<62 + 1, Cols: 6, Stride: 8, Data: data},
	}
}

// TestWrongMatricesAreErrors in every place that takes one, which name the rank, the operation and
// what is given; nothing has been done then.
func TestWrongMatricesAreErrors(t *testing.T) {
	alone(t, func(w *World) {
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		ctx, x := t.Context(), randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, 6)
		for name, wrong := range wrongMatrices() {
			for _, op := range []string{"Forward", "ForwardBatch", "Eval", "EvalBatch"} {
				err := calls(l, wrong)[op](ctx)
				require.ErrorContains(t, err, "switchyard: rank 0: "+op+": x has ", name)
				require.NotErrorIs(t, err, ErrFailed)
			}
			if name == "other columns" || name == "columns of 1<<40" {
				continue // features may be as wide as they like
			}
			if wrong.Rows == 4 {
				_, err = l.ForwardBatch(ctx, x, router.Batch{Features: wrong})
				require.ErrorContains(t, err, "ForwardBatch: Features has ", name)
			}
		}
		_, err = l.Forward(ctx, x)
		require.NoError(t, err)
		for name, wrong := range wrongMatrices() {
			_, err := l.Backward(ctx, wrong)
			require.ErrorContains(t, err, "switchyard: rank 0: Backward: dy has ", name)
		}
		_, err = l.Backward(ctx, x)
		require.NoError(t, err)
		for _, empty := range []blas32.General{{}, {Cols: 6, Stride: 6}, {Stride: -3}} {
			_, err := l.Forward(ctx, empty)
			require.NoError(t, err)
			_, err = l.Backward(ctx, empty)
			require.NoError(t, err)
		}
		require.NoError(t, l.Step(ctx, expert.NewSGD(0.1)))
	})
}

// TestAWideStrideHasTheSameBits: what lies between the rows of x, dy and the features is never
// read.
func TestAWideStrideHasTheSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 1))
	x, dy, features := randomMatrix(r, 9, 6), randomMatrix(r, 9, 6), randomMatrix(r, 9, 3)
	wide := func(m blas32.General) blas32.General {
		w := blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: m.Cols + 3, Data: make([]float32, (m.Rows-1)*(m.Cols+3)+m.Cols)}
		for i := range w.Data {
			w.Data[i] = float32(math.NaN())
		}
		for i := range m.Rows {
			copy(mat.Row(w, i), mat.Row(m, i))
		}
		return w
	}
	ids, modality := []int32{1, 2, 3, 4, 5, 6, 1, 2, 3}, []int32{0, 1, 1, 0, 0, 0, 1, 0, 1}
	for name, of := range everyRouter() {
		for _, compression := range []Compression{{}, {When: CompressAlways, LSH: lsh.Config{Rate: 0.5}}} {
			alone(t, func(w *World) {
				var want []float32
				for _, as := range []func(blas32.General) blas32.General{func(m blas32.General) blas32.General { return m }, wide} {
					w.layers = 0 // the same seed
					l, err := NewLayer(w, Config{Dim: 6, Experts: 4, Group: 4, Router: of, Expert: expert.SwiGLU{Hidden: 5}, Shared: expert.FFN{Hidden: 3}, Compression: compression})
					require.NoError(t, err)
					y, err := l.ForwardBatch(t.Context(), as(x), router.Batch{Features: as(features), IDs: ids, Modality: modality})
					require.NoError(t, err, name)
					got := append([]float32(nil), y.Data...)
					dx, err := l.Backward(t.Context(), as(dy))
					require.NoError(t, err, name)
					got = append(got, dx.Data...)
					require.NoError(t, l.Step(t.Context(), expert.NewSGD(0.1)))
					p, err := l.Parameters(t.Context())
					require.NoError(t, err)
					for _, tensor := range p {
						got = append(got, tensor.Data...)
					}
					if want == nil {
						want = got
					}
					sameBits(t, name, want, got)
				}
			})
		}
	}
}

// TestWhatARouterLacksIsARefusal: a gate that needs more of a batch than it is given, or other,
// refuses the batch on every rank.
func TestWhatARouterLacksIsARefusal(t *testing.T) {
	several := router.Several{Routers: []router.Router{router.TopK{K: 1}, router.TopK{K: 2}}}
	groups := []router.ModalityGroup{{Name: "text", Experts: 3}, {Name: "image", Experts: 1}}
	for name, lacking := range map[string]struct {
		router router.Router
		side   router.Batch
	}{
		"numbers":          {router.Hash{K: 2}, router.Batch{}},
		"number too large": {router.Hash{Table: []router.ExpertID{1, 2}}, router.Batch{IDs: []int32{0, 1, 2}}},
		"negative number":  {router.Hash{Table: []router.ExpertID{1, 2}}, router.Batch{IDs: []int32{0, 1, -2}}},
		"features":         {router.SideFeatures{TopK: router.TopK{K: 1}, Columns: 2}, router.Batch{}},
		"wide features":    {router.SideFeatures{TopK: router.TopK{K: 1}, Columns: 2}, router.Batch{Features: randomMatrix(rand.New(rand.NewPCG(1, 1)), 3, 6)}},
		"modality":         {router.Modality{Groups: groups}, router.Batch{}},
		"other modality":   {router.Modality{Groups: groups}, router.Batch{Modality: []int32{0, 1, 2}}},
		"over all ranks":   {router.Modality{Groups: groups, Over: router.WholeBatch}, router.Batch{Modality: []int32{0, -1, 1}}},
		"gate":             {several, router.Batch{Gate: 2}},
		"negative gate":    {several, router.Batch{Gate: -1}},
	} {
		good := router.Batch{IDs: []int32{0, 1, 1}, Features: randomMatrix(rand.New(rand.NewPCG(2, 1)), 3, 2), Modality: []int32{0, 1, 1}}
		for rank, err := range onRanks(inprocWorlds(2), func(w *World) error {
			cfg := smallConfig()
			cfg.Router = lacking.router
			l, err := NewLayer(w, cfg)
			if err != nil {
				return err
			}
			x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 3, 6)
			side := good
			if w.Rank() == 1 {
				side = lacking.side
			}
			for _, try := range []func(context.Context, blas32.General, router.Batch) (blas32.General, error){l.ForwardBatch, l.EvalBatch} {
				_, err = try(t.Context(), x, side)
				require.ErrorIs(t, err, alltoall.ErrRefused, name)
				require.NotErrorIs(t, err, ErrFailed, name)
				require.Equal(t, transport.Rank(1), transport.CulpritOf(err), name)
			}
			_, err = l.ForwardBatch(t.Context(), x, good)
			return err
		}) {
			require.NoError(t, err, "rank %d, %s", rank, name)
		}
	}
}

// TestClustersThatDoNotFitAreAnError of Compression.Assign.
func TestClustersThatDoNotFitAreAnError(t *testing.T) {
	for name, assign := range map[string]func(blas32.General, []int) *lsh.Clusters{
		"none":         func(blas32.General, []int) *lsh.Clusters { return nil },
		"other groups": func(blas32.General, []int) *lsh.Clusters { return &lsh.Clusters{} },
		"other rows":   func(x blas32.General, ends []int) *lsh.Clusters { return lsh.NewClusters(make([][]int32, len(ends))) },
		"a gap": func(x blas32.General, ends []int) *lsh.Clusters {
			return &lsh.Clusters{RowEnds: ends, CentroidEnds: make([]int, len(ends)), Of: make([]int32, x.Rows)}
		},
	} {
		alone(t, func(w *World) {
			cfg := smallConfig()
			cfg.Compression = Compression{When: CompressAlways, Assign: assign}
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			_, err = l.Forward(t.Context(), randomMatrix(rand.New(rand.NewPCG(1, 1)), 8, 6))
			require.ErrorContains(t, err, "Config.Compression.Assign: ", name)
			require.Equal(t, transport.Rank(0), transport.CulpritOf(err), name)
		})
	}
}

// TestTooManyGroupsAreAnError before they are counted.
func TestTooManyGroupsAreAnError(t *testing.T) {
	alone(t, func(w *World) {
		cfg := smallConfig()
		cfg.Dim, cfg.Experts, cfg.Group, cfg.Router, cfg.Expert = 1, 1<<20, 1, router.Uniform{K: 1}, expert.Identity{}
		l, err := NewLayer(w, cfg)
		require.NoError(t, err)
		_, err = l.Eval(t.Context(), blas32.General{Rows: 129, Cols: 1, Stride: 1, Data: make([]float32, 129)})
		require.ErrorContains(t, err, "rank 0: Eval: 129 tokens in 129 groups for 1048576 experts: groups × experts must be at most 134217728 (alltoall.MaxCounts)")
	})
}

type nothing struct{}

func (*nothing) New(router.Shape) (router.Gate, error) { panic("asked of nothing") }
func (*nothing) String() string                        { panic("asked of nothing") }

type noExpert struct{}

func (*noExpert) New(expert.Shape) (expert.Group, error) { panic("asked of nothing") }

type noOptimizer struct{}

func (*noOptimizer) Update(*param.Set, []float32) { panic("asked of nothing") }

// TestSizesOfAConfigurationAreBounded: what is negative, far too large, or overflows in a sum or
// product, and what is nil within an interface, is an error that names the field, the value and the
// limit. Memory is not asked for first.
func TestSizesOfAConfigurationAreBounded(t *testing.T) {
	const huge = 1 << 40
	for want, spoil := range map[string]func(c *Config){
		"Config.Dim is 1099511627776, must be at most 16777216":          func(c *Config) { c.Dim = huge },
		"Config.Dim is 9223372036854775807, must be at most 16777216":    func(c *Config) { c.Dim = math.MaxInt },
		"Config.Experts is 1099511627776, must be at most 16777216":      func(c *Config) { c.Experts = huge },
		"Config.Experts is -5, must be at least 1":                       func(c *Config) { c.Experts = -5 },
		"Config.Group is 1099511627776, must be at most 2147483647":      func(c *Config) { c.Group = huge },
		"Config.MaxRows is 1099511627776, want 0 to 2147483647":          func(c *Config) { c.MaxRows = huge },
		"Config.MicroBatches is 1099511627776, must be at most 16777216": func(c *Config) { c.MicroBatches = huge },
		"Config.ExpertParallel is 1099511627776, must divide":            func(c *Config) { c.ExpertParallel = huge },
		"Config.Hosted[0] is 4611686018427387904, want 0 to":             func(c *Config) { c.Hosted = []int{1 << 62} },
		"Config.Hosted[0] is -1, want 0 to the 4 experts":                func(c *Config) { c.Hosted = []int{-1} },
		"Config.Hosted has 3 numbers, want one for each of the 1 ranks":  func(c *Config) { c.Hosted = []int{1 << 62, 1 << 62, 1 << 62} },
		"Config.Overlap.Degree is 1099511627776, want 0 to 64":           func(c *Config) { c.Overlap.Degree = huge },
		"hashes of width":                    func(c *Config) { c.Compression.LSH.Hashes, c.Compression.LSH.Width = 1<<32, 1<<32 },
		"Config.Router is nil":               func(c *Config) { c.Router = (*nothing)(nil) },
		"Config.Expert is nil":               func(c *Config) { c.Expert = (*noExpert)(nil) },
		"Config.Shared is a nil":             func(c *Config) { c.Shared = (*noExpert)(nil) },
		"Config.Overlap.Background is a nil": func(c *Config) { c.Overlap.Background = (*sums)(nil) },
		"of shape [16777216 16777216] has more than 17179869184 elements": func(c *Config) { c.Dim, c.Experts = 1<<24, 1<<24 },
		"K is 1099511627776":                       func(c *Config) { c.Router = router.TopK{K: huge} },
		"Hidden is 1099511627776, must be at most": func(c *Config) { c.Expert = expert.FFN{Hidden: huge} },
		"Hidden is 4611686018427387904, must be":   func(c *Config) { c.Expert = expert.SwiGLU{Hidden: 1 << 62} },
		"of shape [4 8192 16777216] has more than": func(c *Config) { c.Dim, c.Expert = 8192, expert.SwiGLU{Hidden: 1 << 24} },
		"1099511627776 slots":                      func(c *Config) { c.Router = router.SoftMoE{Slots: huge} },
		"of shape [1024 4 16777216] has more than": func(c *Config) { c.Dim, c.Router = 1<<10, router.SoftMoE{Slots: 1 << 24} },
		"1099511627776 features":                   func(c *Config) { c.Router = router.SideFeatures{TopK: router.TopK{K: 1}, Columns: huge} },
		"projection to 1099511627776 columns":      func(c *Config) { c.Router = router.Cosine{TopK: router.TopK{K: 1}, Columns: huge} },
		"modality \"a\" has 4611686018427387904 experts": func(c *Config) {
			c.Router = router.Modality{Groups: []router.ModalityGroup{{Name: "a", Experts: 1 << 62}, {Name: "b", Experts: 1 << 62}, {Name: "c", Experts: 1 << 62}, {Name: "d", Experts: 1<<62 + 4}}}
		},
		"gate 0 of several: no router": func(c *Config) { c.Router = router.Several{Routers: []router.Router{(*nothing)(nil)}} },
		"Record without a Router":      func(c *Config) { c.Router = router.Record{Router: (*nothing)(nil)} },
		"loss 0 is the zero Loss":      func(c *Config) { c.Router = router.TopK{K: 1, Losses: []router.Loss{{}}} },
	} {
		alone(t, func(w *World) {
			cfg := smallConfig()
			spoil(&cfg)
			_, err := NewLayer(w, cfg)
			require.ErrorContains(t, err, want)
		})
	}
	alone(t, func(w *World) {
		l, err := NewLayer(w, smallConfig())
		require.NoError(t, err)
		x := randomMatrix(rand.New(rand.NewPCG(1, 1)), 4, 6)
		require.NoError(t, beforehand("Step", l, x))
		for _, none := range []expert.Optimizer{nil, (*noOptimizer)(nil), (*expert.Adam)(nil)} {
			require.ErrorContains(t, l.Step(t.Context(), none), "rank 0: Step: no optimizer")
		}
		require.NoError(t, l.Step(t.Context(), expert.NewSGD(0.1)))
	})
	_, err := NewLayer(nil, smallConfig())
	require.ErrorContains(t, err, "the world is nil")
}

// TestEveryFieldIsCompared: two ranks that differ in one field of the configuration fail both, and
// the field is named, however long it is.
func TestEveryFieldIsCompared(t *testing.T) {
	profile := func(whole float64) *OverlapProfile {
		s := OpSeconds{Whole: whole}
		return &OverlapProfile{Ranks: 4, Most: 1, Timed: []DegreeSeconds{{Chunks: 1, Forward: s, Backward: s, Slowest: 1}}}
	}
	for field, change := range map[string]func(c *Config){
		"Dim": func(c *Config) { c.Dim = 7 }, "Experts": func(c *Config) { c.Experts = 5 }, "Router": func(c *Config) { c.Router = router.TopK{K: 1} },
		"Expert": func(c *Config) { c.Expert = expert.SwiGLU{Hidden: 6} }, "Shared": func(c *Config) { c.Shared = expert.SwiGLU{Hidden: 6} },
		"ExpertParallel": func(c *Config) { c.ExpertParallel = 1 }, "Hosted": func(c *Config) { c.Hosted = []int{2, 0, 1, 1} },
		"Compression": func(c *Config) { c.Compression.When = CompressAlways }, "Group": func(c *Config) { c.Group = 3 },
		"MicroBatches": func(c *Config) { c.MicroBatches = 2 }, "Seed": func(c *Config) { c.Seed = 10 },
		"Algorithm": func(c *Config) { c.Algorithm = alltoall.Bruck }, "Topology": func(c *Config) { c.Topology = alltoall.Nodes(4, 2) },
		"Links": func(c *Config) { c.Links.Within = links.Link{Alpha: 1, Beta: 2} }, "Wire": func(c *Config) { c.Wire.Finite = true },
		"Overlap": func(c *Config) { c.Overlap.GradientPiece = 2 }, "Overlap.Profile": func(c *Config) { c.Overlap.Profile = profile(1) },
		"Overlap.Background": func(c *Config) { c.Overlap.Background = &sums{} }, "MaxRows": func(c *Config) { c.MaxRows = 99 },
		"Balance": func(c *Config) { c.Balance.When = balance.Always },
	} {
		for rank, err := range onRanks(inprocWorlds(4), func(w *World) error {
			cfg := smallConfig()
			if w.Rank() == 2 {
				change(&cfg)
			}
			_, err := NewLayer(w, cfg)
			return err
		}) {
			require.ErrorIs(t, err, transport.ErrMismatch, "%s, rank %d", field, rank)
			require.ErrorContains(t, err, "here "+field+"=", "rank %d", rank)
		}
	}
	for _, differ := range []bool{false, true} { // hash tables, of 40 000 entries
		for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
			cfg := smallConfig()
			table := verbose{router.TopK{K: 2}, make([]int, 40_000)}
			if differ && w.Rank() == 1 {
				table.table[39_999] = 1
			}
			cfg.Router = table
			_, err := NewLayer(w, cfg)
			return err
		}) {
			if !differ {
				require.NoError(t, err)
				continue
			}
			require.ErrorIs(t, err, transport.ErrMismatch)
			require.ErrorContains(t, err, "here Router=switchyard.verbose")
			require.ErrorContains(t, err, "SHA-256")
			require.Less(t, len(err.Error()), 4<<10)
		}
	}
}

// verbose is a router that prints at length.
type verbose struct {
	router.TopK
	table []int
}

// TestALayerThatCannotBeBuiltOnOneRankFailsOnAll, and the next layer can be built.
func TestALayerThatCannotBeBuiltOnOneRankFailsOnAll(t *testing.T) {
	for rank, err := range onRanks(inprocWorlds(3), func(w *World) error {
		cfg := smallConfig()
		cfg.Router = sick{router.TopK{K: 2}, w.Rank() == 1}
		_, err := NewLayer(w, cfg)
		require.Equal(t, transport.Rank(1), transport.CulpritOf(err))
		require.ErrorContains(t, err, "rank 1: NewLayer: ")
		require.ErrorContains(t, err, "no file of routes")
		cfg.Router = router.TopK{K: 2}
		_, err = NewLayer(w, cfg)
		return err
	}) {
		require.NoError(t, err, "rank %d", rank)
	}
}

// sick is a router that cannot be built where it is sick, and does not say so before.
type sick struct {
	router.TopK
	is bool
}

func (sick) String() string { return "sick" }

func (s sick) New(shape router.Shape) (router.Gate, error) {
	if s.is {
		return nil, errNoFile
	}
	return s.TopK.New(shape)
}

const errNoFile = noFile("no file of routes")

type noFile string

func (e noFile) Error() string { return string(e) }

// TestWhatNobodyMade: worlds and layers that are zero are errors of what is called of them.
func TestWhatNobodyMade(t *testing.T) {
	_, err := NewLayer(&World{}, smallConfig())
	require.EqualError(t, err, "switchyard: NewLayer: the world was not made by Join or NewWorld")
	for name, call := range calls(&Layer{}, blas32.General{}) {
		require.EqualError(t, call(t.Context()), "switchyard: "+name+": the layer was not made by NewLayer")
	}
	none := &Layer{}
	none.Observe(nil)
	require.Nil(t, none.OverlapProfile())
	require.Zero(t, none.Stats())
}

// TestNegativeSettingsOfJoin are errors that name the field, for a rank that is alone too.
func TestNegativeSettingsOfJoin(t *testing.T) {
	for field, cfg := range map[string]JoinConfig{
		"Size": {Size: -1}, "Timeout": {Size: 1, Timeout: -1}, "DeadAfter": {Size: 1, DeadAfter: -1}, "Heartbeat": {Size: 1, Heartbeat: -1},
	} {
		_, err := Join(t.Context(), cfg)
		require.ErrorContains(t, err, "switchyard: JoinConfig."+field+" is -1")
	}
}
