package switchyard

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/switchyard-moe/switchyard"

// allowed says what of this module each folder's code may import, besides internal/…; a folder not
// named here may import whatever its nearest named parent may. Tests may import more.
var allowed = map[string][]string{
	".":                           {"param", "param/tree", "router", "expert", "hook", "lsh", "schedule", "schedule/autotune", "schedule/memory", "alltoall", "alltoall/balance", "alltoall/links", "collective", "transport", "transport/inproc", "transport/tcp", "transport/shm", "transport/hybrid", "transport/rendezvous", "transport/secure"},
	"param":                       {"param/tree"},
	"param/tree":                  {},
	"router":                      {"param"},
	"router/routertest":           {"param", "router"},
	"expert":                      {"param"},
	"expert/experttest":           {"expert", "param"},
	"hook":                        {},
	"lsh":                         {},
	"schedule":                    {},
	"schedule/autotune":           {"schedule"},
	"schedule/simulate":           {"schedule"},
	"schedule/trace":              {"schedule"},
	"collective":                  {"param/tree", "transport"},
	"alltoall":                    {"transport"},
	"alltoall/links":              {"alltoall", "transport"},
	"alltoall/balance":            {"alltoall"},
	"alltoall/dispatch":           {"alltoall", "alltoall/links", "collective", "lsh", "transport"},
	"transport":                   {},
	"transport/secure":            {"transport"},
	"transport/rendezvous":        {"transport", "transport/secure"},
	"transport/shaped":            {"transport"},
	"transport/faulty":            {"transport"},
	"transport/inproc":            {"transport"},
	"transport/transporttest":     {"transport", "transport/rendezvous"},
	"transport/tcp":               {"transport", "transport/rendezvous", "transport/secure"},
	"transport/shm":               {"transport", "transport/rendezvous"},
	"transport/grpc":              {"transport", "transport/rendezvous", "transport/secure"},
	"transport/mpi":               {"transport", "transport/rendezvous"},
	"transport/striped":           {"transport", "transport/rendezvous", "transport/tcp"},
	"transport/hybrid":            {"transport", "transport/inproc", "transport/shm", "transport/tcp", "transport/rendezvous"},
	"transport/internal":          {"transport"},
	"transport/internal/meshjoin": {"transport", "transport/rendezvous", "transport/secure"},
	"internal":                    {},
	"internal/agreement":          {"collective", "transport"},
	"internal/compression":        {"alltoall", "alltoall/links", "collective", "lsh", "param", "transport"},
	"internal/batch":              {"alltoall", "router", "transport"},
	"internal/balancing":          {"alltoall", "alltoall/balance", "alltoall/links", "param/tree", "transport"},
	"internal/experts":            {"alltoall", "expert", "param", "param/tree", "transport"},
	"internal/gradients":          {"alltoall", "collective", "expert", "param", "param/tree", "router", "transport"},
	"internal/gaps":               {"transport"},
	"internal/opening":            {"transport", "transport/hybrid", "transport/inproc", "transport/rendezvous", "transport/shm", "transport/tcp"},
	"internal/rowgradients":       {"alltoall", "lsh", "transport"},
	"internal/nodegather":         {"alltoall", "transport"},
	"internal/joint":              {"alltoall", "transport"},
	"internal/layout":             {"alltoall", "alltoall/links", "collective", "transport"},
	"internal/lifecycle":          {"alltoall", "transport"},
	"internal/views":              {"collective", "transport"},
	"internal/lockstep":           {"transport"},
	"internal/parameters":         {"alltoall", "collective", "expert", "param", "router", "transport"},
	"internal/pipeline":           {"alltoall", "hook", "schedule", "schedule/autotune", "transport"},
	"internal/passes":             {"alltoall", "collective", "hook", "param", "router", "schedule", "transport"},
	"internal/passcheck":          {"alltoall", "collective", "hook", "transport"},
	"internal/ranktest":           {"transport", "transport/inproc"},
	"internal/sharding":           {"alltoall", "collective", "transport"},
	"internal/routing":            {"alltoall", "collective", "router", "transport"},
	"checkpoint":                  {".", "checkpoint/safetensors", "collective", "param", "transport"},
	"checkpoint/safetensors":      {},
	"models":                      {".", "checkpoint/safetensors", "expert", "param", "router"},
	"switchyardtest":              {".", "transport", "transport/inproc", "transport/rendezvous"},
	"bench":                       {"*"},
	"examples":                    {"*"},
	"schedule/memory":             {},
	"internal/estimate":           {"alltoall", "alltoall/balance", "expert", "router", "schedule/memory"},
	"recovery":                    {"*"},
	"observe":                     {"*"},
	"internal/roworder":           {"alltoall", "router"},
	"internal/quality":            {"lsh"},
	"internal/modelcheck":         {".", "checkpoint/safetensors", "models", "router", "transport", "transport/inproc"},
}

