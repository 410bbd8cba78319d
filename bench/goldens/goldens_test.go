package goldens

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/switchyard-moe/switchyard/bench/internal/benchtest"
	"github.com/switchyard-moe/switchyard/bench/internal/harness"
)

const routerGoldens = "../testdata/goldens/router.json"

func TestRouter(t *testing.T) {
	code, stdout, stderr := benchtest.Call(t, Run, routerGoldens)
	require.Zero(t, code, stdout+stderr)
	require.Empty(t, stderr)
	require.NotContains(t, stdout, "WRONG")
	cases, err := read(routerGoldens)
	require.NoError(t, err)
	require.Equal(t, len(cases)+1, strings.Count(stdout, "\n"), "a line a case and one for all")
	for _, name := range routers {
		require.Regexp(t, name+" T=.*: ok", stdout)
	}
}

// write writes a file of one case.
func write(t *testing.T, c map[string]any) string {
	data, err := json.Marshal(map[string]any{"cases": []any{c}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "goldens.json")
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return file
}

// goldenCase reads the first case of a name.
func goldenCase(t *testing.T, name string) map[string]any {
	cases, err := read(routerGoldens)
	require.NoError(t, err)
	for _, raw := range cases {
		var c map[string]any
		require.NoError(t, json.Unmarshal(raw, &c))
		if c["name"] == name {
			return c
		}
	}
	require.Fail(t, "no case", name)
	return nil
}

// TestFindMistakes spoils one number of a right case at a time.
func TestFindMistakes(t *testing.T) {
	add := func(delta float64, path ...any) func(map[string]any) {
		return func(c map[string]any) { bump(c, delta, path...) }
	}
	for says, spoil := range map[string]func(map[string]any){
		"weight 2 is":                    add(3e-6, "routed", 2, 2),
		"route 3 is token":               add(1, "routed", 3, 1),
		"counts before drops":            add(1, "tokens_per_expert_before_drop", 0),
		"keeps":                          add(-1, "capacity"),
		"balance loss 0 is":              add(1e-7, "aux_loss"),
		"z loss 0 is":                    add(1e-7, "z_loss"),
		"gradient from weights at logit": add(1e-4, "grad_logits_from_weights", 5),
		"gradient from balance loss at":  add(1e-8, "grad_logits_from_aux", 7),
		"gradient from z loss at":        add(1e-8, "grad_logits_from_z", 9),
		"routes, want":                   func(c map[string]any) { c["routed"], c["upstream"] = cut(c["routed"]), cut(c["upstream"]) },
		"63 logits, want 64":             func(c map[string]any) { c["logits"] = cut(c["logits"]) },
		`no "routed"`:                    func(c map[string]any) { delete(c, "routed") },
		"want token, expert, weight":     func(c map[string]any) { c["routed"].([]any)[0] = []any{1, 2} },
		"has 63 numbers, want 64":        func(c map[string]any) { c["grad_logits_from_z"] = cut(c["grad_logits_from_z"]) },
		`neither "kind" nor "name"`:      func(c map[string]any) { delete(c, "name") },
		"cannot unmarshal":               func(c map[string]any) { c["logits"] = "none" },
	} {
		c := goldenCase(t, "topk_capacity_probs")
		spoil(c)
		file := write(t, c)
		code, stdout, _ := benchtest.Call(t, Run, file)
		require.Equal(t, harness.Failed, code, says)
		require.Contains(t, stdout, file+" case 0: ")
		require.Contains(t, stdout, says)
		require.Contains(t, stdout, "0 ok, 1 wrong, 0 cannot yet")
	}
}

// bump adds delta to the number at a path of keys and indices.
func bump(at any, delta float64, path ...any) {
	for i, step := range path {
		last := i == len(path)-1
		switch key := step.(type) {
		case string:
			m := at.(map[string]any)
			if at = m[key]; last {
				m[key] = at.(float64) + delta
			}
		case int:
			list := at.([]any)
			if at = list[key]; last {
				list[key] = at.(float64) + delta
			}
		}
	}
}

// cut returns a list without its last element.
func cut(list any) any { return list.([]any)[:len(list.([]any))-1] }

func TestNotYet(t *testing.T) {
	c := goldenCase(t, "topk_sigmoid")
	c["options"].(map[string]any)["temperature"] = 2
	code, stdout, _ := benchtest.Call(t, Run, write(t, c))
	require.Zero(t, code)
	require.Contains(t, stdout, "cannot yet: options: ")
	require.Contains(t, stdout, "temperature")

	c = goldenCase(t, "topk_sigmoid")
	c["name"] = "astrology"
	code, stdout, _ = benchtest.Call(t, Run, write(t, c))
	require.Zero(t, code)
	require.Contains(t, stdout, `cannot yet: router "astrology"`)
}

func TestFiles(t *testing.T) {
	code, _, stderr := benchtest.Call(t, Run, "../testdata/goldens/no-such.json")
	require.Equal(t, harness.Failed, code)
	require.Contains(t, stderr, "no-such.json")
	for content, says := range map[string]string{`{"cases": [`: "unexpected end", `{}`: `no "cases"`, `[]`: "cannot unmarshal"} {
		file := filepath.Join(t.TempDir(), "broken.json")
		require.NoError(t, os.WriteFile(file, []byte(content), 0o600))
		code, stdout, stderr := benchtest.Call(t, Run, file, routerGoldens)
		require.Equal(t, harness.Failed, code)
		require.Contains(t, stderr, file)
		require.Contains(t, stderr, says)
		require.Contains(t, stdout, "1 files unreadable", "the other file is run")
	}

	code, stdout, _ := benchtest.Call(t, Run, "-h")
	require.Zero(t, code)
	require.Contains(t, stdout, "usage: go run ./bench goldens FILE")
	code, _, stderr = benchtest.Call(t, Run)
	require.Equal(t, harness.Misused, code)
	require.Contains(t, stderr, "usage: ")

	ctx, stop := context.WithCancel(context.Background())
	stop()
	var out bytes.Buffer
	require.Equal(t, harness.Failed, Run(ctx, []string{routerGoldens}, &out, &out))
	require.Contains(t, out.String(), context.Canceled.Error())
}

func TestLayer(t *testing.T) {
	code, stdout, stderr := benchtest.Call(t, Run, "../testdata/goldens/layer.json")
	require.Zero(t, code, stdout+stderr)
	for _, kind := range []string{"swiglu", "gelu", "relu", softKind, cosineKind, modalityKind} {
		require.Regexp(t, kind+" T=.*: ok", stdout)
	}
	require.Regexp(t, `\d+ ok, 0 wrong, 0 cannot yet`, stdout)
}
