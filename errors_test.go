package switchyard

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/expert"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
)

// requirePrefixesOnce expects the name of no package twice in a line of an error's text.
func requirePrefixesOnce(t *testing.T, err error, msg ...any) {
	t.Helper()
	require.Error(t, err, msg...)
	for _, line := range strings.Split(err.Error(), "\n") {
		for _, name := range []string{"switchyard", "alltoall", "collective", "router", "expert", "lsh", "rendezvous", "transport", "tcp", "hybrid", "secure"} {
			found := regexp.MustCompile(`(^|: )`+name+`: `).FindAllString(line, -1)
			require.LessOrEqual(t, len(found), 1, "%q: %s", name, line)
		}
	}
}

// TestPrefixesStandOnce takes the errors of many operations: of misuse, refusals, ranks that leave
// in each of them, and joins.
func TestPrefixesStandOnce(t *testing.T) {
	cfg := smallConfig()
	cfg.ExpertParallel = 1
	cfg.Shared = expert.FFN{Hidden: 3}
	cfg.Router = router.TopK{K: 2, Score: router.Sigmoid, BiasRate: 0.1, Losses: []router.Loss{router.GlobalBalance(0.1)}}
	x := blas32.General{Rows: 2, Cols: 6, Stride: 6, Data: make([]float32, 12)}
	prelude := map[string]func(l *Layer) error{
		"Backward": func(l *Layer) error { _, err := l.Forward(t.Context(), x); return err },
	}
	prelude["Step"] = func(l *Layer) error {
		if err := prelude["Backward"](l); err != nil {
			return err
		}
		_, err := l.Backward(t.Context(), x)
		return err
	}
	prelude["Gradients"] = prelude["Step"]
	for _, parallel := range []int{1, 2} {
		cfg.ExpertParallel = parallel
		for _, op := range []string{"Forward", "Eval", "Backward", "Step", "Gradients", "Parameters"} {
			errs := onRanks(inprocWorlds(2), func(w *World) error {
				l, err := NewLayer(w, cfg)
				require.NoError(t, err)
				if before := prelude[op]; before != nil {
					require.NoError(t, before(l))
				}
				if w.Rank() == 1 {
					return nil // and so it leaves
				}
				err = calls(l, x)[op](t.Context())
				if errors.Is(err, ErrFailed) {
					requirePrefixesOnce(t, calls(l, x)[op](t.Context()), "%s again", op)
				}
				return err
			})
			if op == "Parameters" && parallel == 1 {
				require.NoError(t, errs[0], "each rank has all experts")
				continue
			}
			requirePrefixesOnce(t, errs[0], "%s, parallel %d", op, parallel)
		}
	}
	for name, spoil := range map[string]func(c *Config){
		"sizes":    func(c *Config) { c.Dim, c.Experts, c.Hosted = 0, 1<<40, []int{1} },
		"topology": func(c *Config) { c.Topology.Node = []int{0, 3} },
		"router": func(c *Config) {
			c.Router = router.Several{Routers: []router.Router{router.TopK{}, nil, router.Several{}}}
		},
		"expert": func(c *Config) { c.Expert = expert.FFN{Hidden: 1 << 40} },
		"wire":   func(c *Config) { c.Wire = alltoall.Everywhere(alltoall.Format(99)) },
		"lsh":    func(c *Config) { c.Compression.LSH.Hashes = -1 },
	} {
		cfg := smallConfig()
		spoil(&cfg)
		for _, err := range onRanks(inprocWorlds(2), func(w *World) error { _, err := NewLayer(w, cfg); return err }) {
			requirePrefixesOnce(t, err, name)
		}
	}
	for _, err := range onRanks(inprocWorlds(2), func(w *World) error {
		cfg := smallConfig()
		cfg.Seed = uint64(w.Rank())
		_, err := NewLayer(w, cfg)
		return err
	}) {
		requirePrefixesOnce(t, err, "NewLayer")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for name, join := range map[string]JoinConfig{
		"nobody":   {Rank: 1, Size: 2, Addr: "127.0.0.1:1"},
		"no name":  {Rank: 1, Size: 2, Addr: "nowhere.invalid:1", Insecure: true},
		"no port":  {Rank: 1, Size: 2, Addr: "127.0.0.1"},
		"too many": {Rank: 3, Size: 2, Addr: "127.0.0.1:1"},
		"insecure": {Rank: 0, Size: 2, Addr: "192.0.2.1:7"},
	} {
		_, err := Join(ctx, join)
		requirePrefixesOnce(t, err, name)
	}
	nested := &transport.Error{Rank: 1, Op: "route", Err: &transport.Error{Rank: 2, Op: "recv", Err: transport.ErrPeerClosed}}
	require.EqualError(t, nested, "switchyard: rank 1: route: rank 2: recv: peer has closed its transport")
}

// TestErrorsAreWrappedByErrtext looks through the code for errors that begin with a package's name
// and wrap others, which may begin with it too.
func TestErrorsAreWrappedByErrtext(t *testing.T) {
	bad := regexp.MustCompile(`fmt\.Errorf\("[a-z]+: [^"]*%w`)
	seen := 0
	require.NoError(t, filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (file == "bench" || file == "examples" || strings.HasPrefix(d.Name(), ".") && file != ".") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		seen++
		code, err := os.ReadFile(file)
		require.NotRegexp(t, bad, string(code), "%s: use errtext.Errorf", file)
		return err
	}))
	require.Greater(t, seen, 100)
}

// TestRefusalIsKnownOnTheRankThatRefused: in every way of refusing a batch, errors.Is finds
// ErrRefused on all ranks, the one with the reason included, and the next batch works.
func TestRefusalIsKnownOnTheRankThatRefused(t *testing.T) {
	const guilty = 1
	for name, cfg := range refusals() {
		for _, what := range []string{"Forward", "Backward"} {
			errs := make([]error, 4)
			for r, err := range onRanks(inprocWorlds(4), func(w *World) error {
				l, err := NewLayer(w, cfg)
				if err != nil {
					return err
				}
				spoilt := w.Rank() == guilty
				for round := range 2 {
					x, side := batchOf(7, w.Rank())
					dy, _ := batchOf(8, w.Rank())
					if spoilt && round == 0 {
						m := map[string]blas32.General{"Forward": x, "Backward": dy}[what]
						m.Data[m.Cols] = float32(math.Inf(1))
					}
					_, err := l.ForwardBatch(t.Context(), x, side)
					if err == nil {
						_, err = l.Backward(t.Context(), dy)
					}
					if round == 0 {
						errs[w.Rank()] = err
						requirePrefixesOnce(t, err, name)
						require.NotErrorIs(t, err, ErrFailed)
						continue
					}
					if err != nil {
						return err
					}
				}
				return l.Step(t.Context(), expert.NewSGD(0.1))
			}) {
				require.NoError(t, err, "rank %d, %s, %s", r, name, what)
				require.ErrorIs(t, errs[r], alltoall.ErrRefused, "rank %d, %s, %s", r, name, what)
				require.Equal(t, transport.Rank(guilty), transport.CulpritOf(errs[r]), "rank %d, %s, %s: %v", r, name, what, errs[r])
			}
		}
	}
}
