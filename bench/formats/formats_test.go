package formats

import (
	"bytes"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

const tables = "../testdata/goldens/formats/"

func TestTables(t *testing.T) {
	files, err := filepath.Glob(tables + "*.json")
	require.NoError(t, err)
	require.Len(t, files, 7)
	code, stdout, stderr := benchtest.Call(t, Run, files...)
	require.Zero(t, code, stdout+stderr)
	require.NotContains(t, stderr, ".json")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	require.Len(t, lines, 8, "one a file and one for all")
	require.Regexp(t, `^\d{5} ok, 0 wrong, \d\d cannot$`, lines[7])
}

// TestFindMistakes spoils one number of a table at a time.
func TestFindMistakes(t *testing.T) {
	for says, spoil := range map[string][3]string{
		"E2M1 code 3: WRONG":                           {"elements.json", "3fc00000 40000000", "3fc00001 40000000"},
		"E5M2 of 3f800000, torch: WRONG":               {"casts.json", `"3f800000",60,60,60`, `"3f800000",60,61,60`},
		"one and its half, torchao_even, scale: WRONG": {"mxfp4.json", `"one and its half"`, ``},
		"Hadamard of 2: WRONG":                         {"hadamard.json", "c08659ad", "c08659ae"},
		"zeros of both signs; then normal":             {"nvfp4.json", `"087e4808"`, `"087e4809"`},
		"weight [128 128] at 0, 0: WRONG":              {"fp8_block.json", `"3df29e43"`, `"3df29e44"`},
		"gpt-oss: WRONG":                               {"mxfp4.json", `"76817f777a7f84867d778384"`, `"77817f777a7f84867d778384"`},
	} {
		data, err := os.ReadFile(tables + spoil[0])
		require.NoError(t, err)
		data = bytes.ReplaceAll(data, []byte(", "), []byte(","))
		from, to := []byte(spoil[1]), []byte(spoil[2])
		if len(to) == 0 { // the first scale of a library's EVEN behind the name
			at := bytes.Index(data, from)
			require.Positive(t, at)
			even := at + bytes.Index(data[at:], []byte(`"torchao_even"`))
			from = data[even : even+bytes.IndexByte(data[even:], ',')]
			to = append(bytes.Clone(from), '0')
		}
		require.Contains(t, string(data), string(from), says)
		file := filepath.Join(t.TempDir(), "table.json")
		require.NoError(t, os.WriteFile(file, bytes.Replace(data, from, to, 1), 0o600))
		code, stdout, _ := benchtest.Call(t, Run, file)
		require.Equal(t, harness.Failed, code, says)
		require.Contains(t, stdout, says)
	}
}

func TestUnreadable(t *testing.T) {
	for says, text := range map[string]string{
		"no table of formats": `{}`,
		"of no known form":    `{"cases": [{"name": "a"}]}`,
		"31 numbers":          `{"cases": [{"name": "a", "in": "` + strings.Repeat("0 ", 31) + `", "torchao_even": {}}]}`,
		"unexpected end":      `{`,
		"2 fields, want 3":    `{"formats": {"E2M1": {"columns": ["in", "torchao", "b"], "rows": [["0", 1]]}}}`,
	} {
		file := filepath.Join(t.TempDir(), "table.json")
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		code, stdout, stderr := benchtest.Call(t, Run, file)
		require.Equal(t, harness.Failed, code, stdout)
		require.Contains(t, stderr, says)
	}
	code, _, stderr := benchtest.Call(t, Run)
	require.Equal(t, harness.Misused, code)
	require.Contains(t, stderr, "usage: go run ./bench formats")
	code, _, stderr = benchtest.Call(t, Run, "none.json")
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "none.json")
}

// TestElementsRoundToNearest: of all codes, against search.
func TestElementsRoundToNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for name, e := range elements() {
		if e.special == scale {
			continue
		}
		for c := range 2 * e.sign() { // what a code stands for has that code
			v := e.value(c)
			if v-v == 0 && (v != 0 || e.special != fnuz) {
				require.Equal(t, c, e.code(float64(v), saturate), "%s code %d", name, c)
			}
		}
		for range 200 {
			c := r.IntN(e.magnitude(e.largest))
			low, high := float64(e.value(c)), float64(e.value(c+1))
			middle := (low + high) / 2
			require.Equal(t, c, e.code(math.Nextafter(middle, 0), saturate), "%s below %v", name, middle)
			require.Equal(t, c+1, e.code(math.Nextafter(middle, high), saturate), "%s above %v", name, middle)
			require.Equal(t, c+c%2, e.code(middle, saturate), "%s, the tie %v", name, middle)
		}
	}
}