// TestImportsPointOneWay checks the code against this table; docs/design.md has the reasons.
func TestImportsPointOneWay(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && file != "." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		seen++
		checkImports(t, filepath.ToSlash(file))
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, seen, 20, "the walk found hardly any code")
}

func checkImports(t *testing.T, file string) {
	t.Helper()
	source, err := os.ReadFile(file)
	require.NoError(t, err)
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.ImportsOnly)
	require.NoError(t, err)
	folder := path.Dir(file)
	rules, owner := rulesOf(folder)
	for _, spec := range parsed.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		require.NoError(t, err)
		inside, ours := strings.CutPrefix(name, module)
		if !ours {
			continue
		}
		inside = strings.TrimPrefix(inside, "/")
		if inside == "" {
			inside = "."
		}
		require.True(t, may(rules, owner, folder, inside), "%s imports %s, which the table does not allow", file, name)
	}
}

// rulesOf finds the rules of the nearest folder that has some, and that folder.
func rulesOf(folder string) ([]string, string) {
	for ; ; folder = path.Dir(folder) {
		if rules, ok := allowed[folder]; ok {
			return rules, folder
		}
	}
}

func may(rules []string, owner, folder, target string) bool {
	switch {
	case strings.HasPrefix(target, "bench"), target == "examples", strings.HasPrefix(target, "examples/"):
		return strings.HasPrefix(folder, strings.SplitN(target, "/", 2)[0]) // nobody else imports these
	case strings.HasSuffix(target, "test") && target != "internal/leaktest":
		return strings.HasSuffix(folder, "test") || strings.HasPrefix(folder, "bench")
	case strings.HasPrefix(target, "transport/internal/"):
		return strings.HasPrefix(folder, "transport/")
	case strings.HasPrefix(target, "internal/"), target == owner, len(rules) == 1 && rules[0] == "*":
		return true
	}
	for _, r := range rules {
		if r == target {
			return true
		}
	}
	return false
}

func TestImportRulesCatchABreach(t *testing.T) {
	for _, c := range []struct {
		folder, target string
		want           bool
	}{
		{"router", "transport", false},
		{"alltoall", "transport", true},
		{"alltoall", "transport/tcp", false},
		{".", "transport/grpc", false},
		{".", "transport/mpi", false},
		{"collective", "bench", false},
		{"router", "internal/gemm", true},
		{"transport/tcp", "transport/internal/mesh", true},
		{"transport/internal/mesh", "transport/tcp", false},
		{"alltoall", "transport/internal/mesh", false},
		{"transport/tcp", "transport/transporttest", false},
		{"bench", "transport/transporttest", true},
		{"examples/train", "examples/internal/gpt", true},
	} {
		rules, owner := rulesOf(c.folder)
		require.Equal(t, c.want, may(rules, owner, c.folder, c.target), "%s importing %s", c.folder, c.target)
	}
}

// TestRaceDetectorSeesEveryPackage: .ci/run tests all of them with the race detector.
func TestRaceDetectorSeesEveryPackage(t *testing.T) {
	script, err := os.ReadFile(".ci/run")
	require.NoError(t, err)
	require.Regexp(t, `\nraced\(\) \{[^}]*\n  go test [^\n]*-race [^\n]* \./\.\.\.\n`, string(script))
}
