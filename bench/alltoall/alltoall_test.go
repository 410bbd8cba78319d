package alltoall

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
	"github.com/switchyard-moe/switchyard/bench/internal/transports"
	"github.com/switchyard-moe/switchyard/transport/shm"
)

func TestAlltoallEndToEnd(t *testing.T) {
	for _, name := range transports.Names() {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "shm") && !shm.Supported {
				t.Skip("no shared memory in this build")
			}
			if testing.Short() && name != transports.Inproc && name != "tcp" {
				t.Skip("starts processes")
			}
			file := filepath.Join(t.TempDir(), "rows.json")
			code, stdout, stderr := benchtest.Call(t, Run, "-short", "-transport", name, "-ranks", "3", "-sizes", "1,100,4Ki,64Ki",
				"-rounds", "2", "-peers", "none", "-json", file)
			require.Zero(t, code, stderr)
			require.Contains(t, stderr, "bench: round 2 of 2: switchyard-"+name)
			require.Contains(t, stdout, "3 ranks on one machine")
			rows := readRows(t, file)
			require.Len(t, rows, 4)
			for i, bytes := range []int{1, 100, 4 << 10, 64 << 10} {
				r := rows[i]
				require.Equal(t, row{
					Who: harness.Name, Version: harness.Version(), Transport: name, Ranks: 3, BytesPerPeer: bytes, Algorithm: "direct",
					P50: r.P50, P99: r.P99, Algbw: r.Algbw, Busbw: r.Busbw,
				}, r)
				require.Positive(t, r.P50)
				require.GreaterOrEqual(t, r.P99, r.P50)
				require.InDelta(t, float64(3*bytes)/r.P50/1e3, r.Algbw, 1e-8)
			}
		})
	}
}

func TestAlltoallWithPeers(t *testing.T) {
	code, stdout, stderr := benchtest.Call(t, Run, "-short", "-transport", transports.Inproc, "-sizes", "3,5000", "-format", "table")
	require.Zero(t, code, stderr)
	for _, p := range peerNames() {
		if i := strings.Index(stdout, "# skipped "+p+": "); i >= 0 {
			t.Log(strings.SplitN(stdout[i:], "\n", 2)[0])
			continue
		}
		who := map[string]string{"mpi-tcp": "openmpi-tcp", "mpi": "openmpi-shm", "mpi-posted": "openmpi-shm-posted", "gloo": "gloo-tcp"}[p]
		require.Contains(t, stdout, who+": version ")
	}
}

func TestPeersThatAreNotThereAreNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	code, stdout, _ := benchtest.Call(t, Run, "-short", "-transport", transports.Inproc, "-sizes", "1")
	require.Zero(t, code)
	require.Contains(t, stdout, "# skipped mpi-tcp: no mpirun here; to compare with it: apt-get install openmpi-bin")
	require.Contains(t, stdout, "# skipped gloo: no g++ here")
}

func TestBenchstatFormat(t *testing.T) {
	code, stdout, _ := benchtest.Call(t, Run, "-short", "-transport", transports.Inproc, "-ranks", "2", "-sizes", "64", "-rounds", "3", "-peers", "none", "-format", "go")
	require.Zero(t, code)
	require.Regexp(t, `(?m)^goos: \w+\ngoarch: \w+\npkg: \S+\n(BenchmarkAlltoall/who=switchyard/transport=inproc/ranks=2/bytes=64-\d+\t50\t\d+ ns/op\t[\d.]+ MB/s\t\d+ p99-ns\n){3}$`, stdout)
}

