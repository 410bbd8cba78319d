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

// goldenCase reads the first case of a name in a file.
func goldenCase(t *testing.T, file, name string) map[string]any {
	t.Helper()
	cases, err := read(file)
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
		c := goldenCase(t, routerGoldens, "topk_capacity_probs")
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
	c := goldenCase(t, routerGoldens, "topk_sigmoid")
	c["options"].(map[string]any)["temperature"] = 2
	code, stdout, _ := benchtest.Call(t, Run, write(t, c))
	require.Zero(t, code)
	require.Contains(t, stdout, "cannot yet: options: ")
	require.Contains(t, stdout, "temperature")

	c = goldenCase(t, routerGoldens, "topk_sigmoid")
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

const trainerGoldens = "../testdata/goldens/balance_losses.json"

func TestTrainers(t *testing.T) {
	code, stdout, stderr := benchtest.Call(t, Run, trainerGoldens)
	require.Zero(t, code, stdout+stderr)
	for name := range trainerKinds() {
		require.Contains(t, stdout, ": "+name+" {")
	}
	// What is left are weights on the experts' input, and Tutel's loss of load and importance.
	require.Contains(t, stdout, "65 ok, 0 wrong, 6 cannot yet")
}

// TestFindTrainersMistakes spoils one number of a right case at a time, or a key.
func TestFindTrainersMistakes(t *testing.T) {
	for _, c := range []struct {
		name, says string
		path       []any
	}{
		{"megatron_aux_loss", "loss 0 is", []any{"outputs", "loss_unscaled"}},
		{"megatron_seq_aux_loss_padding", "gradient from loss at logit 7", []any{"outputs", "grad_logits", 7}},
		{"megatron_seq_aux_loss_groups", "route 3 is token", []any{"outputs", "routed", 3, 1}},
		{"megatron_seq_aux_loss_bias", "weight 3 is", []any{"outputs", "routed", 3, 2}},
		{"megatron_z_loss_padding", "loss 0 is", []any{"inputs", "logits", 4}},
		{"megatron_global_aux_loss", "counts so far are", []any{"outputs", "steps", 1, 1, "tokens_per_expert_so_far", 5}},
		{"megatron_losses_together", "sequence loss 0 is", []any{"outputs", "seq_aux_loss_unscaled"}},
		{"megatron_expert_bias", "bias 2 is", []any{"outputs", "steps", 1, "bias", 2}},
		{"torchtitan_expert_bias", "bias 2 is", []any{"outputs", "steps", 1, "bias", 2}},
		{"megatron_expert_bias_router", "counts after drops are", []any{"outputs", "steps", 1, "tokens_per_expert", 2}},
		{"megatron_topk_sqrtsoftplus", "gradient from weights at logit 2", []any{"outputs", "grad_logits_from_weights", 2}},
		{"megatron_quantile_balancing", "quantile less the mean", []any{"outputs", "steps", 0, "micro_batches", 0, "quantile", 2}},
		{"torchtitan_router", "counts are", []any{"outputs", "tokens_per_expert", 2}},
		{"torchtitan_layer_scores_on_output", `output "d_gate" is off`, []any{"outputs", "d_gate", 1}},
		{"tutel_topk", "has not slot", []any{"outputs", "slot_by_choice", 0, 2}},
		{"tutel_topk", "keeps 8 routes, want 9", []any{"outputs", "kept"}},
		{"deepspeed_no_drop", "capacity is", []any{"outputs", "capacity"}},
		{"deepspeed_top1_min_capacity", "gradient from loss at logit 1", []any{"outputs", "grad_logits_from_aux", 1}},
		{"deepspeed_autoep_router", "weight 1 is", []any{"outputs", "routed", 1, 2}},
		{"megatron_aux_loss", `"temperature" is not known`, []any{"options", "temperature"}},
		{"torchtitan_router", `no "route_norm"`, []any{"options", "route_norm"}},
	} {
		broken := goldenCase(t, trainerGoldens, c.name)
		switch key := c.path[len(c.path)-1]; key {
		case "temperature":
			broken["options"].(map[string]any)["temperature"] = 2
		case "route_norm":
			delete(broken["options"].(map[string]any), "route_norm")
		default:
			bump(broken, 1, c.path...)
		}
		code, stdout, _ := benchtest.Call(t, Run, write(t, broken))
		require.Equal(t, harness.Failed, code, "%v: %s", c, stdout)
		require.Contains(t, stdout, c.says, "%s", c.name)
	}
}

// TestTrainersFaults: what a trainer leaves to chance is not computed.
func TestTrainersFaults(t *testing.T) {
	for name, c := range map[string]struct {
		option string
		value  any
	}{
		"megatron_seq_aux_loss_groups": {"group_topk", 3}, "deepspeed_top1_min_capacity": {"capacity_factor", 0}, "torchtitan_router": {"score_function", "astrology"},
	} {
		golden := goldenCase(t, trainerGoldens, name)
		golden["options"].(map[string]any)[c.option] = c.value
		code, stdout, _ := benchtest.Call(t, Run, write(t, golden))
		require.Zero(t, code, stdout)
		require.Contains(t, stdout, "cannot yet: this library has no such thing", name)
	}
}
