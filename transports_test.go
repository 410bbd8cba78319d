package switchyard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/blas/blas32"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/router"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/faulty"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/inproc"
	"github.com/switchyard-moe/switchyard/transport/shaped"
	"github.com/switchyard-moe/switchyard/transport/shm"
	"github.com/switchyard-moe/switchyard/transport/striped"
)

// opener opens a job of n ranks.
type opener = func(t *testing.T, n int) []*World

// transportsUnderTest are all that ranks of one process can use. That of MPI needs processes:
// .ci/run trains over it by every algorithm.
func transportsUnderTest() map[string]opener {
	list := map[string]opener{
		"tcp":     func(t *testing.T, n int) []*World { return joinedWorlds(t, n, true) },
		"grpc":    worldsOver("grpc", grpc.Opener{}),
		"striped": stripedWorlds,
		"shaped": func(_ *testing.T, n int) []*World {
			return decorated(n, func(e transport.Transport) transport.Transport {
				return shaped.New(e, shaped.Config{Latency: 20 * time.Microsecond, Jitter: 50 * time.Microsecond, Seed: 1})
			})
		},
		"faulty": func(_ *testing.T, n int) []*World {
			late := faulty.Rule{Fault: faulty.Reorder(200 * time.Microsecond), Chance: 0.2}
			return decorated(n, func(e transport.Transport) transport.Transport {
				return faulty.New(e, faulty.Config{Seed: 1, Rules: []faulty.Rule{late}})
			})
		},
	}
	if shm.Supported {
		list["shm"] = worldsOver("shm")
		list["hybrid"] = func(t *testing.T, n int) []*World { return joinedWorlds(t, n, false) }
	}
	return list
}

// TestTransportsSameBits trains over every transport, on every number of ranks, by every algorithm,
// on nodes of one to four, with rows that are dropped and ranks that have few or no tokens, and
// compares with one rank.
func TestTransportsSameBits(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	layers := layersUnderTest()
	wants := map[string]result{}
	for _, name := range []string{"drops", "oneExpertForAll"} {
		wants[name] = trainTwice(t, inprocWorlds(1), layers[name], x, dy, []int{bitsTokens})
	}
	for name, open := range transportsUnderTest() {
		for _, ranks := range fewer([]int{1, 2, 3, 4, 6, 7, 8}, 4) {
			t.Run(fmt.Sprintf("%s/ranks=%d", name, ranks), func(t *testing.T) {
				worlds := open(t, ranks)
				defer closeWorlds(worlds)
				for layer, want := range wants {
					everyAlgorithm(t, worlds, layers[layer], x, dy, want)
				}
			})
		}
	}
}

// everyAlgorithm trains on the same worlds by one algorithm after the other.
func everyAlgorithm(t *testing.T, worlds []*World, cfg Config, x, dy blas32.General, want result) {
	ranks := len(worlds)
	for _, each := range fewer([]int{1, 2, 3, 4}, 2) {
		if each > ranks {
			continue
		}
		for _, a := range alltoall.Algorithms() {
			cfg.Algorithm, cfg.Topology = a, alltoall.Nodes(ranks, each)
			cuts := cutsOf(splits[ranks][each%len(splits[ranks])])
			for _, w := range worlds {
				w.layers = 0 // the seed of each is that of the first
			}
			got := trainOn(t, atOnce, worlds, cfg, x, dy, router.Batch{}, cuts)
			requireSameBits(t, want, got)
		}
	}
}

func closeWorlds(worlds []*World) {
	var wg sync.WaitGroup
	for _, w := range worlds {
		wg.Go(func() { _ = w.Close() })
	}
	wg.Wait()
}

// worldsOf joins all ranks at once.
func worldsOf(t *testing.T, n int, join func(ctx context.Context, r transport.Rank) (transport.Transport, error)) []*World {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	worlds, errs := make([]*World, n), make([]error, n)
	var wg sync.WaitGroup
	for r := range n {
		wg.Go(func() {
			e, err := join(ctx, transport.Rank(r))
			if errs[r] = err; err != nil {
				cancel() // the others would wait for it
				return
			}
			worlds[r] = NewWorld(e)
		})
	}
	wg.Wait()
	for r, err := range errs {
		require.NoError(t, err, "rank %d", r)
	}
	return worlds
}

// worldsOver joins ranks of one process over a transport by its name.
func worldsOver(name string, more ...Opener) opener {
	return func(t *testing.T, n int) []*World {
		t.Helper()
		return worldsJoined(t, n, func(cfg *JoinConfig) { cfg.Transport, cfg.Transports = name, more })
	}
}

// stripedWorlds are over three lanes, of which one is parity.
func stripedWorlds(t *testing.T, n int) []*World {
	lanes := [][]*inproc.Transport{inproc.New(n), inproc.New(n), inproc.New(n)}
	return worldsOf(t, n, func(ctx context.Context, r transport.Rank) (transport.Transport, error) {
		return striped.New(ctx, []transport.Transport{lanes[0][r], lanes[1][r], lanes[2][r]}, striped.Config{Parity: 1})
	})
}

func decorated(n int, wrap func(transport.Transport) transport.Transport) []*World {
	worlds := make([]*World, n)
	for r, e := range inproc.New(n) {
		worlds[r] = NewWorld(wrap(e))
	}
	return worlds
}
