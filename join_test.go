package switchyard

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/alltoall"
	"github.com/switchyard-moe/switchyard/transport"
	"github.com/switchyard-moe/switchyard/transport/grpc"
	"github.com/switchyard-moe/switchyard/transport/shm"
)

// tcpWorlds joins n ranks of one process over TCP on loopback.
func tcpWorlds(t *testing.T, n int) []*World {
	t.Helper()
	return joinedWorlds(t, n, false)
}

// joinedWorlds joins n ranks of one process, which share its memory unless that is ruled out.
func joinedWorlds(t *testing.T, n int, apart bool) []*World {
	t.Helper()
	return worldsJoined(t, n, func(cfg *JoinConfig) { cfg.NoSharedMemory = apart })
}

// worldsJoined joins n ranks of one process, each with a configuration that is changed.
func worldsJoined(t *testing.T, n int, change func(cfg *JoinConfig)) []*World {
	t.Helper()
	addr := freeAddr(t)
	worlds := make([]*World, n)
	errs := make(chan error, n)
	for r := range n {
		go func() {
			cfg := JoinConfig{Rank: transport.Rank(r), Size: n, Addr: addr, Job: t.Name(), Timeout: 20 * time.Second}
			change(&cfg)
			var err error
			worlds[r], err = Join(context.Background(), cfg)
			errs <- err
		}()
	}
	for range n {
		require.NoError(t, <-errs)
	}
	return worlds
}

// freeAddr returns an address to meet at, below the ports that the system gives to connections, of
// which one may be gone by the time it is listened on.
func freeAddr(t *testing.T) string {
	t.Helper()
	for {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(12000)))
		if err != nil {
			continue
		}
		defer l.Close()
		return l.Addr().String()
	}
}

// TestJoinKnowsTheNodes: ranks of one process are on one.
func TestJoinKnowsTheNodes(t *testing.T) {
	for _, w := range tcpWorlds(t, 3) {
		top := w.Topology()
		require.NoError(t, top.Validate(3))
		require.Equal(t, []int{0, 0, 0}, top.Node)
		defer func() { require.NoError(t, w.Close()) }()
	}
	alone := inprocWorlds(1)[0]
	require.Empty(t, alone.Topology().Node)
	require.NoError(t, alone.Close())
}

func TestSameBitsOverTCP(t *testing.T) {
	needExactProducts(t)
	r := rand.New(rand.NewPCG(1, 2))
	x, dy := randomMatrix(r, bitsTokens, bitsDim), randomMatrix(r, bitsTokens, bitsDim)
	cfg := layersUnderTest()["drops"]
	want := trainTwice(t, inprocWorlds(1), cfg, x, dy, []int{bitsTokens})
	for ranks, ways := range splits {
		for _, way := range ways {
			t.Run(fmt.Sprintf("ranks=%d/groups=%v", ranks, way), func(t *testing.T) {
				worlds := tcpWorlds(t, ranks)
				require.Equal(t, "config", worlds[0].Source())
				requireSameBits(t, want, trainTwice(t, worlds, cfg, x, dy, cutsOf(way)))
			})
		}
	}
}

func TestJoinReportsWhatIsWrong(t *testing.T) {
	ctx := context.Background()
	_, err := Join(ctx, JoinConfig{Rank: 3, Size: 2, Addr: "127.0.0.1:1"})
	require.ErrorContains(t, err, "rank 3")
	_, err = Join(ctx, JoinConfig{Size: 2})
	require.ErrorContains(t, err, "ddress")
	_, err = Join(ctx, JoinConfig{Rank: 1})
	require.ErrorContains(t, err, "without a Size")
	_, err = Join(ctx, JoinConfig{Size: 2, Addr: "192.0.2.1:29500"})
	require.ErrorContains(t, err, "Insecure")
}

