package alltoall

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

var rewrite = flag.Bool("rewrite", false, "write the expected tables anew instead of comparing with them")

// exampleRows is an outcome with short and long figures, and with wrong bytes.
func exampleRows() [][]row {
	ours := func(bytes int, p50, p99, busbw float64, wrong int) row {
		return row{"switchyard", "v1 go1.26", "tcp", 4, bytes, "direct", p50, p99, busbw / 3 * 4, busbw, wrong}
	}
	peer := func(who, transport string, bytes int, p50, p99, busbw float64) row {
		return row{who, "4.1.4", transport, 4, bytes, "its own", p50, p99, busbw / 3 * 4, busbw, 0}
	}
	return [][]row{
		{ours(64, 40, 90, 0.0048, 0), peer("openmpi", "shm", 64, 10, 20, 0.0192), peer("gloo", "tcp", 64, 4000, 9000, 0.000048)},
		{ours(16<<20, 30000, 45000.5, 1.6777, 12), peer("openmpi", "shm", 16<<20, 15000, 15000, 3.3554), peer("gloo", "tcp", 16<<20, 1.2e6, 2e6, 0.0419)},
	}
}

func TestTable(t *testing.T) {
	var out bytes.Buffer
	writeTable(&out, exampleRows())
	requireGolden(t, "testdata/alltoall_table.txt", out.Bytes())
}

func TestTableWithoutPeersHasNoRatios(t *testing.T) {
	var out bytes.Buffer
	writeTable(&out, [][]row{exampleRows()[0][:1]})
	require.NotContains(t, out.String(), "divided by")
	writeTable(&out, nil)
}

func TestFigures(t *testing.T) {
	require.Equal(t, "0.0500", ratio(0.05))
	require.Equal(t, "0.500", ratio(0.5))
	require.Equal(t, "1.00", ratio(1))
	require.Equal(t, "12.3", ratio(12.345))
	require.Equal(t, "1235", ratio(1234.5678))
	require.Equal(t, "0.0000", ratio(0))
	require.Equal(t, "1.2e-05", bandwidth(0.0000123))
	require.Equal(t, "1.2346", bandwidth(1.23456))
}

func TestJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rows.json")
	whole := row{"openmpi", "4.1.4", "shm", 4, 64, "MPI_Alltoall", 10.5, 20, 0.0256, 0.0192, 0}
	require.NoError(t, harness.WriteJSONLines(file, []row{whole, {Who: harness.Name, Version: "a&b", Wrong: 2}}))
	out, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, `{"who":"openmpi","version":"4.1.4","transport":"shm","ranks":4,"bytes_per_peer":64,"algorithm":"MPI_Alltoall",`+
		`"p50_us":10.5,"p99_us":20,"algbw_gbps":0.0256,"busbw_gbps":0.0192,"wrong":0}
{"who":"switchyard","version":"a&b","transport":"","ranks":0,"bytes_per_peer":0,"algorithm":"",`+
		`"p50_us":0,"p99_us":0,"algbw_gbps":0,"busbw_gbps":0,"wrong":2}
`, string(out))
}

// requireGolden compares got with a file, or writes it there under -rewrite.
func requireGolden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *rewrite {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
}