func TestBadFlags(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"-ranks 1", "-ranks 1: want 2 to 64"},
		{"-rounds 0", "-rounds 0: want 1 to 1000"},
		{"-iters -1", "-iters -1: want 1 to 1000000"},
		{"-timeout 0s", "-timeout 0s: want more than 0"},
		{"-format csv", `-format "csv": want table or go`},
		{"-transport carrier-pigeon", `-transport "carrier-pigeon": want one or more of`},
		{"-transport inproc,inproc", `-transport: "inproc" is named twice`},
		{"-peers nccl", `-peers "nccl": want one or more of mpi-tcp,mpi,mpi-posted,gloo`},
		{"-sizes 4K", `-sizes: size "4K": want a whole number`},
		{"-ranks 64 -sizes 1Gi", "-sizes 1Gi: 64 ranks would hold 68719476736 bytes each, want at most 4294967296"},
		{"-nonsense", "flag provided but not defined: -nonsense"},
		{"inproc", `"inproc": alltoall takes flags only`},
	} {
		code, _, stderr := benchtest.Call(t, Run, strings.Fields(c.args)...)
		require.Equal(t, harness.Misused, code, c.args)
		require.Contains(t, stderr, c.says)
	}
	code, _, stderr := benchtest.Call(t, Run, "-transport", transports.Inproc, "-json", t.TempDir())
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "-json: open ")
}

func TestShortKeepsWhatTheUserSet(t *testing.T) {
	o, err := parseOptions([]string{"-short", "-transport", transports.Inproc}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 1, o.rounds)
	require.Len(t, o.sizes, 4)
	o, err = parseOptions([]string{"-short", "-transport", transports.Inproc, "-rounds", "3", "-sizes", "7"}, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 3, o.rounds)
	require.Equal(t, []int{7}, o.sizes)
}

func readRows(t *testing.T, file string) []row {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var rows []row
	for decoder := json.NewDecoder(bytes.NewReader(data)); decoder.More(); {
		var r row
		require.NoError(t, decoder.Decode(&r))
		rows = append(rows, r)
	}
	return rows
}

// shell is a contestant that runs a script instead of measuring.
func shell(who, script string) *contestant {
	return &contestant{who: who, transport: "none", command: func(string, int, []step) ([]string, int) {
		return []string{"sh", "-c", script}, 1
	}}
}

func shortComparison(contestants ...*contestant) *comparison {
	c := newComparison(options{ranks: 2, sizes: []int{8}, rounds: 2, iterations: 1, timeout: time.Minute}, io.Discard)
	c.contestants, c.pace = contestants, harness.NewPace(io.Discard, "alltoall", 0, 0)
	return c
}

func TestAPeerThatFailsIsLeftOut(t *testing.T) {
	us, err := ours(transports.Inproc)
	require.NoError(t, err)
	c := shortComparison(us, shell("gloo", "echo out of luck; exit 3"), shell("openmpi", "true"))
	require.NoError(t, c.run(context.Background()))
	require.Len(t, c.contestants, 1)
	require.Len(t, c.leftOut, 2)
	require.Contains(t, c.leftOut[0], "skipped gloo-none: round 1, after ")
	require.Contains(t, c.leftOut[0], "rank 0 failed first: exit status 3; it said:\nout of luck")
	require.Contains(t, c.leftOut[1], "openmpi-none: rank 0 left no result")
	require.Len(t, c.rows()[0], 1)
	require.EqualError(t, c.verdict(c.rows()), "a peer failed, see above")
}

func TestOurOwnFailureEndsTheComparison(t *testing.T) {
	c := shortComparison(shell(harness.Name, "exit 1"))
	require.ErrorContains(t, c.run(context.Background()), "round 1, after ")
}

func TestATurnThatTakesTooLong(t *testing.T) {
	c := shortComparison(shell(harness.Name, "exec sleep 600"))
	c.timeout = 50 * time.Millisecond
	require.ErrorContains(t, c.run(context.Background()), "no end within -timeout 50ms")
}

func TestWrongBytesAreAFailure(t *testing.T) {
	c := shortComparison()
	require.NoError(t, c.verdict(exampleRows()[:1]))
	require.EqualError(t, c.verdict(exampleRows()), "12 wrong bytes")
}

func TestRoundsStartWithDifferentContestants(t *testing.T) {
	a, b := &contestant{who: "a"}, &contestant{who: "b"}
	require.Equal(t, []*contestant{b, a}, rotated([]*contestant{a, b}, 3))
}