func TestPlaceComesFromOneSource(t *testing.T) {
	env := map[string]string{"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
	getenv := func(name string) string { return env[name] }
	who, err := JoinConfig{}.place(getenv)
	require.NoError(t, err)
	require.Equal(t, "torchrun", who.Source)
	require.Equal(t, transport.Rank(1), who.Rank)
	// The port is a hash of MASTER_PORT.
	require.Regexp(t, `^127\.0\.0\.1:2\d{4}$|^127\.0\.0\.1:3[01]\d{3}$`, who.Addr)
	who, err = JoinConfig{Rank: 2, Size: 3, Addr: "127.0.0.1:1"}.place(getenv)
	require.NoError(t, err)
	require.Equal(t, transport.Rank(2), who.Rank)
	require.Equal(t, 3, who.Size)
	who, err = JoinConfig{Addr: "127.0.0.1:7", Job: "j"}.place(getenv)
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:7", who.Addr)
	require.Equal(t, "j", who.Job)
	who, err = JoinConfig{}.place(func(string) string { return "" })
	require.NoError(t, err)
	require.Equal(t, 1, who.Size)
}

// TestJoinTakesTheLimitOfSilence: what a world's user says of silence reaches the transport, which
// refuses what cannot work.
func TestJoinTakesTheLimitOfSilence(t *testing.T) {
	_, err := Join(t.Context(), JoinConfig{Size: 2, Addr: "127.0.0.1:1", DeadAfter: time.Second, Heartbeat: time.Second})
	require.ErrorContains(t, err, "DeadAfter 1s is below twice Heartbeat 1s")
}

// TestJoinTakesTheAlgorithmOfTheEnvironment, for all layers of the world and of one reordered.
func TestJoinTakesTheAlgorithmOfTheEnvironment(t *testing.T) {
	cfg := smallConfig()
	cfg.Algorithm = alltoall.Bruck
	for name, want := range map[string]alltoall.Algorithm{"": alltoall.Bruck, "auto": alltoall.Auto, "rails": alltoall.Rails} {
		t.Setenv(algorithmVariable, name)
		w, err := Join(t.Context(), JoinConfig{Size: 1})
		require.NoError(t, err)
		reordered, err := w.Reordered([]int{0})
		require.NoError(t, err)
		for _, w := range []*World{w, reordered} {
			l, err := NewLayer(w, cfg)
			require.NoError(t, err)
			require.Equal(t, want, l.cfg.Algorithm, "%q", name)
		}
		require.NoError(t, w.Close())
	}
	t.Setenv(algorithmVariable, "teleport")
	_, err := Join(t.Context(), JoinConfig{Size: 1})
	require.ErrorContains(t, err, `switchyard: Join: SWITCHYARD_ALGORITHM: alltoall: no algorithm "teleport", want one of auto, direct`)
}

// TestJoinTakesTheTransportOfTheEnvironment, before the program's.
func TestJoinTakesTheTransportOfTheEnvironment(t *testing.T) {
	t.Setenv(transportVariable, "grpc")
	_, err := Join(t.Context(), JoinConfig{Transport: "shm"})
	require.ErrorContains(t, err, `switchyard: Join: SWITCHYARD_TRANSPORT is "grpc", and this program has auto, hybrid, tcp, shm, inproc; `+
		"for grpc import github.com/switchyard-moe/switchyard/transport/grpc and set JoinConfig.Transports to []switchyard.Opener{grpc.Opener{}}")
	worlds := worldsJoined(t, 2, func(cfg *JoinConfig) { cfg.Transports = []Opener{grpc.Opener{}} })
	for _, w := range worlds {
		require.Equal(t, "grpc", transport.CapabilitiesOf(w.Transport()).Name)
	}
	closeWorlds(worlds)
}

// TestRanksThatChooseOtherTransports get an error that names both, at once.
func TestRanksThatChooseOtherTransports(t *testing.T) {
	names := []string{"auto", "tcp", "grpc"}
	if shm.Supported {
		names = append(names, "shm")
	}
	for i, zero := range names {
		for _, one := range names[i+1:] {
			addr, errs := freeAddr(t), make(chan error, 2)
			for r, name := range []string{zero, one} {
				go func() {
					w, err := Join(t.Context(), JoinConfig{
						Rank: transport.Rank(r), Size: 2, Addr: addr, Job: t.Name(), Transport: name, Transports: []Opener{grpc.Opener{}},
					})
					if err == nil {
						_ = w.Close()
					}
					errs <- err
				}()
			}
			for range 2 {
				err := <-errs
				require.ErrorIs(t, err, transport.ErrMismatch, "%s, %s", zero, one)
				require.ErrorContains(t, err, "switchyard.transport: rank ")
			}
		}
	}
}

// TestTheRootLinksNoGRPC: a program that does not import it has nothing of it.
func TestTheRootLinksNoGRPC(t *testing.T) {
	deps, err := exec.Command("go", "list", "-deps", ".").Output()
	require.NoError(t, err)
	require.Contains(t, string(deps), "github.com/switchyard-moe/switchyard/transport/tcp\n")
	require.NotContains(t, string(deps), "google.golang.org/grpc")
	require.NotContains(t, string(deps), "klauspost/reedsolomon")
}
